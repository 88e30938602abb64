//! One queue: what it holds and who may take it when. Pure; the time is an argument.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nbhd::clock::Timestamp;
use serde_json::Value;

/// Within this time a FIFO queue takes a repeated deduplication id of a group and drops the message.
pub const DEDUPLICATION: Duration = Duration::from_secs(5 * 60);
/// The longest visibility timeout.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// How a queue was created.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ends in `.fifo` for a FIFO queue.
    pub name: &'static str,
    /// How long a received message is hidden from others.
    pub visibility: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// Where a message goes that was received too often.
    pub redrive: Option<Redrive>,
}

/// A queue's `RedrivePolicy`.
#[derive(Clone, Copy, Debug)]
pub struct Redrive {
    /// The name of the dead-letter queue.
    pub to: &'static str,
    /// A message received this often is moved instead of being received again.
    pub max_receive_count: u32,
}

/// A message as its sender hands it in.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The text.
    pub body: String,
    /// `MessageAttributes` as on the wire.
    pub attributes: Value,
    /// `MessageGroupId`; FIFO queues require it.
    pub group: Option<String>,
    /// `MessageDeduplicationId`; FIFO queues require it here (content-based deduplication is off).
    pub deduplication: Option<String>,
    /// Hidden at first for this long; standard queues only.
    pub delay: Duration,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// The identifier from sending; it is kept on the way to a dead-letter queue.
    pub id: String,
    /// What was sent.
    pub sent: Outgoing,
    /// Grows with each message of the queue.
    pub sequence: u64,
    /// `SentTimestamp`.
    pub sent_at: Timestamp,
    /// `ApproximateFirstReceiveTimestamp`.
    pub first_received_at: Option<Timestamp>,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// It can be received from then on.
    pub visible_at: Timestamp,
    /// The handle of the latest receive.
    pub receipt: Option<String>,
    /// The queue whose redrive policy put it here; `None` for one that was sent here.
    pub source: Option<&'static str>,
}

/// Why a request was refused, with SQS's error code and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `ReceiptHandleIsInvalid`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A queue and its messages, oldest first.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    messages: Vec<Message>,
    recent: HashMap<(Option<String>, String), Recent>,
    sequence: u64,
}

