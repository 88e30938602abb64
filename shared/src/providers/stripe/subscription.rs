//! A customer's subscriptions: which one counts, and its state.

use std::cmp::Reverse;

use serde_json::Value;

use super::{Client, Error, PAGE, Prices};
use crate::clock::Timestamp;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::subscription::{Status, Subscription, Tier};
use crate::telemetry;

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
    /// Whether any of the customer's subscriptions has or had a trial.
    /// <https://docs.stripe.com/api/subscriptions/object#subscription_object-trial_start>
    pub has_trialed: bool,
    /// Whether the customer was deleted, which ends the subscription that is known.
    pub is_customer_deleted: bool,
}

impl Client {
    /// Fetches the customer's subscriptions and chooses the one that counts. While that one is past due, its open
    /// invoices are fetched as well, for the time since when. `known` is the subscription on the row: it keeps its tier
    /// when its price is not configured, tells since when a payment is due that no invoice dates, and ends when the
    /// customer was deleted.
    ///
    /// # Errors
    /// [`Error`]: the row stays as it is.
    pub async fn fetch_subscription(
        &self,
        customer: &str,
        known: Option<&Subscription>,
        now: Timestamp,
    ) -> Result<CustomerSnapshot, Error> {
        let mut snapshot = self.fetch_snapshot(customer, known, now).await?;
        for is_second in [false, true] {
            let counts = snapshot.subscription.as_mut().filter(|counts| counts.status == Status::PastDue);
            let Some(due) = counts else { break };
            due.unpaid_since = self.fetch_unpaid_since(&due.id).await?;
            if due.unpaid_since.is_none() && !is_second {
                // It may have been paid between the two answers: then the first one is out of date.
                snapshot = self.fetch_snapshot(customer, known, now).await?;
                continue;
            }
            due.past_due_since = find_past_due_since(due, known, now);
            break;
        }
        Ok(snapshot)
    }

    /// The snapshot without the time since when a payment is due.
    async fn fetch_snapshot(
        &self,
        customer: &str,
        known: Option<&Subscription>,
        now: Timestamp,
    ) -> Result<CustomerSnapshot, Error> {
        let Some(listed) = self.list_of_customer("subscriptions", customer).await? else {
            return Ok(CustomerSnapshot::after_deletion(known, now));
        };
        let listed: Vec<ListedSubscription> = listed.iter().filter_map(ListedSubscription::from_json).collect();
        // A list without a subscription that went on a while ago is what is left of a deleted customer.
        let has_vanished =
            known.is_some_and(|known| known.status.is_open() && listed.iter().all(|one| one.id != known.id));
        if has_vanished && self.is_customer_deleted(customer).await? {
            return Ok(CustomerSnapshot::after_deletion(known, now));
        }
        if listed.iter().filter(|one| one.status.is_some_and(Status::is_open)).count() > 1 {
            telemetry::metric("SubscriptionsDoubled", 1);
            tracing::error!(
                code = "subscriptions_doubled",
                customer,
                "a customer pays for two subscriptions; end one in Stripe's dashboard and refund it"
            );
        }
        let counts = choose_subscription(&listed);
        let snapshot = counts.map(|counts| counts.to_snapshot(&self.prices, known)).unwrap_or_default();
        Ok(CustomerSnapshot { has_trialed: listed.iter().any(|one| one.has_trialed), ..snapshot })
    }

    /// When the oldest invoice that is still open was made.
    async fn fetch_unpaid_since(&self, subscription: &str) -> Result<Option<Timestamp>, Error> {
        let query = [("subscription", subscription), ("status", "open"), ("limit", PAGE)];
        let open = self.list("invoices", &query).await?;
        Ok(open.iter().filter_map(|invoice| parse_seconds(&invoice["created"])).min())
    }
}

impl CustomerSnapshot {
    /// The snapshot of a customer who was deleted: what is known has ended.
    fn after_deletion(known: Option<&Subscription>, now: Timestamp) -> Self {
        let subscription = known.cloned().map(|known| known.after_deletion(now));
        Self { subscription, is_customer_deleted: true, ..Self::default() }
    }
}

