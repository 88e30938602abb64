//! A tenant's subscription at Stripe, and what it entitles to.
//!
//! The snapshot on the tenant's row was fetched from Stripe. It never comes from an event: events arrive twice, late
//! and out of order.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::InvalidId;
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an assistant keeps running after a payment failed.
pub const GRACE: Duration = DAY.saturating_mul(3);

/// How long a canceled tenant's resources are kept.
pub const RETENTION: Duration = DAY.saturating_mul(7);

/// A subscription's status. <https://docs.stripe.com/api/subscriptions/object#subscription_object-status>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The first payment is not made yet.
    Incomplete,
    /// The first payment was not made in time.
    IncompleteExpired,
    /// A trial is running.
    Trialing,
    /// The last invoice was paid.
    Active,
    /// The last payment failed and Stripe retries it.
    PastDue,
    /// The subscription ended.
    Canceled,
    /// The last payment failed and Stripe does not retry it.
    Unpaid,
    /// A trial ended without a payment method.
    Paused,
}

impl Status {
    /// Every status, in the order of its declaration.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Canceled,
        Self::Unpaid,
        Self::Paused,
    ];

    /// Stripe's name of the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    /// Whether a subscription of this status can be paid or resumed, so that a second one would be charged beside it.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Trialing | Self::Active | Self::PastDue | Self::Unpaid | Self::Paused => true,
            Self::Incomplete | Self::IncompleteExpired | Self::Canceled => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(InvalidId)
    }
}

/// The product that a person pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The smaller monthly limit for models.
    Basic,
    /// The larger monthly limit for models.
    Plus,
}

impl Tier {
    /// Every tier, the smaller first.
    pub const ALL: [Self; 2] = [Self::Basic, Self::Plus];

    /// The name in settings, forms and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Plus => "plus",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or(InvalidId)
    }
}

/// The subscription that counts for a tenant, as it was last fetched from Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Stripe's id, `sub_…`.
    pub id: String,
    /// Its status when it was fetched.
    pub status: Status,
    /// The tier of its price.
    pub tier: Tier,
    /// While past due, when the oldest invoice that is still open was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpaid_since: Option<Timestamp>,
    /// While past due, since when it was past due when it was first seen without an open invoice: one is still a draft,
    /// or was taken back or written off. Stays until the subscription is no longer past due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_due_since: Option<Timestamp>,
    /// When it ended; the retention counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When the period that is paid for ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_period_end: Option<Timestamp>,
    /// When it will end, once that is decided: with the period, or at any other time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// What a tenant may have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// Nothing yet: the first payment has not arrived.
    Pending,
    /// A running assistant, until `until` unless Stripe says otherwise before.
    Run {
        /// When the grace ends, while a payment is due, or the subscription.
        until: Option<Timestamp>,
    },
    /// A stopped assistant that keeps everything, until `until` unless Stripe says otherwise before.
    Suspend {
        /// When the retention ends, after a cancellation.
        until: Option<Timestamp>,
    },
    /// No assistant: everything of the tenant is removed.
    Remove,
}

impl Entitlement {
    /// When it changes by the passing of time alone.
    pub const fn changes_at(self) -> Option<Timestamp> {
        match self {
            Self::Run { until } | Self::Suspend { until } => until,
            Self::Pending | Self::Remove => None,
        }
    }
}

impl Subscription {
    /// What it entitles to at `now`.
    ///
    /// A missing date is Stripe's omission, not the person's: without a beginning the grace has not begun, without
    /// `ended_at` neither has the retention. Nothing is removed for `ends_at` alone: Stripe says that it has ended.
    pub fn entitlement(&self, now: Timestamp) -> Entitlement {
        let lapses_at = self.lapses_at();
        let has_lapsed = lapses_at.is_some_and(|at| at <= now);
        match self.status {
            Status::Active | Status::Trialing | Status::PastDue if has_lapsed => Entitlement::Suspend { until: None },
            Status::Active | Status::Trialing | Status::PastDue => Entitlement::Run { until: lapses_at },
            Status::Unpaid | Status::Paused => Entitlement::Suspend { until: None },
            Status::Canceled | Status::IncompleteExpired if has_lapsed => Entitlement::Remove,
            Status::Canceled | Status::IncompleteExpired => Entitlement::Suspend { until: lapses_at },
            Status::Incomplete => Entitlement::Pending,
        }
    }

    /// When it entitles to less by the passing of time alone; `None` when it does not.
    pub fn lapses_at(&self) -> Option<Timestamp> {
        match self.status {
            Status::Active | Status::Trialing => self.ends_at,
            Status::PastDue => {
                let begun = self.unpaid_since.into_iter().chain(self.past_due_since).min();
                begun.map(|since| since + GRACE).into_iter().chain(self.ends_at).min()
            }
            Status::Canceled | Status::IncompleteExpired => self.ended_at.map(|ended| ended + RETENTION),
            Status::Incomplete | Status::Unpaid | Status::Paused => None,
        }
    }

    /// Until when it gave the right to run, for one that no longer does; `None` where that is not known.
    pub fn ran_until(&self) -> Option<Timestamp> {
        match self.status {
            Status::Active | Status::Trialing | Status::PastDue => self.lapses_at(),
            Status::Canceled | Status::IncompleteExpired => self.ended_at,
            Status::Incomplete | Status::Unpaid | Status::Paused => None,
        }
    }

