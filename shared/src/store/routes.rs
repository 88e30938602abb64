//! The route of a chat: the admission of an update in one conditional write, and the marks of notices.

use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::{Error, Item, Store, UpdateOutcome, decode, encode, keys, number, unavailable};
use crate::clock::Timestamp;
use crate::domain::ids::ChatId;
use crate::domain::rate::{Gcra, Verdict};
use crate::domain::route::{FailingUpdate, Route, ThrottleNotice, Trouble};

/// A person over the limit is notified once in this time.
const SLOW_DOWN_WINDOW: Duration = Duration::from_secs(60);

/// A tenant is counted once in this time for each [`Trouble`]: the period of the alarms on those counts.
pub const TROUBLE_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Whether an update is admitted, by its chat's route.
#[derive(Clone, Debug)]
pub enum Admission {
    /// The update is within the limit. The caller goes on by the route's status: commands of a suspended person count,
    /// too.
    Admitted(Route),
    /// The chat has no tenant.
    Unknown,
    /// The update is over the limit.
    Limited {
        /// The chat's route.
        route: Route,
        /// Whether the person is to be notified: once in a window, and again for a retry of the same update.
        notify: bool,
    },
}

impl Store {
    /// Loads the route of a chat; one consistent read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn load_route(&self, chat: ChatId) -> Result<Option<Route>, Error> {
        self.read("route", &keys::route(chat)).await
    }

    /// Writes a whole route, whatever was there before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn put_route(&self, route: &Route) -> Result<(), Error> {
        let mut item = encode("route", route)?;
        item.extend(keys::route(route.chat_id).attributes());
        let request = PutItemInput::builder().table_name(&self.table).set_item(Some(item));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        self.write(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// Finds an update's route and charges the update against the limit: one conditional write, and a second one for an
    /// update within the burst, or for the record of a notice. A retry of the last admitted update is not charged, so
    /// that Telegram's retry after a failed enqueue is not refused.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn admit_update(
        &self,
        chat: ChatId,
        update_id: i64,
        limit: Gcra,
        now: Timestamp,
    ) -> Result<Admission, Error> {
        let within_rate = self
            .route_update(chat)
            .update_expression("SET arrival = :next, last_update = :update")
            .condition_expression("attribute_exists(pk) AND (attribute_not_exists(arrival) OR arrival <= :now)")
            .expression_attribute_values(":next", number((now + limit.interval()).millis()))
            .expression_attribute_values(":update", number(update_id))
            .expression_attribute_values(":now", number(now.millis()));
        let mut route = match self.try_update(within_rate).await? {
            UpdateOutcome::Applied(item) => return to_admission(item),
            UpdateOutcome::ConditionFailed(None) => return Ok(Admission::Unknown),
            UpdateOutcome::ConditionFailed(Some(item)) => decode::<Route>("route", item)?,
        };
        // Only a concurrent update of the same chat repeats the loop, and the limit ends it.
        loop {
            if route.last_update == Some(update_id) {
                return Ok(Admission::Admitted(route));
            }
            if let Verdict::Refuse(_) = limit.check(route.arrival, now) {
                let notify = self.record_throttle_notice(&route, update_id, now).await?;
                return Ok(Admission::Limited { route, notify });
            }
            let within_burst = self
                .route_update(chat)
                .update_expression("SET arrival = arrival + :interval, last_update = :update")
                .condition_expression("arrival <= :latest")
                .expression_attribute_values(":interval", number(limit.interval().as_millis()))
                .expression_attribute_values(":latest", number((now + limit.tolerance()).millis()))
                .expression_attribute_values(":update", number(update_id));
            route = match self.try_update(within_burst).await? {
                UpdateOutcome::Applied(item) => return to_admission(item),
                UpdateOutcome::ConditionFailed(None) => return Ok(Admission::Unknown),
                UpdateOutcome::ConditionFailed(Some(item)) => decode("route", item)?,
            };
        }
    }

    /// Records that the person is notified about the limit; whether they are to be notified now.
    async fn record_throttle_notice(&self, route: &Route, update_id: i64, now: Timestamp) -> Result<bool, Error> {
        let window_start = now - SLOW_DOWN_WINDOW;
        match route.throttle_notice {
            Some(told) if told.update_id == update_id => return Ok(true),
            Some(told) if told.at > window_start => return Ok(false),
            Some(_) | None => {}
        }
        let mark = serde_dynamo::to_attribute_value(ThrottleNotice { at: now, update_id })
            .map_err(|error| Error::Corrupt { what: "route", reason: error.to_string() })?;
        let request = self
            .route_update(route.chat_id)
            .update_expression("SET throttle_notice = :mark")
            .condition_expression(
                "attribute_exists(pk) AND \
                 (attribute_not_exists(throttle_notice) OR throttle_notice.#at <= :window_start)",
            )
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":mark", mark)
            .expression_attribute_values(":window_start", number(window_start.millis()));
        Ok(matches!(self.try_update(request).await?, UpdateOutcome::Applied(_)))
    }

    /// Records that the person is notified that a message waits; `false` when that was recorded since the one that
    /// the caller has read.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn record_waking_notice(&self, route: &Route, now: Timestamp) -> Result<bool, Error> {
        let request = self
            .route_update(route.chat_id)
            .update_expression("SET waking_notice_at = :now")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(waking_notice_at)")
            .expression_attribute_values(":now", number(now.millis()));
        let request = match route.waking_notice_at {
            None => request,
            Some(known) => request
                .condition_expression("waking_notice_at = :known")
                .expression_attribute_values(":known", number(known.millis())),
        };
        Ok(matches!(self.try_update(request).await?, UpdateOutcome::Applied(_)))
    }

    /// Clears the record of that notice, after a delivery.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn clear_waking_notice(&self, chat: ChatId) -> Result<(), Error> {
        let request = self
            .route_update(chat)
            .update_expression("REMOVE waking_notice_at")
            .condition_expression("attribute_exists(pk)");
        self.try_update(request).await.map(|_| ())
    }

    /// Records on which update the runtime fails, or that it fails on none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn record_failing_update(&self, chat: ChatId, failing: Option<FailingUpdate>) -> Result<(), Error> {
        let request = self.route_update(chat).condition_expression("attribute_exists(pk)");
        let request = match failing {
            None => request.update_expression("REMOVE failing"),
            Some(failing) => {
                let mark = serde_dynamo::to_attribute_value(failing)
                    .map_err(|error| Error::Corrupt { what: "route", reason: error.to_string() })?;
                request.update_expression("SET failing = :mark").expression_attribute_values(":mark", mark)
            }
        };
        self.try_update(request).await.map(|_| ())
    }

    /// Counts the tenant of a route for a trouble; `false` when it was counted within [`TROUBLE_WINDOW`]. Mostly the
    /// route as it was read tells so, without a write.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn count_trouble(&self, route: &Route, trouble: Trouble, now: Timestamp) -> Result<bool, Error> {
        let window_start = now - TROUBLE_WINDOW;
        if route.last_count(trouble).is_some_and(|at| at > window_start) {
            return Ok(false);
        }
        let mark = match trouble {
            Trouble::Loss => "loss_counted_at",
            Trouble::Refusal => "refusal_counted_at",
        };
        let request = self
            .route_update(route.chat_id)
            .update_expression("SET #mark = :now")
            .condition_expression("attribute_exists(pk) AND (attribute_not_exists(#mark) OR #mark <= :window_start)")
            .expression_attribute_names("#mark", mark)
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":window_start", number(window_start.millis()));
        Ok(matches!(self.try_update(request).await?, UpdateOutcome::Applied(_)))
    }

    fn route_update(&self, chat: ChatId) -> UpdateItemInputBuilder {
        UpdateItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(keys::route(chat).attributes()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}

fn to_admission(item: Option<Item>) -> Result<Admission, Error> {
    let missing = || Error::Corrupt { what: "route", reason: "the write returned no item".to_owned() };
    Ok(Admission::Admitted(decode("route", item.ok_or_else(missing)?)?))
}
