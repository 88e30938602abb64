//! Why a step did not end, and when it is taken up again.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::tenant::Tenant;
use nbhd::domain::work::{LastError, Pause, Unanswered, jitter};
use nbhd::providers;
use nbhd::telemetry::metric;
use nbhd::{queue, store};

/// The first wait after a failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// So many failures in a row are a person's business.
const STUCK_AFTER: u32 = 5;
/// So is what has been waited for this long.
const STUCK_FOR: Duration = Duration::from_secs(60 * 60);

/// Why a step did not end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something else goes on, and this step is taken up after it: not a failure.
    Waits {
        /// What is waited for.
        code: &'static str,
        /// How long.
        delay: Duration,
    },
    /// It failed, or nobody knows: it is taken up again, later each time.
    Failed {
        /// A stable code.
        code: String,
        /// The least wait, when the vendor asks for one.
        delay: Option<Duration>,
        /// Whether nobody knows: what was asked for may have happened, or may happen yet.
        is_unknown: bool,
    },
    /// Our own table could not serve: the job itself comes up again.
    Store(store::Error),
}

impl Failure {
    pub(crate) fn failed(code: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), delay: None, is_unknown: false }
    }

    pub(crate) fn unknown(code: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), delay: None, is_unknown: true }
    }

    pub(crate) const fn waits(code: &'static str, seconds: u64) -> Self {
        Self::Waits { code, delay: Duration::from_secs(seconds) }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict => Self::waits("contended", 1),
            error @ (store::Error::Unavailable { .. } | store::Error::Corrupt { .. }) => Self::Store(error),
        }
    }
}

impl From<queue::Error> for Failure {
    fn from(_: queue::Error) -> Self {
        Self::failed("queue_unavailable")
    }
}

impl From<providers::Error> for Failure {
    /// A call without an answer has an unknown outcome; its step is repeated, and finds what it made.
    fn from(error: providers::Error) -> Self {
        use providers::Error;
        match error {
            Error::RateLimited { retry_after } => {
                Self::Failed { code: "throttled".to_owned(), delay: retry_after, is_unknown: false }
            }
            Error::Unreachable { timed_out: true, .. } => Self::unknown("unknown_timed_out"),
            Error::Unreachable { timed_out: false, .. } => Self::unknown("unknown_no_answer"),
            Error::Failed { status } => Self::unknown(format!("unknown_status_{status}")),
            Error::Malformed { .. } => Self::unknown("unknown_unreadable"),
            Error::Unauthorized => Self::failed("unauthorized"),
            Error::NotFound => Self::failed("not_found"),
            Error::Refused { status, reason } => Self::failed(format!("refused_{status}_{reason}")),
        }
    }
}

/// Notes that `step` is taken up again, and since when it waits.
pub(crate) fn pause(tenant: &mut Tenant, step: &str, code: &str, now: Timestamp, until: Timestamp) {
    let since = waiting_since(tenant, step).unwrap_or(now);
    tenant.work.pause = Some(Pause { step: step.to_owned(), code: code.to_owned(), since, until });
}

fn waiting_since(tenant: &Tenant, step: &str) -> Option<Timestamp> {
    tenant.work.pause.as_ref().filter(|pause| pause.step == step).map(|pause| pause.since)
}

/// Notes a failure of `what`, and that `step`, which is to make it good, is taken up again after a while.
pub(crate) fn failed(
    tenant: &mut Tenant,
    (what, step): (&str, &str),
    code: &str,
    now: Timestamp,
    delay: Option<Duration>,
) {
    let failures = tenant.work.failures.saturating_add(1);
    tenant.work.failures = failures;
    tenant.work.last_error = Some(LastError { step: what.to_owned(), code: code.to_owned(), at: now });
    let wait = backoff(tenant.tenant_id, failures).max(delay.unwrap_or_default());
    pause(tenant, step, code, now, now + wait);
}

/// Notes that Stripe did not answer, which holds up nothing else.
pub(crate) fn unanswered(tenant: &mut Tenant, code: &str, now: Timestamp, delay: Option<Duration>) {
    let failures = tenant.work.unanswered.as_ref().map_or(1, |before| before.failures.saturating_add(1));
    let until = now + backoff(tenant.tenant_id, failures).max(delay.unwrap_or_default());
    tenant.work.unanswered = Some(Unanswered { failures, code: code.to_owned(), until });
}

/// Counts a failure, the `failures`th in a row.
pub(crate) fn count(code: &str, step: &str, failures: u32) {
    metric("StepsFailed", 1);
    if failures == STUCK_AFTER {
        metric("TenantsStuck", 1);
    }
    tracing::warn!(code, step, failures, "taken up again");
}

/// Counts a wait that has lasted for too long.
pub(crate) fn count_wait(tenant: &Tenant, code: &str, step: &str, now: Timestamp) {
    if waiting_since(tenant, step).is_some_and(|since| now >= since + STUCK_FOR) {
        metric("TenantsStuck", 1);
        tracing::warn!(code, step, "waits for more than an hour");
    }
}

/// How long to wait after so many failures in a row.
pub(crate) fn backoff(tenant: TenantId, failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    doubled + jitter(tenant, doubled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let tenant = TenantId::random();
        let within = |failures, seconds: u64| {
            let wait = backoff(tenant, failures);
            wait >= Duration::from_secs(seconds) && wait < Duration::from_secs(seconds) * 9 / 8
        };
        assert!(within(1, 5) && within(2, 10) && within(5, 80) && within(11, 3_600) && within(u32::MAX, 3_600));
    }
}
