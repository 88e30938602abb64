//! What there is at vendors and bears our names, held against the rows: what no row knows is an orphan.
//!
//! A table that was restored, a row that was lost or a request that took effect too late leave things that nothing else
//! here looks for, since all other work begins with a row.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::TenantId;
use super::step_name::Part;
use super::tenant::TenantRecord;
use crate::clock::Timestamp;

/// The name of the model gateway's inventory; an Azure subscription's is named by its id, a GUID.
pub const GATEWAY: &str = "model-gateway";
/// Nothing is removed before it was known for so long: a provisioning under way, or a table that is being restored,
/// looks like this for a while.
pub const REMOVABLE_AFTER: Duration = Duration::from_secs(6 * 60 * 60);
/// The most orphans that an inventory keeps; an item of the table has 400 KB, and one of them 300 bytes.
pub const MOST_ORPHANS: usize = 1_000;

/// What an inventory is taken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum Place {
    /// Everything: a job of its own for each of the others.
    All,
    /// One Azure subscription, with the vaults of its shards.
    Subscription {
        /// Its id.
        id: String,
    },
    /// The model gateway.
    Gateway {
        /// How many keys of its list were read before.
        offset: usize,
        /// When the first one was.
        began: Timestamp,
    },
}

/// What bears our names and no row knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Its name at the vendor: of one model key, or of all resources of what was a tenant.
    pub name: String,
    /// What there is.
    pub parts: Vec<Part>,
    /// The tenant whose names these are, where anything says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The name of the role assignment, where that is one of the parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Uuid>,
    /// The gateway's id of the model key; two keys can have one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the model key may cost a month, in USD cents; `None` of other things, and of a key without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_cents: Option<u32>,
    /// When an inventory first found it.
    pub first_seen: Timestamp,
    /// When one last did.
    pub last_seen: Timestamp,
}

/// What the last inventory of a place found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The Azure subscription's id, or [`GATEWAY`].
    pub of: String,
    /// What no row knows, as far as it is kept.
    pub orphans: Vec<Orphan>,
    /// How many more there are.
    #[serde(default)]
    pub more: usize,
    /// When it was last complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

impl Orphan {
    /// What tells it from the others of its inventory.
    pub fn id(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.name)
    }

    /// Whether it is known for long enough to be removed.
    pub fn is_removable(&self, now: Timestamp) -> bool {
        now >= self.first_seen + REMOVABLE_AFTER
    }
}

impl Inventory {
    /// One that has found nothing.
    pub fn new(of: &str) -> Self {
        Self { of: of.to_owned(), orphans: Vec::new(), more: 0, taken_at: None, version: 0 }
    }

    /// Adds what was found, which keeps the time at which it was first found.
    pub fn add(&mut self, found: Vec<Orphan>) {
        for orphan in found {
            let is_full = self.orphans.len() >= MOST_ORPHANS;
            match self.orphans.iter_mut().find(|known| known.id() == orphan.id()) {
                Some(known) => *known = Orphan { first_seen: known.first_seen, ..orphan },
                None if is_full => self.more += 1,
                None => self.orphans.push(orphan),
            }
        }
    }

    /// Ends an inventory that began at `began`: what was not found any more is forgotten.
    pub fn end(&mut self, began: Timestamp, now: Timestamp) {
        self.orphans.retain(|orphan| orphan.last_seen >= began);
        self.taken_at = Some(now);
    }
}

/// Whether a tenant's row knows of resources in an Azure subscription: as its own, as what an earlier life has left, or
/// as what a recheck of a removed tenant looks for.
pub fn is_known(record: Option<&TenantRecord>, azure_subscription: &str) -> bool {
    let shards = match record {
        None => return false,
        Some(TenantRecord::Live(tenant)) => {
            let status = &tenant.reconcile;
            [status.shard.as_ref(), status.leftovers.as_ref().map(|leftovers| &leftovers.shard)]
        }
        Some(TenantRecord::Deleted(left)) => [left.recheck.at.and(left.recheck.shard.as_ref()), None],
    };
    shards.into_iter().flatten().any(|shard| shard.azure_subscription == azure_subscription)
}

