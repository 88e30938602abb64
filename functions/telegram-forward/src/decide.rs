//! What happens to a message next: pure decisions over what is known about it.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::providers::runtime::Delivery;

/// A message that was not delivered for so long is given up. Its queue would do so only much later, and silently.
const GIVE_UP_AFTER: Duration = Duration::from_secs(45 * 60);
/// The queue's own limit is 200 receives; before it takes a message away silently, we give it up and say so.
const GIVE_UP_RECEIVES: u32 = 190;
/// A person who waits longer is told why, once.
const TELL_AFTER: Duration = Duration::from_secs(10);
/// The longest time between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What the queue says of a message that comes up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// When it was put on the queue.
    pub(crate) sent_at: Timestamp,
    /// How often it came up, this time included.
    pub(crate) receives: u32,
}

impl Attempt {
    /// Whether the message is given up unless it can be delivered this time.
    pub(crate) const fn is_last(self) -> bool {
        self.receives >= GIVE_UP_RECEIVES
    }
}

/// Where the route says that a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim<'a> {
    /// To the runtime at this address.
    Runtime(&'a Route, &'a str),
    /// Nowhere yet.
    Nowhere(&'a Route, Wait),
    /// Nowhere any more.
    DeadLetter(Reason),
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The assistant is being set up.
    Setup,
    /// The assistant is waking up.
    Waking,
}

/// Why a message is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no assistant for the chat any more.
    NoAssistant,
    /// The tenant is suspended.
    Suspended,
    /// The runtime says that it is no update.
    Rejected,
    /// It waited too long.
    Expired,
}

impl Reason {
    /// The stable code in log lines.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoAssistant => "no_assistant",
            Self::Suspended => "suspended",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is in the runtime's keeping.
    Done {
        /// Whether the person was told to wait; the mark of it is cleared.
        was_told: bool,
    },
    /// Keep it for the operators and tell the person.
    DeadLetter(Reason),
    /// Try again later.
    Retry {
        /// When.
        after: Duration,
        /// What it waits for.
        wait: Wait,
        /// Whether the person has waited long enough to be told, if nobody has told them yet.
        tell: bool,
    },
}

impl Next {
    /// The stable code in log lines.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Done { .. } => "delivered",
            Self::DeadLetter(reason) => reason.code(),
            Self::Retry { wait: Wait::Setup, .. } => "setup",
            Self::Retry { wait: Wait::Waking, .. } => "waking",
        }
    }

    /// Whether the message may leave the queue.
    pub(crate) const fn settles(self) -> bool {
        match self {
            Self::Done { .. } | Self::DeadLetter(_) => true,
            Self::Retry { .. } => false,
        }
    }
}

/// Where a message of this chat goes now.
pub(crate) fn aim(route: Option<&Route>) -> Aim<'_> {
    let Some(route) = route else { return Aim::DeadLetter(Reason::NoAssistant) };
    match (route.status, &route.runtime_url) {
        (RouteStatus::Suspended, _) => Aim::DeadLetter(Reason::Suspended),
        (RouteStatus::Provisioning, _) => Aim::Nowhere(route, Wait::Setup),
        (RouteStatus::Active, None) => Aim::Nowhere(route, Wait::Waking),
        (RouteStatus::Active, Some(url)) => Aim::Runtime(route, url),
    }
}

/// What a delivery's outcome means for its message.
pub(crate) fn after(delivery: Delivery, attempt: Attempt, route: &Route, now: Timestamp) -> Next {
    match delivery {
        Delivery::Accepted => Next::Done { was_told: route.waking_told_at.is_some() },
        Delivery::Rejected => Next::DeadLetter(Reason::Rejected),
        Delivery::SecretRefused => wait(Wait::Waking, None, attempt, route, now),
        Delivery::NotYet { retry_after, .. } => wait(Wait::Waking, retry_after, attempt, route, now),
    }
}

/// A message waits, unless it has waited too long. Set-up has no time limit: a message's time runs from activation.
pub(crate) fn wait(wait: Wait, retry_after: Option<Duration>, attempt: Attempt, route: &Route, now: Timestamp) -> Next {
    let waiting_since = route.activated_at.map_or(attempt.sent_at, |at| at.max(attempt.sent_at));
    let waited = now.since(waiting_since);
    let expired = waited >= GIVE_UP_AFTER && wait == Wait::Waking;
    if expired || attempt.is_last() {
        return Next::DeadLetter(Reason::Expired);
    }
    let after = retry_after.unwrap_or_else(|| backoff(attempt.receives));
    Next::Retry { after, wait, tell: waited >= TELL_AFTER && route.waking_told_at.is_none() }
}

/// 2, 4, 8 … 60 seconds after the first, second, third … attempt.
pub(crate) fn backoff(receives: u32) -> Duration {
    Duration::from_secs(2_u64.saturating_pow(receives.max(1))).min(MAX_DELAY)
}
