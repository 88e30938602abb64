//! Why a step did not end, and when it is retried.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::plan::StepName;
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::domain::tenant::Tenant;
use nbhd::providers;
use nbhd::providers::azure::resource_manager::Obstacle;
use nbhd::telemetry::metric;
use nbhd::{queue, store};

/// So many failures in a row are an operator's business.
const STUCK_AFTER: u32 = 5;
/// So is a step that has waited this long.
const STUCK_FOR: Duration = Duration::from_secs(60 * 60);

/// How long to leave a resource alone that is busy with another operation, at first.
pub(crate) const BUSY_SECONDS: u64 = 10;
/// How long to wait for a role that has not taken effect, at first.
pub(crate) const ROLE_SECONDS: u64 = 20;
/// The longest wait between two tries of what waits for Azure.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// The time between two tries of what is locked.
pub(crate) const LOCKED_FOR: Duration = Duration::from_secs(10 * 60);

/// Why a step did not end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something else has to happen first: nothing has failed.
    Waiting {
        /// What it waits for.
        reason: WaitReason,
        /// How long until it is retried.
        delay: Duration,
    },
    /// Somebody locked the resource, or what it lies in: nothing has failed, and an operator has to act.
    Locked {
        /// The name of what is locked, where Azure says it.
        scope: Option<String>,
    },
    /// It failed, or nobody knows: it is retried, later each time.
    Failed {
        /// What happened.
        error: StepError,
        /// The shortest wait that the vendor asks for.
        retry_after: Option<Duration>,
    },
    /// Our own table could not serve: the job itself is redelivered.
    Store(store::Error),
}

impl Failure {
    pub(crate) const fn waiting(reason: WaitReason, seconds: u64) -> Self {
        Self::Waiting { reason, delay: Duration::from_secs(seconds) }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Failed { error, retry_after: None }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict => Self::waiting(WaitReason::RowChanged, 1),
            error @ (store::Error::Unavailable { .. } | store::Error::Corrupt { .. }) => Self::Store(error),
        }
    }
}

impl From<queue::Error> for Failure {
    fn from(_: queue::Error) -> Self {
        StepError::precondition("queue_unavailable").into()
    }
}

impl From<providers::Error> for Failure {
    /// A call without an answer has an unknown outcome; its step is repeated, and finds what it made.
    fn from(error: providers::Error) -> Self {
        use providers::{Error, NetworkFailure};
        match Obstacle::of(&error) {
            Some(Obstacle::Locked { scope }) => return Self::Locked { scope },
            Some(Obstacle::Busy) => return Self::waiting(WaitReason::ResourceBusy, BUSY_SECONDS),
            Some(Obstacle::SecretUnreadable) => {
                return Self::waiting(WaitReason::RoleNotEffective, ROLE_SECONDS);
            }
            Some(Obstacle::ImageUnreadable) | None => {}
        }
        let (error, retry_after) = match error {
            Error::RateLimited { retry_after } => (StepError::Throttled, retry_after),
            Error::Unreachable { cause: NetworkFailure::TimedOut } => (StepError::TimedOut, None),
            Error::Unreachable { cause: NetworkFailure::NotConnected | NetworkFailure::ConnectionLost } => {
                (StepError::NoAnswer, None)
            }
            Error::Failed { status } => (StepError::ServerError { status }, None),
            Error::Malformed { .. } => (StepError::Unreadable, None),
            Error::Unauthorized => (StepError::Unauthorized, None),
            Error::NotFound => (StepError::NotFound, None),
            Error::Refused { status, reason } => (StepError::Refused { status, code: reason }, None),
        };
        Self::Failed { error, retry_after }
    }
}

/// Reports a failure, the `failures`th in a row.
pub(crate) fn report_failure(error: &StepError, step: StepName, failures: u32) {
    metric("StepsFailed", 1);
    if failures == STUCK_AFTER {
        metric("TenantsStuck", 1);
    }
    tracing::warn!(
        code = "step_failed",
        step = step.as_str(),
        cause = %error,
        failures,
        "a step of the reconciler failed; it is retried later"
    );
}

/// How long until a step is tried again that has waited since `since`: an eighth of that, within bounds.
pub(crate) fn wait_again(reason: WaitReason, delay: Duration, since: Option<Timestamp>, now: Timestamp) -> Duration {
    if !reason.is_at_azure() {
        return delay;
    }
    let waited = since.map_or(Duration::ZERO, |since| now.since(since));
    (waited / 8).min(LONGEST_WAIT).max(delay)
}

/// Reports what is locked; `scope` is its name, as far as Azure says it.
pub(crate) fn report_lock(scope: Option<&str>, what: &str) {
    metric("ScopesLocked", 1);
    tracing::error!(
        code = "scope_locked",
        what,
        scope = scope.unwrap_or("unknown"),
        "a lock at Azure keeps the reconciler from a change; it is tried again every ten minutes"
    );
}

/// Reports a wait that has lasted for too long.
pub(crate) fn report_wait(tenant: &Tenant, reason: WaitReason, step: StepName, now: Timestamp) {
    if tenant.reconcile.waiting_since(step).is_some_and(|since| now >= since + STUCK_FOR) {
        metric("TenantsStuck", 1);
        tracing::warn!(
            code = "step_waits_long",
            step = step.as_str(),
            cause = reason.as_str(),
            "a step of the reconciler has waited for more than an hour; it is retried"
        );
    }
}
