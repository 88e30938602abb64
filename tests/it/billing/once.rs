//! A link to Stripe's pages leads there once, and a press that did not get there can be repeated.

use axum::http::StatusCode;
use nbhd::domain::subscription::Tier;
use nbhd::flows::billing_link::Destination;
use nbhd_sim::stripe::{Endpoint, Failure};

use crate::billing::session::Browser;
use crate::billing::world::{CHAT, World};

#[tokio::test]
async fn a_link_is_spent_by_the_press_that_leads_to_stripe() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let checkout = browser.link(Destination::Checkout, CHAT, None);
    world.stripe.pays(&browser.chooses(&checkout, Tier::Basic).await).expect("open");
    world.deliver().await;
    let portal = browser.link(Destination::Portal, CHAT, None);
    assert_eq!(browser.press("/billing/portal", &portal, "").await.status, StatusCode::SEE_OTHER);

    world.forget_calls();
    // Neither page is a way around the other.
    for link in [&checkout, &portal] {
        for path in ["/billing/checkout", "/billing/portal"] {
            let seen = browser.press(path, link, "basic").await;
            assert_eq!((seen.status, seen.location), (StatusCode::GONE, None), "{path}");
            assert!(seen.body.contains("<code>used_link</code>") && seen.body.contains("/billing"), "{}", seen.body);
        }
    }
    assert!(world.table_calls().iter().all(|call| call == "GetItem"), "and Stripe is not asked");
    assert_eq!(world.journal.entries_of("stripe").len(), 0);
    let fresh = browser.link(Destination::Portal, CHAT, None);
    assert_eq!(browser.press("/billing/portal", &fresh, "").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn of_presses_at_once_one_is_led_on() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    let presses = (0..3).map(|_| browser.press("/billing/checkout", &link, "basic"));
    let mut statuses: Vec<u16> =
        futures::future::join_all(presses).await.into_iter().map(|seen| seen.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 410, 410]);
    assert_eq!((world.stripe.customers().len(), world.stripe.sessions().len()), (1, 1));
}

#[tokio::test]
async fn a_press_that_did_not_get_there_can_be_repeated() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let checkout = browser.link(Destination::Checkout, CHAT, None);
    world.stripe.faults.fail_next(Endpoint::CreateCheckout, Failure::Throttled);
    assert_eq!(browser.press("/billing/checkout", &checkout, "basic").await.status, StatusCode::BAD_GATEWAY);
    world.stripe.pays(&browser.chooses(&checkout, Tier::Basic).await).expect("open");

    let portal = browser.link(Destination::Portal, CHAT, None);
    world.stripe.faults.fail_next(Endpoint::ListSubscriptions, Failure::Status(500));
    assert_eq!(browser.press("/billing/portal", &portal, "").await.status, StatusCode::BAD_GATEWAY);
    world.table.faults.set_down(true);
    assert_eq!(browser.press("/billing/portal", &portal, "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.table.faults.set_down(false);
    assert_eq!(browser.press("/billing/portal", &portal, "").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_page_that_offers_something_else_has_not_used_the_link() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Portal, CHAT, None);
    assert_eq!(browser.press("/billing/portal", &link, "").await.status, StatusCode::OK, "the plans, on the same link");
    browser.chooses(&link, Tier::Basic).await;
    let item = world.table.items().expect("readable").into_iter().find(|item| item.to_string().contains("NONCE#"));
    assert!(!item.expect("a used link").to_string().contains("http"), "no address of Stripe's is kept");
}
