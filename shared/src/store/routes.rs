//! The route of a chat: admission of an update in one conditional write, and the once-only marks.

use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::{Error, Item, Store, Written, decode, encode, keys, number, unavailable};
use crate::clock::Timestamp;
use crate::domain::ids::ChatId;
use crate::domain::rate::{Gcra, Verdict};
use crate::domain::route::{Route, ThrottleNotice};

/// A person over the limit is told so once in this time.
const SLOW_DOWN_WINDOW: Duration = Duration::from_secs(60);

/// What the route said to an update.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Within the limit. What follows depends on the route's status: a suspended person's commands count as well.
    Admitted(Route),
    /// No tenant has this chat.
    Unknown,
    /// Over the limit.
    Limited {
        /// Whether the person should be told: once a window, and again for a retry of the update it was told for.
        tell: bool,
    },
}

impl Store {
    /// The route of a chat as it is now; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn route(&self, chat: ChatId) -> Result<Option<Route>, Error> {
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
        self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// Routes an update and charges it against the limit: one conditional write, and a second one when the first one's
    /// condition fails within the burst or the person is told to slow down. A retry of the update last admitted passes
    /// without a charge, so that nothing done before a failed enqueue turns Telegram's retry away.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn admit(&self, chat: ChatId, update_id: i64, limit: Gcra, now: Timestamp) -> Result<Admission, Error> {
        let rested = self
            .route_update(chat)
            .update_expression("SET arrival = :next, last_update = :update")
            .condition_expression("attribute_exists(pk) AND (attribute_not_exists(arrival) OR arrival <= :now)")
            .expression_attribute_values(":next", number((now + limit.interval()).millis()))
            .expression_attribute_values(":update", number(update_id))
            .expression_attribute_values(":now", number(now.millis()));
        let mut route = match self.write(rested).await? {
            Written::Done(item) => return admitted(item),
            Written::Refused(None) => return Ok(Admission::Unknown),
            Written::Refused(Some(item)) => decode::<Route>("route", item)?,
        };
        // Two updates of one chat at the very same time may send us around; the limit is soon reached.
        loop {
            if route.last_update == Some(update_id) {
                return Ok(Admission::Admitted(route));
            }
            if let Verdict::Refuse(_) = limit.check(route.arrival, now) {
                return Ok(Admission::Limited { tell: self.mark_slow_down(&route, update_id, now).await? });
            }
            let within_burst = self
                .route_update(chat)
                .update_expression("SET arrival = arrival + :interval, last_update = :update")
                .condition_expression("arrival <= :latest")
                .expression_attribute_values(":interval", number(limit.interval().as_millis()))
                .expression_attribute_values(":latest", number((now + limit.tolerance()).millis()))
                .expression_attribute_values(":update", number(update_id));
            route = match self.write(within_burst).await? {
                Written::Done(item) => return admitted(item),
                Written::Refused(None) => return Ok(Admission::Unknown),
                Written::Refused(Some(item)) => decode("route", item)?,
            };
        }
    }

    /// Marks that the person was told to slow down; whether they should be told now.
    async fn mark_slow_down(&self, route: &Route, update_id: i64, now: Timestamp) -> Result<bool, Error> {
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
        Ok(matches!(self.write(request).await?, Written::Done(_)))
    }

    /// Marks that the person was told that the assistant is waking up; `false` when it was marked before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn mark_waking_told(&self, chat: ChatId, now: Timestamp) -> Result<bool, Error> {
        let request = self
            .route_update(chat)
            .update_expression("SET waking_notice_at = :now")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(waking_notice_at)")
            .expression_attribute_values(":now", number(now.millis()));
        Ok(matches!(self.write(request).await?, Written::Done(_)))
    }

    /// Clears that mark, after a delivery.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn clear_waking_told(&self, chat: ChatId) -> Result<(), Error> {
        let request = self
            .route_update(chat)
            .update_expression("REMOVE waking_notice_at")
            .condition_expression("attribute_exists(pk)");
        self.write(request).await.map(|_| ())
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

fn admitted(item: Option<Item>) -> Result<Admission, Error> {
    let missing = || Error::Corrupt { what: "route", reason: "the write returned no item".to_owned() };
    Ok(Admission::Admitted(decode("route", item.ok_or_else(missing)?)?))
}
