//! The simulated Stripe: what it refuses, what time does, and that all of it is what Stripe describes.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd_sim::journal::Journal;
use nbhd_sim::stripe::contract::Contract;
use nbhd_sim::stripe::{self, AfterDunning, BASIC, Endpoint, Failure, SessionStatus, Stripe, SubscriptionStart};
use reqwest::Method;
use serde_json::Value;

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = HOUR.saturating_mul(24);
const CHECKOUT: &str = "mode=subscription&success_url=https%3A%2F%2Fnbhd.example%2Fdone%3Fs%3D%7BCHECKOUT_SESSION_ID%7D\
                        &cancel_url=https%3A%2F%2Fnbhd.example%2Fback&client_reference_id=tenant-1\
                        &consent_collection[terms_of_service]=required&line_items[0][price]=price_1SimBasic\
                        &line_items[0][quantity]=1&subscription_data[metadata][tenant_id]=tenant-1";

struct World {
    clock: Clock,
    journal: Journal,
    stripe: Stripe,
    http: reqwest::Client,
    key: String,
}

impl World {
    async fn start() -> Self {
        let (clock, journal) = (Clock::manual(START), Journal::new());
        let stripe = Stripe::start(clock.clone(), &journal).await.expect("a free port");
        let http = nbhd::http::client(&Env::from_pairs([("", "")])).expect("a client");
        let key = stripe.settings().into_iter().find(|(name, _)| *name == "STRIPE_SECRET_KEY").expect("a key").1;
        Self { clock, journal, stripe, http, key }
    }

    async fn call(&self, method: Method, path: &str, form: &str, idempotency: Option<&str>) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.stripe.base_url());
        let mut request = self.http.request(method, url).bearer_auth(&self.key).body(form.to_owned());
        if let Some(key) = idempotency {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, "", None).await
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        let (status, answer) = self.call(Method::POST, path, form, None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn customer(&self) -> String {
        let customer = self.post("/v1/customers", "metadata[tenant_id]=tenant-1").await;
        customer["id"].as_str().expect("an id").to_owned()
    }

    /// A customer who subscribed and has paid once.
    async fn subscriber(&self) -> String {
        let customer = self.customer().await;
        self.stripe.card_works(&customer);
        self.stripe.subscribes(&customer, BASIC, SubscriptionStart::Paid, &[("tenant_id", "tenant-1")]);
        customer
    }

    fn status(&self, customer: &str) -> &'static str {
        self.stripe.subscription(customer).expect("subscribed").status
    }

    fn kinds(&self) -> Vec<String> {
        self.stripe.events().into_iter().map(|event| event.kind).collect()
    }
}

#[tokio::test]
async fn a_call_needs_the_secret_key_and_known_parameters() {
    let world = World::start().await;
    let url = format!("{}/v1/customers", world.stripe.base_url());
    let status = async |request: reqwest::RequestBuilder| request.send().await.expect("an answer").status();
    assert_eq!(status(world.http.get(&url)).await, 401);
    assert_eq!(status(world.http.get(&url).bearer_auth("sk_test_other")).await, 401);
    assert_eq!(status(world.http.get(&url).basic_auth(&world.key, Some(""))).await, 200);
    let (refused, answer) = world.call(Method::POST, "/v1/customers", "shoe_size=43", None).await;
    assert_eq!((refused, answer["error"]["code"].as_str()), (StatusCode::BAD_REQUEST, Some("parameter_unknown")));
    let (unknown, answer) = world.get("/v1/customers/cus_none").await;
    assert_eq!((unknown, answer["error"]["code"].as_str()), (StatusCode::NOT_FOUND, Some("resource_missing")));
    assert_eq!(world.get("/v1/nonsense").await.0, 404);
}

#[tokio::test]
async fn a_repeated_key_repeats_the_answer_and_refuses_another_request() {
    let world = World::start().await;
    let make = async |form: &str| world.call(Method::POST, "/v1/customers", form, Some("k1")).await;
    let first = make("metadata[a]=1").await;
    assert_eq!(make("metadata[a]=1").await, first);
    let (status, answer) = make("metadata[a]=2").await;
    assert_eq!((status, answer["error"]["type"].as_str()), (StatusCode::BAD_REQUEST, Some("idempotency_error")));
    assert_eq!(world.stripe.customers().len(), 1);
    world.clock.advance(DAY);
    assert_ne!(make("metadata[a]=1").await.1["id"], first.1["id"]);
}

