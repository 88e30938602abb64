//! An assistant that an operator gives: what it costs, who says that it ends, and what stays beside it.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::gift::Gift;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::reconcile_status::Notice;
use nbhd::domain::subscription::{RETENTION, Tier};
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use serde_json::{Value, json};

use super::Office;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Somebody with no assistant yet.
const BOB: ChatId = ChatId(2002);

impl Office {
    /// The tenant that Bob has, or would get at a checkout.
    fn bob(&self) -> TenantId {
        self.world.env.identity_key("TENANT_ID_KEY").expect("set").tenant_id(BOB)
    }

    async fn record(&self, id: TenantId) -> TenantRecord {
        self.world.store().expect("a store").tenant_record(id).await.expect("readable").expect("there")
    }

    async fn row(&self, id: TenantId) -> Tenant {
        match self.record(id).await {
            TenantRecord::Live(tenant) => *tenant,
            TenantRecord::Deleted(left) => panic!("removed: {left:?}"),
        }
    }

    /// Gives somebody an assistant until a time from now, and lets everything happen that follows at once.
    async fn grants(&self, whom: &str, time: Duration, tier: &str) -> Timestamp {
        let until = self.world.clock.now() + time;
        self.nbhd(&["grant", whom, "--until", &until.rfc3339(), "--tier", tier]).await.expect("given");
        self.world.run_until_idle().await;
        until
    }

    /// The last message to Bob, and the address on its button.
    fn last_to_bob(&self) -> (String, String) {
        let sent = self.world.telegram.sent_to(BOB).pop().expect("a message");
        let url = sent.message["reply_markup"]["inline_keyboard"][0][0]["url"].as_str().unwrap_or_default().to_owned();
        (self.world.telegram.texts_to(BOB).pop().expect("a text"), url)
    }
}

#[tokio::test]
async fn a_person_without_a_card_has_an_assistant_until_the_gift_ends_and_a_week_later_nothing() {
    let office = Office::open().await;
    let world = &office.world;
    world.telegram.knows(BOB, "Bob");
    let (customers, bob) = (world.stripe.customers(), office.bob());
    let until = office.grants("2002", DAY, "plus").await;
    let row = office.row(bob).await;
    assert_eq!((row.lifecycle, row.chat_id, row.customer.clone()), (Lifecycle::Active, BOB, None));
    assert_eq!((row.gift, row.tier(world.clock.now())), (Some(Gift { until, tier: Tier::Plus }), Tier::Plus));
    assert!(office.last_to_bob().0.starts_with("Your assistant is ready"));
    world.telegram.says(BOB, "hello");
    world.run_until_idle().await;
    let runtime = world.subscriber(BOB).await.expect("readable").expect("a container").runtime;
    assert_eq!(runtime.update_ids().len(), 1);
    let shown = office.json(&["tenant", &bob.to_string()]).await;
    assert_eq!(shown["granted"], format!("plus until {until}"));
    assert_eq!(shown["entitled"], format!("run until {until}"));
    let listed = office.json(&["tenants", "--state", "active"]).await;
    let listed: Vec<&Value> =
        listed.as_array().expect("rows").iter().filter(|row| row["tenant"] == json!(bob)).collect();
    assert_eq!((listed.len(), &listed[0]["tier"], &listed[0]["customer"]), (1, &json!("plus"), &Value::Null));

    world.pass_time(DAY + DAY / 2).await;
    assert_eq!(office.row(bob).await.lifecycle, Lifecycle::Suspended);
    assert!(office.last_to_bob().0.starts_with("Your assistant is paused"));
    assert_eq!(office.json(&["tenant", &bob.to_string()]).await["granted"], format!("plus, ended at {until}"));
    world.pass_time(RETENTION).await;
    assert!(matches!(office.record(bob).await, TenantRecord::Deleted(_)));
    assert_eq!(world.stripe.customers(), customers, "Stripe never heard of it");
    let steps = world
        .table
        .items()
        .expect("readable")
        .iter()
        .any(|item| item["pk"]["S"] == format!("TENANT#{bob}") && item["step"]["S"] == "sync");
    assert!(!steps, "and was not asked");
}