#[derive(Debug)]
struct Recent {
    at: Timestamp,
    id: String,
    sequence: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, messages: Vec::new(), recent: HashMap::new(), sequence: 0 }
    }

    /// How it was created.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it keeps order within a group.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.settings.name.ends_with(".fifo")
    }

    /// Every message it holds, oldest first, visible or not.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Takes a message in and returns its id and sequence number; a repeat gets those of the first.
    ///
    /// # Errors
    /// What SQS refuses of a message: see `limits.rs`, and what its kind of queue requires or forbids.
    pub fn send(&mut self, now: Timestamp, sent: Outgoing) -> Result<(String, u64), Refusal> {
        super::limits::check(&sent, self.is_fifo())?;
        self.recent.retain(|_, known| now < known.at + DEDUPLICATION);
        let key = sent.deduplication.clone().map(|key| (sent.group.clone(), key));
        if let Some(first) = key.as_ref().and_then(|key| self.recent.get(key)) {
            return Ok((first.id.clone(), first.sequence));
        }
        self.sequence += 1;
        let (id, sequence) = (uuid::Uuid::new_v4().to_string(), self.sequence);
        if let Some(key) = key {
            self.recent.insert(key, Recent { at: now, id: id.clone(), sequence });
        }
        self.messages.push(Message {
            id: id.clone(),
            visible_at: now + sent.delay,
            sent,
            sequence,
            sent_at: now,
            first_received_at: None,
            receive_count: 0,
            receipt: None,
            source: None,
        });
        Ok((id, sequence))
    }

    /// Hands out up to `max` messages and hides them for `visibility` (the queue's own where `None`).
    ///
    /// The second list holds the messages that were received too often: they leave for the dead-letter queue. A group
    /// with a message in flight gives nothing.
    pub fn receive(
        &mut self,
        now: Timestamp,
        max: usize,
        visibility: Option<Duration>,
    ) -> (Vec<Message>, Vec<Message>) {
        self.expire(now);
        let dead = self.take_exhausted(now);
        let hidden_until = now + visibility.unwrap_or(self.settings.visibility);
        let locked = self.locked_groups(now);
        let visible = |message: &&mut Message| {
            message.visible_at <= now && message.sent.group.as_ref().is_none_or(|group| !locked.contains(group))
        };
        let received = self.messages.iter_mut().filter(visible).take(max).map(|message| {
            message.receive_count += 1;
            message.first_received_at.get_or_insert(now);
            message.visible_at = hidden_until;
            message.receipt = Some(format!("{}#{}", message.id, message.receive_count));
            message.clone()
        });
        (received.collect(), dead)
    }

    /// Removes the message of a receipt handle; a message that was removed before is no error.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` for a handle this queue never gave, and on a FIFO queue for one that has expired.
    pub fn delete(&mut self, now: Timestamp, receipt: &str) -> Result<(), Refusal> {
        let Some(index) = self.find(receipt)? else { return Ok(()) };
        let message = &self.messages[index];
        let current = message.receipt.as_deref() == Some(receipt);
        if self.is_fifo() && !(current && now < message.visible_at) {
            return Err(Refusal::new("InvalidParameterValue", "The receipt handle has expired."));
        }
        if current {
            self.messages.remove(index);
        }
        Ok(())
    }

    /// Hides the message of a receipt handle for `visibility` from now.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid`; `MessageNotInflight` when nobody holds it; `InvalidParameterValue` above 12 hours.
    pub fn change_visibility(&mut self, now: Timestamp, receipt: &str, visibility: Duration) -> Result<(), Refusal> {
        if visibility > MAX_VISIBILITY {
            return Err(Refusal::new("InvalidParameterValue", "VisibilityTimeout must be between 0 and 43200."));
        }
        let not_in_flight = || Refusal::new("MessageNotInflight", "The message is not in flight.");
        let index = self.find(receipt)?.ok_or_else(not_in_flight)?;
        let message = &mut self.messages[index];
        if message.receipt.as_deref() != Some(receipt) || message.visible_at <= now {
            return Err(not_in_flight());
        }
        message.visible_at = now + visibility;
        Ok(())
    }

    /// When the next message can be received, in the past where one can be already; `None` when the queue is empty.
    #[must_use]
    pub fn next_visible(&self) -> Option<Timestamp> {
        let mut groups: HashMap<&str, Timestamp> = HashMap::new();
        for message in self.messages.iter().filter(|_| self.is_fifo()) {
            let group = message.sent.group.as_deref().unwrap_or_default();
            let free_at = groups.entry(group).or_insert(message.visible_at);
            *free_at = message.visible_at.max(*free_at);
        }
        let of_message = |message: &Message| match message.sent.group.as_deref() {
            Some(group) if self.is_fifo() => groups[group],
            Some(_) | None => message.visible_at,
        };
        self.messages.iter().map(of_message).min()
    }

    /// Takes in a message that was moved from another queue; a FIFO queue gives it a new time.
    pub(super) fn accept_moved(&mut self, now: Timestamp, source: Option<&'static str>, mut message: Message) {
        self.sequence += 1;
        message.source = source;
        message.sequence = self.sequence;
        (message.visible_at, message.receipt, message.receive_count) = (now, None, 0);
        if self.is_fifo() {
            message.sent_at = now;
        }
        self.messages.push(message);
    }

    /// Removes every message.
    pub(super) fn purge(&mut self) {
        self.messages.clear();
    }

    /// Removes and returns the messages that a redrive policy put here, or all.
    pub(super) fn take_redrivable(&mut self, all: bool) -> Vec<Message> {
        self.messages.extract_if(.., |message| all || message.source.is_some()).collect()
    }

    fn expire(&mut self, now: Timestamp) {
        let retention = self.settings.retention;
        self.messages.retain(|message| now < message.sent_at + retention);
    }

    fn take_exhausted(&mut self, now: Timestamp) -> Vec<Message> {
        let Some(redrive) = self.settings.redrive else { return Vec::new() };
        let exhausted =
            |message: &mut Message| message.visible_at <= now && message.receive_count >= redrive.max_receive_count;
        self.messages.extract_if(.., exhausted).collect()
    }

    fn locked_groups(&self, now: Timestamp) -> HashSet<String> {
        let in_flight = |message: &&Message| self.is_fifo() && message.visible_at > now;
        self.messages.iter().filter(in_flight).filter_map(|message| message.sent.group.clone()).collect()
    }

    /// The index of the message that a handle was issued for; `None` when it was removed.
    fn find(&self, receipt: &str) -> Result<Option<usize>, Refusal> {
        let invalid = || Refusal::new("ReceiptHandleIsInvalid", "The input receipt handle is invalid.");
        let (id, count) = receipt.split_once('#').ok_or_else(invalid)?;
        if uuid::Uuid::parse_str(id).is_err() || count.parse::<u32>().is_err() {
            return Err(invalid());
        }
        Ok(self.messages.iter().position(|message| message.id == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000_000);
    const VISIBILITY: Duration = Duration::from_secs(30);

    fn fifo() -> Queue {
        let redrive = Some(Redrive { to: "dead.fifo", max_receive_count: 2 });
        Queue::new(Settings { name: "q.fifo", visibility: VISIBILITY, retention: Duration::from_secs(3600), redrive })
    }

    fn send(queue: &mut Queue, now: Timestamp, group: &str, key: &str) -> Result<(String, u64), Refusal> {
        let (group, deduplication) = (Some(group.to_owned()), Some(key.to_owned()));
        queue.send(now, Outgoing { body: key.to_owned(), group, deduplication, ..Outgoing::default() })
    }

    fn bodies(queue: &mut Queue, now: Timestamp) -> Vec<String> {
        queue.receive(now, 10, None).0.into_iter().map(|message| message.sent.body).collect()
    }

    #[test]
    fn a_group_with_a_message_in_flight_gives_nothing_and_others_go_on() {
        let mut queue = fifo();
        for (group, key) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            send(&mut queue, START, group, key).expect("taken");
        }
        let first = queue.receive(START, 1, None).0.remove(0);
        assert_eq!(first.sent.body, "a1");
        assert_eq!(bodies(&mut queue, START), ["b1"]);
        assert_eq!(queue.next_visible(), Some(START + VISIBILITY));

        queue.delete(START, &first.receipt.expect("received")).expect("in flight");
        assert_eq!(bodies(&mut queue, START), ["a2"]);
    }

    #[test]
    fn a_hidden_message_keeps_its_place_in_its_group() {
        let mut queue = fifo();
        send(&mut queue, START, "a", "a1").expect("taken");
        send(&mut queue, START, "a", "a2").expect("taken");
        let first = queue.receive(START, 1, None).0.remove(0).receipt.expect("received");
        queue.change_visibility(START, &first, Duration::from_secs(2)).expect("in flight");
        assert_eq!(bodies(&mut queue, START + Duration::from_secs(1)), [""; 0]);
        assert_eq!(bodies(&mut queue, START + Duration::from_secs(2)), ["a1", "a2"]);
    }

    #[test]
    fn a_repeat_is_dropped_for_five_minutes_even_after_deletion() {
        let mut queue = fifo();
        let first = send(&mut queue, START, "a", "1").expect("taken");
        assert_eq!(send(&mut queue, START + DEDUPLICATION - Duration::from_millis(1), "a", "1"), Ok(first.clone()));
        assert_ne!(send(&mut queue, START + DEDUPLICATION, "a", "1"), Ok(first));
        assert_eq!(queue.messages().len(), 2);
    }

    #[test]
    fn received_too_often_leaves_for_the_dead_letter_queue() {
        let mut queue = fifo();
        send(&mut queue, START, "a", "1").expect("taken");
        assert_eq!(queue.receive(START, 1, Some(Duration::ZERO)).0[0].receive_count, 1);
        assert_eq!(queue.receive(START, 1, Some(Duration::ZERO)).0[0].receive_count, 2);
        let (received, dead) = queue.receive(START, 1, None);
        assert_eq!((received.len(), dead.len(), queue.messages().len()), (0, 1, 0));
    }

    #[test]
    fn an_expired_or_unknown_receipt_is_refused() {
        let mut queue = fifo();
        send(&mut queue, START, "a", "1").expect("taken");
        let receipt = queue.receive(START, 1, None).0.remove(0).receipt.expect("received");
        let later = START + VISIBILITY;
        assert_eq!(queue.delete(later, &receipt).map_err(|refusal| refusal.code), Err("InvalidParameterValue"));
        let hide = |queue: &mut Queue, receipt: &str, by| queue.change_visibility(later, receipt, by);
        assert_eq!(hide(&mut queue, &receipt, VISIBILITY).map_err(|refusal| refusal.code), Err("MessageNotInflight"));
        for wrong in ["nonsense", "nonsense#1", ""] {
            assert_eq!(queue.delete(START, wrong).map_err(|refusal| refusal.code), Err("ReceiptHandleIsInvalid"));
        }
        let too_long = MAX_VISIBILITY + Duration::from_secs(1);
        assert!(hide(&mut queue, &receipt, too_long).is_err());
    }

    #[test]
    fn what_sqs_refuses_is_refused() {
        let mut queue = fifo();
        let mut sent = |body: &str, group: Option<&str>| {
            let (group, deduplication) = (group.map(str::to_owned), Some("1".to_owned()));
            let message = Outgoing { body: body.to_owned(), group, deduplication, ..Outgoing::default() };
            queue.send(START, message).map(|_| ()).map_err(|refusal| refusal.code)
        };
        assert_eq!(sent("", Some("g")), Err("MissingParameter"));
        assert_eq!(sent("x", None), Err("MissingParameter"));
        assert_eq!(sent("x", Some("with space")), Err("InvalidParameterValue"));
        assert_eq!(sent("\u{0}", Some("g")), Err("InvalidMessageContents"));
        assert_eq!(sent("\u{FFFE}", Some("g")), Err("InvalidMessageContents"));
        assert_eq!(sent(&"x".repeat(super::super::MAX_BYTES + 1), Some("g")), Err("InvalidParameterValue"));
        assert_eq!(sent("\t\n\r \u{E000}\u{1F600}", Some("g")), Ok(()));
    }

    #[test]
    fn retention_ends_a_message() {
        let mut queue = fifo();
        send(&mut queue, START, "a", "1").expect("taken");
        assert_eq!(bodies(&mut queue, START + Duration::from_secs(3600)), [""; 0]);
    }
}