#[tokio::test]
async fn a_lost_answer_is_repeated_to_whoever_asks_again_with_the_same_key() {
    let world = World::start().await;
    world.stripe.faults.fail_next(Endpoint::CreateCustomer, Failure::AnswerLost);
    let make = async || world.call(Method::POST, "/v1/customers", "", Some("k1")).await;
    assert_eq!(make().await.0, 502);
    assert_eq!(make().await.0, 200);
    assert_eq!((world.stripe.customers().len(), world.stripe.calls(Endpoint::CreateCustomer)), (1, 2));
    world.stripe.faults.fail_all(Failure::Throttled);
    assert_eq!(world.get("/v1/subscriptions").await.0, 429);
    world.stripe.faults.recover();
    assert_eq!(world.get("/v1/subscriptions").await.0, 200);
}

#[tokio::test]
async fn a_page_is_paid_once_and_only_with_the_terms_ticked() {
    let world = World::start().await;
    let customer = world.customer().await;
    let session = world.post("/v1/checkout/sessions", &format!("{CHECKOUT}&customer={customer}")).await;
    let url = session["url"].as_str().expect("a page");
    let press = async |form: &'static str| {
        let request = world.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.expect("an answer");
        let target = answer.headers().get("location").map(|target| target.to_str().expect("text").to_owned());
        target.ok_or(answer.text().await.expect("a page"))
    };
    let page = world.http.get(url).send().await.expect("an answer").text().await.expect("a page");
    assert!(page.contains("Subscribe to Basic") && page.contains("$20.00") && page.contains("name=\"terms\""));
    assert!(press("action=pay").await.expect_err("no terms").contains("You have to agree to the terms"));
    assert!(press("action=decline&terms=yes").await.expect_err("declined").contains("Your card was declined"));
    assert_eq!(press("action=cancel").await.as_deref(), Ok("https://nbhd.example/back"));
    assert_eq!(world.stripe.subscription(&customer).map(|known| known.status), None);

    let id = session["id"].as_str().expect("an id");
    assert_eq!(press("action=pay&terms=yes").await, Ok(format!("https://nbhd.example/done?s={id}")));
    assert!(press("action=pay&terms=yes").await.expect_err("paid").contains("all done"));
    let known = world.stripe.subscription(&customer).expect("subscribed");
    assert_eq!((known.status, known.metadata["tenant_id"].as_str()), ("active", "tenant-1"));
    let expected = [
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ];
    assert_eq!(world.kinds(), expected);
    let again = world.get(&format!("/v1/checkout/sessions/{id}?expand[]=subscription.latest_invoice")).await.1;
    assert_eq!(again["subscription"]["latest_invoice"]["status"], "paid");
    assert_eq!((&again["url"], &again["consent"]["terms_of_service"]), (&Value::Null, &Value::from("accepted")));
}

#[tokio::test]
async fn a_page_with_a_trial_charges_nothing_until_the_trial_ends() {
    let world = World::start().await;
    let customer = world.customer().await;
    let with = |days: &str| format!("{CHECKOUT}&customer={customer}&subscription_data[trial_period_days]={days}");
    for days in ["0", "731", "-1", "week"] {
        assert_eq!(world.call(Method::POST, "/v1/checkout/sessions", &with(days), None).await.0, 400, "{days}");
    }
    let session = world.post("/v1/checkout/sessions", &with("14")).await;
    assert_eq!((&session["amount_total"], &session["allow_promotion_codes"]), (&Value::from(0), &Value::Null));
    world.stripe.pays(session["url"].as_str().expect("a page")).expect("open");
    let id = session["id"].as_str().expect("an id");
    let paid = world.get(&format!("/v1/checkout/sessions/{id}?expand[]=subscription")).await.1;
    assert_eq!(paid["payment_status"], "no_payment_required");
    let (start, end) = (&paid["subscription"]["trial_start"], &paid["subscription"]["trial_end"]);
    assert_eq!(start.as_i64().zip(end.as_i64()).map(|(start, end)| end - start), Some(14 * 86_400));
    world.clock.advance(DAY * 14);
    assert_eq!(world.status(&customer), "active");
    assert_eq!(world.kinds().iter().filter(|kind| *kind == "invoice.paid").count(), 1);
}

