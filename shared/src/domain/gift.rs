//! An operator's gift; and the one decision what a tenant may have, from Stripe's word, a gift and a hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::subscription::{Entitlement, RETENTION, Subscription, Tier};
use crate::clock::Timestamp;

/// An assistant that an operator gave, until a time, with `nbhd grant`. One that has ended stays on the row: the
/// retention may count from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gift {
    /// When it ends.
    pub until: Timestamp,
    /// The tier that is given.
    pub tier: Tier,
}

impl Gift {
    /// Whether it runs at `now`.
    pub fn is_running(self, now: Timestamp) -> bool {
        now < self.until
    }

    /// When it changes something by the passing of time: at its end, and when the retention after it ends.
    pub fn changes(self) -> [Timestamp; 2] {
        [self.until, self.until + RETENTION]
    }

    /// The last day, in UTC, on which it runs, such as `2027-01-31`.
    pub fn last_day(self) -> String {
        let mut day = (self.until - Duration::from_millis(1)).rfc3339();
        day.truncate(10);
        day
    }
}

/// What a tenant may have at `now`.
///
/// A gift gives the right to run until its end, whatever Stripe says. After its end Stripe's word counts, and nothing
/// is removed before the retention has passed since that end; without a subscription it is as if one had ended with the
/// gift. An operator's hold suspends whatever else would run.
pub fn decide_entitlement(
    subscription: Option<&Subscription>,
    gift: Option<Gift>,
    is_held: bool,
    now: Timestamp,
) -> Entitlement {
    let paid = subscription.map_or(Entitlement::Pending, |known| known.entitlement(now));
    let entitled = match gift {
        None => paid,
        Some(gift) if gift.is_running(now) => during(gift, paid),
        Some(gift) => after(gift, paid, subscription.is_some(), now),
    };
    match entitled {
        Entitlement::Run { .. } if is_held => Entitlement::Suspend { until: None },
        Entitlement::Pending | Entitlement::Run { .. } | Entitlement::Suspend { .. } | Entitlement::Remove => entitled,
    }
}

fn during(gift: Gift, paid: Entitlement) -> Entitlement {
    let until = match paid {
        Entitlement::Run { until } => until.map(|lapses_at| lapses_at.max(gift.until)),
        Entitlement::Pending | Entitlement::Suspend { .. } | Entitlement::Remove => Some(gift.until),
    };
    Entitlement::Run { until }
}

