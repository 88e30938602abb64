//! From a link in a chat to Stripe and back: one customer, one subscription, and pages a person understands.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::{Entitlement, Status, Tier};
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use nbhd::flows::billing_link::{Destination, Links};
use nbhd_sim::rights::env_of;
use nbhd_sim::stripe::contract::Contract;
use nbhd_sim::stripe::{Endpoint, Failure, PLUS, SubscriptionStart};
use tower::ServiceExt as _;

use crate::billing::world::{CHAT, DAY, Person, World};

const BASE: &str = "https://nbhd.example";
const NAME: &str = "Ana <b>Bold</b>";
/// More requests than a checkout makes.
const MANY: usize = 12;

/// An answer, as a browser sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    policy: String,
    pub(super) body: String,
}

pub(super) struct Browser<'w> {
    world: &'w World,
    links: Links,
}

impl<'w> Browser<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        Self { world, links: Links::from_env(&world.env).expect("complete settings") }
    }

    /// The link that the bot sends to `chat`.
    pub(super) fn link(&self, destination: Destination, chat: ChatId, tenant: Option<TenantId>) -> String {
        self.links.link_url(destination, chat, tenant, NAME, self.world.clock.now())
    }

    async fn send(&self, request: Request<Body>) -> Seen {
        let app = billing_session::App::new(&env_of("billing-session", &self.world.env), self.world.clock.clone())
            .expect("complete settings");
        let answer = billing_session::router(app).oneshot(request).await.expect("infallible");
        let header = |name| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (status, location) = (answer.status(), header(header::LOCATION));
        let policy = header(header::CONTENT_SECURITY_POLICY).unwrap_or_default();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("readable");
        Seen { status, location, policy, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub(super) async fn open(&self, url: &str) -> Seen {
        let path = url.strip_prefix(BASE).unwrap_or(url);
        self.send(Request::get(path).body(Body::empty()).expect("valid")).await
    }

    pub(super) async fn press(&self, path: &str, link: &str, tier: &str) -> Seen {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let token = link.split_once("link=").map_or(link, |(_, token)| token);
        let form = format!("link={token}&tier={tier}");
        self.send(request.header("sec-fetch-site", "same-origin").body(Body::from(form)).expect("valid")).await
    }

    /// The person chooses a plan; the address of Stripe's page.
    pub(super) async fn chooses(&self, link: &str, tier: Tier) -> String {
        let seen = self.press("/billing/checkout", link, tier.as_str()).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.body);
        seen.location.expect("a redirect")
    }
}

/// The tenant that a chat without one will have.
pub(super) fn derived(world: &World, chat: ChatId) -> TenantId {
    world.env.identity_key("TENANT_ID_KEY").expect("set").tenant_id(chat)
}

#[tokio::test]
async fn a_stranger_chooses_a_plan_pays_and_is_a_tenant() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    let page = browser.open(&link).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Ana &lt;b&gt;Bold&lt;/b&gt;") && page.body.contains("Plus"), "{}", page.body);
    assert!(page.policy.contains(&format!("form-action 'self' 'self' {}", world.stripe.base_url())), "{}", page.policy);
    assert!(world.stripe.customers().is_empty() && world.table_calls().is_empty(), "looking makes nothing");

    let checkout = browser.chooses(&link, Tier::Plus).await;
    let (tenant, session) = (derived(&world, CHAT), world.stripe.sessions().remove(0));
    assert_eq!((session.price.as_str(), session.terms), (PLUS, true));
    assert_eq!(session.reference, Some(tenant.to_string()));
    let row = world.store.tenant(tenant).await.expect("up").expect("a row");
    let person = Person { tenant, customer: row.customer.clone().expect("made") };
    assert_eq!((row.lifecycle, row.chat_id, row.subscription), (Lifecycle::Pending, CHAT, None));
    assert_eq!(world.store.find_tenant(&person.customer).await.expect("up"), Some(tenant));
    assert_eq!(world.stripe.customers()[0].1["tenant_id"], tenant.to_string());

    let done = world.stripe.pays(&checkout).expect("paid");
    assert_eq!(done, format!("{BASE}/billing/done?from=checkout"));
    let page = browser.open(&done).await;
    assert!(page.body.contains("Thank you") && page.body.contains("https://t.me/nbhd_bot"));
    assert!(page.body.contains("<svg") && page.policy.contains("default-src 'none'"));
    assert!(world.deliver().await.iter().all(|status| *status == 200));
    let known = world.subscription(&person).await.expect("known");
    assert_eq!((known.status, known.tier), (Status::Active, Tier::Plus));
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
    assert!(report.requests >= 3);
}

