//! What an event of Stripe's does: Stripe's present word on the row, whatever the event says, and a nudge.

use axum::http::StatusCode;
use nbhd::domain::subscription::{Entitlement, Status, Tier};
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd_sim::stripe::contract::Contract;
use nbhd_sim::stripe::{AfterDunning, Endpoint, Failure, PLUS, SubscriptionStart, billing};

use crate::billing::world::{CHAT, DAY, World};

/// More requests than an event causes.
const MANY: usize = 12;

#[tokio::test]
async fn a_payment_makes_a_tenant_run_and_nudges_the_reconciler() {
    let world = World::start().await;
    let person = world.subscriber().await;
    assert!(world.deliver().await.iter().all(|status| *status == 200));
    let row = world.row(&person).await;
    let known = row.subscription.clone().expect("known");
    let truth = world.stripe.subscription(&person.customer).expect("subscribed");
    assert_eq!((known.id.as_str(), known.status, known.tier), (truth.id.as_str(), Status::Active, Tier::Basic));
    assert_eq!(known.current_period_end, Some(truth.period.1));
    assert_eq!(row.due.as_ref().map(|due| due.at), Some(world.clock.now()), "the nudge may be lost");
    assert!(world.nudges() > 0);
    for id in [&person.customer, &truth.id] {
        assert_eq!(world.store.find_tenant(id).await.expect("up"), Some(person.tenant));
    }
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}

#[tokio::test]
async fn an_event_costs_one_read_and_one_transaction() {
    let world = World::start().await;
    let person = world.subscriber().await;
    for kind in ["customer.subscription.updated", "invoice.paid"] {
        world.table.clear_calls();
        assert_eq!(world.post(&world.event(kind)).await, StatusCode::OK);
        assert_eq!(world.table_calls(), ["GetItem", "TransactWriteItems"], "{kind}");
    }
    assert_eq!(world.status(&person).await, Some(Status::Active));
}

#[tokio::test]
async fn the_grace_counts_from_the_oldest_open_invoice() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.stripe.ends_dunning_with(AfterDunning::PastDue);
    world.stripe.card_fails(&person.customer);
    world.clock.advance(billing::MONTH);
    let failed_at = world.clock.now();
    world.deliver().await;
    let since = world.subscription(&person).await.expect("known").unpaid_since;
    assert_eq!((world.status(&person).await, since), (Some(Status::PastDue), Some(failed_at)));

    // A month later there is a second one, and the first still counts.
    world.clock.advance(billing::MONTH);
    world.deliver().await;
    assert_eq!(world.subscription(&person).await.expect("known").unpaid_since, Some(failed_at));

    world.stripe.pays_open(&person.customer);
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.status, known.unpaid_since), (Status::Active, None));
}

#[tokio::test]
async fn every_way_of_a_subscription_reaches_the_row() {
    let world = World::start().await;
    let person = world.person().await;
    world.subscribes(&person, SubscriptionStart::Incomplete);
    world.deliver().await;
    assert_eq!(world.status(&person).await, Some(Status::Incomplete));
    world.clock.advance(billing::FIRST_PAYMENT_WITHIN);
    world.stripe.set_card(&person.customer, nbhd_sim::stripe::Card::None);
    world.subscribes(&person, SubscriptionStart::Trial(DAY));
    world.deliver().await;
    assert_eq!(world.status(&person).await, Some(Status::Trialing));
    world.clock.advance(DAY);
    world.deliver().await;
    assert_eq!(world.status(&person).await, Some(Status::Paused));
    world.stripe.card_works(&person.customer);
    world.stripe.resumes(&person.customer);
    world.deliver().await;
    assert_eq!(world.status(&person).await, Some(Status::Active));
    world.stripe.cancels_at_period_end(&person.customer, true);
    world.deliver().await;
    let period_end = world.stripe.subscription(&person.customer).expect("subscribed").period.1;
    assert_eq!(world.subscription(&person).await.expect("known").ends_at, Some(period_end));
    world.stripe.cancels(&person.customer);
    let ended_at = world.clock.now();
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.status, known.ended_at), (Status::Canceled, Some(ended_at)));
}