    /// What is left of it after its customer was deleted, which ends whatever has not ended before.
    #[must_use]
    pub fn after_deletion(self, now: Timestamp) -> Self {
        match self.status {
            Status::Canceled | Status::IncompleteExpired => self,
            Status::Incomplete
            | Status::Trialing
            | Status::Active
            | Status::PastDue
            | Status::Unpaid
            | Status::Paused => Self {
                status: Status::Canceled,
                ended_at: Some(now),
                unpaid_since: None,
                past_due_since: None,
                ends_at: None,
                ..self
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Timestamp = Timestamp::from_seconds(1_000_000);

    fn subscription(status: Status) -> Subscription {
        Subscription {
            id: "sub_1".to_owned(),
            status,
            tier: Tier::Basic,
            unpaid_since: Some(SINCE),
            past_due_since: None,
            ended_at: Some(SINCE),
            current_period_end: None,
            ends_at: None,
        }
    }

    #[test]
    fn every_status_entitles_as_decided_before_and_after_its_time() {
        let (run, suspend) = (Entitlement::Run { until: None }, Entitlement::Suspend { until: None });
        let removed_later = Entitlement::Suspend { until: Some(SINCE + RETENTION) };
        let table = [
            (Status::Incomplete, Entitlement::Pending, Entitlement::Pending),
            (Status::IncompleteExpired, removed_later, Entitlement::Remove),
            (Status::Trialing, run, run),
            (Status::Active, run, run),
            (Status::PastDue, Entitlement::Run { until: Some(SINCE + GRACE) }, suspend),
            (Status::Canceled, removed_later, Entitlement::Remove),
            (Status::Unpaid, suspend, suspend),
            (Status::Paused, suspend, suspend),
        ];
        assert_eq!(table.map(|(status, ..)| status), Status::ALL);
        for (status, at_first, in_the_end) in table {
            assert_eq!(subscription(status).entitlement(SINCE), at_first, "{status}");
            assert_eq!(subscription(status).entitlement(SINCE + RETENTION), in_the_end, "{status}");
        }
    }

    #[test]
    fn a_grace_or_retention_without_a_beginning_has_no_end() {
        let undated = |status| Subscription { unpaid_since: None, ended_at: None, ..subscription(status) };
        let far = SINCE + RETENTION.saturating_mul(100);
        assert_eq!(undated(Status::PastDue).entitlement(far), Entitlement::Run { until: None });
        assert_eq!(undated(Status::Canceled).entitlement(far), Entitlement::Suspend { until: None });
    }

    #[test]
    fn a_grace_counts_from_the_earlier_of_what_is_known() {
        let later = SINCE + DAY;
        let grace_end = |unpaid_since, past_due_since| {
            Subscription { unpaid_since, past_due_since, ..subscription(Status::PastDue) }.lapses_at()
        };
        assert_eq!(grace_end(Some(SINCE), None), Some(SINCE + GRACE));
        assert_eq!(grace_end(None, Some(SINCE)), Some(SINCE + GRACE));
        assert_eq!(grace_end(Some(later), Some(SINCE)), Some(SINCE + GRACE));
        assert_eq!(grace_end(Some(SINCE), Some(later)), Some(SINCE + GRACE));
    }

    #[test]
    fn a_decided_end_suspends_at_its_time_and_removes_nothing() {
        let end = SINCE + DAY;
        for status in Status::ALL {
            let decided = Subscription { ends_at: Some(end), ..subscription(status) };
            let runs = matches!(status, Status::Trialing | Status::Active | Status::PastDue);
            if runs {
                assert_eq!(decided.entitlement(SINCE), Entitlement::Run { until: Some(end) }, "{status}");
                let far = end + RETENTION.saturating_mul(100);
                assert_eq!(decided.entitlement(end), Entitlement::Suspend { until: None }, "{status}");
                assert_eq!(decided.entitlement(far), Entitlement::Suspend { until: None }, "{status}");
            } else {
                assert_eq!(decided.entitlement(SINCE), subscription(status).entitlement(SINCE), "{status}");
            }
        }
        let long = Subscription { ends_at: Some(SINCE + RETENTION), ..subscription(Status::PastDue) };
        assert_eq!(long.lapses_at(), Some(SINCE + GRACE), "the grace ends first");
    }

    #[test]
    fn a_deleted_customer_ends_whatever_has_not_ended_before() {
        let later = SINCE + DAY;
        for status in Status::ALL {
            let left = subscription(status).after_deletion(later);
            if matches!(status, Status::Canceled | Status::IncompleteExpired) {
                assert_eq!(left, subscription(status), "{status}");
            } else {
                assert_eq!(
                    left.entitlement(later),
                    Entitlement::Suspend { until: Some(later + RETENTION) },
                    "{status}"
                );
                assert_eq!(left.clone().after_deletion(later + DAY), left, "{status}: asked about again");
            }
        }
    }

    #[test]
    fn stripes_names_are_read_back() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).expect("serializable"), status.as_str());
        }
        assert!("biennial".parse::<Status>().is_err());
        assert!(Tier::ALL.into_iter().all(|tier| tier.as_str().parse() == Ok(tier)));
    }
}
