//! What containers run, and how a new release reaches them: one tenant at a time, back and halted after two failures.

use std::time::Duration;

use ring::digest;
use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use super::subscription::Tier;
use crate::clock::Timestamp;

/// A slot that its tenant does not free (because it was suspended meanwhile, say) is free after this long.
const SLOT_HELD_FOR: Duration = Duration::from_secs(60 * 60);
/// For so long a container that is made with a new release, and does not come up, speaks against it.
const TRIAL: Duration = Duration::from_secs(24 * 60 * 60);
/// So many tenants that did not become healthy halt a rollout.
const HALTED_BY: usize = 2;
/// A function's older version may be at work this long beside a newer one, and does not undo what that began.
const SETTLED_AFTER: Duration = Duration::from_secs(10 * 60);

/// What every container runs; a tenant's own part is filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The image, by digest.
    pub image: String,
    /// OpenClaw's configuration by tier, with places for what is the tenant's own.
    pub basic: String,
    /// See [`Self::basic`].
    pub plus: String,
    /// What the app around the container looks like: a fingerprint.
    pub app_fingerprint: String,
}

impl Release {
    /// What names it: the same for the same content.
    pub fn id(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.image, &self.basic, &self.plus, &self.app_fingerprint] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex(context.finish().as_ref())
    }

    /// The configuration for a tier.
    pub fn config(&self, tier: Tier) -> &str {
        match tier {
            Tier::Basic => &self.basic,
            Tier::Plus => &self.plus,
        }
    }
}

/// A fingerprint of a text: 128 bits.
pub fn fingerprint(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// How far the newest release has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The newest release.
    pub target: Release,
    /// The one before it that was not halted: where failures go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Release>,
    /// Since when.
    pub since: Timestamp,
    /// Whose container is being changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<RolloutSlot>,
    /// Whose containers did not become healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<TenantId>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

/// The right to change a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSlot {
    /// Whose.
    pub tenant_id: TenantId,
    /// Until when, unless it ends before.
    pub until: Timestamp,
}

/// What a tenant shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This release, from now on. The rollout has to be saved first where it changed.
    Run {
        /// Its id.
        release: String,
        /// Whether the tenant holds the rollout's slot for it.
        holds_slot: bool,
    },
    /// What it runs; ask again later.
    Wait,
    /// What it runs: the newest release failed.
    Keep,
}

impl Rollout {
    /// The beginning of a rollout of `target`.
    pub const fn new(target: Release, now: Timestamp) -> Self {
        Self { target, previous: None, since: now, slot: None, failed: Vec::new(), version: 0 }
    }

    /// Whether it goes no further.
    pub fn is_halted(&self) -> bool {
        self.failed.len() >= HALTED_BY
    }

    /// What a container runs that nothing else is known of: the newest release, unless that was halted.
    pub fn stable_release(&self) -> &Release {
        self.previous.as_ref().filter(|_| self.is_halted()).unwrap_or(&self.target)
    }

    /// The release `id`, when it is the target or the one before.
    pub fn release(&self, id: &str) -> Option<&Release> {
        std::iter::once(&self.target).chain(&self.previous).find(|release| release.id() == id)
    }

    /// The same with `target` as the newest release; `None` when one that is newer than this caller's was begun just
    /// now.
    #[must_use]
    pub fn retarget(self, target: &Release, now: Timestamp) -> Option<Self> {
        if self.target == *target {
            return Some(self);
        }
        if now < self.since + SETTLED_AFTER && self.version > 0 {
            return None;
        }
        let previous = if self.is_halted() { self.previous } else { Some(self.target) };
        Some(Self { previous, version: self.version, ..Self::new(target.clone(), now) })
    }

    /// What `tenant` shall run; `running` tells whether its container would be interrupted by a change.
    pub fn admit(&mut self, tenant: TenantId, running: bool, now: Timestamp) -> Verdict {
        let fallback = || self.previous.as_ref().map(Release::id);
        if self.failed.contains(&tenant) || self.is_halted() {
            return match fallback() {
                // A tenant without a container has to run something.
                Some(release) if !running => Verdict::Run { release, holds_slot: false },
                Some(_) | None if running => Verdict::Keep,
                Some(_) | None => Verdict::Run { release: self.target.id(), holds_slot: false },
            };
        }
        if !running {
            return Verdict::Run { release: self.target.id(), holds_slot: false };
        }
        match &self.slot {
            Some(slot) if slot.tenant_id != tenant && slot.until > now => Verdict::Wait,
            Some(_) | None => {
                self.slot = Some(RolloutSlot { tenant_id: tenant, until: now + SLOT_HELD_FOR });
                Verdict::Run { release: self.target.id(), holds_slot: true }
            }
        }
    }

