//! SQS queues: Telegram updates and the functions' jobs. Only this module names `aws_sdk_sqs`.

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
use crate::domain::inventory::Place;

pub use dead_letters::{DeadLetter, DeadLetters};

crate::aws::impl_requests! {
    ChangeMessageVisibilityInput: ChangeMessageVisibility =>
        ChangeMessageVisibilityOutput, ChangeMessageVisibilityError;
    SendMessageBatchInput: SendMessageBatch => SendMessageBatchOutput, SendMessageBatchError;
    SendMessageInput: SendMessage => SendMessageOutput, SendMessageError;
}

/// The message attribute that names the encoding of a body; without it the body is the update's own bytes.
pub const ENCODING: &str = "encoding";
/// The only value of [`ENCODING`].
pub const BASE64: &str = "base64";

/// The longest update, in bytes, that always fits a message of at most 1 MiB, even as base64.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const LARGEST_UPDATE: usize = 767 * 1024;

/// The most messages of one batch.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const MAX_BATCH: usize = 10;

/// The longest visibility timeout of a received message.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);

/// The longest delay of a new message.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// A request to a queue failed. Whether it took effect is unknown.
#[derive(Debug, thiserror::Error)]
#[error("the queue is unavailable ({reason})")]
pub struct Error {
    reason: String,
}

/// A client of SQS, from which the clients of single queues are made.
#[derive(Clone, Debug)]
pub struct Queues {
    service: Service,
}

impl Queues {
    /// Reads the region and the credentials from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing.
    pub fn new(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { service: Service::from_env(env, "sqs")? })
    }

    /// A FIFO queue of Telegram updates by its URL.
    pub fn updates(&self, url: &str) -> Updates {
        Updates { service: self.service.clone(), url: url.to_owned() }
    }

    /// The queue of `scheduled-refresh` by its URL.
    pub fn refresh_jobs(&self, url: &str) -> Jobs<RefreshJob> {
        Jobs { service: self.service.clone(), url: url.to_owned(), job: PhantomData }
    }

    /// A dead-letter queue by its URL.
    pub fn dead_letters(&self, url: &str) -> DeadLetters {
        DeadLetters { service: self.service.clone(), url: url.to_owned() }
    }

    /// The queue of `tenant-reconcile` by its URL.
    pub fn lifecycle_jobs(&self, url: &str) -> Jobs<LifecycleJob> {
        Jobs { service: self.service.clone(), url: url.to_owned(), job: PhantomData }
    }
}

/// A FIFO queue of Telegram updates (the inbound queue or its dead-letter queue): one group per chat, deduplicated by
/// update id.
#[derive(Clone, Debug)]
pub struct Updates {
    service: Service,
    url: String,
}

impl Updates {
    /// Puts an update on the queue, byte for byte; SQS drops a repeat of the same update id within five minutes.
    ///
    /// Bytes that SQS refuses (not UTF-8, or a character outside its set) are sent as base64 with the attribute
    /// [`ENCODING`]; [`decode`] reverses that.
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
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| to_error(&error))
    }

    /// Sets the visibility timeout of a received message: it is redelivered after `delay` (whole seconds, at most 12
    /// hours).
    ///
    /// # Errors
    /// [`Error`]; the message is then redelivered after the queue's own visibility timeout.
    pub async fn delay_redelivery(&self, receipt: &str, delay: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(delay.min(MAX_VISIBILITY).as_secs()).unwrap_or(i32::MAX);
        let request = ChangeMessageVisibilityInput::builder().queue_url(&self.url).receipt_handle(receipt);
        let request = request.visibility_timeout(seconds);
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| to_error(&error))
    }
}

/// Decodes the update's own bytes from a message's body and its [`ENCODING`]; `None` when the body claims to be base64
/// and is not.
pub fn decode(body: &str, encoding: Option<&str>) -> Option<Vec<u8>> {
    match encoding {
        Some(BASE64) => STANDARD.decode(body).ok(),
        Some(_) | None => Some(body.as_bytes().to_vec()),
    }
}

/// Whether SQS accepts a character in a message's body.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// A job of the function `scheduled-refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum RefreshJob {
    /// Process connections that are due; the row of each says what it needs.
    Due {
        /// The connections, with those of one tenant side by side.
        connections: Vec<(TenantId, Provider)>,
    },
    /// Remove a revoked connection's tokens.
    Disconnect {
        /// The tenant that had the connection.
        tenant_id: TenantId,
        /// The Google service that it led to.
        provider: Provider,
    },
}