/// Whether a tenant's row knows a model key, by the gateway's id; of a removed tenant, whether a recheck deletes it.
pub fn is_key_known(record: Option<&TenantRecord>, key: &str) -> bool {
    match record {
        None => false,
        Some(TenantRecord::Live(tenant)) => {
            let status = &tenant.reconcile;
            let of_row = status.resources.keys.iter().chain(&status.resources.former_keys);
            // What was under way is looked for by the tenant's own worker.
            let is_looked_for = status.in_flight.is_some() || status.leftovers.is_some();
            is_looked_for || of_row.map(|keys| keys.model_key.as_str()).any(|known| known == key)
        }
        Some(TenantRecord::Deleted(left)) => left.recheck.at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ChatId;
    use crate::domain::late_effects::{Leftovers, Recheck};
    use crate::domain::shard::Shard;
    use crate::domain::tenant::Tenant;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_262_400);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn orphan(name: &str, seen: Timestamp) -> Orphan {
        let parts = vec![Part::Share];
        let name = name.to_owned();
        Orphan {
            name,
            parts,
            tenant: None,
            role: None,
            key: None,
            limit_cents: None,
            first_seen: seen,
            last_seen: seen,
        }
    }

    fn shard(azure_subscription: &str) -> Shard {
        let text = |text: &str| text.to_owned();
        Shard {
            azure_subscription: text(azure_subscription),
            account: text("a"),
            vault: text("v"),
            vault_url: text("https://v.test"),
        }
    }

    #[test]
    fn an_orphan_ages_from_when_it_was_first_found_and_is_forgotten_once_it_is_gone() {
        let mut inventory = Inventory::new("s");
        inventory.add(vec![orphan("one", NOON), orphan("two", NOON)]);
        inventory.end(NOON, NOON);
        let later = NOON + REMOVABLE_AFTER;
        inventory.add(vec![orphan("one", later)]);
        inventory.end(later, later);
        assert_eq!(inventory.orphans.len(), 1);
        let left = &inventory.orphans[0];
        assert_eq!((left.id(), left.first_seen, left.last_seen), ("one", NOON, later));
        assert!(left.is_removable(later) && !left.is_removable(later - HOUR));
    }

    #[test]
    fn two_keys_of_one_name_are_two_orphans_and_no_item_grows_without_end() {
        let key = |hash: usize| Orphan { key: Some(hash.to_string()), ..orphan("one-g1", NOON) };
        let mut inventory = Inventory::new(GATEWAY);
        inventory.add((0..MOST_ORPHANS + 7).map(key).collect());
        assert_eq!((inventory.orphans.len(), inventory.more), (MOST_ORPHANS, 7));
        let size = serde_json::to_string(&inventory).expect("JSON").len();
        assert!(size < 400_000, "{size}");
    }

    #[test]
    fn a_row_knows_what_is_in_its_subscription_what_an_earlier_life_left_and_what_is_rechecked() {
        let mut tenant = Tenant::new(TenantId::random(), ChatId(7));
        let live = |tenant: &Tenant| Some(TenantRecord::Live(Box::new(tenant.clone())));
        assert!(!is_known(None, "here") && !is_known(live(&tenant).as_ref(), "here"));
        tenant.reconcile.shard = Some(shard("here"));
        assert!(is_known(live(&tenant).as_ref(), "here") && !is_known(live(&tenant).as_ref(), "there"));
        tenant.reconcile.leftovers = Some(Leftovers { shard: shard("there"), since: NOON, not_before: NOON });
        assert!(is_known(live(&tenant).as_ref(), "there") && is_key_known(live(&tenant).as_ref(), "any"));
        let mut left = tenant.to_tombstone(NOON);
        left.recheck = Recheck::first(Some(shard("here")), NOON, NOON);
        let known = |left| is_known(Some(&TenantRecord::Deleted(Box::new(left))), "here");
        assert!(known(left.clone()));
        left.recheck.at = None;
        assert!(!known(left), "nobody looks for it any more");
    }
}
