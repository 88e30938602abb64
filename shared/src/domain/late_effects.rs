//! What may take effect after whoever asked for it is gone.
//!
//! A request was under way when its worker died, or its answer was lost. Nobody can call it back, so that what it may
//! have made is looked for once it must have arrived.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shard::Shard;
use super::time_limits::{IN_FLIGHT, LAST_RECHECK_AFTER, LEASE};
use crate::clock::Timestamp;

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

/// What was removed is looked for by name after the removal, twice: a request that was under way then can have made it
/// anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recheck {
    /// Where it would be; `None` when nothing was ever built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// When the first request that may have left something can have been sent.
    pub since: Timestamp,
    /// When to look; `None` once that was done for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Whether it is the last time.
    pub is_last: bool,
    /// From when on no worker that began the recheck before, or began it at the same time, can still be at work.
    pub idle_from: Timestamp,
}

impl Recheck {
    /// The first one, of a removal that ends at `now`.
    pub fn first(shard: Option<Shard>, since: Timestamp, now: Timestamp) -> Self {
        Self { shard, since, at: Some(now + IN_FLIGHT), is_last: false, idle_from: now }
    }

    /// It was done at `now`: the next one is a day later, and the last.
    pub fn done(&mut self, now: Timestamp) {
        self.at = (!self.is_last).then(|| now + LAST_RECHECK_AFTER);
        self.is_last = true;
        self.idle_from = now + LEASE;
    }

    /// It could not be done at `now`, and is tried again after `wait`.
    pub fn postpone(&mut self, now: Timestamp, wait: Duration) {
        self.at = Some(now + wait);
        self.idle_from = now + LEASE;
    }

    /// Until when a new life that begins at `now` builds nothing, because a recheck would meet it; `None` when nothing
    /// is left to look for.
    pub fn blocks_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.at {
            None => Some(self.idle_from).filter(|at| *at > now),
            // It may have begun, and ends with its invocation.
            Some(at) if at <= now + LEASE => Some(now + LEASE),
            Some(at) if !self.is_last => Some(at),
            Some(_) => Some(self.idle_from.max(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_built_while_a_recheck_may_be_under_way() {
        let mut recheck = Recheck::first(None, NOW, NOW);
        assert_eq!(recheck.blocks_until(NOW), Some(NOW + IN_FLIGHT), "its requests may still take effect");
        let begun = NOW + IN_FLIGHT;
        assert_eq!(recheck.blocks_until(begun), Some(begun + LEASE), "a worker may be at it");

        recheck.done(begun);
        let hours_later = begun + 60 * IN_FLIGHT;
        assert_eq!(recheck.blocks_until(begun + SECOND), Some(begun + LEASE), "a second worker may be at it");
        assert_eq!(recheck.blocks_until(hours_later), Some(hours_later));
        let last = begun + LAST_RECHECK_AFTER;
        assert_eq!(recheck.blocks_until(last - SECOND), Some(last - SECOND + LEASE));

        recheck.postpone(last, IN_FLIGHT);
        assert_eq!(recheck.blocks_until(last + SECOND), Some(last + LEASE));
        recheck.done(last);
        assert_eq!(recheck.blocks_until(last + SECOND), Some(last + LEASE));
        assert_eq!(recheck.blocks_until(last + LEASE), None, "nothing is left to look for");
    }
}
