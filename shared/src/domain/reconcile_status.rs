//! The reconciler's part of a tenant's row: what was built, what is under way, and what failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::late_effects::{InFlight, Leftovers};
use super::resources::Resources;
use super::shard::Shard;
use super::step_error::{StepError, WaitReason};
use super::step_name::{Part, StepName};
use super::time_limits::{IN_FLIGHT, INVOCATION_LIMIT, LEASE};
use crate::clock::Timestamp;

/// How long a step that failed holds up those that it takes turns with.
const MOST_BETWEEN_TURNS: Duration = Duration::from_secs(60);

/// The reconciler's part of a tenant's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconcileStatus {
    /// Where its resources lie; chosen once, before the first of them is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// What exists, as last observed.
    pub resources: Resources,
    /// The worker that holds the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The step that waits or has failed, and when to retry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_backoff: Option<StepBackoff>,
    /// When Stripe, which did not answer, is asked again; everything else goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stripe_backoff: Option<StripeBackoff>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, until the tenant has converged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Requests whose outcome nobody knows, and that may still take effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// What the removal of an earlier life may have left, until it was rechecked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftovers: Option<Leftovers>,
    /// When its resources were last observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// When we last asked Stripe about its customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced_at: Option<Timestamp>,
    /// Since when the present generation of keys is being made: no key of it is older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_since: Option<Timestamp>,
    /// The release that its container shall run: the id of a [`Release`](super::release::Release).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The release that was the newest when that was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated_release: Option<String>,
    /// Whether it is the one tenant whose running container may be changed by the rollout.
    pub holds_rollout_slot: bool,
    /// The release that was rolled back here, so that it is reported once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_release: Option<String>,
    /// The last message that its person got about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_notice: Option<Notice>,
    /// What was removed so far, while it is being removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receipt: Vec<RemovedPart>,
}

/// A worker's hold on a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The worker's random id.
    pub owner: String,
    /// When it ends, unless it is renewed.
    pub until: Timestamp,
}

/// When a step is retried; another step does not wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepBackoff {
    /// The step that is retried.
    pub step: StepName,
    /// Why it did not end.
    pub reason: BackoffReason,
    /// Before when it is not retried.
    pub until: Timestamp,
    /// When it first did not end.
    pub since: Timestamp,
}

/// Why a step did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffReason {
    /// Something else has to happen first.
    Waiting(WaitReason),
    /// It failed.
    Failed(StepError),
}

impl std::fmt::Display for BackoffReason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting(reason) => reason.fmt(out),
            Self::Failed(error) => error.fmt(out),
        }
    }
}

/// When Stripe, which did not answer, is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeBackoff {
    /// Failures in a row.
    pub failures: u32,
    /// The last of them.
    pub error: StepError,
    /// Before when Stripe is not asked again.
    pub until: Timestamp,
}

/// Why the reconciler could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The step that failed, or whose operation did.
    pub step: StepName,
    /// What happened.
    pub error: StepError,
    /// When it happened.
    pub at: Timestamp,
}

impl LastError {
    /// Whether the release may be at fault: Azure's permanent error about the app, or a container that does not answer.
    /// Throttling, an outage or a lost answer says nothing about it.
    pub fn counts_against_release(&self) -> bool {
        match (self.step, &self.error) {
            (StepName::PutApp | StepName::StartApp, StepError::OperationFailed { code })
            | (StepName::PutApp, StepError::Refused { status: 400, code }) => StepError::may_be_of_release(code),
            (StepName::CheckHealth, StepError::Unhealthy { .. }) => true,
            (_, _) => false,
        }
    }
}

/// A message to the person about their assistant, sent once each time it comes true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Their assistant is ready for the first time.
    Ready,
    /// It is paused, and how to resume it.
    Suspended,
    /// It is back.
    Resumed,
    /// It was removed with all it kept.
    Removed,
    /// It was removed with all it kept, and a new one begins: they paid while the removal went on.
    Replaced,
    /// A new one is ready, after one of whose removal they were notified.
    ReadyAnew,
    /// A new one is paused before it was ready, after one of whose removal they were notified.
    SuspendedAnew,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedPart {
    /// The kind of thing; never its content.
    pub part: Part,
    /// When it was gone.
    pub at: Timestamp,
    /// When the vendor destroys its last copy, where that is later and not ours to hasten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_by: Option<Timestamp>,
    /// Whether it came to light only after the removal, from a request that was still under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

impl ReconcileStatus {
    /// Of a tenant that nothing was built for.
    pub const fn new() -> Self {
        Self {
            shard: None,
            resources: Resources::new(),
            lease: None,
            step_backoff: None,
            stripe_backoff: None,
            failures: 0,
            last_error: None,
            in_flight: None,
            leftovers: None,
            observed_at: None,
            synced_at: None,
            generation_since: None,
            release: None,
            evaluated_release: None,
            holds_rollout_slot: false,
            failed_release: None,
            last_notice: None,
            receipt: Vec::new(),
        }
    }

    /// Notes that a request sent since `since` was not answered by `now`, and may yet take effect.
    ///
    /// Before a shard is chosen nothing can be made: there it can only concern what an earlier life has left, and that
    /// is looked for after it.
    pub fn note_in_flight(&mut self, since: Timestamp, now: Timestamp) {
        if self.shard.is_none() {
            if let Some(leftovers) = &mut self.leftovers {
                leftovers.not_before = now + IN_FLIGHT;
            }
            return;
        }
        let since = self.in_flight.as_ref().map_or(since, |known| known.since.min(since));
        self.in_flight = Some(InFlight { since, until: now + IN_FLIGHT });
    }

    /// Takes the lease off a worker other than `owner` that outlived it: it died, or was cut off, and what it had sent
    /// may yet take effect.
    pub fn end_expired_lease(&mut self, owner: &str, now: Timestamp) {
        if let Some(dead) = self.lease.take_if(|lease| lease.owner != owner && lease.until <= now) {
            // Its first request may be older than its lease's last renewal by an invocation.
            self.note_in_flight(dead.until - LEASE - INVOCATION_LIMIT, now);
        }
    }

    /// Since when `step`, or another one with which it takes turns, does not end; `None` when neither waits.
    pub fn waiting_since(&self, step: StepName) -> Option<Timestamp> {
        let shares = |backoff: &&StepBackoff| backoff.step == step || backoff.step.takes_turns_with(step);
        self.step_backoff.as_ref().filter(shares).map(|backoff| backoff.since)
    }

    /// Before when `step` is not tried again. One that takes turns with a step that failed waits for a minute at most.
    pub fn retry_at(&self, step: StepName) -> Option<Timestamp> {
        let backoff = self.step_backoff.as_ref()?;
        if backoff.step == step {
            return Some(backoff.until);
        }
        let failed_at = self.last_error.as_ref().filter(|last| last.step == backoff.step).map(|last| last.at);
        let until = failed_at.map_or(backoff.until, |at| backoff.until.min(at + MOST_BETWEEN_TURNS));
        backoff.step.takes_turns_with(step).then_some(until)
    }

    /// Whether another worker than `owner` holds the tenant.
    pub fn is_held_against(&self, owner: &str, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.owner != owner && lease.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_work_reads_as_none() {
        assert_eq!(serde_json::from_str::<ReconcileStatus>("{}").expect("readable"), ReconcileStatus::new());
        assert_eq!(ReconcileStatus::default(), ReconcileStatus::new());
    }
}