/// Since when the subscription is past due without an open invoice that would tell; `None` while there always was one.
///
/// Once there was none, what is known of this time stays: the next invoice begins no grace of its own.
fn find_past_due_since(due: &Subscription, known: Option<&Subscription>, now: Timestamp) -> Option<Timestamp> {
    let known = known.filter(|known| known.id == due.id && known.status == Status::PastDue);
    let first_seen = || known.and_then(|known| known.unpaid_since).unwrap_or(now);
    known.and_then(|known| known.past_due_since).or_else(|| due.unpaid_since.is_none().then(first_seen))
}

/// One subscription of Stripe's list. Only the id is required: any other field that Stripe leaves out keeps its
/// default.
#[derive(Clone, Debug, Default)]
struct ListedSubscription {
    id: String,
    /// `None` when this code does not know Stripe's status.
    status: Option<Status>,
    created: Timestamp,
    items: Vec<Item>,
    cancel_at: Option<Timestamp>,
    cancel_at_period_end: bool,
    ended_at: Option<Timestamp>,
    has_trialed: bool,
    tenant_id: Option<TenantId>,
    chat_id: Option<ChatId>,
}

/// One thing that a subscription is for, such as a tier or an add-on.
#[derive(Clone, Debug, Default)]
struct Item {
    price: String,
    current_period_end: Option<Timestamp>,
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
        let metadata = &value["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let item = |item: &Value| Item {
            price: text(&item["price"]["id"]).unwrap_or_default(),
            current_period_end: parse_seconds(&item["current_period_end"]),
        };
        Some(Self {
            id: text(&value["id"])?,
            status: value["status"].as_str().and_then(|status| status.parse().ok()),
            created: parse_seconds(&value["created"]).unwrap_or_default(),
            items: value["items"]["data"].as_array().into_iter().flatten().map(item).collect(),
            cancel_at: parse_seconds(&value["cancel_at"]),
            cancel_at_period_end: value["cancel_at_period_end"].as_bool().unwrap_or_default(),
            ended_at: parse_seconds(&value["ended_at"]).or_else(|| parse_seconds(&value["canceled_at"])),
            has_trialed: value["status"] == Status::Trialing.as_str() || value["trial_start"].is_number(),
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
            return CustomerSnapshot { tenant_id, chat_id, ..CustomerSnapshot::default() };
        };
        let has_ended = matches!(status, Status::Canceled | Status::IncompleteExpired);
        let item = self.find_tier_item(prices);
        let current_period_end =
            item.map(|(_, item)| item).or_else(|| self.items.first()).and_then(|of| of.current_period_end);
        let period_end = current_period_end.filter(|_| self.cancel_at_period_end);
        let subscription = Subscription {
            id: self.id.clone(),
            status,
            tier: item.map_or_else(|| self.keep_tier(known), |(tier, _)| tier),
            unpaid_since: None,
            past_due_since: None,
            ended_at: self.ended_at.filter(|_| has_ended),
            current_period_end,
            ends_at: self.cancel_at.or(period_end).filter(|_| !has_ended),
        };
        CustomerSnapshot { subscription: Some(subscription), tenant_id, chat_id, ..CustomerSnapshot::default() }
    }

    /// The item with one of our prices, wherever it stands among others. Of two, the higher tier counts: nobody loses
    /// what they pay for.
    fn find_tier_item(&self, prices: &Prices) -> Option<(Tier, &Item)> {
        let tiers = self.items.iter().filter_map(|item| prices.tier(&item.price).map(|tier| (tier, item)));
        tiers.max_by_key(|(tier, _)| *tier)
    }

