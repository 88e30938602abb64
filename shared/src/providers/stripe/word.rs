//! Stripe's present word about a customer: which subscription counts, and where it stands.

use std::cmp::Reverse;

use serde_json::Value;

use super::{Client, Error, Prices};
use crate::clock::Timestamp;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::subscription::{Status, Subscription, Tier};
use crate::telemetry;

/// The largest page of a list. <https://docs.stripe.com/api/pagination>
const PAGE: &str = "100";

/// What Stripe says of a customer now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The subscription that counts. `None` leaves what is known as it is: there is no subscription, or the one that
    /// counts has a status that this code does not know.
    pub subscription: Option<Subscription>,
    /// The tenant that we wrote on it.
    pub tenant_id: Option<TenantId>,
    /// The chat that we wrote on it.
    pub chat_id: Option<ChatId>,
}

impl Client {
    /// Asks for the customer's subscriptions and, while the one that counts is past due, since when. `known` is what
    /// was told before: it keeps its tier when a price is none of ours.
    ///
    /// # Errors
    /// [`Error`]: nothing is known then.
    pub async fn word(&self, customer: &str, known: Option<&Subscription>) -> Result<Word, Error> {
        let mut word = self.standing(customer, known).await?;
        if let Some(due) = word.subscription.as_mut().filter(|counts| counts.status == Status::PastDue) {
            due.unpaid_since = self.unpaid_since(&due.id).await?;
            if due.unpaid_since.is_none() {
                // Paid between the two answers, it seems: the first one is out of date.
                word = self.standing(customer, known).await?;
            }
        }
        Ok(word)
    }

    /// Which subscription counts, and where it stands.
    async fn standing(&self, customer: &str, known: Option<&Subscription>) -> Result<Word, Error> {
        let query = [("customer", customer), ("status", "all"), ("limit", PAGE)];
        let listed: Vec<Listed> = self.list("subscriptions", &query).await?.iter().filter_map(Listed::read).collect();
        if listed.iter().filter(|one| one.status.is_some_and(Status::is_open)).count() > 1 {
            telemetry::metric("SubscriptionsDoubled", 1);
            tracing::error!(code = "paid_twice", customer, "a person pays twice: end and refund one subscription");
        }
        Ok(choose(&listed).map(|counts| counts.word(&self.prices, known)).unwrap_or_default())
    }

    /// When the oldest invoice that is still open was made.
    async fn unpaid_since(&self, subscription: &str) -> Result<Option<Timestamp>, Error> {
        let query = [("subscription", subscription), ("status", "open"), ("limit", PAGE)];
        let open = self.list("invoices", &query).await?;
        Ok(open.iter().filter_map(|invoice| seconds(&invoice["created"])).min())
    }
}

/// A subscription of a list; what is missing is missing.
#[derive(Clone, Debug, Default)]
struct Listed {
    id: String,
    /// `None`: one that this code does not know.
    status: Option<Status>,
    created: Timestamp,
    price: String,
    current_period_end: Option<Timestamp>,
    cancel_at_period_end: bool,
    ended_at: Option<Timestamp>,
    tenant_id: Option<TenantId>,
    chat_id: Option<ChatId>,
}

/// The one that counts, so that word of an old subscription never stands before a newer one: what entitles before what
/// is past due, before what can be paid again, before what was never paid, before what has ended; among equals the
/// newest. One of an unknown status may entitle, so only those that run count before it.
fn choose(listed: &[Listed]) -> Option<&Listed> {
    let rank = |status: Option<Status>| match status {
        Some(Status::Active | Status::Trialing) => 0,
        Some(Status::PastDue) => 1,
        None => 2,
        Some(Status::Paused | Status::Unpaid) => 3,
        Some(Status::Incomplete) => 4,
        Some(Status::Canceled | Status::IncompleteExpired) => 5,
    };
    listed.iter().min_by_key(|one| (rank(one.status), Reverse((one.created, &one.id))))
}

impl Listed {
    fn read(value: &Value) -> Option<Self> {
        let (item, metadata) = (&value["items"]["data"][0], &value["metadata"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            id: text(&value["id"])?,
            status: value["status"].as_str().and_then(|status| status.parse().ok()),
            created: seconds(&value["created"]).unwrap_or_default(),
            price: text(&item["price"]["id"]).unwrap_or_default(),
            current_period_end: seconds(&item["current_period_end"]),
            cancel_at_period_end: value["cancel_at_period_end"].as_bool().unwrap_or_default(),
            ended_at: seconds(&value["ended_at"]).or_else(|| seconds(&value["canceled_at"])),
            tenant_id: metadata["tenant_id"].as_str().and_then(|id| id.parse().ok()),
            chat_id: metadata["chat_id"].as_str().and_then(|id| id.parse().ok()),
        })
    }