#[tokio::test]
async fn a_gift_that_is_taken_back_ends_at_once_and_is_not_taken_back_twice() {
    let office = Office::open().await;
    office.world.telegram.knows(BOB, "Bob");
    let bob = office.bob().to_string();
    for (end, whom) in [(["--revoke"].as_slice(), "2002"), (&["--until", "now"], &bob)] {
        office.grants("2002", DAY * 30, "basic").await;
        let words = [&["grant", whom], end].concat();
        office.nbhd(&words).await.expect("ended");
        office.world.run_until_idle().await;
        assert_eq!(office.row(office.bob()).await.lifecycle, Lifecycle::Suspended);
        let refused = office.nbhd(&words).await.expect_err("ended before");
        assert!(refused.to_string().contains("no grant that runs"), "{refused}");
    }
}

#[tokio::test]
async fn a_gift_beside_a_subscription_outlives_it_and_the_better_tier_counts() {
    let office = Office::open().await;
    let (world, ann) = (&office.world, office.ann.tenant_id);
    let until = office.grants(&office.ann(), DAY * 2, "plus").await;
    assert_eq!(office.row(ann).await.tier(world.clock.now()), Tier::Plus);
    let limit = office.row(ann).await.reconcile.resources.keys.expect("keys").limit_cents;
    let customer = office.row(ann).await.customer.expect("a customer");
    world.stripe.cancels(&customer);
    world.run_until_idle().await;
    world.pass_time(DAY).await;
    assert_eq!(office.row(ann).await.lifecycle, Lifecycle::Active, "it has ended, and the gift runs");
    world.pass_time(DAY + DAY / 2).await;
    let row = office.row(ann).await;
    assert_eq!(row.lifecycle, Lifecycle::Suspended);
    assert_eq!(row.entitlement(world.clock.now()).changes_at(), Some(until + RETENTION), "from the later of both ends");
    assert!(limit > 500, "the larger limit: {limit}");
}

#[tokio::test]
async fn when_a_better_gift_ends_the_subscription_and_its_tier_are_left() {
    let office = Office::open().await;
    let (world, ann) = (&office.world, office.ann.tenant_id);
    let limit = async || office.row(ann).await.reconcile.resources.keys.expect("keys").limit_cents;
    let before = limit().await;
    office.grants(&office.ann(), DAY, "plus").await;
    assert!(limit().await > before);
    world.pass_time(DAY + DAY / 2).await;
    assert_eq!((office.row(ann).await.lifecycle, limit().await), (Lifecycle::Active, before));
}

#[tokio::test]
async fn a_hold_wins_over_a_gift() {
    let office = Office::open().await;
    office.world.telegram.knows(BOB, "Bob");
    office.grants("2002", DAY * 30, "basic").await;
    let bob = office.bob().to_string();
    for (word, lifecycle) in [("suspend", Lifecycle::Suspended), ("resume", Lifecycle::Active)] {
        office.nbhd(&[word, &bob]).await.expect("done");
        office.world.run_until_idle().await;
        assert_eq!(office.row(office.bob()).await.lifecycle, lifecycle);
    }
    office.nbhd(&["suspend", &bob]).await.expect("done");
    let said = office.nbhd(&["grant", &bob, "--until", "now"]).await.and(
        office.nbhd(&["grant", &bob, "--until", &(office.world.clock.now() + DAY).rfc3339(), "--tier", "basic"]).await,
    );
    assert!(said.expect("given").contains("held"));
    office.world.run_until_idle().await;
    assert_eq!(office.row(office.bob()).await.lifecycle, Lifecycle::Suspended);
}