#[tokio::test]
async fn an_old_subscriptions_late_event_does_not_touch_a_newer_one() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.stripe.cancels(&person.customer);
    let late = world.event("customer.subscription.deleted");
    world.clock.advance(DAY);
    let (tenant, chat) = (person.tenant.to_string(), CHAT.to_string());
    let metadata = [("tenant_id", tenant.as_str()), ("chat_id", chat.as_str())];
    let newer = world.stripe.subscribes(&person.customer, PLUS, SubscriptionStart::Paid, &metadata);
    world.deliver().await;
    assert_eq!(world.post(&late).await, StatusCode::OK);
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.id, known.status, known.tier), (newer, Status::Active, Tier::Plus));
}

#[tokio::test]
async fn a_repeated_event_changes_nothing_and_nudges_until_the_tenant_has_converged() {
    let world = World::start().await;
    let person = world.subscriber().await;
    let event = world.event("customer.subscription.updated");
    assert_eq!(world.post(&event).await, StatusCode::OK);
    let (row, nudges) = (world.row(&person).await, world.nudges());
    assert_eq!(world.post(&event).await, StatusCode::OK);
    assert_eq!(world.row(&person).await, row);
    assert_eq!(world.nudges(), nudges + 1, "nothing was built yet");

    world.converge(&person, Lifecycle::Active).await;
    let row = world.row(&person).await;
    assert_eq!(world.post(&event).await, StatusCode::OK);
    assert_eq!((world.row(&person).await, world.nudges()), (row, nudges + 1));
}

#[tokio::test]
async fn an_event_without_news_leaves_a_converged_tenant_its_time() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    world.converge(&person, Lifecycle::Active).await;
    let due = world.row(&person).await.due;
    world.stripe.has_status(&person.customer, "active");
    world.deliver().await;
    assert_eq!(world.row(&person).await.due, due);
}

#[tokio::test]
async fn stripe_down_is_answered_503_and_nothing_is_recorded() {
    for failure in [Failure::Status(500), Failure::Throttled, Failure::NotJson, Failure::AnswerLost] {
        let world = World::start().await;
        let person = world.subscriber().await;
        world.stripe.faults.fail_all(failure);
        let before = world.table.items().expect("readable");
        assert_eq!(world.post(&world.event("invoice.paid")).await, StatusCode::SERVICE_UNAVAILABLE, "{failure:?}");
        assert_eq!(world.table.items().expect("readable"), before);
        assert_eq!(world.nudges(), 0);
        world.stripe.faults.recover();
        assert_eq!(world.post(&world.event("invoice.paid")).await, StatusCode::OK);
        assert_eq!(world.status(&person).await, Some(Status::Active));
    }
}

#[tokio::test]
async fn a_table_or_queue_that_is_down_is_answered_503_and_made_up_for() {
    let world = World::start().await;
    let person = world.subscriber().await;
    let event = world.event("invoice.paid");
    world.table.faults.set_down(true);
    assert_eq!(world.post(&event).await, StatusCode::SERVICE_UNAVAILABLE);
    world.table.faults.set_down(false);
    world.sqs.faults.set_down(true);
    assert_eq!(world.post(&event).await, StatusCode::SERVICE_UNAVAILABLE);
    world.sqs.faults.set_down(false);
    assert_eq!(world.post(&event).await, StatusCode::OK);
    assert_eq!((world.status(&person).await, world.nudges()), (Some(Status::Active), 1));
}

#[tokio::test]
async fn an_event_stopped_anywhere_is_made_up_for_by_its_repetition() {
    let mut finished = false;
    for requests in 1..MANY {
        let mut world = World::start().await;
        let person = world.subscriber().await;
        let event = world.event("customer.subscription.updated");
        let stopped = world.journal.interruption().stop_after(requests, world.post(&event)).await.is_none();
        // The old sandbox is gone in the middle of its work.
        world.restart(|env| env).await;
        assert_eq!(world.post(&event).await, StatusCode::OK, "after request {requests}");
        assert_eq!(world.status(&person).await, Some(Status::Active), "after request {requests}");
        assert!(world.nudges() > 0, "after request {requests}");
        if !stopped {
            finished = true;
            break;
        }
    }
    assert!(finished);
}

