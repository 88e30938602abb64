//! The AWS JSON protocol in front of the queues.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use nbhd::clock::Timestamp;
use serde_json::{Map, Value, json};

use super::limits::{MAX_BYTES, size};
use super::queue::{Message, Outgoing, Queue, Refusal};
use super::{State, find};
use crate::rights;

type Answer = Result<Value, Refusal>;

/// The most entries of a batch, and the most messages of a receive.
const MAX_ENTRIES: usize = 10;

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(answer).with_state(state)
}

async fn answer(Extract(state): Extract<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix("AmazonSQS.").unwrap_or_default();
    if state.faults.take(operation).is_some() {
        let body = json!({ "__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "a simulated failure" });
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    }
    let signed = headers.get("authorization").is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 "));
    let result = match serde_json::from_slice::<Value>(&body) {
        _ if !signed => Err(Refusal::new("MissingAuthenticationToken", "The request is not signed.")),
        Ok(request) => {
            let queue = request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or("*");
            rights::record_queue_call(&headers, operation, queue);
            state.perform(operation, &request)
        }
        Err(_) => Err(Refusal::new("SerializationException", "The body is not JSON.")),
    };
    state.changed.send_replace(());
    match result {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// Clients read the code from the header where there is one, else from `__type`.
fn refused(refusal: &Refusal) -> Response {
    let legacy = match refusal.code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
        code => code,
    };
    let body = json!({ "__type": format!("com.amazonaws.sqs#{}", refusal.code), "message": refusal.message });
    (StatusCode::BAD_REQUEST, [("x-amzn-query-error", format!("{legacy};Sender"))], axum::Json(body)).into_response()
}

impl State {
    fn perform(&self, operation: &str, request: &Value) -> Answer {
        if operation == "StartMessageMoveTask" {
            return self.start_message_move_task(request);
        }
        let url = text(request, "QueueUrl")?;
        let name = url.rsplit('/').next().unwrap_or_default();
        let now = self.clock.now();
        let unknown = || Refusal::new("QueueDoesNotExist", "The specified queue does not exist.");
        let mut queues = self.queues();
        let queue = find(&mut queues, name).ok_or_else(unknown)?;
        match operation {
            "SendMessage" => send(queue, now, request),
            "SendMessageBatch" => send_batch(queue, now, request),
            "DeleteMessage" => queue.delete(now, text(request, "ReceiptHandle")?).map(|()| json!({})),
            "ChangeMessageVisibility" => {
                let visibility = seconds(request, "VisibilityTimeout")?;
                queue.change_visibility(now, text(request, "ReceiptHandle")?, visibility).map(|()| json!({}))
            }
            "GetQueueAttributes" => Ok(json!({ "Attributes": attributes(queue, now) })),
            "PurgeQueue" => {
                queue.purge();
                Ok(json!({}))
            }
            "ReceiveMessage" => {
                drop(queues);
                self.receive_message(name, request)
            }
            _ => Err(Refusal::new("UnknownOperationException", format!("`{operation}` is not simulated."))),
        }
    }

    /// Moves everything at once, where SQS takes its time.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html>
    fn start_message_move_task(&self, request: &Value) -> Answer {
        let name_in = |arn: &str| arn.rsplit(':').next().unwrap_or_default().to_owned();
        let name = name_in(text(request, "SourceArn")?);
        let to = request["DestinationArn"].as_str().map(name_in);
        let moved = self.redrive(&name, to.as_deref()).ok_or_else(|| {
            Refusal::new("ResourceNotFoundException", "There is no such dead-letter queue, or no such destination.")
        })?;
        Ok(json!({ "TaskHandle": format!("task-{name}-{moved}") }))
    }

    fn receive_message(&self, name: &str, request: &Value) -> Answer {
        let max = request["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
        if !(1..=MAX_ENTRIES).contains(&max) {
            return Err(Refusal::new("InvalidParameterValue", "MaxNumberOfMessages must be between 1 and 10."));
        }
        let visibility = request.get("VisibilityTimeout").map(|_| seconds(request, "VisibilityTimeout")).transpose()?;
        let messages: Vec<_> = self.receive(name, max, visibility).iter().map(received).collect();
        Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) })
    }
}

fn send(queue: &mut Queue, now: Timestamp, request: &Value) -> Answer {
    let fifo = queue.is_fifo();
    let (id, sequence) = queue.send(now, outgoing(request))?;
    let mut sent = json!({ "MessageId": id });
    if fifo {
        sent["SequenceNumber"] = sequence_number(sequence).into();
    }
    Ok(sent)
}

fn send_batch(queue: &mut Queue, now: Timestamp, request: &Value) -> Answer {
    let entries = request["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Err(Refusal::new("EmptyBatchRequest", "There should be at least one entry in the request."));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(Refusal::new("TooManyEntriesInBatchRequest", "A batch holds at most 10 entries."));
    }
    let ids: std::collections::HashSet<_> = entries.iter().map(|entry| entry["Id"].as_str()).collect();
    if ids.len() < entries.len() {
        return Err(Refusal::new("BatchEntryIdsNotDistinct", "Two or more entries have the same id."));
    }
    if entries.iter().map(|entry| size(&outgoing(entry))).sum::<usize>() > MAX_BYTES {
        return Err(Refusal::new("BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes."));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match send(queue, now, entry) {
            Ok(mut sent) => {
                sent["Id"] = entry["Id"].clone();
                successful.push(sent);
            }
            Err(refusal) => failed.push(json!({
                "Id": entry["Id"], "SenderFault": true, "Code": refusal.code, "Message": refusal.message,
            })),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

fn outgoing(request: &Value) -> Outgoing {
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    Outgoing {
        body: text("MessageBody").unwrap_or_default(),
        attributes: request["MessageAttributes"].clone(),
        group: text("MessageGroupId"),
        deduplication: text("MessageDeduplicationId"),
        delay: Duration::from_secs(request["DelaySeconds"].as_u64().unwrap_or_default()),
    }
}

fn received(message: &Message) -> Value {
    json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "Body": message.sent.body,
        "Attributes": system_attributes(message),
        "MessageAttributes": message.sent.attributes,
    })
}

/// A message's system attributes, as a receive and a Lambda event show them.
pub(crate) fn system_attributes(message: &Message) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut show = |name: &str, value: String| {
        shown.insert(name.to_owned(), value.into());
    };
    show("ApproximateReceiveCount", message.receive_count.to_string());
    show("SentTimestamp", message.sent_at.millis().to_string());
    show("SenderId", "AROANBHDSENDER:local".to_owned());
    if let Some(at) = message.first_received_at {
        show("ApproximateFirstReceiveTimestamp", at.millis().to_string());
    }
    if let Some(deduplication) = &message.sent.deduplication {
        show("SequenceNumber", sequence_number(message.sequence));
        show("MessageDeduplicationId", deduplication.clone());
    }
    if let Some(group) = &message.sent.group {
        show("MessageGroupId", group.clone());
    }
    shown
}

/// SQS counts FIFO messages in 20 digits.
fn sequence_number(sequence: u64) -> String {
    format!("188{sequence:017}")
}

fn attributes(queue: &Queue, now: Timestamp) -> Value {
    let hidden = queue.messages().iter().filter(|message| message.visible_at > now);
    let (in_flight, delayed): (Vec<_>, Vec<_>) = hidden.partition(|message| message.receipt.is_some());
    let visible = queue.messages().len() - in_flight.len() - delayed.len();
    json!({
        "ApproximateNumberOfMessages": visible.to_string(),
        "ApproximateNumberOfMessagesNotVisible": in_flight.len().to_string(),
        "ApproximateNumberOfMessagesDelayed": delayed.len().to_string(),
        "VisibilityTimeout": queue.settings().visibility.as_secs().to_string(),
        "MessageRetentionPeriod": queue.settings().retention.as_secs().to_string(),
        "QueueArn": arn(queue.settings().name),
    })
}

/// A queue's ARN in the local world.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    let missing = || Refusal::new("MissingParameter", format!("The request must contain the parameter {name}."));
    request[name].as_str().ok_or_else(missing)
}

fn seconds(request: &Value, name: &str) -> Result<Duration, Refusal> {
    let invalid = || Refusal::new("InvalidParameterValue", format!("{name} must be a number of seconds."));
    request[name].as_u64().map(Duration::from_secs).ok_or_else(invalid)
}
