//! A customer's subscriptions: which one counts, and its state.

use std::cmp::Reverse;

use serde_json::Value;

use super::{Client, Error, Prices};
use crate::clock::Timestamp;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::subscription::{Status, Subscription, Tier};
use crate::telemetry;

/// The largest page of a list. <https://docs.stripe.com/api/pagination>
const PAGE: &str = "100";

/// A customer's state at Stripe when it was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerSnapshot {
    /// The subscription that counts. `None` means that the row keeps the one it has: the customer has no subscription,
    /// or the one that counts has a status that this code does not know.
    pub subscription: Option<Subscription>,
    /// The tenant in that subscription's metadata: `billing-session` wrote it there.
    pub tenant_id: Option<TenantId>,
    /// The chat in that subscription's metadata.
    pub chat_id: Option<ChatId>,
}

impl Client {
    /// Fetches the customer's subscriptions and chooses the one that counts. While that one is past due, its open
    /// invoices are fetched as well, for the time since when. `known` is the subscription on the row: it keeps its tier
    /// when its price is not configured.
    ///
    /// # Errors
    /// [`Error`]: the row stays as it is.
    pub async fn fetch_subscription(
        &self,
        customer: &str,
        known: Option<&Subscription>,
    ) -> Result<CustomerSnapshot, Error> {
        let mut snapshot = self.fetch_snapshot(customer, known).await?;
        if let Some(due) = snapshot.subscription.as_mut().filter(|counts| counts.status == Status::PastDue) {
            due.unpaid_since = self.fetch_unpaid_since(&due.id).await?;
            if due.unpaid_since.is_none() {
                // It was paid between the two answers: the first one is out of date.
                snapshot = self.fetch_snapshot(customer, known).await?;
            }
        }
        Ok(snapshot)
    }

    /// The snapshot without the time since when a payment is due.
    async fn fetch_snapshot(&self, customer: &str, known: Option<&Subscription>) -> Result<CustomerSnapshot, Error> {
        let query = [("customer", customer), ("status", "all"), ("limit", PAGE)];
        let listed: Vec<ListedSubscription> =
            self.list("subscriptions", &query).await?.iter().filter_map(ListedSubscription::from_json).collect();
        if listed.iter().filter(|one| one.status.is_some_and(Status::is_open)).count() > 1 {
            telemetry::metric("SubscriptionsDoubled", 1);
            tracing::error!(
                code = "subscriptions_doubled",
                customer,
                "a customer pays for two subscriptions; end one in Stripe's dashboard and refund it"
            );
        }
        let counts = choose_subscription(&listed);
        Ok(counts.map(|counts| counts.to_snapshot(&self.prices, known)).unwrap_or_default())
    }

    /// When the oldest invoice that is still open was made.
    async fn fetch_unpaid_since(&self, subscription: &str) -> Result<Option<Timestamp>, Error> {
        let query = [("subscription", subscription), ("status", "open"), ("limit", PAGE)];
        let open = self.list("invoices", &query).await?;
        Ok(open.iter().filter_map(|invoice| parse_seconds(&invoice["created"])).min())
    }
}

/// One subscription of Stripe's list. Only the id is required: any other field that Stripe leaves out keeps its
/// default.
#[derive(Clone, Debug, Default)]
struct ListedSubscription {
    id: String,
    /// `None` when this code does not know Stripe's status.
    status: Option<Status>,
    created: Timestamp,
    price: String,
    current_period_end: Option<Timestamp>,
    cancel_at_period_end: bool,
    ended_at: Option<Timestamp>,
    tenant_id: Option<TenantId>,
    chat_id: Option<ChatId>,
}

