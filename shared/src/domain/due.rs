//! When a row needs work: the two attributes of the table's sparse index `due`.
//!
//! A row carries them only while work is due, so a tick costs what is due and never what exists.

use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use crate::clock::Timestamp;

/// Which worker the work is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `scheduled-refresh`, on integrations.
    Refresh,
    /// `tenant-reconcile`, on tenants.
    Reconcile,
}

impl Kind {
    /// How many shards its index entries are spread over, so that no partition of the index is written by everyone.
    pub const SHARDS: u8 = 16;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Reconcile => "reconcile",
        }
    }

    /// Every shard of this kind.
    pub fn shards(self) -> impl Iterator<Item = String> {
        (0..Self::SHARDS).map(move |shard| self.shard(shard))
    }

    /// The shard in which a tenant's work stands.
    pub fn shard_of(self, tenant: TenantId) -> String {
        self.shard(tenant.as_bytes()[15] % Self::SHARDS)
    }

    fn shard(self, shard: u8) -> String {
        format!("{}#{shard:02}", self.as_str())
    }
}

/// A row's entry in the index; flatten it into the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Such as `refresh#07`.
    #[serde(rename = "due_shard")]
    pub shard: String,
    /// From when on the work may be done.
    #[serde(rename = "due_at")]
    pub at: Timestamp,
}

impl Due {
    /// Work of `kind` on a row of `tenant`, from `at` on.
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