#[tokio::test]
async fn a_page_takes_a_promotion_code_where_its_maker_allows_it() {
    let world = World::start().await;
    let customer = world.customer().await;
    let make = async |rest: &str| world.post("/v1/checkout/sessions", &format!("{CHECKOUT}{rest}")).await;
    let plain = make(&format!("&customer={customer}")).await;
    let refused = world.stripe.pays_with_code(plain["url"].as_str().expect("a page"));
    assert_eq!(refused, Err("This page takes no promotion codes."));
    let session = make(&format!("&customer={customer}&allow_promotion_codes=true")).await;
    assert_eq!(session["allow_promotion_codes"], true);
    world.stripe.pays_with_code(session["url"].as_str().expect("a page")).expect("a code");
    world.clock.advance(stripe::billing::MONTH * 2);
    assert_eq!(world.status(&customer), "active", "without a card");
    let invoices = world.get(&format!("/v1/invoices?customer={customer}&status=paid")).await.1;
    let amounts: Vec<_> = invoices["data"].as_array().expect("a list").iter().map(|one| &one["amount_due"]).collect();
    assert_eq!(amounts, [0, 0, 0]);
}

#[tokio::test]
async fn a_page_that_its_maker_expires_cannot_be_paid_and_a_paid_one_not_be_expired() {
    let world = World::start().await;
    let customer = world.customer().await;
    let make = async || world.post("/v1/checkout/sessions", &format!("{CHECKOUT}&customer={customer}")).await;
    let path = |session: &Value| format!("/v1/checkout/sessions/{}/expire", session["id"].as_str().expect("an id"));
    let (first, second) = (make().await, make().await);
    assert_eq!(world.post(&path(&first), "").await["status"], "expired");
    assert_eq!(world.stripe.pays(first["url"].as_str().expect("a page")), Err("This page has expired."));
    world.stripe.pays(second["url"].as_str().expect("a page")).expect("open");
    for ended in [&first, &second] {
        assert_eq!(world.call(Method::POST, &path(ended), "", None).await.0, 400);
    }
}

#[tokio::test]
async fn a_page_nobody_pays_expires_after_a_day() {
    let world = World::start().await;
    let customer = world.customer().await;
    let session = world.post("/v1/checkout/sessions", &format!("{CHECKOUT}&customer={customer}")).await;
    let url = session["url"].as_str().expect("a page");
    assert_eq!(world.stripe.pays_with_declined_card(url), Some("Your card was declined."));
    world.clock.advance(DAY);
    assert_eq!(world.stripe.pays(url), Err("This page has expired."));
    assert_eq!(world.stripe.sessions()[0].status, SessionStatus::Expired);
    assert_eq!(world.kinds().last().map(String::as_str), Some("checkout.session.expired"));
}

#[tokio::test]
async fn a_paid_subscription_renews_every_month() {
    let world = World::start().await;
    let customer = world.subscriber().await;
    world.clock.advance(stripe::billing::MONTH * 3);
    let known = world.stripe.subscription(&customer).expect("subscribed");
    assert_eq!((known.status, known.period.0), ("active", world.clock.now()));
    assert_eq!(world.kinds().iter().filter(|kind| *kind == "invoice.paid").count(), 4);
}

#[tokio::test]
async fn a_failed_payment_is_tried_again_and_then_given_up() {
    for (after, status) in
        [(AfterDunning::Unpaid, "unpaid"), (AfterDunning::Canceled, "canceled"), (AfterDunning::PastDue, "past_due")]
    {
        let world = World::start().await;
        let customer = world.subscriber().await;
        world.stripe.ends_dunning_with(after);
        world.stripe.card_fails(&customer);
        world.clock.advance(stripe::billing::MONTH);
        let due = world.clock.now();
        assert_eq!(world.status(&customer), "past_due");
        let id = world.stripe.subscription(&customer).expect("subscribed").id;
        for days in [3, 2] {
            world.clock.advance(DAY * days);
            assert_eq!(world.status(&customer), "past_due");
        }
        let open = world.stripe.open_invoices(&id);
        assert_eq!((open.len(), open[0].created, open[0].attempts), (1, due, 3));
        world.clock.advance(DAY * 2);
        assert_eq!(world.status(&customer), status);
    }
}

#[tokio::test]
async fn paying_what_is_open_ends_the_trouble() {
    let world = World::start().await;
    let customer = world.subscriber().await;
    world.stripe.card_fails(&customer);
    world.clock.advance(stripe::billing::MONTH + DAY * 8);
    assert_eq!(world.status(&customer), "unpaid");
    let portal =
        world.post("/v1/billing_portal/sessions", &format!("customer={customer}&return_url=https://a.example")).await;
    let url = portal["url"].as_str().expect("a page");
    let press = |action: &'static str| {
        let form = format!("action={action}");
        world.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form).send()
    };
    let page = world.http.get(url).send().await.expect("an answer").text().await.expect("a page");
    assert!(page.contains("unpaid") && page.contains("$20.00") && page.contains("https://a.example"), "{page}");
    press("card").await.expect("a page");
    assert_eq!(world.status(&customer), "active");
    press("cancel-later").await.expect("a page");
    assert!(world.stripe.subscription(&customer).expect("subscribed").cancel_at_period_end);
    press("keep").await.expect("a page");
    assert!(!world.stripe.subscription(&customer).expect("subscribed").cancel_at_period_end);
    press("cancel").await.expect("a page");
    assert_eq!(world.status(&customer), "canceled");
}

