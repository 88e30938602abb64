//! What could not be done, for an operator: to look at without reading anyone's words, and to try again.

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

use super::{Error, unavailable};
use crate::aws::Service;
use crate::clock::Timestamp;

crate::aws::impl_requests! {
    GetQueueAttributesInput: GetQueueAttributes => GetQueueAttributesOutput, GetQueueAttributesError;
    ReceiveMessageInput: ReceiveMessage => ReceiveMessageOutput, ReceiveMessageError;
    StartMessageMoveTaskInput: StartMessageMoveTask => StartMessageMoveTaskOutput, StartMessageMoveTaskError;
}

/// The most messages of one look.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const LOOK: i32 = 10;

/// A queue of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    pub(super) service: Service,
    pub(super) url: String,
}

/// A dead letter, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// SQS's id of it.
    pub id: String,
    /// When it was put into its queue.
    pub sent_at: Option<Timestamp>,
    /// The chat it came from; only updates have one.
    pub chat: Option<String>,
    /// Telegram's id of it; only updates have one.
    pub update_id: Option<String>,
}

impl DeadLetters {
    /// How many wait, about: SQS counts loosely.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn waiting(&self) -> Result<u64, Error> {
        let count = self.attribute(&self.url, QueueAttributeName::ApproximateNumberOfMessages).await?;
        count.parse().map_err(|_| Error { reason: "an unreadable count".to_owned() })
    }

    /// Up to ten of them; they stay where they are.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn look(&self) -> Result<Vec<DeadLetter>, Error> {
        let request = ReceiveMessageInput::builder().queue_url(&self.url).max_number_of_messages(LOOK);
        let request = request.visibility_timeout(0).message_system_attribute_names(MessageSystemAttributeName::All);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(without_words).collect())
    }

    /// Sends all of them to the queue at `url`, each as if sent anew.
    ///
    /// SQS would find the way back itself, but only for what its redrive policy put here: a letter that was sent here
    /// has no source, and stops the task.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html>
    ///
    /// # Errors
    /// [`Error`]; some may have been moved all the same.
    pub async fn redrive(&self, url: &str) -> Result<(), Error> {
        let request = StartMessageMoveTaskInput::builder().source_arn(self.arn(&self.url).await?);
        let request = request.destination_arn(self.arn(url).await?);
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| unavailable(&error))
    }

    async fn arn(&self, url: &str) -> Result<String, Error> {
        self.attribute(url, QueueAttributeName::QueueArn).await
    }

    async fn attribute(&self, url: &str, name: QueueAttributeName) -> Result<String, Error> {
        let request = GetQueueAttributesInput::builder().queue_url(url).attribute_names(name.clone());
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        let found = answer.attributes.and_then(|mut attributes| attributes.remove(&name));
        found.ok_or_else(|| Error { reason: format!("no attribute {name}") })
    }
}

fn without_words(message: Message) -> DeadLetter {
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
