//! What Stripe says of a subscription in ways that are easily misread: several items, an end at any time, a payment
//! that is due without an invoice, and a customer who is no more.

use axum::http::StatusCode;
use nbhd::domain::subscription::{Entitlement, GRACE, RETENTION, Status, Tier};
use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::stripe::contract::Contract;
use nbhd_sim::stripe::{AfterDunning, BASIC, Endpoint, Failure, InvoiceStatus, PLUS, billing};

use crate::billing::world::{DAY, Person, World};

const USAGE: &str = "price_1SimUsage";

#[tokio::test]
async fn the_item_with_our_price_decides_the_tier_wherever_it_stands() {
    let world = World::start().await;
    let person = world.subscriber().await;
    let table: [(&[&str], &[&str], Tier); 6] = [
        (&[USAGE], &[], Tier::Basic),
        (&[], &[USAGE], Tier::Basic),
        (&[USAGE], &[PLUS, USAGE], Tier::Plus),
        (&[PLUS], &[], Tier::Plus),
        (&[BASIC, USAGE], &[USAGE], Tier::Basic),
        (&[], &[], Tier::Basic),
    ];
    for (before, after, tier) in table {
        world.stripe.has_other_items(&person.customer, before, after);
        world.deliver().await;
        let known = world.subscription(&person).await.expect("known");
        assert_eq!((known.status, known.tier), (Status::Active, tier), "{before:?} {after:?}");
    }
    assert!(!nbhd::telemetry::capture().contains("StripePriceUnknown"), "one of the prices is always ours");
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}

#[tokio::test]
async fn an_end_at_any_time_is_on_the_row_and_taken_back_again() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    let period_end = world.stripe.subscription(&person.customer).expect("subscribed").period.1;
    for ends_at in [world.clock.now() + DAY, period_end, period_end + 10 * DAY] {
        world.stripe.cancels_at(&person.customer, Some(ends_at));
        world.deliver().await;
        let row = world.row(&person).await;
        assert_eq!(row.subscription.as_ref().and_then(|known| known.ends_at), Some(ends_at));
        assert_eq!(row.entitlement(world.clock.now()), Entitlement::Run { until: Some(ends_at) });
        assert_eq!(row.entitlement(ends_at), Entitlement::Suspend { until: None }, "whatever arrives until then");
    }
    world.stripe.cancels_at(&person.customer, None);
    world.deliver().await;
    assert_eq!(world.row(&person).await.entitlement(period_end), Entitlement::Run { until: None });

    let ends_at = world.clock.now() + DAY;
    world.stripe.cancels_at(&person.customer, Some(ends_at));
    world.clock.advance(DAY);
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.status, known.ended_at, known.ends_at), (Status::Canceled, Some(ends_at), None));
}

#[tokio::test]
async fn a_payment_that_is_due_without_an_open_invoice_has_a_grace_all_the_same() {
    for status in [InvoiceStatus::Draft, InvoiceStatus::Uncollectible, InvoiceStatus::Void] {
        let world = World::start().await;
        let person = past_due(&world).await;
        let failed_at = world.clock.now();
        world.stripe.sets_open_invoices(&person.customer, status);
        world.clock.advance(DAY);
        world.deliver().await;
        let first = world.subscription(&person).await.expect("known");
        assert_eq!((first.status, first.unpaid_since), (Status::PastDue, None), "{status:?}");
        assert_eq!(first.past_due_since, Some(world.clock.now()), "{status:?}: first seen now");
        // Seen again, the beginning stays, and so does the end.
        world.clock.advance(DAY);
        world.stripe.has_status(&person.customer, "past_due");
        world.deliver().await;
        assert_eq!(world.subscription(&person).await, Some(first.clone()), "{status:?}");
        assert!(failed_at < world.clock.now());
        let end = first.past_due_since.expect("seen") + GRACE;
        assert_eq!(world.row(&person).await.entitlement(end), Entitlement::Suspend { until: None }, "{status:?}");
        // The next invoice begins no grace of its own.
        world.clock.advance(billing::MONTH);
        world.deliver().await;
        let later = world.row(&person).await;
        assert!(
            later.subscription.as_ref().is_some_and(|known| known.unpaid_since > first.past_due_since),
            "{status:?}"
        );
        assert_eq!(later.entitlement(world.clock.now()), Entitlement::Suspend { until: None }, "{status:?}");
        // A payment ends it, and the next failure begins anew.
        world.stripe.pays_open(&person.customer);
        world.deliver().await;
        let paid = world.subscription(&person).await.expect("known");
        assert_eq!((paid.status, paid.past_due_since), (Status::Active, None), "{status:?}");
    }
}

