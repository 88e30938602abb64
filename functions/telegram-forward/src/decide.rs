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

#[cfg(test)]
mod tests {
    use nbhd::domain::ids::{ChatId, TenantId};
    use nbhd::providers::runtime::Cause;

    use super::*;

    const SENT: Timestamp = Timestamp::from_seconds(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn route() -> Route {
        Route {
            chat_id: ChatId(1),
            tenant_id: TenantId::random(),
            status: RouteStatus::Active,
            runtime_url: Some("https://runtime".to_owned()),
            generation: 1,
            other_generation: None,
            activated_at: None,
            arrival: None,
            last_update: None,
            slow_down: None,
            waking_told_at: None,
        }
    }

    fn not_taken(receives: u32, route: &Route, age: Duration) -> Next {
        let delivery = Delivery::NotYet { cause: Cause::Unreachable, retry_after: None };
        after(delivery, Attempt { sent_at: SENT, receives }, route, SENT + age)
    }

    #[test]
    fn the_route_says_where_a_message_goes() {
        let with = |status, url: Option<&str>| Route { status, runtime_url: url.map(str::to_owned), ..route() };
        let (active, homeless) = (with(RouteStatus::Active, Some("u")), with(RouteStatus::Active, None));
        let (setup, paused) = (with(RouteStatus::Provisioning, Some("u")), with(RouteStatus::Suspended, Some("u")));
        assert_eq!(aim(None), Aim::DeadLetter(Reason::NoAssistant));
        assert_eq!(aim(Some(&active)), Aim::Runtime(&active, "u"));
        assert_eq!(aim(Some(&homeless)), Aim::Nowhere(&homeless, Wait::Waking));
        assert_eq!(aim(Some(&setup)), Aim::Nowhere(&setup, Wait::Setup));
        assert_eq!(aim(Some(&paused)), Aim::DeadLetter(Reason::Suspended));
    }

    #[test]
    fn waiting_ends_at_45_minutes_and_a_delivery_always_comes_first() {
        let (route, limit, before) = (route(), 45 * MINUTE, 45 * MINUTE - Duration::from_millis(1));
        assert!(matches!(not_taken(50, &route, before), Next::Retry { .. }));
        assert_eq!(not_taken(50, &route, limit), Next::DeadLetter(Reason::Expired));
        let late = Attempt { sent_at: SENT, receives: 189 };
        assert_eq!(after(Delivery::Accepted, late, &route, SENT + 24 * 60 * MINUTE), Next::Done { was_told: false });
    }

    #[test]
    fn time_runs_from_the_later_of_sending_and_activation() {
        let activated = |at| Route { activated_at: Some(at), ..route() };
        let (earlier, later) = (activated(SENT - 60 * MINUTE), activated(SENT + 60 * MINUTE));
        assert_eq!(not_taken(50, &earlier, 45 * MINUTE), Next::DeadLetter(Reason::Expired));
        assert!(matches!(not_taken(50, &later, 104 * MINUTE), Next::Retry { .. }));
        assert_eq!(not_taken(50, &later, 105 * MINUTE), Next::DeadLetter(Reason::Expired));
    }

    #[test]
    fn a_person_is_told_after_ten_seconds_unless_they_were() {
        let told = Route { waking_told_at: Some(SENT), ..route() };
        let tells = |next| matches!(next, Next::Retry { tell: true, .. });
        assert!(!tells(not_taken(1, &route(), Duration::from_millis(9_999))));
        assert!(tells(not_taken(1, &route(), Duration::from_secs(10))));
        assert!(!tells(not_taken(1, &told, Duration::from_secs(10))));
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_for_any_count() {
        let waits: Vec<_> = (0..9).map(|receives| backoff(receives).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), MINUTE);
    }
}