#[tokio::test]
async fn whatever_is_pressed_again_or_at_once_finds_one_customer_and_one_session() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    let other = browser.link(Destination::Checkout, CHAT, None);
    let (first, second) =
        futures::future::join(browser.chooses(&link, Tier::Basic), browser.chooses(&other, Tier::Basic)).await;
    assert_eq!(first, second);
    let again = browser.link(Destination::Checkout, CHAT, None);
    assert_eq!(browser.chooses(&again, Tier::Basic).await, first);
    assert_eq!((world.stripe.customers().len(), world.stripe.sessions().len()), (1, 1));
}

#[tokio::test]
async fn of_two_checkouts_only_the_last_can_be_paid() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = || browser.link(Destination::Checkout, CHAT, None);
    let basic = browser.chooses(&link(), Tier::Basic).await;
    let plus = browser.chooses(&link(), Tier::Plus).await;
    assert!(world.stripe.pays(&basic).is_err(), "its session has ended");
    let again = browser.chooses(&link(), Tier::Basic).await;
    assert!(again != basic && world.stripe.pays(&plus).is_err());
    world.stripe.pays(&again).expect("open");
    assert_eq!(browser.press("/billing/checkout", &link(), "plus").await.status, StatusCode::CONFLICT);
    world.deliver().await;
    let tenant = derived(&world, CHAT);
    let person = Person { tenant, customer: world.stripe.customers()[0].0.clone() };
    assert_eq!(world.subscription(&person).await.map(|known| known.tier), Some(Tier::Basic));
}

#[tokio::test]
async fn whoever_pays_twice_all_the_same_raises_an_alarm() {
    let world = World::start().await;
    let person = world.subscriber().await;
    world.subscribes(&person, SubscriptionStart::Paid);
    world.deliver().await;
    assert!(nbhd::telemetry::capture().contains("\"SubscriptionsDoubled\":1"));
}

#[tokio::test]
async fn a_removed_tenant_that_went_to_a_checkout_is_asked_about() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let person = removed(&world, &browser).await;
    let due = async || match world.store.tenant_record(person.tenant).await.expect("up") {
        Some(TenantRecord::Deleted(left)) => left.ask_stripe_at,
        other => panic!("not a tombstone: {other:?}"),
    };
    assert!(due().await < Some(world.clock.now() + DAY), "after the removal, and then not before a day has passed");
    let link = browser.link(Destination::Checkout, CHAT, None);
    let checkout = browser.chooses(&link, Tier::Plus).await;
    assert_eq!(due().await, Some(world.clock.now() + DAY));
    // Nothing of it arrives; pressing again finds a subscription, and no assistant yet.
    world.stripe.pays(&checkout).expect("open");
    let link = browser.link(Destination::Checkout, CHAT, None);
    assert_eq!(browser.press("/billing/checkout", &link, "plus").await.status, StatusCode::CONFLICT);
    assert_eq!(due().await, Some(world.clock.now()));
}

#[tokio::test]
async fn a_checkout_stopped_anywhere_is_made_up_for_by_pressing_again() {
    let mut finished = false;
    for requests in 1..MANY {
        let world = World::start().await;
        let browser = Browser::of(&world);
        let link = browser.link(Destination::Checkout, CHAT, None);
        let pressed = browser.press("/billing/checkout", &link, "basic");
        let stopped = world.journal.interruption().stop_after(requests, pressed).await.is_none();
        let mut again = browser.press("/billing/checkout", &link, "basic").await;
        if again.status == StatusCode::GONE {
            // It was stopped after the link was spent.
            again = browser.press("/billing/checkout", &browser.link(Destination::Checkout, CHAT, None), "basic").await;
        }
        let checkout = again.location.expect("a redirect");
        world.stripe.pays(&checkout).expect("open");
        world.deliver().await;
        let customers = world.stripe.customers();
        assert_eq!(customers.len(), 1, "after request {requests}");
        let person = Person { tenant: derived(&world, CHAT), customer: customers[0].0.clone() };
        assert_eq!(world.status(&person).await, Some(Status::Active), "after request {requests}");
        if !stopped {
            finished = true;
            break;
        }
    }
    assert!(finished);
}

#[tokio::test]
async fn a_second_subscription_is_refused_with_a_way_to_the_portal() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let person = world.subscriber().await;
    // No event has arrived: the row does not know yet.
    let link = browser.link(Destination::Checkout, CHAT, Some(person.tenant));
    let seen = browser.press("/billing/checkout", &link, "basic").await;
    assert_eq!(seen.status, StatusCode::CONFLICT);
    assert!(seen.body.contains("already_subscribed") && seen.body.contains(&format!("{BASE}/billing/portal")));
    assert!(world.stripe.sessions().is_empty());
    let seen = browser.press("/billing/portal", &link, "").await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    assert!(seen.location.expect("a portal").contains("/p/session/"));
}

