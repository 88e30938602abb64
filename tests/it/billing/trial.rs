//! Trials and promotion codes: one trial a chat, ever, whatever becomes of pages, events, customers and tenants.

use axum::http::StatusCode;
use nbhd::domain::subscription::{Entitlement, Status, Tier};
use nbhd::domain::tenant::TenantRecord;
use nbhd::flows::billing_link::Destination;
use nbhd_sim::rights::env_of;
use nbhd_sim::stripe::billing::MONTH;
use nbhd_sim::stripe::contract::Contract;
use nbhd_sim::stripe::{Card, Session, SessionStatus};

use super::session::{Browser, derived};
use super::world::{CHAT, DAY, Person, World};

/// More requests than a checkout makes.
const MANY: usize = 14;

/// A world in which first subscriptions begin with 14 days of trial.
async fn generous_world() -> World {
    let mut world = World::start().await;
    world.env = world.env.clone().with("TRIAL_DAYS", "14");
    world
}

/// The newest session that there is.
fn newest(world: &World) -> Session {
    world.stripe.sessions().pop().expect("a session")
}

/// The person chooses a plan by a link of its own, since each leads to Stripe once; the address of Stripe's page.
async fn chooses(browser: &Browser<'_>, tier: Tier) -> String {
    browser.chooses(&browser.link(Destination::Checkout, CHAT, None), tier).await
}

fn open_pages(world: &World) -> usize {
    world.stripe.sessions().iter().filter(|session| session.status == SessionStatus::Open).count()
}

/// Somebody who pays on the page at `url`, of which all events arrive.
async fn pays(world: &World, url: &str) -> Person {
    world.stripe.pays(url).expect("open");
    world.deliver().await;
    let customer = world.stripe.customers().pop().expect("a customer").0;
    Person { tenant: derived(world, CHAT), customer }
}

#[tokio::test]
async fn a_first_checkout_has_a_trial_and_no_later_one_has() {
    let world = generous_world().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    assert!(browser.open(&link).await.body.contains("14 days are free"));
    let person = pays(&world, &chooses(&browser, Tier::Basic).await).await;
    assert_eq!(newest(&world).trial_days, Some(14));
    let row = world.row(&person).await;
    assert_eq!((row.subscription.map(|known| known.status), row.trial_spent), (Some(Status::Trialing), true));

    world.stripe.cancels(&person.customer);
    world.deliver().await;
    for tier in Tier::ALL {
        chooses(&browser, tier).await;
        assert_eq!(newest(&world).trial_days, None, "{tier}");
    }
    world.remove_tenant(&person).await;
    let again = chooses(&browser, Tier::Basic).await;
    assert_eq!(newest(&world).trial_days, None, "after the removal");
    let person = pays(&world, &again).await;
    assert!(world.row(&person).await.trial_spent, "in the next life");
    assert_eq!(world.status(&person).await, Some(Status::Active));
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}

#[tokio::test]
async fn a_page_that_nobody_paid_costs_nobody_the_trial() {
    let world = generous_world().await;
    let browser = Browser::of(&world);
    let first = chooses(&browser, Tier::Basic).await;
    assert_eq!(chooses(&browser, Tier::Basic).await, first, "the same page");
    chooses(&browser, Tier::Plus).await;
    assert_eq!((newest(&world).trial_days, open_pages(&world)), (Some(14), 1), "another plan");
    world.clock.advance(DAY);
    let later = chooses(&browser, Tier::Basic).await;
    assert_eq!(newest(&world).trial_days, Some(14), "the next day");
    let person = pays(&world, &later).await;
    assert_eq!(world.status(&person).await, Some(Status::Trialing));
}

#[tokio::test]
async fn of_two_pages_made_at_once_one_can_be_paid_wherever_each_is_held() {
    let mut was_held = true;
    for requests in 1..MANY {
        let world = generous_world().await;
        let browser = Browser::of(&world);
        let link = browser.link(Destination::Checkout, CHAT, None);
        let first = browser.press("/billing/checkout", &link, "basic");
        let other = browser.link(Destination::Checkout, CHAT, None);
        let second = browser.press("/billing/checkout", &other, "plus");
        let (first, second) = world.journal.interruption().hold_after(requests, first, second).await;
        was_held = second.is_some();
        let answers = std::iter::once(first).chain(second).map(|seen| seen.status);
        assert!(answers.into_iter().all(|status| status == StatusCode::SEE_OTHER), "after request {requests}");
        assert_eq!(open_pages(&world), 1, "after request {requests}");
        if !was_held {
            break;
        }
    }
    assert!(!was_held, "a checkout makes fewer requests");
}

