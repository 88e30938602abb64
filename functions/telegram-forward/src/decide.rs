//! Decides what happens to a queued update next: pure functions of the route, the attempt and `now`.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::backoff::exponential;
use nbhd::domain::route::{FailingUpdate, Route, RouteStatus};
use nbhd::providers::runtime::Delivery;

/// A message that was not delivered within this time is dead-lettered; the queue itself would drop it much later.
const EXPIRES_AFTER: Duration = Duration::from_secs(45 * 60);
/// A message on which a runtime that is up fails for so long is dead-lettered.
const FAILS_FOR: Duration = Duration::from_secs(5 * 60);
/// The queue moves a message away silently after 200 receives; we dead-letter it before that and notify the person.
const MAX_RECEIVES: u32 = 190;
/// A person who waits longer than this gets one notice that says why.
const NOTIFY_AFTER: Duration = Duration::from_secs(10);
/// A person whose assistant is still being set up after this long gets a second one.
const NOTIFY_ANEW_AFTER: Duration = Duration::from_secs(30 * 60);
/// The time between the first two attempts.
const FIRST_DELAY: Duration = Duration::from_secs(2);
/// The longest time between two attempts, unless the runtime asks for more.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The delivery attempts of a message, as its queue record counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The time at which the webhook queued the message.
    pub(crate) sent_at: Timestamp,
    /// The number of receives, this one included.
    pub(crate) receives: u32,
}

impl Attempt {
    /// Whether the message is dead-lettered unless it can be delivered this time.
    pub(crate) const fn is_last(self) -> bool {
        self.receives >= MAX_RECEIVES
    }
}

/// The target of a message by its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteTarget<'a> {
    /// The tenant's runtime at this address.
    Runtime(&'a Route, &'a str),
    /// The tenant has no container that is ready; the message waits.
    NotReady(&'a Route, Wait),
    /// The dead-letter queue: the tenant gets no messages any more.
    DeadLetter(Reason),
}

/// The state of an assistant that a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The assistant is being set up.
    Setup,
    /// The assistant is waking up.
    Waking,
    /// The assistant gets new keys: those that it has are not valid any more.
    NewKeys,
}

/// Why a message is dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no assistant for the chat any more.
    NoAssistant,
    /// The tenant is suspended.
    Suspended,
    /// The runtime refused the bytes: to it they are no update.
    Rejected,
    /// The runtime, which is up, failed on it for minutes.
    Failed,
    /// The message waited too long.
    Expired,
}

impl Reason {
    /// The stable code in log lines.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoAssistant => "no_assistant",
            Self::Suspended => "suspended",
            Self::Rejected => "rejected",
            Self::Failed => "runtime_failed",
            Self::Expired => "expired",
        }
    }
}

/// The decision on a message after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The runtime has stored it durably.
    Delivered {
        /// Whether the person got a notice to wait; its mark on the route is then cleared.
        was_notified: bool,
    },
    /// Keep it in the dead-letter queue and notify the person.
    DeadLetter(Reason),
    /// Leave it on the queue and have it redelivered.
    Retry {
        /// The time until the queue redelivers it.
        delay: Duration,
        /// The reason of the wait.
        wait: Wait,
        /// Whether the person has waited long enough for a notice, and has got none.
        notify: bool,
    },
}

impl Decision {
    /// The stable code in log lines.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::DeadLetter(reason) => reason.code(),
            Self::Retry { wait: Wait::Setup, .. } => "setup",
            Self::Retry { wait: Wait::Waking, .. } => "waking",
            Self::Retry { wait: Wait::NewKeys, .. } => "new_keys",
        }
    }

    /// The decision as the end of a log line.
    pub(crate) const fn summary(self) -> &'static str {
        match self {
            Self::Delivered { .. } => "was delivered",
            Self::DeadLetter(_) => "was moved to the dead-letter queue",
            Self::Retry { .. } => "was not delivered yet; the queue redelivers it",
        }
    }

    /// Whether the message leaves the queue.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Delivered { .. } | Self::DeadLetter(_) => true,
            Self::Retry { .. } => false,
        }
    }
}

/// Finds the target of a message by its route; a chat without a route has no assistant.
pub(crate) fn route_target(route: Option<&Route>) -> RouteTarget<'_> {
    let Some(route) = route else { return RouteTarget::DeadLetter(Reason::NoAssistant) };
    match (route.status, &route.runtime_url) {
        (RouteStatus::Suspended, _) => RouteTarget::DeadLetter(Reason::Suspended),
        (RouteStatus::Provisioning, _) => RouteTarget::NotReady(route, Wait::Setup),
        (RouteStatus::Active, None) => RouteTarget::NotReady(route, Wait::Waking),
        (RouteStatus::Active, Some(url)) => RouteTarget::Runtime(route, url),
    }
}

