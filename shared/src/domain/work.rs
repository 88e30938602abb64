//! What the reconciler knows of a tenant's resources, and what it has under way: its part of the tenant's row.
//!
//! A resource stands here once a call has answered that it is there; an observation that finds it missing or edited
//! takes it out again. So the row is what was last observed, and a converged tenant costs no call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use super::late_effects::{IN_FLIGHT, InFlight, Leftovers};
use super::secrets::KeyHash;
use super::shard::Shard;
use super::tenant::Removed;
use crate::clock::Timestamp;

/// After how long the platform ends an invocation of `tenant-reconcile`: its `Timeout` in `template.yaml`.
pub const INVOCATION_LIMIT: Duration = Duration::from_secs(170);
/// How long a worker's lease on a tenant lasts when it dies: longer than any invocation, so that no worker acts after
/// its lease. What it had sent by then may still arrive.
pub const LEASE: Duration = Duration::from_secs(180);

/// The reconciler's part of a tenant's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Where its resources lie; chosen once, before the first of them is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// What there is.
    pub resources: Resources,
    /// The worker that holds the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// A step that goes on elsewhere, or that failed, and when to take it up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Stripe did not answer: it is asked again later, and everything else goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, until the tenant has converged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Requests whose outcome nobody knows, and that may still take effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// What the removal of an earlier life may have left, until it was looked for once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftovers: Option<Leftovers>,
    /// When its resources were last looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// When Stripe was last asked by us.
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
    pub decided_at_release: Option<String>,
    /// Whether it holds the turn of the rollout.
    pub has_turn: bool,
    /// The release that did not come up here, and was told so of: once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
    /// What its person was last told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Notice>,
    /// What was removed so far, while it is being removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receipt: Vec<Removed>,
}

/// A worker's hold on a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which worker.
    pub owner: String,
    /// Until when.
    pub until: Timestamp,
}

/// A step that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Its name; another step does not wait for it.
    pub step: String,
    /// Why it waits: a stable code.
    pub code: String,
    /// Until when.
    pub until: Timestamp,
    /// Since when it waits.
    pub since: Timestamp,
}

/// Stripe, asked in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// How often in a row.
    pub failures: u32,
    /// Why: a stable code.
    pub code: String,
    /// Before when it is not asked again.
    pub until: Timestamp,
}

/// Why the reconciler could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The step's name.
    pub step: String,
    /// A stable code, never a vendor's text.
    pub code: String,
    /// When.
    pub at: Timestamp,
}

/// What a person is told, once each time it comes true.
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
    /// A new one is ready, after one that they were told was removed.
    ReadyAnew,
    /// A new one is paused before it was ready, after one that they were told was removed.
    SuspendedAnew,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The container's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The keys of the newest generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// Those of the generation before, until nothing uses them any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_keys: Option<Keys>,
    /// The principal that may read the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    /// Whether there is a share.
    pub share: bool,
    /// Whether the environment knows it.
    pub storage: bool,
    /// The container app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// A change to the app that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// A user-assigned identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What a role is assigned to; an identity made anew has another one.
    pub principal_id: String,
}

/// What a runtime holds of one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Which one.
    pub generation: u32,
    /// The version of the vault's secret that holds them.
    pub secret_version: String,
    /// The hash of the internal key.
    pub internal: KeyHash,
    /// The gateway's identifier of the model key.
    pub model_key: String,
    /// What that may cost a month, in USD cents.
    pub limit_cents: u32,
    /// Whether it is switched off.
    pub disabled: bool,
}

/// A container app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The fingerprint of the tenant's own part of its body; empty once it was found to depart from that.
    pub fingerprint: String,
    /// The release that body was of.
    pub release: String,
    /// Where it is reached: a host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Whether a request wakes it, or nothing does.
    pub running: bool,
    /// Whether no replica is left of it since it was stopped.
    #[serde(default)]
    pub drained: bool,
    /// Whether it answered since it was last changed or started.
    #[serde(default)]
    pub healthy: bool,
    /// When it was last changed or started.
    pub changed_at: Timestamp,
}

/// A change to an app that Azure works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Which change.
    pub change: Change,
    /// What Azure is asked with about it.
    pub handle: String,
    /// When to ask.
    pub poll_at: Timestamp,
}

/// A change to a container app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It is made, or changed.
    Put {
        /// With this fingerprint of the tenant's own part.
        fingerprint: String,
        /// Of this release.
        release: String,
    },
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is deleted.
    Delete,
}

impl Change {
    /// The name under which its failure is noted, beside the names of steps.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "app_put",
            Self::Start => "app_start",
            Self::Stop => "app_stop",
            Self::Delete => "app_delete",
        }
    }
}

impl LastError {
    /// Whether it may be the release's fault: Azure's final word about the app, or a container that does not answer.
    /// What is throttled, down or unheard says nothing of it.
    pub fn speaks_against_release(&self) -> bool {
        match self.step.as_str() {
            "app_put" | "app_start" => true,
            "put_app" => self.code.starts_with("refused_400"),
            "check_health" => self.code.starts_with("unhealthy"),
            _ => false,
        }
    }
}

impl Work {
    /// Nothing built, nothing under way.
    pub const fn new() -> Self {
        Self {
            shard: None,
            resources: Resources::new(),
            lease: None,
            pause: None,
            unanswered: None,
            failures: 0,
            last_error: None,
            in_flight: None,
            leftovers: None,
            observed_at: None,
            synced_at: None,
            generation_since: None,
            release: None,
            decided_at_release: None,
            has_turn: false,
            gave_up: None,
            told: None,
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

    /// Whether another worker than `owner` holds the tenant.
    pub fn is_held_against(&self, owner: &str, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.owner != owner && lease.until > now)
    }
}

impl Resources {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            identity: None,
            keys: None,
            former_keys: None,
            reader: None,
            share: false,
            storage: false,
            app: None,
            operation: None,
        }
    }

    /// The hashes of the internal keys that are valid, the newest last.
    pub fn key_hashes(&self) -> Vec<KeyHash> {
        self.former_keys.iter().chain(&self.keys).map(|keys| keys.internal.clone()).collect()
    }
}

/// A time up to an eighth of `period` that is always the same for a tenant, so that what is periodic spreads out.
pub fn jitter(tenant: TenantId, period: Duration) -> Duration {
    let bytes = tenant.as_bytes();
    let fraction = u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    period / 8 * fraction / 65_536
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_work_reads_as_none() {
        assert_eq!(serde_json::from_str::<Work>("{}").expect("readable"), Work::new());
        assert_eq!(Work::default(), Work::new());
    }

    #[test]
    fn a_jitter_stays_within_an_eighth_and_spreads() {
        let day = Duration::from_secs(86_400);
        let spread: Vec<_> = (0..100).map(|_| jitter(TenantId::random(), day)).collect();
        assert!(spread.iter().all(|jitter| *jitter < day / 8));
        assert!(spread.iter().max() > spread.iter().min());
    }
}