#[tokio::test]
async fn the_portal_is_for_those_who_have_something_to_manage() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let person = world.subscriber().await;
    let link = browser.link(Destination::Portal, CHAT, Some(person.tenant));
    assert!(browser.open(&link).await.body.contains("Continue to Stripe"));
    assert_eq!(browser.press("/billing/portal", &link, "").await.status, StatusCode::SEE_OTHER);
    // Once it has ended, the plans are what helps.
    world.stripe.cancels(&person.customer);
    let link = browser.link(Destination::Portal, CHAT, Some(person.tenant));
    let seen = browser.press("/billing/portal", &link, "").await;
    assert!(seen.status == StatusCode::OK && seen.body.contains(&format!("{BASE}/billing/checkout")));
    browser.chooses(&link, Tier::Basic).await;
    assert_eq!(world.stripe.customers().len(), 1);
    let stranger = browser.link(Destination::Portal, ChatId(7), None);
    assert_eq!(browser.press("/billing/portal", &stranger, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_removed_tenant_pays_as_the_customer_it_was_and_stays_removed_until_then() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let person = removed(&world, &browser).await;

    world.clock.advance(DAY);
    let link = browser.link(Destination::Checkout, CHAT, None);
    let checkout = browser.chooses(&link, Tier::Plus).await;
    assert!(world.is_removed(&person).await && world.stripe.customers().len() == 1);
    world.stripe.pays(&checkout).expect("open");
    world.deliver().await;
    let row = world.row(&person).await;
    assert_eq!((row.chat_id, row.subscription.map(|known| known.tier)), (CHAT, Some(Tier::Plus)));
}

#[tokio::test]
async fn whoever_was_deleted_at_stripe_subscribes_again_as_a_new_customer() {
    // Whether the end of the former one arrived, and whether the tenant was removed meanwhile.
    for (is_told, is_removed) in [(false, false), (true, false), (true, true)] {
        let world = World::start().await;
        let browser = Browser::of(&world);
        let link = browser.link(Destination::Checkout, CHAT, None);
        world.stripe.pays(&browser.chooses(&link, Tier::Basic).await).expect("open");
        world.deliver().await;
        let person = Person { tenant: derived(&world, CHAT), customer: world.stripe.customers()[0].0.clone() };
        world.stripe.deletes_customer(&person.customer);
        if is_told {
            world.deliver().await;
        }
        if is_removed {
            world.remove_tenant(&person).await;
        }
        let [link, other] = [(), ()].map(|()| browser.link(Destination::Checkout, CHAT, None));
        assert_eq!(browser.press("/billing/portal", &link, "").await.status, StatusCode::OK, "nothing to manage");
        let (checkout, again) =
            futures::future::join(browser.chooses(&link, Tier::Plus), browser.chooses(&other, Tier::Plus)).await;
        assert_eq!(checkout, again);
        assert_eq!(world.stripe.customers().len(), 2, "told: {is_told}, removed: {is_removed}");
        let row = world.row(&person).await;
        let new = row.customer.clone().expect("a customer");
        assert_ne!(new, person.customer);
        assert!(!matches!(row.entitlement(world.clock.now()), Entitlement::Run { .. }), "the former one has ended");
        assert_eq!(world.store.find_tenant(&new).await.expect("up"), Some(person.tenant));
        world.stripe.pays(&checkout).expect("open");
        world.deliver().await;
        let known = world.subscription(&person).await.expect("known");
        assert_eq!((known.status, known.tier), (Status::Active, Tier::Plus));
    }
}

#[tokio::test]
async fn with_the_key_of_another_account_nobody_is_taken_for_deleted() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let person = world.subscriber().await;
    world.deliver().await;
    let row = world.row(&person).await;
    let link = browser.link(Destination::Checkout, CHAT, Some(person.tenant));
    world.stripe.becomes_another_account();
    let seen = browser.press("/billing/checkout", &link, "basic").await;
    assert!(seen.status == StatusCode::BAD_GATEWAY && seen.body.contains("stripe_unavailable"));
    assert_eq!(world.row(&person).await, row);
}

