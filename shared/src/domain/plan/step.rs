//! The steps there are.

use crate::domain::tenant::Lifecycle;
use crate::domain::work::Notice;

/// One thing to do, safe to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask Stripe what it says now.
    Sync,
    /// Change the lifecycle, and the route with it.
    Move(Lifecycle),
    /// Look whether the resources are as the row says.
    Observe,
    /// Remove what the removal of an earlier life may have left.
    RemoveLeftovers,
    /// Take a place in an Azure subscription.
    ChooseShard,
    /// Make the container's identity.
    MakeIdentity,
    /// Let a second generation of keys be valid.
    BeginRotation,
    /// Make a generation's keys and write them into the vault.
    WriteKeys {
        /// Which one.
        generation: u32,
        /// What its model key may cost a month, in USD cents.
        limit_cents: u32,
    },
    /// Change what the model key may do.
    SetModelKey {
        /// Whether it is switched off.
        disabled: bool,
        /// What it may cost a month, in USD cents.
        limit_cents: u32,
    },
    /// Let the identity read the secret.
    GrantRole,
    /// Make the share.
    MakeShare,
    /// Make the share known to the environment.
    MakeStorage,
    /// Find out which release the container shall run.
    ChooseRelease,
    /// Ask what became of a change to the app.
    AwaitOperation,
    /// Stop the app.
    StopApp,
    /// Wait until no replica is left.
    AwaitNoReplica,
    /// Make the app, or change it.
    PutApp,
    /// Start the app.
    StartApp,
    /// Ask the container whether it is up.
    CheckHealth,
    /// Open the route and let the tenant be active.
    Activate,
    /// Let the newest generation alone be valid.
    EndRotation,
    /// Remove the keys of the generation before.
    DropFormerKeys,
    /// Let the next tenant have its turn in the rollout.
    EndTurn {
        /// Whether the release did well here.
        healthy: bool,
    },
    /// Tell the person.
    Tell(Notice),
    /// Remove one part.
    Remove(Part),
    /// Leave a receipt in place of the row.
    Bury,
}

/// A part of a tenant that is removed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The connections to Google, with their tokens.
    Connections,
    /// The keys at the model gateway.
    ModelKeys,
    /// The container app.
    App,
    /// What the environment knows of the share.
    Storage,
    /// The share with all it holds.
    Share,
    /// The role assignment.
    Role,
    /// The identity.
    Identity,
    /// The runtime's secret, all versions.
    Secret,
    /// The rows about it in our table.
    Rows,
}

impl Part {
    /// Every part, in the order of removal: first what can act, then what it acted with.
    pub const ALL: [Self; 9] = [
        Self::Connections,
        Self::ModelKeys,
        Self::App,
        Self::Storage,
        Self::Share,
        Self::Role,
        Self::Identity,
        Self::Secret,
        Self::Rows,
    ];

    /// The name in receipts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections to Google and their tokens",
            Self::ModelKeys => "model keys",
            Self::App => "container app",
            Self::Storage => "storage of the environment",
            Self::Share => "file share",
            Self::Role => "role assignment",
            Self::Identity => "identity",
            Self::Secret => "runtime secret",
            Self::Rows => "rows",
        }
    }

    /// Whether it exists only once a shard was chosen.
    pub const fn is_in_shard(self) -> bool {
        match self {
            Self::Connections | Self::Rows => false,
            Self::ModelKeys | Self::App | Self::Storage | Self::Share | Self::Role | Self::Identity | Self::Secret => {
                true
            }
        }
    }

    const fn step(self) -> &'static str {
        match self {
            Self::Connections => "remove_connections",
            Self::ModelKeys => "remove_model_keys",
            Self::App => "remove_app",
            Self::Storage => "remove_storage",
            Self::Share => "remove_share",
            Self::Role => "remove_role",
            Self::Identity => "remove_identity",
            Self::Secret => "remove_secret",
            Self::Rows => "remove_rows",
        }
    }
}

impl Step {
    /// Whether it changes something at a vendor: when it gets no answer, that may happen yet.
    pub const fn changes_resources(self) -> bool {
        match self {
            Self::MakeIdentity
            | Self::WriteKeys { .. }
            | Self::SetModelKey { .. }
            | Self::GrantRole
            | Self::MakeShare
            | Self::MakeStorage
            | Self::StopApp
            | Self::PutApp
            | Self::StartApp
            | Self::DropFormerKeys
            | Self::RemoveLeftovers
            | Self::Remove(_) => true,
            Self::Sync
            | Self::Move(_)
            | Self::Observe
            | Self::ChooseShard
            | Self::BeginRotation
            | Self::ChooseRelease
            | Self::AwaitOperation
            | Self::AwaitNoReplica
            | Self::CheckHealth
            | Self::Activate
            | Self::EndRotation
            | Self::EndTurn { .. }
            | Self::Tell(_)
            | Self::Bury => false,
        }
    }

    /// The name in rows and log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Move(Lifecycle::Pending) => "wait_for_payment",
            Self::Move(Lifecycle::Provisioning) => "provision",
            Self::Move(Lifecycle::Active) | Self::Activate => "activate",
            Self::Move(Lifecycle::Suspended) => "suspend",
            Self::Move(Lifecycle::Deprovisioning) => "deprovision",
            Self::Observe => "observe",
            Self::RemoveLeftovers => "remove_leftovers",
            Self::ChooseShard => "choose_shard",
            Self::MakeIdentity => "make_identity",
            Self::BeginRotation => "begin_rotation",
            Self::WriteKeys { .. } => "write_keys",
            Self::SetModelKey { disabled: true, .. } => "disable_model_key",
            Self::SetModelKey { disabled: false, .. } => "set_model_key",
            Self::GrantRole => "grant_role",
            Self::MakeShare => "make_share",
            Self::MakeStorage => "make_storage",
            Self::ChooseRelease => "choose_release",
            Self::AwaitOperation => "await_operation",
            Self::StopApp => "stop_app",
            Self::AwaitNoReplica => "await_no_replica",
            Self::PutApp => "put_app",
            Self::StartApp => "start_app",
            Self::CheckHealth => "check_health",
            Self::EndRotation => "end_rotation",
            Self::DropFormerKeys => "drop_former_keys",
            Self::EndTurn { healthy: true } => "end_turn",
            Self::EndTurn { healthy: false } => "roll_back",
            Self::Tell(Notice::Ready) => "tell_ready",
            Self::Tell(Notice::Suspended) => "tell_suspended",
            Self::Tell(Notice::Resumed) => "tell_resumed",
            Self::Tell(Notice::Removed) => "tell_removed",
            Self::Tell(Notice::Replaced) => "tell_replaced",
            Self::Tell(Notice::ReadyAnew) => "tell_ready_anew",
            Self::Tell(Notice::SuspendedAnew) => "tell_suspended_anew",
            Self::Remove(part) => part.step(),
            Self::Bury => "bury",
        }
    }
}