#[tokio::test]
async fn a_row_that_changes_meanwhile_is_read_anew_and_stripe_asked_anew() {
    let world = World::start().await;
    let person = world.subscriber().await;
    let event = world.event("invoice.paid");
    // The row was read and Stripe was asked; then the reconciler writes, and Stripe's answer changes.
    let stopped = world.journal.interruption().stop_after(2, world.post(&event));
    assert!(stopped.await.is_none());
    let asked = world.stripe.calls(Endpoint::ListSubscriptions);
    let row = world.row(&person).await;
    world.store.save_tenant(&Tenant { held: true, ..row.clone() }, Some(row.version)).await.expect("unchanged");
    assert_eq!(world.post(&event).await, StatusCode::OK);
    let row = world.row(&person).await;
    assert!(row.held && row.subscription.is_some());
    assert_eq!(world.stripe.calls(Endpoint::ListSubscriptions), asked + 1);
}

#[tokio::test]
async fn many_events_at_once_end_in_one_row_that_is_true() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.stripe.cancels_at_period_end(&person.customer, true);
    let events: Vec<_> = world.stripe.events();
    let answers = futures::future::join_all(events.iter().map(|event| world.post(event))).await;
    assert!(answers.iter().all(|status| [200, 503].contains(&status.as_u16())), "{answers:?}");
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert!(known.status == Status::Active && known.ends_at.is_some());
}

#[tokio::test]
async fn an_event_of_nobody_is_recorded_and_raised() {
    let world = World::start().await;
    let stranger = world.stripe.has_customer(&[]);
    world.stripe.subscribes(&stranger, PLUS, SubscriptionStart::Paid, &[]);
    let event = world.event("invoice.paid");
    assert_eq!(world.post(&event).await, StatusCode::OK);
    assert_eq!(world.post(&event).await, StatusCode::OK);
    let items = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
    assert!(items.contains(&format!("EVENT#stripe#{}", event.id)) && items.contains("unmatched"));
    assert_eq!(world.nudges(), 0);
    assert!(nbhd::telemetry::capture().contains("\"StripeEventsUnmatched\":1"));
}

#[tokio::test]
async fn an_event_that_names_somebody_elses_tenant_changes_nobody() {
    let world = World::start().await;
    let victim = world.subscriber().await;
    world.deliver().await;
    let row = world.row(&victim).await;
    let stranger = world.stripe.has_customer(&[]);
    let tenant = victim.tenant.to_string();
    world.stripe.subscribes(&stranger, PLUS, SubscriptionStart::Paid, &[("tenant_id", &tenant), ("chat_id", "666")]);
    let nudges = world.nudges();
    assert!(world.deliver().await.iter().all(|status| *status == 200));
    assert_eq!((world.row(&victim).await, world.nudges()), (row, nudges));
}

#[tokio::test]
async fn an_event_without_our_metadata_finds_its_tenant_by_its_customer() {
    let world = World::start().await;
    let person = world.person().await;
    world.stripe.subscribes(&person.customer, PLUS, SubscriptionStart::Paid, &[]);
    world.deliver().await;
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.status, known.tier), (Status::Active, Tier::Plus));
}

#[tokio::test]
async fn a_status_of_tomorrow_keeps_what_is_known() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    let known = world.subscription(&person).await;
    world.stripe.has_status(&person.customer, "biennial");
    assert_eq!(world.deliver().await, [200]);
    assert_eq!(world.subscription(&person).await, known);
    assert!(nbhd::telemetry::capture().contains("\"StripeStatusUnknown\":1"));
    world.stripe.has_status(&person.customer, "unpaid");
    world.deliver().await;
    assert_eq!(world.status(&person).await, Some(Status::Unpaid));
}

#[tokio::test]
async fn a_removed_tenant_comes_back_with_a_new_subscription_and_not_with_an_old_one() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.stripe.cancels(&person.customer);
    world.deliver().await;
    world.remove_tenant(&person).await;
    let late = world.event("customer.subscription.deleted");
    let again = world.stripe.events().into_iter().find(|event| event.kind == "invoice.paid").expect("it was paid");
    for event in [&late, &again] {
        assert_eq!(world.post(event).await, StatusCode::OK);
    }
    assert!(world.is_removed(&person).await);

    world.clock.advance(DAY);
    let nudges = world.nudges();
    let new = world.subscribes(&person, SubscriptionStart::Paid);
    world.deliver().await;
    let row = world.row(&person).await;
    assert_eq!((row.lifecycle, row.chat_id, row.customer.as_ref()), (Lifecycle::Pending, CHAT, Some(&person.customer)));
    assert_eq!(row.subscription.as_ref().map(|known| known.id.as_str()), Some(new.as_str()));
    assert!(matches!(row.entitlement(world.clock.now()), Entitlement::Run { .. }));
    assert!(world.nudges() > nudges && row.due.is_some());
}

