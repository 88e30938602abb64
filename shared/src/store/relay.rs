//! The state of a tenant's rate limits at the relay.

use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use serde::Deserialize;

use super::{Error, Store, UpdateOutcome, decode, keys, number};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::rate::{Gcra, Verdict};

/// The limit at the relay that a call counts against; each limit has an arrival time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayLane {
    /// Calls that add to the chat or change it.
    Sends,
    /// All other calls that reach Telegram.
    Calls,
}

#[derive(Deserialize)]
struct Row {
    sends: Option<Timestamp>,
    calls: Option<Timestamp>,
}

impl RelayLane {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::Calls => "calls",
        }
    }

    const fn arrival(self, row: &Row) -> Option<Timestamp> {
        match self {
            Self::Sends => row.sends,
            Self::Calls => row.calls,
        }
    }
}

impl Store {
    /// Charges a call of `tenant` that counts as `count` against `limit`; one write, and a second one within a burst.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn charge_relay(
        &self,
        tenant: TenantId,
        (lane, count): (RelayLane, u32),
        limit: Gcra,
        now: Timestamp,
    ) -> Result<Verdict, Error> {
        let mut seen = None;
        // Only a concurrent call repeats the loop, and the limit ends it.
        loop {
            let next = match limit.check_batch(seen, now, count) {
                Verdict::Admit(next) => next,
                refuse @ Verdict::Refuse(_) => return Ok(refuse),
            };
            match self.advance_relay((tenant, lane), seen, next, now).await? {
                None => return Ok(Verdict::Admit(next)),
                Some(arrival) => seen = Some(arrival),
            }
        }
    }

    /// Moves the arrival time from what was seen (`None`: any time up to `now`) to `next`. Returns `None` when it did,
    /// or else the arrival time that a concurrent call wrote.
    async fn advance_relay(
        &self,
        (tenant, lane): (TenantId, RelayLane),
        seen: Option<Timestamp>,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let request = UpdateItemInput::builder().table_name(&self.table);
        let request = request
            .set_key(Some(keys::relay(tenant).attributes()))
            .update_expression("SET #arrival = :next")
            .expression_attribute_names("#arrival", lane.attribute())
            .expression_attribute_values(":next", number(next.millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let request = match seen {
            None => request
                .condition_expression("attribute_not_exists(#arrival) OR #arrival <= :now")
                .expression_attribute_values(":now", number(now.millis())),
            Some(seen) => request
                .condition_expression("#arrival = :seen")
                .expression_attribute_values(":seen", number(seen.millis())),
        };
        match self.try_update(request).await? {
            UpdateOutcome::Applied(_) => Ok(None),
            UpdateOutcome::ConditionFailed(Some(item)) => Ok(lane.arrival(&decode("relay", item)?)),
            UpdateOutcome::ConditionFailed(None) => Ok(None),
        }
    }
}
