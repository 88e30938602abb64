//! The queues; the only module that names `aws_sdk_sqs`.

mod dead_letters;

use std::marker::PhantomData;
use std::time::Duration;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::change_message_visibility::{
    ChangeMessageVisibility, ChangeMessageVisibilityError, ChangeMessageVisibilityInput, ChangeMessageVisibilityOutput,
};
use aws_sdk_sqs::operation::send_message::{SendMessage, SendMessageError, SendMessageInput, SendMessageOutput};
use aws_sdk_sqs::operation::send_message_batch::{
    SendMessageBatch, SendMessageBatchError, SendMessageBatchInput, SendMessageBatchOutput,
};
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::aws::Service;
use crate::config::{ConfigError, Env};
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::integration::Provider;

pub use dead_letters::{DeadLetter, DeadLetters};

crate::aws::impl_requests! {
    ChangeMessageVisibilityInput: ChangeMessageVisibility =>
        ChangeMessageVisibilityOutput, ChangeMessageVisibilityError;
    SendMessageBatchInput: SendMessageBatch => SendMessageBatchOutput, SendMessageBatchError;
    SendMessageInput: SendMessage => SendMessageOutput, SendMessageError;
}

/// The message attribute that says a body is not the update's own bytes, and its only value.
pub const ENCODING: &str = "encoding";
/// See [`ENCODING`].
pub const BASE64: &str = "base64";

/// The longest update that always fits a message of at most 1 MiB, even as base64.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const LARGEST_UPDATE: usize = 767 * 1024;

/// The most messages of one call.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const MAX_BATCH: usize = 10;

/// The longest time a message can be put off.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);

/// The longest time a new message can be put off.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// The queue did not take, or did not change, a message. Whether it took effect is unknown.
#[derive(Debug, thiserror::Error)]
#[error("the queue is unavailable ({reason})")]
pub struct Error {
    reason: String,
}

/// A connection to SQS.
#[derive(Clone, Debug)]
pub struct Queues {
    service: Service,
}

impl Queues {
    /// A client for the region's queues.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing.
    pub fn new(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { service: Service::from_env(env, "sqs")? })
    }

    /// A FIFO queue of Telegram updates, by its address.
    pub fn updates(&self, url: &str) -> Updates {
        Updates { service: self.service.clone(), url: url.to_owned() }
    }

    /// The queue of `scheduled-refresh`, by its address.
    pub fn refresh(&self, url: &str) -> Jobs<RefreshJob> {
        Jobs { service: self.service.clone(), url: url.to_owned(), job: PhantomData }
    }

    /// A queue of dead letters, by its address.
    pub fn dead_letters(&self, url: &str) -> DeadLetters {
        DeadLetters { service: self.service.clone(), url: url.to_owned() }
    }

    /// The queue of `tenant-reconcile`, by its address.
    pub fn lifecycle(&self, url: &str) -> Jobs<LifecycleJob> {
        Jobs { service: self.service.clone(), url: url.to_owned(), job: PhantomData }
    }
}

/// A FIFO queue of Telegram updates (inbound, or its dead letters): a group per chat, deduplication by update id.
#[derive(Clone, Debug)]
pub struct Updates {
    service: Service,
    url: String,
}

impl Updates {
    /// Puts an update on the queue, byte for byte; within five minutes the same update id is taken once.
    ///
    /// Bytes that SQS refuses (not UTF-8, or a character outside its set) travel as base64 with the attribute
    /// [`ENCODING`]; [`decode`] undoes it.
    ///
    /// # Errors
    /// [`Error`]; the update may be on the queue all the same.
    pub async fn send(&self, chat: ChatId, update_id: i64, update: &[u8]) -> Result<(), Error> {
        let request = SendMessageInput::builder()
            .queue_url(&self.url)
            .message_group_id(chat.to_string())
            .message_deduplication_id(update_id.to_string());
        let request = match std::str::from_utf8(update) {
            Ok(text) if text.chars().all(is_allowed) => request.message_body(text),
            Ok(_) | Err(_) => request.message_body(STANDARD.encode(update)).message_attributes(
                ENCODING,
                MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value(BASE64)
                    .build()
                    .map_err(|error| Error { reason: error.to_string() })?,
            ),
        };
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// Hides a received message for `delay` (whole seconds, at most 12 hours) from now.
    ///
    /// # Errors
    /// [`Error`]; the message then returns after the queue's own visibility timeout.
    pub async fn put_off(&self, receipt: &str, delay: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(delay.min(MAX_VISIBILITY).as_secs()).unwrap_or(i32::MAX);
        let request = ChangeMessageVisibilityInput::builder().queue_url(&self.url).receipt_handle(receipt);
        let request = request.visibility_timeout(seconds);
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| unavailable(&error))
    }
}

