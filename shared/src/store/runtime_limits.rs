//! The state of the rate limits that a tenant's runtime is held to.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use serde::Deserialize;

use super::{Error, Store, UpdateOutcome, decode, keys, number};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::rate::{Gcra, Verdict};

/// How long the state outlives the last call: longer than any limit's burst takes to refill.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The limit that a runtime's call counts against; each limit has an arrival time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLane {
    /// Calls of the relay that add to the chat or change it.
    Sends,
    /// All other calls of the relay.
    Calls,
    /// Reads of mail and calendar.
    Reads,
}

/// The theoretical arrival time of each limit; absent before the first call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ArrivalTimes {
    sends: Option<Timestamp>,
    calls: Option<Timestamp>,
    reads: Option<Timestamp>,
}

impl RateLane {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::Calls => "calls",
            Self::Reads => "reads",
        }
    }
}

impl ArrivalTimes {
    /// The arrival time of one limit.
    pub const fn of(&self, lane: RateLane) -> Option<Timestamp> {
        match lane {
            RateLane::Sends => self.sends,
            RateLane::Calls => self.calls,
            RateLane::Reads => self.reads,
        }
    }
}

impl Store {
    /// Charges a call of the tenant's runtime that counts as `count` against `limit`.
    ///
    /// `seen` is the arrival time that the caller has just read, if it has. With it the call takes one write, and none
    /// when it does not conform; without it a call within a burst takes a second one. Calls at the same moment do not
    /// make each other repeat: only the first of a burst can meet another first one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn charge_runtime(
        &self,
        tenant: TenantId,
        (lane, count): (RateLane, u32),
        limit: Gcra,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Verdict, Error> {
        let cost = limit.interval().saturating_mul(count);
        let mut seen = seen.filter(|seen| *seen > now);
        loop {
            let verdict = limit.check_batch(seen, now, count);
            if let Verdict::Refuse(_) = verdict {
                return Ok(verdict);
            }
            let request = self.update_limits(tenant, lane, now);
            let request = match seen {
                None => request
                    .update_expression("SET #arrival = :next, #ttl = :ttl")
                    .condition_expression("attribute_not_exists(#arrival) OR #arrival <= :now")
                    .expression_attribute_values(":next", number((now + cost).millis()))
                    .expression_attribute_values(":now", number(now.millis())),
                Some(_) => request
                    .update_expression("SET #arrival = #arrival + :cost, #ttl = :ttl")
                    .condition_expression("#arrival <= :latest")
                    .expression_attribute_values(":cost", number(cost.as_millis()))
                    .expression_attribute_values(":latest", number((now + limit.tolerance()).millis())),
            };
            match self.try_update(request).await? {
                UpdateOutcome::Applied(_) => return Ok(verdict),
                // It was deleted since it was read: the next turn makes it anew.
                UpdateOutcome::ConditionFailed(None) => seen = None,
                UpdateOutcome::ConditionFailed(Some(item)) => {
                    seen = decode::<ArrivalTimes>("runtime limits", item)?.of(lane).filter(|seen| *seen > now);
                }
            }
        }
    }

    fn update_limits(&self, tenant: TenantId, lane: RateLane, now: Timestamp) -> UpdateItemInputBuilder {
        UpdateItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(keys::runtime_limits(tenant).attributes()))
            .expression_attribute_names("#arrival", lane.attribute())
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", number((now + KEPT).seconds()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}