#[tokio::test]
async fn every_other_way_of_a_subscription_is_told() {
    let world = World::start().await;
    let customer = world.subscriber().await;
    world.stripe.cancels_at_period_end(&customer, true);
    world.clock.advance(stripe::billing::MONTH);
    assert_eq!(world.status(&customer), "canceled");

    world.clock.advance(DAY);
    world.stripe.set_card(&customer, stripe::Card::None);
    world.stripe.subscribes(&customer, BASIC, SubscriptionStart::Trial(DAY * 7), &[]);
    assert_eq!(world.status(&customer), "trialing");
    world.clock.advance(DAY * 7);
    assert_eq!(world.status(&customer), "paused");
    world.stripe.card_works(&customer);
    world.stripe.resumes(&customer);
    assert_eq!(world.status(&customer), "active");

    let other = world.customer().await;
    world.stripe.subscribes(&other, BASIC, SubscriptionStart::Incomplete, &[]);
    assert_eq!(world.status(&other), "incomplete");
    world.clock.advance(HOUR * 23);
    assert_eq!(world.status(&other), "incomplete_expired");
    world.stripe.disputes(&customer);
    for kind in ["deleted", "paused", "resumed"] {
        assert!(world.kinds().contains(&format!("customer.subscription.{kind}")), "{kind}");
    }
    assert_eq!(world.kinds().last().map(String::as_str), Some("charge.dispute.created"));

    let all = world.get(&format!("/v1/subscriptions?customer={customer}&status=all&limit=1")).await.1;
    assert_eq!((&all["data"][0]["status"], &all["has_more"]), (&Value::from("active"), &Value::from(true)));
    let first = all["data"][0]["id"].as_str().expect("an id");
    let rest = world.get(&format!("/v1/subscriptions?customer={customer}&status=all&starting_after={first}")).await.1;
    assert_eq!((&rest["data"][0]["status"], &rest["has_more"]), (&Value::from("canceled"), &Value::from(false)));
    let living = world.get(&format!("/v1/subscriptions?customer={customer}")).await.1;
    assert_eq!(living["data"].as_array().map(Vec::len), Some(1));
    let ended = format!("/v1/invoices?customer={other}&status=void&expand[]=data.customer");
    assert_eq!(world.get(&ended).await.1["data"][0]["customer"]["object"], "customer");
}

#[tokio::test]
async fn every_answer_and_event_of_the_simulator_is_one_stripe_describes() {
    let world = World::start().await;
    let customer = world.customer().await;
    let session = world.post("/v1/checkout/sessions", &format!("{CHECKOUT}&customer={customer}")).await;
    world.stripe.pays(session["url"].as_str().expect("a page")).expect("paid");
    world.stripe.card_fails(&customer);
    world.clock.advance(stripe::billing::MONTH);
    let id = world.stripe.subscription(&customer).expect("subscribed").id;
    for path in [
        "/v1/customers?limit=3".to_owned(),
        format!("/v1/customers/{customer}"),
        format!("/v1/subscriptions?customer={customer}&status=all&limit=100&expand[]=data.latest_invoice"),
        format!("/v1/subscriptions/{id}?expand[]=customer"),
        format!("/v1/invoices?subscription={id}&status=open&limit=100"),
        "/v1/prices?active=true".to_owned(),
    ] {
        assert_eq!(world.get(&path).await.0, 200, "{path}");
    }
    world.post(&format!("/v1/subscriptions/{id}"), "cancel_at_period_end=true&metadata[a]=b").await;
    world.post(&format!("/v1/customers/{customer}"), "metadata[a]=b").await;
    world.post("/v1/billing_portal/sessions", &format!("customer={customer}")).await;
    world.call(Method::DELETE, &format!("/v1/subscriptions/{id}"), "", None).await;
    world.stripe.disputes(&customer);
    world.stripe.deliver_to(&format!("{}/nowhere", world.stripe.base_url()));
    let delivered = world.stripe.deliver().await.len();

    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
    assert!(report.requests >= 11 && report.objects > 20 + delivered, "{report:?}");
}
