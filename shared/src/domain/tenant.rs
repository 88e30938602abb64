//! A subscriber's tenant: its row, and what is left of it at the end.

use serde::{Deserialize, Serialize};

use super::backups::Backups;
use super::due::{Due, Kind};
use super::generation::{Generation, KeyId};
use super::gift::{Gift, decide_entitlement};
use super::ids::{ChatId, TenantId};
use super::late_effects::{Leftovers, Recheck};
use super::reconcile_status::{Notice, ReconcileStatus, RemovedPart};
use super::secrets::KeyHash;
use super::step_name::Part;
use super::subscription::{Entitlement, Status, Subscription, Tier};
use super::time_limits::IN_FLIGHT;
use crate::clock::Timestamp;

/// Where a tenant's life stands; a removed tenant is a [`Tombstone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Nothing built yet: the first payment is awaited.
    Pending,
    /// Its resources are being made.
    Provisioning,
    /// Its assistant runs.
    Active,
    /// Its assistant is stopped; nothing is lost.
    Suspended,
    /// Its resources are being removed.
    Deprovisioning,
}

impl Lifecycle {
    /// Every one, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Provisioning, Self::Active, Self::Suspended, Self::Deprovisioning];

    /// The name in rows and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deprovisioning => "deprovisioning",
        }
    }
}

/// A person's time zone and who chose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZone {
    /// An IANA name, such as `Europe/Berlin`.
    pub name: String,
    /// Whether the person set it; then a calendar's zone does not replace it.
    pub chosen: bool,
}

/// A tenant's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Where its life stands.
    pub lifecycle: Lifecycle,
    /// The one chat its runtime may speak to.
    pub chat_id: ChatId,
    /// Its customer at Stripe, `cus_…`; made before its first checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The subscription that counts, as Stripe last had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// What an operator gave it, whatever Stripe says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gift: Option<Gift>,
    /// Whether its person has or had a trial; there is one in a life, whatever becomes of tenant and customer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial_spent: bool,
    /// Whether an operator suspended it, whatever Stripe says.
    #[serde(default)]
    pub held: bool,
    /// Whether an operator asked for new keys, and the rotation has not begun.
    #[serde(default)]
    pub rotation_requested: bool,
    /// The SHA-256 of each internal key that is valid now: none before there is one, two during a rotation.
    pub key_hashes: Vec<KeyHash>,
    /// The generation of the runtime's derived secrets. Its key is chosen when its resources begin to be made.
    pub generation: Generation,
    /// A second generation that is valid too, while a rotation is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_generation: Option<Generation>,
    /// The person's time zone, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZone>,
    /// The reconciler's part, which only the worker that holds the tenant writes.
    #[serde(default)]
    pub reconcile: ReconcileStatus,
    /// When the reconciler has to look at it, whatever anyone's queue says.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

impl Tenant {
    /// A tenant nothing was built for yet.
    pub const fn new(tenant_id: TenantId, chat_id: ChatId) -> Self {
        Self {
            tenant_id,
            lifecycle: Lifecycle::Pending,
            chat_id,
            customer: None,
            subscription: None,
            gift: None,
            trial_spent: false,
            held: false,
            rotation_requested: false,
            key_hashes: Vec::new(),
            generation: Generation::unkeyed(1),
            other_generation: None,
            time_zone: None,
            reconcile: ReconcileStatus::new(),
            due: None,
            version: 0,
        }
    }

    /// What it may have at `now`: by Stripe's subscription, an operator's gift and an operator's hold.
    pub fn entitlement(&self, now: Timestamp) -> Entitlement {
        decide_entitlement(self.subscription.as_ref(), self.gift, self.held, now)
    }

    /// What an operator gave it, while that runs.
    pub fn running_gift(&self, now: Timestamp) -> Option<Gift> {
        self.gift.filter(|gift| gift.is_running(now))
    }

