//! Lambda's event source for SQS, with its limits: one message an invocation, partial batch responses, a cap on
//! concurrent invocations, a timeout, deletion only at the end of the invocation.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use nbhd::clock::Clock;
use serde_json::{Map, Value, json};

use crate::sqs::queue::Message;
use crate::sqs::{Sqs, api};

/// The largest event Lambda takes.
pub const MAX_EVENT_BYTES: usize = 6 << 20;

/// The limits of the invocations.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `MaximumConcurrency` of the event source.
    pub concurrency: usize,
    /// The function's timeout: an invocation that takes longer is dropped where it stands.
    pub timeout: Duration,
}

impl Default for Limits {
    /// Those of `template.yaml`.
    fn default() -> Self {
        Self { concurrency: 200, timeout: Duration::from_secs(90) }
    }
}

/// How invocations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The message was done and deleted.
    pub done: usize,
    /// The function reported it as failed; it stays until it is visible again.
    pub reported: usize,
    /// The function returned an error or an unusable report, panicked, or was killed.
    pub crashed: usize,
    /// The function took longer than its timeout.
    pub timed_out: usize,
    /// The function was done, but after the message had become visible to others again.
    pub too_late: usize,
    /// The most invocations at once.
    pub most_at_once: usize,
}

impl Report {
    /// How many invocations there were.
    #[must_use]
    pub fn invocations(&self) -> usize {
        self.done + self.reported + self.crashed + self.timed_out + self.too_late
    }

    fn count(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Reported => &mut self.reported,
            Outcome::Crashed => &mut self.crashed,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::TooLate => &mut self.too_late,
        };
        *counter += 1;
    }

    /// Counts what `other` counted.
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.reported += other.reported;
        self.crashed += other.crashed;
        self.timed_out += other.timed_out;
        self.too_late += other.too_late;
        self.most_at_once = self.most_at_once.max(other.most_at_once);
    }
}

enum Outcome {
    Done,
    Reported,
    Crashed,
    TimedOut,
    TooLate,
}

/// Feeds a queue's messages to a function.
#[derive(Debug)]
pub struct Pump<H> {
    sqs: Sqs,
    queue: &'static str,
    clock: Clock,
    limits: Limits,
    handler: H,
}

impl<H, F, E> Pump<H>
where
    H: Fn(SqsEvent) -> F,
    F: Future<Output = Result<SqsBatchResponse, E>>,
{
    /// A pump from `queue` to `handler`, which is what the function's `main` would run.
    pub fn new(sqs: &Sqs, queue: &'static str, clock: &Clock, limits: Limits, handler: H) -> Self {
        Self { sqs: sqs.clone(), queue, clock: clock.clone(), limits, handler }
    }

    /// Invokes the function for what can be received now, and returns when nothing more can.
    pub async fn drain(&self) -> Report {
        let mut report = Report::default();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.limits.concurrency
                && let Some(message) = self.receive()
            {
                running.push(self.invoke(message));
            }
            report.most_at_once = report.most_at_once.max(running.len());
            match running.next().await {
                Some(outcome) => report.count(outcome),
                None => return report,
            }
        }
    }

    /// Empties the queue, moving the clock on (or waiting, with the system's) to when a hidden message is visible.
    pub async fn run_until_idle(&self) -> Report {
        let mut report = Report::default();
        loop {
            report.add(self.drain().await);
            match self.sqs.next_visible(self.queue) {
                Some(at) => self.clock.sleep_until(at).await,
                None => return report,
            }
        }
    }

    /// Feeds the function for as long as it is polled; for clocks that run.
    pub async fn run(&self) -> Infallible {
        let mut changes = self.sqs.watch();
        let mut running = FuturesUnordered::new();
        loop {
            changes.mark_unchanged();
            while running.len() < self.limits.concurrency
                && let Some(message) = self.receive()
            {
                running.push(self.invoke(message));
            }
            let has_room = running.len() < self.limits.concurrency;
            tokio::select! {
                Some(_) = running.next() => {}
                Ok(()) = changes.changed(), if has_room => {}
                () = self.wait_for_next(), if has_room => {}
            }
        }
    }

    fn receive(&self) -> Option<Message> {
        self.sqs.receive(self.queue, 1, None).pop()
    }

    async fn wait_for_next(&self) {
        match self.sqs.next_visible(self.queue) {
            Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
            None => std::future::pending().await,
        }
    }

    async fn invoke(&self, message: Message) -> Outcome {
        let Some(event) = event(self.queue, &message) else { return Outcome::Crashed };
        let invocation = AssertUnwindSafe((self.handler)(event)).catch_unwind();
        let response = match tokio::time::timeout(self.limits.timeout, invocation).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(_)) | Err(_)) => return Outcome::Crashed,
            Err(_) => return Outcome::TimedOut,
        };
        let failures = response.batch_item_failures;
        if failures.iter().any(|failure| failure.item_identifier == message.id) {
            return Outcome::Reported;
        }
        if !failures.is_empty() {
            return Outcome::Crashed;
        }
        match self.sqs.delete(self.queue, message.receipt.as_deref().unwrap_or_default()) {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::TooLate,
        }
    }
}

/// The event of one message; `None` when it is larger than Lambda takes.
#[must_use]
pub fn event(queue: &str, message: &Message) -> Option<SqsEvent> {
    let event = json!({ "Records": [{
        "messageId": message.id,
        "receiptHandle": message.receipt,
        "body": message.sent.body,
        "attributes": api::system_attributes(message),
        "messageAttributes": message_attributes(message),
        "eventSource": "aws:sqs",
        "eventSourceARN": api::arn(queue),
        "awsRegion": "us-east-1",
    }] });
    if event.to_string().len() > MAX_EVENT_BYTES {
        return None;
    }
    serde_json::from_value(event).ok()
}

/// SQS writes an attribute's members with a capital, Lambda without.
fn message_attributes(message: &Message) -> Map<String, Value> {
    let attributes = message.sent.attributes.as_object().into_iter().flatten();
    let renamed = attributes.map(|(name, attribute)| {
        let attribute = json!({
            "dataType": attribute["DataType"],
            "stringValue": attribute["StringValue"],
            "stringListValues": [],
            "binaryListValues": [],
        });
        (name.clone(), attribute)
    });
    renamed.collect()
}