/// The update's own bytes from a message's body and its [`ENCODING`]; `None` when it claims base64 and is not.
pub fn decode(body: &str, encoding: Option<&str>) -> Option<Vec<u8>> {
    match encoding {
        Some(BASE64) => STANDARD.decode(body).ok(),
        Some(_) | None => Some(body.as_bytes().to_vec()),
    }
}

/// The characters SQS takes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// A job of the function `scheduled-refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum RefreshJob {
    /// Look at connections that are due: what each needs, its row says.
    Due {
        /// Which, those of one tenant side by side.
        connections: Vec<(TenantId, Provider)>,
    },
    /// Remove a revoked connection's tokens.
    Disconnect {
        /// Whose connection.
        tenant_id: TenantId,
        /// To which service.
        provider: Provider,
    },
}

/// A job of the function `tenant-reconcile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum LifecycleJob {
    /// Look whether the tenant is as it is intended to be.
    Reconcile {
        /// Which one.
        tenant_id: TenantId,
    },
}

/// A queue of one function's jobs; any order, each at least once.
#[derive(Clone, Debug)]
pub struct Jobs<J> {
    service: Service,
    url: String,
    job: PhantomData<J>,
}

impl<J: Serialize> Jobs<J> {
    /// Puts a job on the queue, to be done now.
    ///
    /// # Errors
    /// [`Error`]; the job may be on the queue all the same.
    pub async fn send(&self, job: &J) -> Result<(), Error> {
        self.send_later(job, Duration::ZERO).await
    }

    /// Puts a job on the queue, to be done after `delay` (whole seconds, at most [`MAX_DELAY`]).
    ///
    /// # Errors
    /// [`Error`]; the job may be on the queue all the same.
    pub async fn send_later(&self, job: &J, delay: Duration) -> Result<(), Error> {
        let request = SendMessageInput::builder().queue_url(&self.url).message_body(body(job)?);
        let seconds = i32::try_from(delay.min(MAX_DELAY).as_secs()).unwrap_or_default();
        let request = if seconds > 0 { request.delay_seconds(seconds) } else { request };
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// Puts jobs on the queue, ten with each call.
    ///
    /// # Errors
    /// [`Error`]; some or all of the jobs may be on the queue all the same.
    pub async fn send_all(&self, jobs: &[J]) -> Result<(), Error> {
        for jobs in jobs.chunks(MAX_BATCH) {
            let mut request = SendMessageBatchInput::builder().queue_url(&self.url);
            for (place, job) in jobs.iter().enumerate() {
                let entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(body(job)?);
                request = request.entries(entry.build().map_err(|error| Error { reason: error.to_string() })?);
            }
            let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
            if let Some(refused) = answer.failed.first() {
                return Err(Error { reason: refused.code.clone() });
            }
        }
        Ok(())
    }
}

fn body<J: Serialize>(job: &J) -> Result<String, Error> {
    serde_json::to_string(job).map_err(|error| Error { reason: error.to_string() })
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Error {
    Error { reason: crate::aws::error_code(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reads_back_from_its_wire_form() {
        let job = RefreshJob::Disconnect { tenant_id: TenantId::random(), provider: Provider::Gmail };
        let wire = serde_json::to_value(&job).expect("serializable");
        assert_eq!(wire["job"], "disconnect");
        assert_eq!(serde_json::from_value::<RefreshJob>(wire).expect("readable"), job);
        let tenant = TenantId::random();
        let job = RefreshJob::Due { connections: Provider::ALL.map(|provider| (tenant, provider)).into() };
        let wire = serde_json::to_value(&job).expect("serializable");
        assert_eq!(wire["connections"][0], serde_json::json!([tenant, "gmail"]));
        assert_eq!(serde_json::from_value::<RefreshJob>(wire).expect("readable"), job);
    }

    #[test]
    fn a_body_reads_back_as_it_was_sent() {
        assert_eq!(decode("{}", None).as_deref(), Some(b"{}".as_slice()));
        assert_eq!(decode(&STANDARD.encode([0xff, 0x00]), Some(BASE64)).as_deref(), Some([0xff, 0x00].as_slice()));
        assert_eq!(decode("not base64!", Some(BASE64)), None);
        assert!(!is_allowed('\u{FFFE}') && !is_allowed('\u{1}') && is_allowed('é') && is_allowed('😀'));
    }
}