    /// When a gift changes something by the passing of time, be it the tier alone, or what a hold hides.
    pub fn gift_changes(&self) -> impl Iterator<Item = Timestamp> {
        self.gift.into_iter().flat_map(Gift::changes)
    }

    /// The gift, unless the subscription gave the right to run for longer.
    pub fn outlasting_gift(&self) -> Option<Gift> {
        let paid_until = self.subscription.as_ref().and_then(Subscription::ran_until);
        self.gift.filter(|gift| paid_until.is_none_or(|end| end < gift.until))
    }

    /// The tier that it runs with at `now`: the better one of the subscription's and a gift's, as far as each gives the
    /// right to run. While neither does, it is the one that it had.
    pub fn tier(&self, now: Timestamp) -> Tier {
        let subscription = self.subscription.as_ref();
        let runs = |known: &&Subscription| matches!(known.entitlement(now), Entitlement::Run { .. });
        let paid = subscription.filter(runs).map(|known| known.tier);
        let given = self.running_gift(now).map(|gift| gift.tier);
        // A container that still runs, because Stripe cannot be asked, is not changed by the end of its right.
        let outlasting = || self.outlasting_gift().map(|gift| gift.tier);
        let former = || outlasting().or_else(|| subscription.map(|known| known.tier));
        paid.max(given).or_else(former).unwrap_or(Tier::Basic)
    }

    /// The same without its customer, who is gone at Stripe, which ends what they paid for: Stripe is not asked again,
    /// and the person can subscribe as a new customer.
    #[must_use]
    pub fn without_customer(self, now: Timestamp) -> Self {
        let had_trial = self.subscription.as_ref().is_some_and(|known| known.status == Status::Trialing);
        Self {
            customer: None,
            subscription: self.subscription.map(|known| known.after_deletion(now)),
            trial_spent: self.trial_spent || had_trial,
            reconcile: ReconcileStatus { stripe_backoff: None, ..self.reconcile },
            ..self
        }
    }

    /// Whether its runtime may call us.
    pub fn may_serve(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Provisioning | Lifecycle::Active => true,
            Lifecycle::Pending | Lifecycle::Suspended | Lifecycle::Deprovisioning => false,
        }
    }

    /// Whether its person may connect an account: also while suspended, but not once its resources are being removed.
    pub fn may_connect(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Provisioning | Lifecycle::Active | Lifecycle::Suspended => true,
            Lifecycle::Deprovisioning => false,
        }
    }

    /// The last generation of keys that was made, or is being made.
    pub fn newest_generation(&self) -> Generation {
        self.other_generation.unwrap_or(self.generation)
    }

    /// Has the newest generation, of which nothing was made that is known of, made with another key.
    pub(super) fn set_key(&mut self, key: KeyId) {
        self.other_generation.as_mut().unwrap_or(&mut self.generation).key = Some(key);
    }

    /// What is left of it once everything was removed.
    pub fn to_tombstone(&self, now: Timestamp) -> Tombstone {
        let since = self.reconcile.in_flight.as_ref().map_or(now, |requests| requests.since);
        Tombstone {
            tenant_id: self.tenant_id,
            customer: self.customer.clone(),
            generation: self.newest_generation().number,
            trial_spent: self.trial_spent,
            held: self.held,
            deleted_at: now,
            backups: Some(Backups::after(now)),
            receipt: self.reconcile.receipt.clone(),
            person_notified: self.reconcile.last_notice == Some(Notice::Removed),
            recheck: Recheck::first(self.reconcile.shard.clone(), since, now),
            // Who paid after Stripe was last asked, and of whom nothing arrives, is found then.
            ask_stripe_at: self.customer.is_some().then_some(now + IN_FLIGHT),
            due: None,
            version: self.version,
        }
    }

    /// The generations whose secrets are valid, the current one first.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        std::iter::once(self.generation).chain(self.other_generation)
    }
}