fn after(gift: Gift, paid: Entitlement, is_subscribed: bool, now: Timestamp) -> Entitlement {
    let kept_until = gift.until + RETENTION;
    match paid {
        // A first payment is under way.
        Entitlement::Pending if is_subscribed => paid,
        Entitlement::Pending | Entitlement::Remove if kept_until <= now => Entitlement::Remove,
        Entitlement::Pending | Entitlement::Remove => Entitlement::Suspend { until: Some(kept_until) },
        Entitlement::Suspend { until: Some(at) } => Entitlement::Suspend { until: Some(at.max(kept_until)) },
        Entitlement::Suspend { until: None } | Entitlement::Run { .. } => paid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ChatId, TenantId};
    use crate::domain::plan::{Learned, Spec, apply, plan};
    use crate::domain::reconcile_status::StripeBackoff;
    use crate::domain::step_error::StepError;
    use crate::domain::subscription::{GRACE, Status};
    use crate::domain::tenant::{Lifecycle, Tenant};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const PENDING: Entitlement = Entitlement::Pending;
    const REMOVE: Entitlement = Entitlement::Remove;

    const fn run(until: Option<Timestamp>) -> Entitlement {
        Entitlement::Run { until }
    }

    const fn suspend(until: Option<Timestamp>) -> Entitlement {
        Entitlement::Suspend { until }
    }

    fn subscription(status: Status, since: Timestamp) -> Subscription {
        Subscription {
            id: "sub_1".to_owned(),
            status,
            tier: Tier::Basic,
            unpaid_since: Some(since),
            past_due_since: None,
            ended_at: Some(since),
            current_period_end: None,
            ends_at: None,
        }
    }

    /// Each of Stripe's words, with and without a gift of each kind: what it comes to without a hold. With one, what
    /// would run is suspended, and all else is the same.
    #[test]
    fn every_word_of_stripes_with_every_gift_and_hold_entitles_as_decided() {
        let (running, just_ended, ended_before) = (NOW + DAY, NOW, NOW - RETENTION);
        let (given, kept) = (run(Some(running)), suspend(Some(NOW + RETENTION)));
        // A subscription is past due, or over, for a day; or for longer than grace and retention.
        let (fresh, old) = (NOW - DAY, NOW - RETENTION * 2);
        let (late, over) = (run(Some(fresh + GRACE)), suspend(Some(fresh + RETENTION)));
        let (paid, unpaid) = (run(None), suspend(None));
        let word = |status, since| Some(subscription(status, since));
        // Stripe's word; then without a gift, with one that runs, that ended just now, and that ended a week ago.
        let table = [
            (None, PENDING, given, kept, REMOVE),
            (word(Status::Incomplete, fresh), PENDING, given, PENDING, PENDING),
            (word(Status::IncompleteExpired, fresh), over, given, kept, over),
            (word(Status::IncompleteExpired, old), REMOVE, given, kept, REMOVE),
            (word(Status::Trialing, fresh), paid, paid, paid, paid),
            (word(Status::Active, fresh), paid, paid, paid, paid),
            (word(Status::PastDue, fresh), late, late, late, late),
            (word(Status::PastDue, old), unpaid, given, unpaid, unpaid),
            (word(Status::Canceled, fresh), over, given, kept, over),
            (word(Status::Canceled, old), REMOVE, given, kept, REMOVE),
            (word(Status::Unpaid, old), unpaid, given, unpaid, unpaid),
            (word(Status::Paused, old), unpaid, given, unpaid, unpaid),
        ];
        for status in Status::ALL {
            let is_named = table.iter().any(|(word, ..)| word.as_ref().is_some_and(|known| known.status == status));
            assert!(is_named, "{status}");
        }
        for (word, none, runs, just, before) in table {
            let gifts = [(None, none), (Some(running), runs), (Some(just_ended), just), (Some(ended_before), before)];
            for (until, expected) in gifts {
                let gift = until.map(|until| Gift { until, tier: Tier::Plus });
                let decided = |is_held| decide_entitlement(word.as_ref(), gift, is_held, NOW);
                assert_eq!(decided(false), expected, "{word:?}, {gift:?}");
                let held = if matches!(expected, Entitlement::Run { .. }) { suspend(None) } else { expected };
                assert_eq!(decided(true), held, "held: {word:?}, {gift:?}");
            }
        }
    }

    #[test]
    fn a_gift_longer_than_the_grace_runs_to_its_own_end() {
        let gift = Gift { until: NOW + GRACE * 2, tier: Tier::Basic };
        let due = subscription(Status::PastDue, NOW);
        assert_eq!(decide_entitlement(Some(&due), Some(gift), false, NOW), run(Some(gift.until)));
    }

    #[test]
    fn an_end_whose_date_stripe_leaves_out_removes_nothing_after_a_gift_either() {
        let gift = Gift { until: NOW, tier: Tier::Basic };
        let undated = Subscription { ended_at: None, ..subscription(Status::Canceled, NOW) };
        assert_eq!(decide_entitlement(Some(&undated), Some(gift), false, NOW + RETENTION * 9), suspend(None));
    }

    #[test]
    fn the_last_day_of_a_gift_is_the_day_before_a_midnight() {
        let time = |text| Timestamp::parse_rfc3339(text).expect("a time");
        let last_day = |text| Gift { until: time(text), tier: Tier::Basic }.last_day();
        assert_eq!(last_day("2027-02-01T00:00:00Z"), "2027-01-31");
        assert_eq!(last_day("2027-02-01T00:00:01Z"), "2027-02-01");
    }

    fn spec() -> Spec {
        let newest_key = "k1".parse().expect("an id");
        Spec {
            release: "r".to_owned(),
            fingerprint: "f".to_owned(),
            limit_cents: 500,
            newest_key,
            older_keys: Vec::new(),
        }
    }

    fn names(tenant: &Tenant, now: Timestamp) -> Vec<&'static str> {
        plan(tenant, &spec(), now).steps.iter().map(|step| step.name().as_str()).collect()
    }

    fn given(until: Timestamp) -> Tenant {
        let gift = Some(Gift { until, tier: Tier::Basic });
        Tenant { gift, ..Tenant::new(TenantId::random(), ChatId(1001)) }
    }

    #[test]
    fn a_gift_alone_comes_up_at_its_end_and_when_its_retention_ends_and_never_asks_stripe() {
        let until = NOW + DAY * 90;
        // Held before anything was built: nothing else would make it come up.
        let mut tenant = Tenant { held: true, ..given(until) };
        assert_eq!(plan(&tenant, &spec(), NOW).due(NOW), Some(until));
        assert_eq!(plan(&tenant, &spec(), until).due(until), Some(until + RETENTION));
        assert_eq!(names(&tenant, until + RETENTION).first(), Some(&"deprovision"));
        for held in [true, false] {
            tenant.held = held;
            for now in [NOW, until, until + RETENTION] {
                assert!(!names(&tenant, now).contains(&"sync"), "held: {held}, {now}");
            }
        }
        assert_eq!(names(&tenant, NOW).first(), Some(&"provision"));
    }

    #[test]
    fn stripe_is_asked_before_a_gifts_end_suspends_a_customer_and_not_while_it_runs() {
        let customer = Some("cus_1".to_owned());
        let mut tenant = Tenant { customer, lifecycle: Lifecycle::Active, ..given(NOW + DAY) };
        tenant.reconcile.synced_at = Some(NOW + DAY - Duration::from_secs(1));
        assert_eq!(names(&tenant, NOW + DAY)[..2], ["sync", "suspend"]);
        tenant.lifecycle = Lifecycle::Suspended;
        tenant.subscription = Some(subscription(Status::Canceled, NOW - DAY));
        tenant.reconcile.synced_at = Some(NOW - DAY * 2);
        tenant.gift = Some(Gift { until: NOW + RETENTION * 2, tier: Tier::Basic });
        let lapsed = NOW + RETENTION;
        tenant.reconcile.stripe_backoff =
            Some(StripeBackoff { failures: 1, error: StepError::NoAnswer, until: lapsed + DAY });
        assert_eq!(names(&tenant, lapsed).first(), Some(&"provision"), "whatever Stripe would say");
    }

    #[test]
    fn a_new_life_after_a_removal_keeps_gift_hold_and_a_spent_trial() {
        let mut tenant = Tenant { held: true, trial_spent: true, ..given(NOW + DAY) };
        apply(&mut tenant, &Learned::LifeRestarted, NOW);
        assert_eq!((tenant.gift, tenant.held, tenant.trial_spent), (given(NOW + DAY).gift, true, true));
    }

    #[test]
    fn a_trial_that_stripe_once_named_stays_spent() {
        let mut tenant = given(NOW);
        for (has_trialed, spent) in [(false, false), (true, true), (false, true)] {
            apply(&mut tenant, &Learned::SubscriptionFetched { subscription: None, has_trialed }, NOW);
            assert_eq!(tenant.trial_spent, spent);
        }
        assert!(tenant.to_tombstone(NOW).reactivate(ChatId(1), None, NOW).trial_spent);
    }

    #[test]
    fn a_customer_who_is_gone_takes_along_what_they_paid_for_and_leaves_the_rest() {
        let paid = Tenant {
            customer: Some("cus_1".to_owned()),
            subscription: Some(subscription(Status::Trialing, NOW)),
            held: true,
            ..given(NOW + DAY)
        };
        let left = paid.clone().without_customer(NOW);
        assert_eq!((left.customer.clone(), left.gift, left.held, left.trial_spent), (None, paid.gift, true, true));
        assert_eq!(Tenant { gift: None, ..left }.entitlement(NOW), suspend(Some(NOW + RETENTION)));
    }

    #[test]
    fn the_better_tier_of_those_that_give_the_right_to_run_counts() {
        let tier = |status, gift: Option<Gift>| {
            let subscription = Some(Subscription { tier: Tier::Plus, ..subscription(status, NOW) });
            Tenant { subscription, gift, ..given(NOW) }.tier(NOW)
        };
        let basic = Some(Gift { until: NOW + DAY, tier: Tier::Basic });
        assert_eq!(tier(Status::Active, basic), Tier::Plus);
        assert_eq!(tier(Status::Canceled, basic), Tier::Basic);
        assert_eq!(tier(Status::Canceled, None), Tier::Plus, "as it was");
        assert_eq!(Tenant { gift: None, ..given(NOW) }.tier(NOW), Tier::Basic);
        let ended = |until| Some(Gift { until, tier: Tier::Basic });
        assert_eq!(tier(Status::Canceled, ended(NOW - DAY)), Tier::Plus, "the gift ended first");
        let later = Subscription { tier: Tier::Plus, ..subscription(Status::Canceled, NOW - DAY) };
        let tenant = Tenant { subscription: Some(later), gift: ended(NOW), ..given(NOW) };
        assert_eq!(tenant.tier(NOW), Tier::Basic, "the gift ended last: nothing changes by that");
    }
}