    /// Frees the slot, if the tenant holds it; a failure counts against the release, unless that has stood its trial
    /// and the tenant is a new one. What the tenant shall run then.
    pub fn free_slot(&mut self, tenant: TenantId, healthy: bool, now: Timestamp) -> String {
        let slot = self.slot.take();
        let had_slot = slot.as_ref().is_some_and(|slot| slot.tenant_id == tenant);
        self.slot = slot.filter(|_| !had_slot);
        if healthy || !(had_slot || now < self.since + TRIAL) {
            return self.target.id();
        }
        if !self.failed.contains(&tenant) {
            self.failed.push(tenant);
        }
        self.previous.as_ref().unwrap_or(&self.target).id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn release(image: &str) -> Release {
        Release {
            image: image.to_owned(),
            basic: "{}".to_owned(),
            plus: "{}".to_owned(),
            app_fingerprint: String::new(),
        }
    }

    fn rollout() -> Rollout {
        let first = Rollout { version: 1, ..Rollout::new(release("one"), NOW - SETTLED_AFTER) };
        first.retarget(&release("two"), NOW).expect("settled")
    }

    #[test]
    fn a_release_is_named_by_its_content() {
        assert_eq!(release("one").id(), release("one").id());
        assert_ne!(release("one").id(), release("two").id());
        let moved = Release { basic: "{}{".to_owned(), plus: "}".to_owned(), ..release("one") };
        assert_ne!(moved.id(), release("one").id());
    }

    #[test]
    fn one_running_tenant_has_the_turn_and_the_others_wait() {
        let (mut rollout, ana, ben) = (rollout(), TenantId::random(), TenantId::random());
        let slot = Verdict::Run { release: release("two").id(), holds_slot: true };
        assert_eq!(rollout.admit(ana, true, NOW), slot);
        assert_eq!(rollout.admit(ana, true, NOW), slot);
        assert_eq!(rollout.admit(ben, true, NOW), Verdict::Wait);
        assert_eq!(rollout.admit(ben, false, NOW), Verdict::Run { release: release("two").id(), holds_slot: false });
        assert_eq!(rollout.free_slot(ana, true, NOW), release("two").id());
        assert_eq!(rollout.admit(ben, true, NOW), slot);
        assert_eq!(rollout.admit(ana, true, NOW + SLOT_HELD_FOR), slot);
    }

    #[test]
    fn two_failures_halt_it_and_lead_back() {
        let (mut rollout, ana, ben, eve) = (rollout(), TenantId::random(), TenantId::random(), TenantId::random());
        for tenant in [ana, ben] {
            assert!(!rollout.is_halted());
            assert!(matches!(rollout.admit(tenant, true, NOW), Verdict::Run { holds_slot: true, .. }));
            assert_eq!(rollout.free_slot(tenant, false, NOW), release("one").id());
            assert_eq!(rollout.admit(tenant, true, NOW), Verdict::Keep);
        }
        assert!(rollout.is_halted());
        assert_eq!(rollout.admit(eve, true, NOW), Verdict::Keep);
        assert_eq!(rollout.admit(eve, false, NOW), Verdict::Run { release: release("one").id(), holds_slot: false });
        let next = rollout.retarget(&release("three"), NOW + SETTLED_AFTER).expect("settled");
        assert_eq!((next.previous, next.failed), (Some(release("one")), Vec::new()));
    }

    #[test]
    fn a_container_made_with_it_speaks_against_a_release_on_trial_and_not_against_a_proven_one() {
        let (mut rollout, ana) = (rollout(), TenantId::random());
        assert_eq!(rollout.free_slot(ana, false, NOW + TRIAL), release("two").id());
        assert!(rollout.failed.is_empty());
        assert_eq!(rollout.free_slot(ana, false, NOW), release("one").id());
        assert_eq!(rollout.failed, [ana]);
        assert_eq!(rollout.stable_release(), &release("two"));
        rollout.free_slot(TenantId::random(), false, NOW);
        assert_eq!(rollout.stable_release(), &release("one"));
    }

    #[test]
    fn an_older_version_of_the_function_does_not_undo_what_a_newer_one_began() {
        let begun = Rollout { version: 2, ..rollout() };
        assert_eq!(begun.clone().retarget(&release("one"), NOW + Duration::from_secs(1)), None);
        assert!(begun.retarget(&release("one"), NOW + SETTLED_AFTER).is_some());
    }
}
