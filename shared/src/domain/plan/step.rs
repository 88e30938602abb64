//! The steps there are.

use serde::{Deserialize, Serialize};

use crate::domain::reconcile_status::Notice;
use crate::domain::tenant::Lifecycle;

/// One thing to do, safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask Stripe about the customer.
    Sync,
    /// Change the lifecycle, and the route with it.
    ChangeLifecycle(Lifecycle),
    /// Compare the resources with the row.
    Observe,
    /// Remove what the removal of an earlier life may have left.
    RemoveLeftovers,
    /// Reserve a slot in an Azure subscription.
    ChooseShard,
    /// Create the container's identity.
    MakeIdentity,
    /// Let a second generation of keys be valid.
    BeginRotation,
    /// Create a generation's keys and write them into the vault.
    WriteKeys {
        /// The generation, from 1.
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
    /// Create the file share.
    MakeShare,
    /// Make the share known to the container environment.
    MakeStorage,
    /// Decide which release the container shall run.
    ChooseRelease,
    /// Ask Azure how a change to the app has ended.
    AwaitOperation,
    /// Stop the app.
    StopApp,
    /// Wait until no replica is left.
    AwaitNoReplica,
    /// Create the app, or update it.
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
    /// Let the rollout go on to the next tenant.
    FreeRolloutSlot {
        /// Whether the container is up with the release; otherwise it is rolled back.
        healthy: bool,
    },
    /// Write to the person.
    Notify(Notice),
    /// Remove one part.
    Remove(Part),
    /// Put a receipt in place of the row, or begin a new life for a person who paid again.
    Finalize,
}

/// A part of a tenant that is removed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The integrations with Google, with their tokens.
    Integrations,
    /// The keys at the model gateway.
    ModelKeys,
    /// The container app.
    App,
    /// What the container environment knows of the share.
    Storage,
    /// The file share with all it holds.
    Share,
    /// The role assignment on the runtime's secret.
    Role,
    /// The container's identity.
    Identity,
    /// The runtime's secret, all versions.
    Secret,
    /// Its further rows in our table.
    Rows,
}

impl Part {
    /// Every part, in the order of removal: first what can act, then what it acted with.
    pub const ALL: [Self; 9] = [
        Self::Integrations,
        Self::ModelKeys,
        Self::App,
        Self::Storage,
        Self::Share,
        Self::Role,
        Self::Identity,
        Self::Secret,
        Self::Rows,
    ];

    /// What a receipt calls it, for people to read.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Integrations => "connections to Google and their tokens",
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
            Self::Integrations | Self::Rows => false,
            Self::ModelKeys | Self::App | Self::Storage | Self::Share | Self::Role | Self::Identity | Self::Secret => {
                true
            }
        }
    }

    const fn step_name(self) -> StepName {
        match self {
            Self::Integrations => StepName::RemoveIntegrations,
            Self::ModelKeys => StepName::RemoveModelKeys,
            Self::App => StepName::RemoveApp,
            Self::Storage => StepName::RemoveStorage,
            Self::Share => StepName::RemoveShare,
            Self::Role => StepName::RemoveRole,
            Self::Identity => StepName::RemoveIdentity,
            Self::Secret => StepName::RemoveSecret,
            Self::Rows => StepName::RemoveRows,
        }
    }
}

named_enum! {
    /// A step's name in rows and log lines; what differs only in numbers has the same name.
    #[allow(missing_docs, reason = "each is named as its step")]
    pub enum StepName {
        Sync = "sync",
        WaitForPayment = "wait_for_payment",
        Provision = "provision",
        Activate = "activate",
        Suspend = "suspend",
        Deprovision = "deprovision",
        Observe = "observe",
        RemoveLeftovers = "remove_leftovers",
        ChooseShard = "choose_shard",
        MakeIdentity = "make_identity",
        BeginRotation = "begin_rotation",
        WriteKeys = "write_keys",
        DisableModelKey = "disable_model_key",
        SetModelKey = "set_model_key",
        GrantRole = "grant_role",
        MakeShare = "make_share",
        MakeStorage = "make_storage",
        ChooseRelease = "choose_release",
        AwaitOperation = "await_operation",
        StopApp = "stop_app",
        AwaitNoReplica = "await_no_replica",
        PutApp = "put_app",
        StartApp = "start_app",
        CheckHealth = "check_health",
        EndRotation = "end_rotation",
        DropFormerKeys = "drop_former_keys",
        FreeRolloutSlot = "free_rollout_slot",
        RollBack = "roll_back",
        NotifyReady = "notify_ready",
        NotifySuspended = "notify_suspended",
        NotifyResumed = "notify_resumed",
        NotifyRemoved = "notify_removed",
        NotifyReplaced = "notify_replaced",
        NotifyReadyAnew = "notify_ready_anew",
        NotifySuspendedAnew = "notify_suspended_anew",
        RemoveIntegrations = "remove_integrations",
        RemoveModelKeys = "remove_model_keys",
        RemoveApp = "remove_app",
        RemoveStorage = "remove_storage",
        RemoveShare = "remove_share",
        RemoveRole = "remove_role",
        RemoveIdentity = "remove_identity",
        RemoveSecret = "remove_secret",
        RemoveRows = "remove_rows",
        Finalize = "finalize",
    }
}