#[tokio::test]
async fn a_removed_tenant_is_given_a_new_life_by_its_chat_alone_and_keeps_a_spent_trial_and_hold() {
    let office = Office::open().await;
    let world = &office.world;
    world.telegram.knows(BOB, "Bob");
    office.grants("2002", DAY, "basic").await;
    world.pass_time(DAY * 2 + RETENTION).await;
    let TenantRecord::Deleted(left) = office.record(office.bob()).await else { panic!("not removed") };
    let version = left.version;
    let spent = nbhd::domain::tenant::Tombstone { trial_spent: true, ..*left };
    world.store().expect("a store").save_tombstone(&spent, version).await.expect("unchanged");
    let until = (world.clock.now() + DAY).rfc3339();
    let by_id = office.nbhd(&["grant", &office.bob().to_string(), "--until", &until, "--tier", "basic"]).await;
    assert!(by_id.expect_err("nothing tells whose it was").to_string().contains("chat"));
    office.grants("2002", DAY, "plus").await;
    let row = office.row(office.bob()).await;
    assert_eq!((row.lifecycle, row.trial_spent), (Lifecycle::Active, true));
    assert_eq!(row.reconcile.last_notice, Some(Notice::ReadyAnew));
}

#[tokio::test]
async fn whoever_has_a_gift_hears_until_when_and_can_subscribe_beside_it() {
    let office = Office::open().await;
    let world = &office.world;
    world.telegram.knows(BOB, "Bob");
    let until = office.grants("2002", DAY * 3, "basic").await;
    let last_day = &until.rfc3339()[..10];
    world.telegram.says(BOB, "/status");
    world.run_until_idle().await;
    let (status, _) = office.last_to_bob();
    assert!(status.contains(&format!("Free until the end of {last_day}")), "{status}");
    world.telegram.says(BOB, "/billing");
    world.run_until_idle().await;
    let (_, url) = office.last_to_bob();
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let page = async |url: &str| http.get(url).send().await.expect("an answer").text().await.expect("a page");
    let seen = page(&url).await;
    assert!(seen.contains(&format!("free until the end of {last_day}")) && seen.contains("Choose a plan"), "{seen}");
    let token = url.split_once("link=").expect("a link").1;
    let form = format!("link={token}&tier=plus");
    let request = http.post(format!("{}/billing/checkout", world.base_url())).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.header("sec-fetch-site", "same-origin").send().await.expect("an answer");
    let checkout = answer.headers()["location"].to_str().expect("text").to_owned();
    let row = office.row(office.bob()).await;
    assert_eq!((row.gift.map(|gift| gift.until), row.customer.is_some()), (Some(until), true), "the same tenant");
    assert!(page(&url).await.contains("Choose a plan"), "they may turn back");
    world.stripe.pays(&checkout).expect("open");
    world.run_until_idle().await;
    world.pass_time(DAY * 4).await;
    let row = office.row(office.bob()).await;
    assert_eq!((row.lifecycle, row.tier(world.clock.now())), (Lifecycle::Active, Tier::Plus), "paid for by now");
    world.telegram.says(BOB, "/billing");
    world.run_until_idle().await;
    assert!(page(&office.last_to_bob().1).await.contains("Continue to Stripe"));
}

#[tokio::test]
async fn what_cannot_be_given_is_refused_and_writes_nothing() {
    let office = Office::open().await;
    let (ann, nobody) = (office.ann(), TenantId::random().to_string());
    let before = office.row(office.ann.tenant_id).await;
    let ahead = (office.world.clock.now() + DAY).rfc3339();
    for words in [
        vec!["grant", &ann],
        vec!["grant", &ann, "--until", &ahead],
        vec!["grant", &ann, "--until", &ahead, "--tier", "gold"],
        vec!["grant", &ann, "--until", "2020-01-31", "--tier", "basic"],
        vec!["grant", &ann, "--until", "2126-01-31", "--tier", "basic"],
        vec!["grant", &ann, "--until", &ahead, "--tier", "basic", "--revoke"],
        vec!["grant", &ann, "--revoke"],
        vec!["grant", &nobody, "--until", &ahead, "--tier", "basic"],
        vec!["grant", "-1001", "--until", &ahead, "--tier", "basic"],
        vec!["grant", "2002", "--revoke"],
    ] {
        office.nbhd(&words).await.expect_err(&words.join(" "));
    }
    assert_eq!(office.row(office.ann.tenant_id).await, before);
    assert_eq!(office.json(&["tenants"]).await.as_array().map(Vec::len), Some(1));
}