#[tokio::test]
async fn a_row_without_a_customer_keeps_what_it_has() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let tenant = TenantId::random();
    world.store.save_tenant(&Tenant { held: true, ..Tenant::new(tenant, CHAT) }, None).await.expect("new");
    browser.chooses(&browser.link(Destination::Checkout, CHAT, Some(tenant)), Tier::Basic).await;
    let row = world.store.tenant(tenant).await.expect("up").expect("a row");
    assert!(row.held && row.customer.is_some());
}

#[tokio::test]
async fn every_failure_has_a_page_and_makes_nothing() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    let code = async |seen: Seen, status: u16, code: &str| {
        assert_eq!(seen.status.as_u16(), status, "{code}: {}", seen.body);
        assert!(seen.body.contains(&format!("<code>{code}</code>")), "{code}: {}", seen.body);
    };
    code(browser.open("/billing/checkout").await, 403, "invalid_link").await;
    code(browser.open("/billing/portal?link=x").await, 403, "invalid_link").await;
    code(browser.press("/billing/checkout", &link, "gold").await, 400, "unknown_plan").await;
    let token = link.split_once("link=").expect("a link").1;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-none", "")] {
        let request = Request::post("/billing/checkout").header(name, value);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(format!("link={token}&tier=basic"))).expect("valid");
        code(browser.send(request).await, 403, "cross_site").await;
    }
    assert!(world.table_calls().is_empty() && world.stripe.customers().is_empty());

    world.table.faults.set_down(true);
    code(browser.press("/billing/checkout", &link, "basic").await, 503, "store_unavailable").await;
    code(browser.press("/billing/portal", &link, "").await, 503, "store_unavailable").await;
    world.table.faults.set_down(false);
    for endpoint in [Endpoint::CreateCustomer, Endpoint::ListSubscriptions, Endpoint::CreateCheckout] {
        for failure in [Failure::Status(500), Failure::Throttled, Failure::AnswerLost, Failure::NotJson] {
            world.stripe.faults.fail_next(endpoint, failure);
            let link = browser.link(Destination::Checkout, CHAT, None);
            let seen = browser.press("/billing/checkout", &link, "basic").await;
            if seen.status != StatusCode::SEE_OTHER {
                code(seen, 502, "stripe_unavailable").await;
            }
            world.stripe.faults.recover();
        }
    }
    browser.chooses(&link, Tier::Basic).await;
    assert_eq!((world.stripe.customers().len(), world.stripe.sessions().len()), (1, 1));

    world.clock.advance(DAY);
    code(browser.press("/billing/checkout", &link, "basic").await, 403, "invalid_link").await;
    let mut world = World::start().await;
    world.env = world.env.clone().without("STRIPE_PRICE_BASIC");
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    code(browser.open(&link).await, 503, "not_configured").await;
    code(browser.press("/billing/portal", &link, "").await, 503, "not_configured").await;
}

#[tokio::test]
async fn a_failure_that_stripe_keeps_under_a_key_holds_nobody_up() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let link = browser.link(Destination::Checkout, CHAT, None);
    for endpoint in [Endpoint::CreateCustomer, Endpoint::CreateCheckout] {
        world.stripe.faults.fail_next(endpoint, Failure::Stored);
        let seen = browser.press("/billing/checkout", &link, "basic").await;
        assert_eq!(seen.status, StatusCode::BAD_GATEWAY, "{endpoint:?}");
    }
    browser.chooses(&link, Tier::Basic).await;
    assert_eq!((world.stripe.customers().len(), world.stripe.sessions().len()), (1, 1));
}

#[tokio::test]
async fn a_person_who_turns_back_is_told_that_nothing_was_charged() {
    let world = World::start().await;
    let browser = Browser::of(&world);
    let checkout = browser.chooses(&browser.link(Destination::Checkout, CHAT, None), Tier::Basic).await;
    let back = world.stripe.turns_back(&checkout).expect("a way back");
    assert!(browser.open(&back).await.body.contains("Nothing was charged"));
    assert!(browser.open("/billing/done").await.body.contains("All set"));
    assert_eq!(world.stripe.subscriptions(&world.stripe.customers()[0].0).len(), 0);
}

/// Somebody who subscribed, canceled, and of whom a receipt is left.
async fn removed(world: &World, browser: &Browser<'_>) -> Person {
    let link = browser.link(Destination::Checkout, CHAT, None);
    world.stripe.pays(&browser.chooses(&link, Tier::Basic).await).expect("open");
    world.deliver().await;
    let person = Person { tenant: derived(world, CHAT), customer: world.stripe.customers()[0].0.clone() };
    world.stripe.cancels(&person.customer);
    world.deliver().await;
    world.remove_tenant(&person).await;
    person
}