/// Decides on a message by the outcome of its delivery.
pub(crate) fn evaluate_delivery(delivery: Delivery, attempt: Attempt, route: &Route, now: Timestamp) -> Decision {
    match delivery {
        Delivery::Failed { .. } if route.failing.is_some_and(|failing| now >= failing.since + FAILS_FOR) => {
            Decision::DeadLetter(Reason::Failed)
        }
        Delivery::Failed { retry_after, .. } => retry_or_expire(Wait::Waking, retry_after, attempt, route, now),
        Delivery::Accepted => Decision::Delivered { was_notified: route.waking_notice_at.is_some() },
        Delivery::Rejected => Decision::DeadLetter(Reason::Rejected),
        Delivery::SecretRefused => retry_or_expire(Wait::Waking, None, attempt, route, now),
        Delivery::Deferred { retry_after, .. } => retry_or_expire(Wait::Waking, retry_after, attempt, route, now),
    }
}

/// Retries a message unless it has waited too long. Its time runs from activation, so set-up has no limit; and neither
/// have new keys, since they come with the reconciler's next look, an hour later at most.
pub(crate) fn retry_or_expire(
    wait: Wait,
    retry_after: Option<Duration>,
    attempt: Attempt,
    route: &Route,
    now: Timestamp,
) -> Decision {
    let waiting_since = route.activated_at.map_or(attempt.sent_at, |at| at.max(attempt.sent_at));
    let waited = now.since(waiting_since);
    let expired = waited >= EXPIRES_AFTER && wait == Wait::Waking;
    if expired || attempt.is_last() {
        return Decision::DeadLetter(Reason::Expired);
    }
    let delay = retry_after.unwrap_or_else(|| backoff(attempt.receives));
    let notify = match route.waking_notice_at {
        None => waited >= NOTIFY_AFTER,
        Some(at) => wait == Wait::Setup && waited >= NOTIFY_ANEW_AFTER && at < waiting_since + NOTIFY_ANEW_AFTER,
    };
    Decision::Retry { delay, wait, notify }
}

/// The update on which the runtime fails, after this outcome of a delivery of `update_id`.
pub(crate) fn failing_update(
    delivery: Delivery,
    update_id: i64,
    known: Option<FailingUpdate>,
    now: Timestamp,
) -> Option<FailingUpdate> {
    let is_failing = matches!(delivery, Delivery::Failed { .. });
    let same = known.filter(|known| known.update_id == update_id);
    is_failing.then(|| same.unwrap_or(FailingUpdate { update_id, since: now }))
}

