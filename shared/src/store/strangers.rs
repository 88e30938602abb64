//! The limits of replies to chats that have no tenant: anybody can write to the bot, and every reply counts against the
//! bot's own limit at Telegram.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::{Error, Store, UpdateOutcome, keys, number};
use crate::clock::Timestamp;
use crate::domain::ids::ChatId;

/// The time in which all strangers together get [`STRANGERS_PER_WINDOW`] replies.
const WINDOW: Duration = Duration::from_secs(10);

/// A third of the bot's own limit of 30 messages a second.
/// <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>
const STRANGERS_PER_WINDOW: u32 = 100;

/// Whether a chat without a tenant is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrangerReply {
    /// It is.
    Granted,
    /// It was answered a moment ago.
    ChatPaused,
    /// So many strangers were answered that none is before this time.
    AllPaused(Timestamp),
}

impl Store {
    /// Claims the reply to an update of a chat without a tenant, at most one in `pause`: one conditional write, and a
    /// second one where the chat may be answered. Telegram's retry of an answered update is answered again.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn claim_stranger_reply(
        &self,
        chat: ChatId,
        update_id: i64,
        pause: Duration,
        now: Timestamp,
    ) -> Result<StrangerReply, Error> {
        let own = self
            .stranger_update(&keys::stranger(chat), now + pause)
            .update_expression("SET replied_at = :now, last_update = :update, #ttl = :ttl")
            .condition_expression("attribute_not_exists(pk) OR replied_at <= :paused OR last_update = :update")
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":paused", number((now - pause).millis()))
            .expression_attribute_values(":update", number(update_id));
        if let UpdateOutcome::ConditionFailed(_) = self.try_update(own).await? {
            return Ok(StrangerReply::ChatPaused);
        }
        let length = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let window = now.millis() / length;
        let end = Timestamp::from_millis((window + 1) * length);
        let all = self
            .stranger_update(&keys::strangers(window), end)
            .update_expression("SET #ttl = :ttl ADD replies :one")
            .condition_expression("attribute_not_exists(pk) OR replies < :limit")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":limit", number(STRANGERS_PER_WINDOW));
        Ok(match self.try_update(all).await? {
            UpdateOutcome::Applied(_) => StrangerReply::Granted,
            UpdateOutcome::ConditionFailed(_) => StrangerReply::AllPaused(end),
        })
    }

    fn stranger_update(&self, key: &keys::Key, until: Timestamp) -> UpdateItemInputBuilder {
        UpdateItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", number(until.seconds() + 1))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}