    fn word(&self, prices: &Prices, known: Option<&Subscription>) -> Word {
        let Self { tenant_id, chat_id, .. } = *self;
        let Some(status) = self.status else {
            telemetry::metric("StripeStatusUnknown", 1);
            tracing::error!(code = "status_unknown", subscription = self.id, "what is known stays as it is");
            return Word { subscription: None, tenant_id, chat_id };
        };
        let has_ended = matches!(status, Status::Canceled | Status::IncompleteExpired);
        let subscription = Subscription {
            id: self.id.clone(),
            status,
            tier: self.tier(prices, known),
            unpaid_since: None,
            ended_at: self.ended_at.filter(|_| has_ended),
            current_period_end: self.current_period_end,
            cancel_at_period_end: self.cancel_at_period_end,
        };
        Word { subscription: Some(subscription), tenant_id, chat_id }
    }

    /// A price that is none of ours (a replaced one, say) must not take away what is paid for.
    fn tier(&self, prices: &Prices, known: Option<&Subscription>) -> Tier {
        prices.tier(&self.price).unwrap_or_else(|| {
            telemetry::metric("StripePriceUnknown", 1);
            tracing::error!(code = "price_unknown", subscription = self.id, "the tier stays as it is");
            known.filter(|known| known.id == self.id).map_or(Tier::Basic, |known| known.tier)
        })
    }
}

fn seconds(value: &Value) -> Option<Timestamp> {
    value.as_i64().map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(id: &str, status: Option<Status>, created: i64) -> Listed {
        Listed { id: id.to_owned(), status, created: Timestamp::from_seconds(created), ..Listed::default() }
    }

    fn prices() -> Prices {
        Prices { basic: "price_b".to_owned(), plus: "price_p".to_owned() }
    }

    #[test]
    fn what_runs_counts_before_what_could_and_that_before_what_has_ended() {
        use Status::{Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid};
        let order = [
            [Some(Active), Some(Trialing)],
            [Some(PastDue), Some(PastDue)],
            [None, None],
            [Some(Paused), Some(Unpaid)],
            [Some(Incomplete), Some(Incomplete)],
            [Some(Canceled), Some(IncompleteExpired)],
        ];
        for (place, better) in order.iter().enumerate() {
            for (better, worse) in
                better.iter().flat_map(|better| order[place + 1..].iter().flatten().map(move |worse| (better, worse)))
            {
                // However new it is, what is worse does not count.
                let known = [listed("sub_9", *worse, 9), listed("sub_1", *better, 1)];
                assert_eq!(choose(&known).map(|one| one.id.as_str()), Some("sub_1"), "{better:?} and {worse:?}");
            }
        }
        assert!(choose(&[]).is_none());
    }

    #[test]
    fn among_equals_the_newest_counts_whatever_their_order() {
        let of = |id: &str, created| listed(id, Some(Status::Canceled), created);
        for known in [[of("sub_1", 1), of("sub_2", 2)], [of("sub_2", 2), of("sub_1", 1)]] {
            assert_eq!(choose(&known).map(|one| one.id.as_str()), Some("sub_2"));
        }
        assert_eq!(choose(&[of("sub_1", 1), of("sub_2", 1)]).map(|one| one.id.as_str()), Some("sub_2"));
    }

    #[test]
    fn a_missing_field_is_missing_and_nothing_else() {
        let read = Listed::read(&json!({ "id": "sub_1", "status": "active" })).expect("an id");
        let word = read.word(&prices(), None).subscription.expect("a known status");
        assert_eq!((word.status, word.tier, word.current_period_end), (Status::Active, Tier::Basic, None));
        assert!(Listed::read(&json!({ "status": "active" })).is_none());
        assert_eq!(Listed::read(&json!({ "id": "sub_1", "status": 7 })).expect("an id").status, None);
    }

    #[test]
    fn an_unknown_price_keeps_the_tier_of_the_same_subscription() {
        let item = json!({ "price": { "id": "price_old" }, "current_period_end": 9 });
        let read = Listed::read(&json!({ "id": "sub_1", "status": "active", "items": { "data": [item] } }));
        let read = read.expect("an id");
        let known = Subscription { tier: Tier::Plus, ..read.word(&prices(), None).subscription.expect("known") };
        let tier = |known: &Subscription| read.word(&prices(), Some(known)).subscription.expect("known").tier;
        assert_eq!(tier(&known), Tier::Plus);
        assert_eq!(tier(&Subscription { id: "sub_0".to_owned(), ..known }), Tier::Basic);
    }

    #[test]
    fn an_unknown_status_says_nothing() {
        let read = Listed::read(&json!({ "id": "sub_1", "status": "biennial" })).expect("an id");
        assert_eq!(read.word(&prices(), None).subscription, None);
    }
}