/// The delay before the next attempt: 2, 4, 8 … 60 seconds after the first, second, third … one.
pub(crate) fn backoff(receives: u32) -> Duration {
    exponential(FIRST_DELAY, receives, MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use nbhd::domain::ids::{ChatId, TenantId};
    use nbhd::providers::runtime::RuntimeFailure;

    use super::*;

    const SENT: Timestamp = Timestamp::from_seconds(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn route() -> Route {
        let runtime_url = Some("https://runtime".to_owned());
        Route { runtime_url, ..Route::new(ChatId(1), TenantId::random()) }
    }

    fn not_accepted(receives: u32, route: &Route, age: Duration) -> Decision {
        let delivery = Delivery::Deferred { cause: RuntimeFailure::Unreachable, retry_after: None };
        evaluate_delivery(delivery, Attempt { sent_at: SENT, receives }, route, SENT + age)
    }

    #[test]
    fn the_route_says_where_a_message_goes() {
        let with = |status, url: Option<&str>| Route { status, runtime_url: url.map(str::to_owned), ..route() };
        let (active, homeless) = (with(RouteStatus::Active, Some("u")), with(RouteStatus::Active, None));
        let (setup, paused) = (with(RouteStatus::Provisioning, Some("u")), with(RouteStatus::Suspended, Some("u")));
        assert_eq!(route_target(None), RouteTarget::DeadLetter(Reason::NoAssistant));
        assert_eq!(route_target(Some(&active)), RouteTarget::Runtime(&active, "u"));
        assert_eq!(route_target(Some(&homeless)), RouteTarget::NotReady(&homeless, Wait::Waking));
        assert_eq!(route_target(Some(&setup)), RouteTarget::NotReady(&setup, Wait::Setup));
        assert_eq!(route_target(Some(&paused)), RouteTarget::DeadLetter(Reason::Suspended));
    }

    #[test]
    fn waiting_ends_at_45_minutes_and_a_delivery_always_comes_first() {
        let (route, limit, before) = (route(), 45 * MINUTE, 45 * MINUTE - Duration::from_millis(1));
        assert!(matches!(not_accepted(50, &route, before), Decision::Retry { .. }));
        assert_eq!(not_accepted(50, &route, limit), Decision::DeadLetter(Reason::Expired));
        let late = Attempt { sent_at: SENT, receives: 189 };
        let decision = evaluate_delivery(Delivery::Accepted, late, &route, SENT + 24 * 60 * MINUTE);
        assert_eq!(decision, Decision::Delivered { was_notified: false });
    }

    #[test]
    fn new_keys_are_waited_for_as_long_as_the_queue_lasts() {
        let decide = |receives, age| {
            retry_or_expire(Wait::NewKeys, None, Attempt { sent_at: SENT, receives }, &route(), SENT + age)
        };
        assert!(matches!(decide(50, 90 * MINUTE), Decision::Retry { wait: Wait::NewKeys, .. }));
        assert_eq!(decide(MAX_RECEIVES, 90 * MINUTE), Decision::DeadLetter(Reason::Expired));
    }

    #[test]
    fn time_runs_from_the_later_of_sending_and_activation() {
        let activated = |at| Route { activated_at: Some(at), ..route() };
        let (earlier, later) = (activated(SENT - 60 * MINUTE), activated(SENT + 60 * MINUTE));
        assert_eq!(not_accepted(50, &earlier, 45 * MINUTE), Decision::DeadLetter(Reason::Expired));
        assert!(matches!(not_accepted(50, &later, 104 * MINUTE), Decision::Retry { .. }));
        assert_eq!(not_accepted(50, &later, 105 * MINUTE), Decision::DeadLetter(Reason::Expired));
    }

    #[test]
    fn a_person_is_notified_after_ten_seconds_unless_they_were() {
        let notified = Route { waking_notice_at: Some(SENT), ..route() };
        let notifies = |decision| matches!(decision, Decision::Retry { notify: true, .. });
        assert!(!notifies(not_accepted(1, &route(), Duration::from_millis(9_999))));
        assert!(notifies(not_accepted(1, &route(), Duration::from_secs(10))));
        assert!(!notifies(not_accepted(1, &notified, Duration::from_secs(10))));
    }

    #[test]
    fn set_up_brings_a_second_notice_after_half_an_hour_and_no_third() {
        let notifies = |told: u64, age: u64| {
            let route = Route { waking_notice_at: Some(SENT + Duration::from_secs(told)), ..route() };
            let attempt = Attempt { sent_at: SENT, receives: 40 };
            let decision = retry_or_expire(Wait::Setup, None, attempt, &route, SENT + Duration::from_secs(age));
            matches!(decision, Decision::Retry { notify: true, .. })
        };
        assert!(!notifies(10, 1_799) && notifies(10, 1_800) && !notifies(1_800, 9_000));
    }

    #[test]
    fn only_five_minutes_of_failures_of_one_update_are_final() {
        let failed = Delivery::Failed { status: 500, retry_after: None };
        let since = |seconds| FailingUpdate { update_id: 7, since: SENT + Duration::from_secs(seconds) };
        assert_eq!(failing_update(failed, 7, None, SENT), Some(since(0)));
        assert_eq!(failing_update(failed, 7, Some(since(0)), SENT + MINUTE), Some(since(0)));
        assert_eq!(failing_update(failed, 7, Some(FailingUpdate { update_id: 6, ..since(0) }), SENT), Some(since(0)));
        assert_eq!(failing_update(Delivery::SecretRefused, 7, Some(since(0)), SENT), None);
        let route = Route { failing: Some(since(0)), ..route() };
        let decide = |age| evaluate_delivery(failed, Attempt { sent_at: SENT, receives: 9 }, &route, SENT + age);
        assert!(matches!(decide(5 * MINUTE - Duration::from_millis(1)), Decision::Retry { .. }));
        assert_eq!(decide(5 * MINUTE), Decision::DeadLetter(Reason::Failed));
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_for_any_count() {
        let waits: Vec<_> = (0..9).map(|receives| backoff(receives).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), MINUTE);
    }
}