#[tokio::test]
async fn a_page_left_by_a_press_that_was_stopped_gives_no_second_trial() {
    for requests in 1..MANY {
        let world = generous_world().await;
        let browser = Browser::of(&world);
        let link = browser.link(Destination::Checkout, CHAT, None);
        let pressed = browser.press("/billing/checkout", &link, "basic");
        let was_stopped = world.journal.interruption().stop_after(requests, pressed).await.is_none();
        chooses(&browser, Tier::Plus).await;
        assert_eq!((open_pages(&world), newest(&world).trial_days), (1, Some(14)), "after request {requests}");
        if !was_stopped {
            return;
        }
    }
    panic!("a checkout makes fewer requests");
}

#[tokio::test]
async fn a_trial_whose_events_were_lost_is_known_all_the_same() {
    // Whether the customer was deleted meanwhile, and so is replaced.
    for is_deleted in [false, true] {
        let world = generous_world().await;
        let browser = Browser::of(&world);
        world.stripe.pays(&chooses(&browser, Tier::Basic).await).expect("open");
        let customer = world.stripe.customers()[0].0.clone();
        if is_deleted {
            world.stripe.deletes_customer(&customer);
        } else {
            world.stripe.cancels(&customer);
        }
        let again = chooses(&browser, Tier::Basic).await;
        assert_eq!(newest(&world).trial_days, None, "deleted: {is_deleted}");
        // The late events are of somebody who is replaced: nothing to look at.
        world.deliver().await;
        let items = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
        assert!(!items.contains("unmatched"), "deleted: {is_deleted}");
        let person = pays(&world, &again).await;
        assert!(world.row(&person).await.trial_spent, "deleted: {is_deleted}");
    }
}

#[tokio::test]
async fn a_trial_that_a_removed_tenant_began_and_ended_is_on_its_tombstone() {
    let world = generous_world().await;
    let browser = Browser::of(&world);
    chooses(&browser, Tier::Basic).await;
    let customer = world.stripe.customers()[0].0.clone();
    let person = Person { tenant: derived(&world, CHAT), customer: customer.clone() };
    world.remove_tenant(&person).await;
    world.stripe.pays(&chooses(&browser, Tier::Basic).await).expect("open");
    world.stripe.cancels(&customer);
    world.deliver().await;
    let Some(TenantRecord::Deleted(left)) = world.store.tenant_record(person.tenant).await.expect("up") else {
        panic!("nothing runs")
    };
    assert!(left.trial_spent);
}

#[tokio::test]
async fn a_trial_is_offered_by_the_setting_alone_and_a_page_of_another_setting_is_not_used() {
    let mut world = World::start().await;
    chooses(&Browser::of(&world), Tier::Basic).await;
    assert_eq!(newest(&world).trial_days, None);
    for (days, expected) in [("14", Some(14)), ("90", Some(90)), ("0", None)] {
        world.env = world.env.clone().with("TRIAL_DAYS", days);
        chooses(&Browser::of(&world), Tier::Basic).await;
        assert_eq!((newest(&world).trial_days, open_pages(&world)), (expected, 1), "{days}");
    }
    for days in ["91", "-1", "ten", "1.5"] {
        let env = env_of("billing-session", &world.env).with("TRIAL_DAYS", days);
        assert!(billing_session::App::new(&env, world.clock.clone()).is_err(), "{days}");
    }
}

#[tokio::test]
async fn a_promotion_code_for_all_of_the_price_gives_an_assistant_without_a_card() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let page = chooses(&browser, Tier::Plus).await;
    world.stripe.pays_with_code(&page).expect("a code");
    world.deliver().await;
    let customer = world.stripe.customers()[0].0.clone();
    world.stripe.set_card(&customer, Card::None);
    let person = Person { tenant: derived(&world, CHAT), customer };
    for _ in 0..2 {
        let row = world.row(&person).await;
        assert_eq!(row.entitlement(world.clock.now()), Entitlement::Run { until: None });
        assert_eq!((row.tier(world.clock.now()), row.trial_spent), (Tier::Plus, false));
        world.clock.advance(MONTH);
        world.stripe.catch_up();
        world.deliver().await;
    }
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}