#[tokio::test]
async fn a_removed_tenant_whose_subscription_names_no_chat_is_a_persons_work() {
    let world = World::start().await;
    let person = world.person().await;
    world.remove_tenant(&person).await;
    world.stripe.subscribes(&person.customer, PLUS, SubscriptionStart::Paid, &[]);
    assert!(world.deliver().await.iter().all(|status| *status == 200));
    assert!(world.is_removed(&person).await);
}

#[tokio::test]
async fn a_repeated_event_brings_what_was_lost_since() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    let known = world.event("customer.subscription.created");
    world.stripe.cancels(&person.customer);
    assert_eq!(world.post(&known).await, StatusCode::OK);
    assert_eq!(world.status(&person).await, Some(Status::Canceled));
}

#[tokio::test]
async fn a_dispute_raises_an_alarm_and_changes_no_entitlement() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.deliver().await;
    let row = world.row(&person).await;
    world.table.clear_calls();
    world.stripe.disputes(&person.customer);
    assert_eq!(world.deliver().await, [200]);
    assert!(world.table_calls().is_empty());
    assert_eq!(world.row(&person).await, row);
    assert!(nbhd::telemetry::capture().contains("\"StripeDisputes\":1"));
}

#[tokio::test]
async fn an_event_of_no_interest_costs_nothing() {
    let world = World::start().await;
    world.subscriber().await;
    world.table.clear_calls();
    assert_eq!(world.post(&world.event("invoice.created")).await, StatusCode::OK);
    assert!(world.table_calls().is_empty());
}

#[tokio::test]
async fn what_is_not_signed_by_stripe_is_400_and_not_read() {
    let world = World::start().await;
    world.subscriber().await;
    let event = world.event("invoice.paid");
    let genuine = world.stripe.signs(&event.body);
    world.table.clear_calls();
    let changed = [&event.body[..], b" "].concat();
    assert_eq!(world.post_signed(&genuine, changed).await, StatusCode::BAD_REQUEST);
    let old_scheme = genuine.replace("v1=", "v2=");
    for signature in ["", "t=1,v1=00", old_scheme.as_str()] {
        assert_eq!(world.post_signed(signature, event.body.clone()).await, StatusCode::BAD_REQUEST, "{signature}");
    }
    world.clock.advance(DAY);
    assert_eq!(world.post_signed(&genuine, event.body.clone()).await, StatusCode::BAD_REQUEST);
    assert!(world.table_calls().is_empty());
    assert_eq!(world.post_signed(&genuine, vec![b' '; 1 << 21]).await, StatusCode::PAYLOAD_TOO_LARGE);
    let nonsense = "signed, and no event";
    assert_eq!(world.post_signed(&world.stripe.signs(nonsense.as_bytes()), nonsense).await, StatusCode::OK);
}

#[tokio::test]
async fn a_rolled_secret_is_accepted_beside_the_old_one() {
    let mut world = World::start().await;
    let person = world.subscriber().await;
    let old = world.stripe.webhook_secret();
    let new = world.stripe.rolls_webhook_secret();
    assert!(world.deliver().await.iter().all(|status| *status == 200), "both sign, and one is known");
    world.clock.advance(DAY);
    world.stripe.cancels(&person.customer);
    assert_eq!(world.deliver().await, [400], "the new one alone signs now");
    world.restart(|env| env.with("STRIPE_WEBHOOK_SECRET", format!("{old},{new}"))).await;
    world.clock.advance(DAY / 24);
    assert_eq!(world.deliver().await, [200]);
    assert_eq!(world.status(&person).await, Some(Status::Canceled));
}

#[tokio::test]
async fn without_its_settings_it_answers_503() {
    for setting in ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_PRICE_BASIC", "STRIPE_PRICE_PLUS"] {
        let mut world = World::start().await;
        world.subscriber().await;
        world.restart(|env| env.without(setting)).await;
        assert_eq!(world.post(&world.event("invoice.paid")).await, StatusCode::SERVICE_UNAVAILABLE, "{setting}");
    }
}