/// The subscription that counts for a customer who has several, so that an old one never hides a newer one.
///
/// The order is: paid, past due, of unknown status, resumable, never paid, ended; among equals the newest. One of
/// unknown status may entitle to something, so only those that surely do come before it.
fn choose_subscription(listed: &[ListedSubscription]) -> Option<&ListedSubscription> {
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

impl ListedSubscription {
    /// Reads one entry of the list; `None` when it has no id.
    fn from_json(value: &Value) -> Option<Self> {
        let (item, metadata) = (&value["items"]["data"][0], &value["metadata"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            id: text(&value["id"])?,
            status: value["status"].as_str().and_then(|status| status.parse().ok()),
            created: parse_seconds(&value["created"]).unwrap_or_default(),
            price: text(&item["price"]["id"]).unwrap_or_default(),
            current_period_end: parse_seconds(&item["current_period_end"]),
            cancel_at_period_end: value["cancel_at_period_end"].as_bool().unwrap_or_default(),
            ended_at: parse_seconds(&value["ended_at"]).or_else(|| parse_seconds(&value["canceled_at"])),
            tenant_id: metadata["tenant_id"].as_str().and_then(|id| id.parse().ok()),
            chat_id: metadata["chat_id"].as_str().and_then(|id| id.parse().ok()),
        })
    }

    fn to_snapshot(&self, prices: &Prices, known: Option<&Subscription>) -> CustomerSnapshot {
        let Self { tenant_id, chat_id, .. } = *self;
        let Some(status) = self.status else {
            telemetry::metric("StripeStatusUnknown", 1);
            tracing::error!(
                code = "stripe_status_unknown",
                subscription = self.id,
                "Stripe's status is unknown to this release; keeping the subscription on the row"
            );
            return CustomerSnapshot { subscription: None, tenant_id, chat_id };
        };
        let has_ended = matches!(status, Status::Canceled | Status::IncompleteExpired);
        let subscription = Subscription {
            id: self.id.clone(),
            status,
            tier: self.choose_tier(prices, known),
            unpaid_since: None,
            ended_at: self.ended_at.filter(|_| has_ended),
            current_period_end: self.current_period_end,
            cancel_at_period_end: self.cancel_at_period_end,
        };
        CustomerSnapshot { subscription: Some(subscription), tenant_id, chat_id }
    }

    /// The tier of the price. A price that is not configured, such as a replaced one, keeps the tier that `known` has:
    /// nobody loses what they pay for.
    fn choose_tier(&self, prices: &Prices, known: Option<&Subscription>) -> Tier {
        prices.tier(&self.price).unwrap_or_else(|| {
            let tier = known.filter(|known| known.id == self.id).map_or(Tier::Basic, |known| known.tier);
            telemetry::metric("StripePriceUnknown", 1);
            tracing::error!(
                code = "stripe_price_unknown",
                subscription = self.id,
                price = self.price,
                tier = tier.as_str(),
                "Stripe price is not configured; keeping the tenant's tier"
            );
            tier
        })
    }
}

/// Stripe's times are whole seconds since 1970.
fn parse_seconds(value: &Value) -> Option<Timestamp> {
    value.as_i64().map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(id: &str, status: Option<Status>, created: i64) -> ListedSubscription {
        ListedSubscription {
            id: id.to_owned(),
            status,
            created: Timestamp::from_seconds(created),
            ..ListedSubscription::default()
        }
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
                assert_eq!(
                    choose_subscription(&known).map(|one| one.id.as_str()),
                    Some("sub_1"),
                    "{better:?} and {worse:?}"
                );
            }
        }
        assert!(choose_subscription(&[]).is_none());
    }

    #[test]
    fn among_equals_the_newest_counts_whatever_their_order() {
        let of = |id: &str, created| listed(id, Some(Status::Canceled), created);
        for known in [[of("sub_1", 1), of("sub_2", 2)], [of("sub_2", 2), of("sub_1", 1)]] {
            assert_eq!(choose_subscription(&known).map(|one| one.id.as_str()), Some("sub_2"));
        }
        assert_eq!(choose_subscription(&[of("sub_1", 1), of("sub_2", 1)]).map(|one| one.id.as_str()), Some("sub_2"));
    }

    #[test]
    fn a_missing_field_is_missing_and_nothing_else() {
        let read = ListedSubscription::from_json(&json!({ "id": "sub_1", "status": "active" })).expect("an id");
        let subscription = read.to_snapshot(&prices(), None).subscription.expect("a known status");
        assert_eq!(
            (subscription.status, subscription.tier, subscription.current_period_end),
            (Status::Active, Tier::Basic, None)
        );
        assert!(ListedSubscription::from_json(&json!({ "status": "active" })).is_none());
        assert_eq!(ListedSubscription::from_json(&json!({ "id": "sub_1", "status": 7 })).expect("an id").status, None);
    }

    #[test]
    fn an_unknown_price_keeps_the_tier_of_the_same_subscription() {
        let item = json!({ "price": { "id": "price_old" }, "current_period_end": 9 });
        let read =
            ListedSubscription::from_json(&json!({ "id": "sub_1", "status": "active", "items": { "data": [item] } }));
        let read = read.expect("an id");
        let known = Subscription { tier: Tier::Plus, ..read.to_snapshot(&prices(), None).subscription.expect("known") };
        let tier = |known: &Subscription| read.to_snapshot(&prices(), Some(known)).subscription.expect("known").tier;
        assert_eq!(tier(&known), Tier::Plus);
        assert_eq!(tier(&Subscription { id: "sub_0".to_owned(), ..known }), Tier::Basic);
    }

    #[test]
    fn an_unknown_status_gives_no_subscription() {
        let read = ListedSubscription::from_json(&json!({ "id": "sub_1", "status": "biennial" })).expect("an id");
        assert_eq!(read.to_snapshot(&prices(), None).subscription, None);
    }
}
