//! A customer who is gone at Stripe, and whom an operator takes off the tenant.

use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use nbhd_local::Subscriber;

use super::Office;

impl Office {
    async fn anns_row(&self) -> Tenant {
        let store = self.world.store().expect("a store");
        store.tenant(self.ann.tenant_id).await.expect("readable").expect("there")
    }

    async fn tenant_of(&self, customer: &str) -> Option<nbhd::domain::ids::TenantId> {
        self.world.store().expect("a store").find_tenant(customer).await.expect("readable")
    }
}

#[tokio::test]
async fn a_deleted_customer_is_forgotten_and_the_person_subscribes_as_a_new_one() {
    let office = Office::open().await;
    let world = &office.world;
    let customer = office.anns_row().await.customer.expect("a customer");
    office.nbhd(&["suspend", &office.ann()]).await.expect("done");
    let still = office.nbhd(&["forget-customer", &customer]).await.expect_err("Stripe knows it");
    assert!(still.to_string().contains("still knows"), "{still}");
    world.stripe.deletes_customer(&customer);
    office.nbhd(&["forget-customer", &customer]).await.expect("forgotten");
    let row = office.anns_row().await;
    assert_eq!((row.customer.clone(), row.held), (None, true));
    assert!(matches!(row.entitlement(world.clock.now()), Entitlement::Suspend { until: Some(_) }), "it has ended");
    let subscription = row.subscription.expect("it is known").id;
    assert_eq!((office.tenant_of(&customer).await, office.tenant_of(&subscription).await), (None, None));
    // The late events of the deletion find nobody, and nobody has to look at them.
    world.run_until_idle().await;
    let items = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
    assert!(items.contains("customer_deleted") && !items.contains("unmatched"));
    let twice = office.nbhd(&["forget-customer", &customer]).await.expect_err("nobody's");
    assert!(twice.to_string().contains("no tenant has"), "{twice}");

    office.nbhd(&["resume", &office.ann()]).await.expect("done");
    world.run_until_idle().await;
    assert_eq!(office.anns_row().await.lifecycle, Lifecycle::Suspended);
    let Subscriber { tenant_id, .. } = resubscribes(&office).await;
    assert_eq!(tenant_id, office.ann.tenant_id);
    let row = office.anns_row().await;
    assert!(row.customer.is_some_and(|new| new != customer) && row.lifecycle == Lifecycle::Active);
}

#[tokio::test]
async fn by_force_a_customer_who_lives_is_forgotten_and_whoever_pays_for_nothing_is_noticed() {
    let office = Office::open().await;
    let world = &office.world;
    let customer = office.anns_row().await.customer.expect("a customer");
    office.nbhd(&["forget-customer", &customer, "--force"]).await.expect("forgotten");
    world.run_until_idle().await;
    let row = office.anns_row().await;
    assert_eq!((row.lifecycle, row.customer), (Lifecycle::Suspended, None), "nobody runs for free");
    world.stripe.cancels_at_period_end(&customer, true);
    world.run_until_idle().await;
    let items = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
    assert!(items.contains("unmatched"), "it still pays");
}

#[tokio::test]
async fn without_stripes_settings_or_answer_only_force_forgets() {
    let office = Office::open().await;
    let customer = office.anns_row().await.customer.expect("a customer");
    let subscription = office.anns_row().await.subscription.expect("subscribed").id;
    let another = office.nbhd(&["forget-customer", &subscription, "--force"]).await.expect_err("no customer");
    assert!(another.to_string().contains("cus_"), "{another}");
    let unknown = office.nbhd(&["forget-customer", "cus_nobody", "--force"]).await.expect_err("nobody's");
    assert!(unknown.to_string().contains("no tenant has"), "{unknown}");
    // The key of another account knows none of our prices: it says nothing about the customer.
    office.world.stripe.becomes_another_account();
    let unsure = office.nbhd(&["forget-customer", &customer]).await.expect_err("nobody can say");
    assert!(unsure.to_string().contains("did not say"), "{unsure}");
    let settings = std::fs::read_to_string(&office.settings).expect("settings");
    let without: Vec<&str> = settings.lines().filter(|line| !line.starts_with("STRIPE_SECRET_KEY")).collect();
    std::fs::write(&office.settings, without.join("\n")).expect("written");
    let blind = office.nbhd(&["forget-customer", &customer]).await.expect_err("nobody can be asked");
    assert!(blind.to_string().contains("STRIPE_SECRET_KEY"), "{blind}");
    assert_eq!(office.anns_row().await.customer, Some(customer.clone()));
    office.nbhd(&["forget-customer", &customer, "--force"]).await.expect("forgotten");
    assert_eq!(office.anns_row().await.customer, None);
}

#[tokio::test]
async fn a_removed_tenant_forgets_its_customer_too() {
    let office = Office::open().await;
    let store = office.world.store().expect("a store");
    let row = office.anns_row().await;
    let customer = row.customer.clone().expect("a customer");
    let left = nbhd::domain::tenant::Tombstone { trial_spent: true, ..row.to_tombstone(office.world.clock.now()) };
    store.save_tombstone(&left, row.version).await.expect("buried");
    office.world.stripe.deletes_customer(&customer);
    office.nbhd(&["forget-customer", &customer]).await.expect("forgotten");
    let Some(TenantRecord::Deleted(left)) = store.tenant_record(row.tenant_id).await.expect("readable") else {
        panic!("a tombstone stays")
    };
    assert_eq!((left.customer.clone(), left.ask_stripe_at, left.trial_spent), (None, None, true));
    assert_eq!(office.tenant_of(&customer).await, None);
}

/// Ann subscribes again, from the bot's link to an assistant that is up.
async fn resubscribes(office: &Office) -> Subscriber {
    let (world, chat) = (&office.world, office.ann.chat_id);
    world.telegram.says(chat, "/billing");
    world.run_until_idle().await;
    let sent = world.telegram.sent_to(chat).pop().expect("a message");
    let url = sent.message["reply_markup"]["inline_keyboard"][0][0]["url"].as_str().expect("a link").to_owned();
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let token = url.split_once("link=").expect("a link").1;
    let request = http.post(format!("{}/billing/checkout", world.base_url())).body(format!("link={token}&tier=basic"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.header("sec-fetch-site", "same-origin").send().await.expect("an answer");
    world.stripe.pays(answer.headers()["location"].to_str().expect("text")).expect("open");
    world.run_until_idle().await;
    world.subscriber(chat).await.expect("readable").expect("an assistant")
}
