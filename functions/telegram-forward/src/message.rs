//! A queue record, read back into what the webhook put there.

use aws_lambda_events::event::sqs::SqsMessage;
use bytes::Bytes;
use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd::queue::{ENCODING, decode};
use serde_json::Value;

use crate::decide::Attempt;

/// An update that waits for its runtime.
pub(crate) struct Inbound {
    /// The chat it came from: the record's group.
    pub(crate) chat: ChatId,
    /// Its number: the record's deduplication id.
    pub(crate) update_id: i64,
    /// Its bytes, as Telegram sent them.
    pub(crate) update: Bytes,
    /// When it was sent, and how often it came up.
    pub(crate) attempt: Attempt,
    /// The handle to put it off by.
    pub(crate) receipt: String,
}

impl Inbound {
    /// Reads a record; `None` when the webhook did not write it.
    pub(crate) fn read(record: &SqsMessage) -> Option<Self> {
        let attribute = |name: &str| record.attributes.get(name);
        let encoding = record.message_attributes.get(ENCODING).and_then(|value| value.string_value.as_deref());
        Some(Self {
            chat: attribute("MessageGroupId")?.parse().ok()?,
            update_id: attribute("MessageDeduplicationId")?.parse().ok()?,
            update: decode(record.body.as_deref()?, encoding)?.into(),
            attempt: Attempt {
                sent_at: Timestamp::from_millis(attribute("SentTimestamp")?.parse().ok()?),
                receives: attribute("ApproximateReceiveCount")?.parse().ok()?,
            },
            receipt: record.receipt_handle.clone()?,
        })
    }

    /// The message in the chat that this update is about, where it is about one.
    pub(crate) fn message_id(&self) -> Option<i64> {
        let update: Value = serde_json::from_slice(&self.update).ok()?;
        MESSAGE_IDS.iter().find_map(|place| update.pointer(place)?.as_i64())
    }
}

/// Where an update names its message. <https://core.telegram.org/bots/api#update>
const MESSAGE_IDS: [&str; 3] =
    ["/message/message_id", "/edited_message/message_id", "/callback_query/message/message_id"];
