//! Dead-letter queues for an operator, who can list their messages without any person's text, and redrive them.

use aws_sdk_sqs::operation::get_queue_attributes::{
    GetQueueAttributes, GetQueueAttributesError, GetQueueAttributesInput, GetQueueAttributesOutput,
};
use aws_sdk_sqs::operation::receive_message::{
    ReceiveMessage, ReceiveMessageError, ReceiveMessageInput, ReceiveMessageOutput,
};
use aws_sdk_sqs::operation::start_message_move_task::{
    StartMessageMoveTask, StartMessageMoveTaskError, StartMessageMoveTaskInput, StartMessageMoveTaskOutput,
};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};

use super::{Error, to_error};
use crate::aws::Service;
use crate::clock::Timestamp;

crate::aws::impl_requests! {
    GetQueueAttributesInput: GetQueueAttributes => GetQueueAttributesOutput, GetQueueAttributesError;
    ReceiveMessageInput: ReceiveMessage => ReceiveMessageOutput, ReceiveMessageError;
    StartMessageMoveTaskInput: StartMessageMoveTask => StartMessageMoveTaskOutput, StartMessageMoveTaskError;
}

/// The most messages that [`DeadLetters::peek`] receives.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const MAX_PEEKED: i32 = 10;

/// A client of one dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    pub(super) service: Service,
    pub(super) url: String,
}

/// A dead letter without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// SQS's message id.
    pub id: String,
    /// The time at which it was sent to its queue.
    pub sent_at: Option<Timestamp>,
    /// The chat that it came from; only updates have one.
    pub chat: Option<String>,
    /// Telegram's number of the update; only updates have one.
    pub update_id: Option<String>,
}

impl DeadLetters {
    /// The approximate number of dead letters, as SQS counts them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn count(&self) -> Result<u64, Error> {
        let count = self.attribute(&self.url, QueueAttributeName::ApproximateNumberOfMessages).await?;
        count.parse().map_err(|_| Error { reason: "an unreadable count".to_owned() })
    }

    /// Receives up to ten dead letters with a visibility timeout of zero, so that they stay available.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn peek(&self) -> Result<Vec<DeadLetter>, Error> {
        let request = ReceiveMessageInput::builder().queue_url(&self.url).max_number_of_messages(MAX_PEEKED);
        let request = request.visibility_timeout(0).message_system_attribute_names(MessageSystemAttributeName::All);
        let answer = self.service.send(request.build()).await.map_err(|error| to_error(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(to_dead_letter).collect())
    }

    /// Starts a task that moves all of them to the queue at `url`, where each counts as newly sent.
    ///
    /// The destination is named because SQS finds it by itself only for messages that its redrive policy moved here.
    /// One that `telegram-forward` sent here has no source queue, and would stop the task.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html>
    ///
    /// # Errors
    /// [`Error`]; some of them may have been moved all the same.
    pub async fn redrive(&self, url: &str) -> Result<(), Error> {
        let request = StartMessageMoveTaskInput::builder().source_arn(self.arn(&self.url).await?);
        let request = request.destination_arn(self.arn(url).await?);
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| to_error(&error))
    }

    async fn arn(&self, url: &str) -> Result<String, Error> {
        self.attribute(url, QueueAttributeName::QueueArn).await
    }

    async fn attribute(&self, url: &str, name: QueueAttributeName) -> Result<String, Error> {
        let request = GetQueueAttributesInput::builder().queue_url(url).attribute_names(name.clone());
        let answer = self.service.send(request.build()).await.map_err(|error| to_error(&error))?;
        let found = answer.attributes.and_then(|mut attributes| attributes.remove(&name));
        found.ok_or_else(|| Error { reason: format!("no attribute {name}") })
    }
}

fn to_dead_letter(message: Message) -> DeadLetter {
    let mut attributes = message.attributes.unwrap_or_default();
    let mut take = |name| attributes.remove(&name);
    let sent_at = take(MessageSystemAttributeName::SentTimestamp).and_then(|millis| millis.parse().ok());
    DeadLetter {
        id: message.message_id.unwrap_or_default(),
        sent_at: sent_at.map(Timestamp::from_millis),
        chat: take(MessageSystemAttributeName::MessageGroupId),
        update_id: take(MessageSystemAttributeName::MessageDeduplicationId),
    }
}
