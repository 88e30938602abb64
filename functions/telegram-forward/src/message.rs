//! A queue record, read back into what the webhook put there.

use aws_lambda_events::event::sqs::SqsMessage;
use bytes::Bytes;
use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd::domain::update::{PrivateUpdate, Update};
use nbhd::queue::{ENCODING, decode};

use crate::decide::Attempt;

/// An update that waits for its runtime.
pub(crate) struct QueuedUpdate {
    /// The chat it came from: the record's group.
    pub(crate) chat: ChatId,
    /// Telegram's number of it: the record's deduplication id.
    pub(crate) update_id: i64,
    /// Its bytes, as Telegram sent them.
    pub(crate) update: Bytes,
    /// The time at which it was sent, and the number of receives.
    pub(crate) attempt: Attempt,
    /// SQS's handle of this receive, with which its visibility can be changed.
    pub(crate) receipt_handle: String,
}

impl QueuedUpdate {
    /// Reads a record; `None` when the webhook did not write it.
    pub(crate) fn from_record(record: &SqsMessage) -> Option<Self> {
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
            receipt_handle: record.receipt_handle.clone()?,
        })
    }

    /// What the webhook read of the update before it queued it.
    pub(crate) fn content(&self) -> Option<PrivateUpdate> {
        match Update::parse(&self.update) {
            Update::Private(update) => Some(update),
            Update::NonPrivate { .. } | Update::Unusable(_) => None,
        }
    }
}
