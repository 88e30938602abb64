//! A history as a sequence of events that can be written down and played again: what happened to one person, when, and
//! which fault each invocation met. It names no random choice, so a recording outlives changes of how they are made.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd_sim::interruption::{SenderFate, StopPoint};
use serde::{Deserialize, Serialize};

use super::faults::Fault;
use super::world::START;

/// A recorded history.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    pub(super) setting: Setting,
    pub(super) events: Vec<Event>,
}

/// What was decided before the first event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Setting {
    /// Which person of their world it is: their tenant's id, and so every jitter, follows from it.
    pub(super) person: usize,
    /// What Stripe does when a payment fails for good.
    pub(super) dunning: Dunning,
    /// The promise that was broken when it was recorded.
    pub(super) broke: String,
}

/// What Stripe makes of a subscription whose payment fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dunning {
    Unpaid,
    Canceled,
    PastDue,
}

/// One event, at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    /// Milliseconds since the history began.
    pub(super) at: u64,
    #[serde(flatten)]
    pub(super) kind: EventKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventKind {
    /// The person does something at Stripe, or an operator for them.
    Act(Act),
    /// Stripe posts an event: the `nth` (from 0) of this kind about the person.
    Post { kind: String, nth: usize, disruption: Disruption },
    /// A job about the tenant is taken off the queue.
    Reconcile { disruption: Disruption },
    /// Another worker takes up the tenant while the one at work is held.
    OtherWorker,
    /// Jobs about tokens are worked off.
    TokenJobs,
    /// The next list of runtime keys is in force, for everybody.
    KeysAreRolled,
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Act {
    /// Goes to the checkout, and turns back there.
    TurnsBack {
        card_works: bool,
    },
    /// Goes to the checkout and subscribes.
    Subscribes {
        plus: bool,
        card_works: bool,
        beginning: Beginning,
    },
    CardFails,
    CardWorks,
    Cancels,
    CancelsAtPeriodEnd,
    StaysAfterAll,
    Pauses,
    Resumes,
    Disputes,
    PaysWhatIsOpen,
    /// Presses the button on our page, and goes on at Stripe.
    ChecksOut {
        plus: bool,
        end: CheckoutEnd,
        /// Whether Stripe answers the first press with an error that it keeps under the call's key.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        after_stored_error: bool,
    },
    ConnectsGoogle,
    DisconnectsGoogle,
    KeysAreRotated,
    HoldIsToggled,
    /// An operator gives them an assistant.
    GiftIsGiven {
        plus: bool,
        hours: u64,
    },
    GiftIsRevoked,
}

/// What a person does on Stripe's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckoutEnd {
    TurnsBack,
    Pays,
    /// Also on every page that they were sent to before, as far as those can be paid.
    PaysOnEveryPage,
}

/// How a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Beginning {
    Paid,
    TrialOfHours(u64),
    Incomplete,
}

/// What becomes of one invocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Disruption {
    None,
    /// It is stopped dead after so many requests.
    Crash(StopPoint),
    /// It is held after so many requests, while others go on.
    Hold {
        at: StopPoint,
        /// What happens meanwhile; `None` when that is still to be drawn, or when it ended before.
        meanwhile: Option<Meanwhile>,
    },
    /// One of its requests is under way for a while before it takes effect.
    Late {
        at: StopPoint,
        sender: SenderFate,
        /// Milliseconds after the sender was stopped, or went on.
        lands_after: u64,
    },
    /// Something it calls fails.
    Fault(Fault),
}

/// What happens while an invocation is held, and until when it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Meanwhile {
    pub(super) events: Vec<Event>,
    /// Milliseconds since the history began.
    pub(super) until: u64,
    /// Whether that outlives its lease.
    #[serde(default)]
    pub(super) is_frozen: bool,
}

impl Disruption {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Event {
    pub(super) fn new(at: Timestamp, kind: EventKind) -> Self {
        Self { at: since_start(at), kind }
    }
}

pub(super) fn since_start(at: Timestamp) -> u64 {
    u64::try_from(at.since(START).as_millis()).expect("few")
}

pub(super) fn at(since_start: u64) -> Timestamp {
    START + Duration::from_millis(since_start)
}

impl History {
    /// As a file: the setting, then an event a line, each in JSON.
    pub(super) fn to_lines(&self) -> String {
        let events = self.events.iter().map(|event| serde_json::to_string(event).expect("JSON"));
        let setting = serde_json::to_string(&self.setting).expect("JSON");
        std::iter::once(setting).chain(events).map(|line| line + "\n").collect()
    }

    pub(super) fn parse(lines: &str) -> Self {
        let mut lines = lines.lines();
        let setting = serde_json::from_str(lines.next().expect("a setting")).expect("a setting");
        Self { setting, events: lines.map(|line| serde_json::from_str(line).expect("an event")).collect() }
    }
}
