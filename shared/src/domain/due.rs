//! The time at which a row needs work: the two attributes of the table's sparse index `due`.
//!
//! A row carries them only while work is due, so that a tick reads the rows that are due and no others.

use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use crate::clock::Timestamp;

/// The kind of work, which names the function that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `scheduled-refresh`, on integrations.
    Refresh,
    /// `tenant-reconcile`, on tenants.
    Reconcile,
}

impl Kind {
    /// The number of shards over which the index entries are spread, so that no one partition takes every write.
    pub const SHARDS: u8 = 16;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Reconcile => "reconcile",
        }
    }

    /// The names of every shard of this kind.
    pub fn shards(self) -> impl Iterator<Item = String> {
        (0..Self::SHARDS).map(move |shard| self.shard(shard))
    }

    /// The name of the shard that holds a tenant's work.
    pub fn shard_of(self, tenant: TenantId) -> String {
        self.shard(tenant.as_bytes()[15] % Self::SHARDS)
    }

    fn shard(self, shard: u8) -> String {
        format!("{}#{shard:02}", self.as_str())
    }
}

/// A row's entry in the index; rows flatten it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The index's partition, such as `refresh#07`.
    #[serde(rename = "due_shard")]
    pub shard: String,
    /// The time from which on the work may be done.
    #[serde(rename = "due_at")]
    pub at: Timestamp,
}

impl Due {
    /// An entry for work of `kind` on a row of `tenant`, from `at` on.
    pub fn new(kind: Kind, tenant: TenantId, at: Timestamp) -> Self {
        Self { shard: kind.shard_of(tenant), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_work_is_in_one_of_its_kinds_shards() {
        for kind in [Kind::Refresh, Kind::Reconcile] {
            let shards: Vec<_> = kind.shards().collect();
            assert_eq!(shards.len(), usize::from(Kind::SHARDS));
            assert!((0..100).all(|_| shards.contains(&kind.shard_of(TenantId::random()))));
        }
        assert!(Kind::Refresh.shards().all(|shard| shard.starts_with("refresh#") && shard.len() == 10));
    }
}