/// What a step touches, and so what has to be known of it when it is repeated or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepScope {
    /// It changes nothing but our table: no other worker has to be kept out, and on a row that changed meanwhile it is
    /// planned anew.
    OurTable,
    /// It works under the lease, and changes no resource.
    UnderLease,
    /// It changes something at a vendor: without an answer, that may yet happen.
    Resources,
}

impl Step {
    /// What it touches.
    pub const fn scope(self) -> StepScope {
        match self {
            Self::Sync
            | Self::ChangeLifecycle(_)
            | Self::ChooseShard
            | Self::BeginRotation
            | Self::EndRotation
            | Self::Activate => StepScope::OurTable,
            Self::Observe
            | Self::ChooseRelease
            | Self::AwaitOperation
            | Self::AwaitNoReplica
            | Self::CheckHealth
            | Self::FreeRolloutSlot { .. }
            | Self::Notify(_)
            | Self::Finalize => StepScope::UnderLease,
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
            | Self::Remove(_) => StepScope::Resources,
        }
    }

    /// The name in rows and log lines.
    pub const fn name(self) -> StepName {
        match self {
            Self::Sync => StepName::Sync,
            Self::ChangeLifecycle(Lifecycle::Pending) => StepName::WaitForPayment,
            Self::ChangeLifecycle(Lifecycle::Provisioning) => StepName::Provision,
            Self::ChangeLifecycle(Lifecycle::Active) | Self::Activate => StepName::Activate,
            Self::ChangeLifecycle(Lifecycle::Suspended) => StepName::Suspend,
            Self::ChangeLifecycle(Lifecycle::Deprovisioning) => StepName::Deprovision,
            Self::Observe => StepName::Observe,
            Self::RemoveLeftovers => StepName::RemoveLeftovers,
            Self::ChooseShard => StepName::ChooseShard,
            Self::MakeIdentity => StepName::MakeIdentity,
            Self::BeginRotation => StepName::BeginRotation,
            Self::WriteKeys { .. } => StepName::WriteKeys,
            Self::SetModelKey { disabled: true, .. } => StepName::DisableModelKey,
            Self::SetModelKey { disabled: false, .. } => StepName::SetModelKey,
            Self::GrantRole => StepName::GrantRole,
            Self::MakeShare => StepName::MakeShare,
            Self::MakeStorage => StepName::MakeStorage,
            Self::ChooseRelease => StepName::ChooseRelease,
            Self::AwaitOperation => StepName::AwaitOperation,
            Self::StopApp => StepName::StopApp,
            Self::AwaitNoReplica => StepName::AwaitNoReplica,
            Self::PutApp => StepName::PutApp,
            Self::StartApp => StepName::StartApp,
            Self::CheckHealth => StepName::CheckHealth,
            Self::EndRotation => StepName::EndRotation,
            Self::DropFormerKeys => StepName::DropFormerKeys,
            Self::FreeRolloutSlot { healthy: true } => StepName::FreeRolloutSlot,
            Self::FreeRolloutSlot { healthy: false } => StepName::RollBack,
            Self::Notify(Notice::Ready) => StepName::NotifyReady,
            Self::Notify(Notice::Suspended) => StepName::NotifySuspended,
            Self::Notify(Notice::Resumed) => StepName::NotifyResumed,
            Self::Notify(Notice::Removed) => StepName::NotifyRemoved,
            Self::Notify(Notice::Replaced) => StepName::NotifyReplaced,
            Self::Notify(Notice::ReadyAnew) => StepName::NotifyReadyAnew,
            Self::Notify(Notice::SuspendedAnew) => StepName::NotifySuspendedAnew,
            Self::Remove(part) => part.step_name(),
            Self::Finalize => StepName::Finalize,
        }
    }
}
