//! What may take effect after whoever asked for it is gone.
//!
//! A request was under way when its worker died, or its answer was lost. Nobody can call it back, so that what it may
//! have made is looked for once it must have arrived.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shard::Shard;
use crate::clock::Timestamp;

/// For how long a request that was sent and never answered may still take effect. No vendor states a bound: this is
/// our own, far beyond the longest timeout of a call (25 s).
pub const IN_FLIGHT: Duration = Duration::from_secs(10 * 60);
/// When what was removed is looked for the last time, after the time before.
pub const LAST_RECHECK_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests that may still take effect: their answers were lost, or whoever sent them died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// When the first of them can have been sent.
    pub since: Timestamp,
    /// Until when the last of them may take effect; then the resources are observed.
    pub until: Timestamp,
}

/// What the removal of a tenant's earlier life may have left: its names are those of the present life, so nothing is
/// built before it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// Where it would be.
    pub shard: Shard,
    /// When the first request that may have left something can have been sent.
    pub since: Timestamp,
    /// Before when it makes no sense to look: requests of the removal may still take effect.
    pub not_before: Timestamp,
}

/// What was removed is looked for by name after the removal: a request that was under way then can have made it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recheck {
    /// Where it would be; `None` when nothing was ever built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// When the first request that may have left something can have been sent.
    pub since: Timestamp,
    /// When to look.
    pub at: Timestamp,
    /// Whether it is the last time.
    pub is_last: bool,
}

impl Recheck {
    /// The one after this was done at `now`: a day later, for the last time.
    pub fn next(self, now: Timestamp) -> Option<Self> {
        (!self.is_last).then(|| Self { at: now + LAST_RECHECK_AFTER, is_last: true, ..self })
    }
}