/// A job of the function `tenant-reconcile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum LifecycleJob {
    /// Bring the tenant's resources into the state that its row asks for.
    Reconcile {
        /// The tenant to reconcile.
        tenant_id: TenantId,
    },
    /// Compare what there is at vendors with the rows.
    Inventory(Place),
    /// Remove what no row knows, at an operator's word.
    RemoveOrphan {
        /// The inventory that has it: an Azure subscription's id, or [`GATEWAY`](crate::domain::inventory::GATEWAY).
        inventory: String,
        /// Which one: [`Orphan::id`](crate::domain::inventory::Orphan::id).
        orphan: String,
    },
}

/// A queue of one function's jobs, delivered in any order and each at least once.
#[derive(Clone, Debug)]
pub struct Jobs<J> {
    service: Service,
    url: String,
    job: PhantomData<J>,
}

impl<J: Serialize> Jobs<J> {
    /// Puts a job on the queue without a delay.
    ///
    /// # Errors
    /// [`Error`]; the job may be on the queue all the same.
    pub async fn send(&self, job: &J) -> Result<(), Error> {
        self.send_delayed(job, Duration::ZERO).await
    }

    /// Puts a job on the queue that is delivered after `delay` (whole seconds, at most [`MAX_DELAY`]).
    ///
    /// # Errors
    /// [`Error`]; the job may be on the queue all the same.
    pub async fn send_delayed(&self, job: &J, delay: Duration) -> Result<(), Error> {
        let request = SendMessageInput::builder().queue_url(&self.url).message_body(serialize_job(job)?);
        let seconds = i32::try_from(delay.min(MAX_DELAY).as_secs()).unwrap_or_default();
        let request = if seconds > 0 { request.delay_seconds(seconds) } else { request };
        self.service.send(request.build()).await.map(|_| ()).map_err(|error| to_error(&error))
    }

    /// Puts jobs on the queue in batches of ten.
    ///
    /// # Errors
    /// [`Error`]; some or all of the jobs may be on the queue all the same.
    pub async fn send_all(&self, jobs: &[J]) -> Result<(), Error> {
        for jobs in jobs.chunks(MAX_BATCH) {
            let mut request = SendMessageBatchInput::builder().queue_url(&self.url);
            for (place, job) in jobs.iter().enumerate() {
                let entry =
                    SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(serialize_job(job)?);
                request = request.entries(entry.build().map_err(|error| Error { reason: error.to_string() })?);
            }
            let answer = self.service.send(request.build()).await.map_err(|error| to_error(&error))?;
            if let Some(refused) = answer.failed.first() {
                return Err(Error { reason: refused.code.clone() });
            }
        }
        Ok(())
    }
}

fn serialize_job<J: Serialize>(job: &J) -> Result<String, Error> {
    serde_json::to_string(job).map_err(|error| Error { reason: error.to_string() })
}

fn to_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Error {
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
    fn a_lifecycle_job_reads_back_from_its_wire_form() {
        let began = crate::clock::Timestamp::from_seconds(1_795_240_000);
        let reconcile = LifecycleJob::Reconcile { tenant_id: TenantId::random() };
        let places = [Place::All, Place::Subscription { id: "s".to_owned() }, Place::Gateway { offset: 99, began }];
        let orphan = LifecycleJob::RemoveOrphan { inventory: "s".to_owned(), orphan: "o".to_owned() };
        for job in places.map(LifecycleJob::Inventory).into_iter().chain([reconcile, orphan]) {
            let wire = serde_json::to_string(&job).expect("serializable");
            assert_eq!(serde_json::from_str::<LifecycleJob>(&wire).expect("readable"), job, "{wire}");
        }
    }

    #[test]
    fn a_body_reads_back_as_it_was_sent() {
        assert_eq!(decode("{}", None).as_deref(), Some(b"{}".as_slice()));
        assert_eq!(decode(&STANDARD.encode([0xff, 0x00]), Some(BASE64)).as_deref(), Some([0xff, 0x00].as_slice()));
        assert_eq!(decode("not base64!", Some(BASE64)), None);
        assert!(!is_allowed('\u{FFFE}') && !is_allowed('\u{1}') && is_allowed('é') && is_allowed('😀'));
    }
}