#[tokio::test]
async fn an_invoice_that_is_taken_back_does_not_take_back_when_the_grace_began() {
    let world = World::start().await;
    let person = past_due(&world).await;
    world.deliver().await;
    let since = world.subscription(&person).await.expect("known").unpaid_since.expect("an invoice");
    world.clock.advance(DAY);
    world.stripe.sets_open_invoices(&person.customer, InvoiceStatus::Void);
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.unpaid_since, known.past_due_since), (None, Some(since)));
}

#[tokio::test]
async fn a_deleted_customer_is_an_end_that_the_operator_hears_of() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    nbhd::telemetry::capture();
    world.stripe.deletes_customer(&person.customer);
    let deleted_at = world.clock.now();
    world.table.clear_calls();
    let answers = world.deliver().await;
    assert_eq!(answers, [200, 200], "the end of the subscription, and the customer's own");
    assert_eq!(world.table_calls().iter().filter(|call| *call == "TransactWriteItems").count(), 2, "one write each");
    let row = world.row(&person).await;
    let known = row.subscription.clone().expect("known");
    assert_eq!((known.status, known.ended_at), (Status::Canceled, Some(deleted_at)));
    assert_eq!(row.entitlement(deleted_at), Entitlement::Suspend { until: Some(deleted_at + RETENTION) });
    assert_eq!(row.due.as_ref().map(|due| due.at), Some(deleted_at));
    assert!(nbhd::telemetry::capture().contains("\"StripeCustomersDeleted\":1"));
    // Asked again a day later, nothing changes: the retention does not begin anew.
    world.clock.advance(DAY);
    assert_eq!(world.post(&world.event("customer.subscription.created")).await, StatusCode::OK);
    assert_eq!(world.subscription(&person).await, Some(known));
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}

#[tokio::test]
async fn a_customer_whom_a_wrong_key_does_not_know_has_ended_nothing() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    world.converge(&person, Lifecycle::Active).await;
    let (row, event) = (world.row(&person).await, world.event("invoice.paid"));
    world.stripe.becomes_another_account();
    assert_eq!(world.post(&event).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.row(&person).await, row);
}

#[tokio::test]
async fn an_outage_while_a_missing_customer_is_looked_into_has_ended_nothing() {
    for failure in [Failure::Status(500), Failure::Status(401), Failure::Throttled, Failure::NotJson] {
        let world = World::start().await;
        let person = world.subscriber().await;
        world.deliver().await;
        let (known, event) = (world.subscription(&person).await, world.event("invoice.paid"));
        world.stripe.deletes_customer(&person.customer);
        world.stripe.faults.fail_next(Endpoint::Other, failure);
        assert_eq!(world.post(&event).await, StatusCode::SERVICE_UNAVAILABLE, "{failure:?}");
        assert_eq!(world.subscription(&person).await, known, "{failure:?}");
        assert_eq!(world.post(&event).await, StatusCode::OK, "{failure:?}");
        assert_eq!(world.status(&person).await, Some(Status::Canceled), "{failure:?}");
    }
}

/// A subscriber whose second month could not be charged; Stripe's events about it are on their way.
async fn past_due(world: &World) -> Person {
    let person = world.subscriber().await;
    world.deliver().await;
    world.stripe.ends_dunning_with(AfterDunning::PastDue);
    world.stripe.card_fails(&person.customer);
    world.clock.advance(billing::MONTH);
    assert!(world.stripe.subscription(&person.customer).is_some_and(|known| known.status == "past_due"));
    person
}