/// What is left of a removed tenant: a receipt, and nothing that tells who it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its customer at Stripe, whose books we do not keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The number of the last generation of its keys: none of them ever opens anything again.
    #[serde(default)]
    pub generation: u32,
    /// Whether its person had a trial: they get no other one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial_spent: bool,
    /// Whether an operator holds it: a payment does not give it an assistant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// When the removal ended.
    pub deleted_at: Timestamp,
    /// What was removed, in the order of removal.
    pub receipt: Vec<RemovedPart>,
    /// What is kept of it all the same, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// Whether its person was notified of the removal.
    #[serde(default)]
    pub person_notified: bool,
    /// When what was removed is rechecked.
    pub recheck: Recheck,
    /// When Stripe is to be asked whether its person pays again: after the removal, and once they went to a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_stripe_at: Option<Timestamp>,
    /// The earlier of the two; kept by [`Tombstone::scheduled`].
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

impl Tombstone {
    /// The tenant whose person may have an assistant again: a new life in `chat_id`, in which no key of the former one
    /// is valid, and an operator's hold still is.
    pub fn reactivate(&self, chat_id: ChatId, subscription: Option<Subscription>, now: Timestamp) -> Tenant {
        let shard_and_until = self.recheck.shard.clone().zip(self.recheck.blocks_until(now));
        let leftovers =
            shard_and_until.map(|(shard, not_before)| Leftovers { shard, since: self.recheck.since, not_before });
        let last_notice = self.person_notified.then_some(Notice::Removed);
        Tenant {
            customer: self.customer.clone(),
            subscription,
            generation: Generation::unkeyed(self.generation.saturating_add(1)),
            trial_spent: self.trial_spent,
            held: self.held,
            reconcile: ReconcileStatus { leftovers, last_notice, ..ReconcileStatus::new() },
            ..Tenant::new(self.tenant_id, chat_id)
        }
    }

    /// Writes into the receipt that a part was found after the removal, and removed at `now`.
    pub fn record_late(&mut self, part: Part, now: Timestamp) {
        match self.receipt.iter_mut().find(|line| line.late && line.part == part) {
            Some(line) => line.at = now,
            None => self.receipt.push(RemovedPart { part, at: now, purged_by: None, late: true }),
        }
    }

    /// With the due time that follows from what is left to do.
    #[must_use]
    pub fn scheduled(self) -> Self {
        let at = self.recheck.at.into_iter().chain(self.ask_stripe_at).min();
        Self { due: at.map(|at| Due::new(Kind::Reconcile, self.tenant_id, at)), ..self }
    }
}

/// What the tenant's key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRecord {
    /// A tenant.
    Live(Box<Tenant>),
    /// A removed one.
    Deleted(Box<Tombstone>),
}

impl TenantRecord {
    /// The version to name in the next write.
    pub fn version(&self) -> u64 {
        match self {
            Self::Live(tenant) => tenant.version,
            Self::Deleted(tombstone) => tombstone.version,
        }
    }

    /// The tenant.
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Live(tenant) => tenant.tenant_id,
            Self::Deleted(tombstone) => tombstone.tenant_id,
        }
    }

    /// The same with another version; a tombstone with the due time that follows from what is left to do.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        match self {
            Self::Live(tenant) => Self::Live(Box::new(Tenant { version, ..*tenant })),
            Self::Deleted(tombstone) => Self::Deleted(Box::new(Tombstone { version, ..*tombstone }.scheduled())),
        }
    }

    /// Whether its person had a trial.
    pub fn is_trial_spent(&self) -> bool {
        match self {
            Self::Live(tenant) => tenant.trial_spent,
            Self::Deleted(tombstone) => tombstone.trial_spent,
        }
    }

    /// Its customer at Stripe.
    pub fn customer(&self) -> Option<&str> {
        match self {
            Self::Live(tenant) => tenant.customer.as_deref(),
            Self::Deleted(tombstone) => tombstone.customer.as_deref(),
        }
    }
}
