//! Why a step did not end, and when it is retried.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::plan::StepName;
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::domain::tenant::Tenant;
use nbhd::providers;
use nbhd::telemetry::metric;
use nbhd::{queue, store};

/// So many failures in a row are an operator's business.
const STUCK_AFTER: u32 = 5;
/// So is a step that has waited this long.
const STUCK_FOR: Duration = Duration::from_secs(60 * 60);

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
