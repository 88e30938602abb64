//! The names of the reconciler's steps and of the parts that it removes, as they stand in rows and log lines.

use serde::{Deserialize, Serialize};

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
    /// Every part, in the order of removal: first what can act, then what it acted with. Whatever does not end
    /// of the first three holds up none of the other two.
    pub const ALL: [Self; 9] = [
        Self::App,
        Self::ModelKeys,
        Self::Integrations,
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

    /// The name of the step that removes it.
    pub const fn step_name(self) -> StepName {
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
        ChooseKey = "choose_key",
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

impl StepName {
    /// Whether the two are tried by turns, since neither depends on the other: what ends an assistant.
    pub(super) const fn takes_turns_with(self, other: Self) -> bool {
        self.ends_assistant() && other.ends_assistant()
    }

    const fn ends_assistant(self) -> bool {
        matches!(
            self,
            Self::AwaitOperation
                | Self::StopApp
                | Self::DisableModelKey
                | Self::RemoveApp
                | Self::RemoveModelKeys
                | Self::RemoveIntegrations
        )
    }
}