    /// The tier of a subscription none of whose prices is configured, such as one whose price was replaced: the tier
    /// that `known` has, so that nobody loses what they pay for.
    fn keep_tier(&self, known: Option<&Subscription>) -> Tier {
        let tier = known.filter(|known| known.id == self.id).map_or(Tier::Basic, |known| known.tier);
        telemetry::metric("StripePriceUnknown", 1);
        tracing::error!(
            code = "stripe_price_unknown",
            subscription = self.id,
            price = self.items.first().map(|item| item.price.as_str()).unwrap_or_default(),
            tier = tier.as_str(),
            "Stripe price is not configured; keeping the tenant's tier"
        );
        tier
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

    fn of_items(items: &[(&str, i64)]) -> Subscription {
        let item = |(price, end): &(&str, i64)| json!({ "price": { "id": price }, "current_period_end": end });
        let items: Vec<Value> = items.iter().map(item).collect();
        let read = json!({ "id": "sub_1", "status": "active", "items": { "data": items } });
        let read = ListedSubscription::from_json(&read).expect("an id");
        read.to_snapshot(&prices(), None).subscription.expect("a known status")
    }

    #[test]
    fn the_item_with_one_of_our_prices_decides_wherever_it_stands() {
        let (plus, basic, addon) = (("price_p", 1), ("price_b", 2), ("price_usage", 3));
        for items in
            [vec![plus], vec![plus, addon], vec![addon, plus], vec![addon, basic, plus, addon], vec![plus, basic]]
        {
            let read = of_items(&items);
            assert_eq!(
                (read.tier, read.current_period_end),
                (Tier::Plus, Some(Timestamp::from_seconds(1))),
                "{items:?}"
            );
        }
        assert_eq!(of_items(&[addon, basic]).tier, Tier::Basic);
        for items in [vec![addon], vec![]] {
            assert_eq!(of_items(&items).tier, Tier::Basic, "{items:?}");
        }
        assert_eq!(of_items(&[addon]).current_period_end, Some(Timestamp::from_seconds(3)));
    }

    #[test]
    fn an_end_is_an_end_by_whichever_field_it_is_decided() {
        let item = json!({ "price": { "id": "price_p" }, "current_period_end": 100 });
        let ends_at = |status: &str, at: Value, with_period: bool| {
            let read = json!({ "id": "sub_1", "status": status, "items": { "data": [item] }, "ended_at": 90,
                "cancel_at": at, "cancel_at_period_end": with_period });
            let read = ListedSubscription::from_json(&read).expect("an id");
            read.to_snapshot(&prices(), None).subscription.expect("known").ends_at.map(Timestamp::seconds)
        };
        assert_eq!(ends_at("active", json!(null), false), None);
        assert_eq!(ends_at("active", json!(null), true), Some(100));
        for at in [50, 100, 200] {
            assert_eq!(ends_at("active", json!(at), false), Some(at));
            assert_eq!(ends_at("trialing", json!(at), false), Some(at));
        }
        assert_eq!(ends_at("active", json!(100), true), Some(100));
        assert_eq!(ends_at("canceled", json!(100), true), None, "it has ended");
    }

    #[test]
    fn past_due_without_an_open_invoice_counts_from_when_it_was_first_seen() {
        let at = Timestamp::from_seconds;
        let due = |unpaid: Option<i64>, since: Option<i64>| Subscription {
            status: Status::PastDue,
            unpaid_since: unpaid.map(at),
            past_due_since: since.map(at),
            ..of_items(&[("price_p", 1)])
        };
        let found = |fetched: Option<i64>, known: Option<&Subscription>| {
            find_past_due_since(&due(fetched, None), known, at(50)).map(Timestamp::seconds)
        };
        assert_eq!(found(None, None), Some(50), "first seen");
        assert_eq!(found(None, Some(&due(None, Some(40)))), Some(40), "seen again");
        assert_eq!(found(None, Some(&due(Some(30), None))), Some(30), "the invoice was taken back");
        assert_eq!(found(Some(45), Some(&due(None, Some(40)))), Some(40), "the draft became an invoice");
        assert_eq!(found(Some(45), Some(&due(Some(30), None))), None, "the oldest was paid");
        assert_eq!(found(Some(45), None), None);
        let paid = Subscription { status: Status::Active, ..due(None, Some(40)) };
        assert_eq!(found(None, Some(&paid)), Some(50), "a new one");
        let other = Subscription { id: "sub_0".to_owned(), ..due(None, Some(40)) };
        assert_eq!(found(None, Some(&other)), Some(50), "another subscription's");
    }

    #[test]
    fn an_unknown_status_gives_no_subscription() {
        let read = ListedSubscription::from_json(&json!({ "id": "sub_1", "status": "biennial" })).expect("an id");
        assert_eq!(read.to_snapshot(&prices(), None).subscription, None);
    }
}
