//! Why a step of the reconciler did not end.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Azure's code for a scope that somebody locked.
pub const SCOPE_LOCKED: &str = "ScopeLocked";
/// After Azure's code and a slash: the app's identity cannot read a secret.
pub const SECRET_UNREADABLE: &str = "secret";
/// After Azure's code and a slash: the app's identity cannot pull the image.
pub const IMAGE_UNREADABLE: &str = "image";

named_enum! {
    /// What a step waits for; nothing has failed.
    pub enum WaitReason {
        /// Azure works on another change of the app.
        AppBusy = "app_busy",
        /// Azure works on another change of the resource.
        ResourceBusy = "resource_busy",
        /// A role of the app's identity has not taken effect yet.
        RoleNotEffective = "role_not_effective",
        /// Somebody locked the resource, or what it lies in.
        ScopeLocked = "scope_locked",
        /// Azure is deleting the app.
        AppBeingDeleted = "app_is_being_deleted",
        /// A replica of the stopped app is still running.
        ReplicaLeft = "a_replica_is_left",
        /// The container does not answer yet.
        NotUpYet = "not_up_yet",
        /// Azure does not know the new identity everywhere yet.
        PrincipalUnknown = "principal_unknown",
        /// The role of an earlier identity was revoked a moment ago.
        FormerRoleRevoked = "former_role_revoked",
        /// A newer version of this function has begun a rollout.
        NewerRolloutBegan = "newer_rollout_began",
        /// Another tenant holds the rollout's slot.
        RolloutSlotTaken = "rollout_slot_taken",
        /// `scheduled-refresh` is removing the integrations.
        IntegrationsBeingRemoved = "integrations_are_being_removed",
        /// The vault is deleting the secret.
        SecretBeingDeleted = "secret_is_being_deleted",
        /// The worker's lease has ended: the next one does it.
        LeaseEnded = "lease_ended",
        /// Somebody else changed the row.
        RowChanged = "row_changed",
    }
}

impl WaitReason {
    /// Whether it is Azure's state that the step waits for, of which the row may have a wrong idea. Such a step is
    /// tried less and less often.
    pub const fn is_at_azure(self) -> bool {
        matches!(
            self,
            Self::AppBusy | Self::ResourceBusy | Self::RoleNotEffective | Self::AppBeingDeleted | Self::ReplicaLeft
        )
    }
}

/// A failure of a step; its [`fmt::Display`] is the stable code in rows and log lines, never a vendor's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepError {
    /// The vendor asks for fewer requests.
    Throttled,
    /// No answer came in time.
    TimedOut,
    /// The connection failed or broke.
    NoAnswer,
    /// The vendor failed with a 5xx.
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not of the documented form.
    Unreadable,
    /// The whole step took too long.
    StepTimedOut,
    /// The vendor did not accept our credential.
    Unauthorized,
    /// What the request names does not exist.
    NotFound,
    /// The vendor's permanent error about the request.
    Refused {
        /// The HTTP status, a 4xx.
        status: u16,
        /// The vendor's own code.
        code: String,
    },
    /// Azure accepted a change to the app, and it failed.
    OperationFailed {
        /// Azure's own code.
        code: String,
    },
    /// The container was not up in time.
    Unhealthy {
        /// How its health check ended.
        cause: String,
    },
    /// Something of our own is missing or full.
    Precondition {
        /// A stable code.
        code: Cow<'static, str>,
    },
}

impl StepError {
    /// Of something of our own that is missing or full.
    pub const fn precondition(code: &'static str) -> Self {
        Self::Precondition { code: Cow::Borrowed(code) }
    }

    /// Whether Azure's permanent error may be the release's fault: neither a lock nor a secret that cannot be read is.
    pub fn may_be_of_release(code: &str) -> bool {
        let (code, detail) = code.split_once('/').unwrap_or((code, ""));
        code != SCOPE_LOCKED && detail != SECRET_UNREADABLE
    }

    /// Whether nobody knows what became of the request: it may have taken effect, or may do so yet.
    pub const fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::TimedOut | Self::NoAnswer | Self::ServerError { .. } | Self::Unreadable | Self::StepTimedOut => true,
            Self::Throttled
            | Self::Unauthorized
            | Self::NotFound
            | Self::Refused { .. }
            | Self::OperationFailed { .. }
            | Self::Unhealthy { .. }
            | Self::Precondition { .. } => false,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => out.write_str("throttled"),
            Self::TimedOut => out.write_str("unknown_timed_out"),
            Self::NoAnswer => out.write_str("unknown_no_answer"),
            Self::ServerError { status } => write!(out, "unknown_status_{status}"),
            Self::Unreadable => out.write_str("unknown_unreadable"),
            Self::StepTimedOut => out.write_str("unknown_step_timed_out"),
            Self::Unauthorized => out.write_str("unauthorized"),
            Self::NotFound => out.write_str("not_found"),
            Self::Refused { status, code } => write!(out, "refused_{status}_{code}"),
            Self::OperationFailed { code } => write!(out, "azure_{code}"),
            Self::Unhealthy { cause } => write!(out, "unhealthy_{}", cause.replace(' ', "_")),
            Self::Precondition { code } => out.write_str(code),
        }
    }
}
