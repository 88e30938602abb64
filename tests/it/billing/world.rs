//! What the tests of Stripe's webhook share: Stripe, the table, the queue and the function between them.

use std::ops::Deref;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::{Status, Subscription};
use nbhd::domain::tenant::{Tenant, TenantRecord};
use nbhd::store::{BillingUpdate, Store};
use nbhd_sim::gateway;
use nbhd_sim::rights::env_of;
use nbhd_sim::server::Server;
use nbhd_sim::sqs;
use nbhd_sim::stripe::{BASIC, Event, Stripe, SubscriptionStart};
use nbhd_sim::testbed::Testbed;
use stripe_webhook::{App, router};

pub(crate) const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const CHAT: ChatId = ChatId(1001);

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) stripe: Stripe,
    pub(crate) store: Store,
    pub(crate) env: Env,
    http: reqwest::Client,
    function: Server,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

/// Somebody with a customer at Stripe and a row.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) tenant: TenantId,
    pub(crate) customer: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        nbhd::telemetry::capture();
        let mut testbed = Testbed::start(Clock::manual(START)).await.expect("a test bed");
        let stripe = testbed.start_stripe().await.expect("Stripe");
        let env = testbed.env();
        let http = nbhd::http::client_with_roots(None).expect("a client");
        let function = serve(&env, &testbed.clock).await;
        stripe.deliver_to(&format!("{}/stripe/webhook", function.base_url()));
        let store = Store::from_env(&env).expect("complete settings");
        Self { testbed, stripe, store, env, http, function }
    }

    /// Starts the function anew with other settings.
    pub(crate) async fn restart(&mut self, change: impl FnOnce(Env) -> Env) {
        self.env = change(self.env.clone());
        self.function = serve(&self.env, &self.clock).await;
        self.stripe.deliver_to(&format!("{}/stripe/webhook", self.function.base_url()));
    }

    /// Somebody who has not subscribed yet, as the billing page leaves them.
    pub(crate) async fn person(&self) -> Person {
        let tenant = TenantId::random();
        let customer = self.stripe.has_customer(&[("tenant_id", &tenant.to_string())]);
        let row = Tenant { customer: Some(customer.clone()), ..Tenant::new(tenant, CHAT) };
        let billing = BillingUpdate { tenant: row, read_version: None, stripe_ids: vec![&customer], event: None };
        self.store.save_billing(billing, self.clock.now()).await.expect("a new row");
        Person { tenant, customer }
    }

    /// Somebody who has subscribed; Stripe's events about it are on their way.
    pub(crate) async fn subscriber(&self) -> Person {
        let person = self.person().await;
        self.subscribes(&person, SubscriptionStart::Paid);
        person
    }

    pub(crate) fn subscribes(&self, person: &Person, beginning: SubscriptionStart) -> String {
        let (tenant, chat) = (person.tenant.to_string(), CHAT.to_string());
        self.stripe.subscribes(&person.customer, BASIC, beginning, &[("tenant_id", &tenant), ("chat_id", &chat)])
    }

    /// Delivers until Stripe has nothing due; the statuses of the answers.
    pub(crate) async fn deliver(&self) -> Vec<u16> {
        self.stripe.deliver().await.into_iter().map(|attempt| attempt.status.unwrap_or_default()).collect()
    }

    /// Posts an event as Stripe signs it now.
    pub(crate) async fn post(&self, event: &Event) -> StatusCode {
        self.post_signed(&self.stripe.signs(&event.body), event.body.clone()).await
    }

    pub(crate) async fn post_signed(&self, signature: &str, body: impl Into<reqwest::Body>) -> StatusCode {
        let url = format!("{}/stripe/webhook", self.function.base_url());
        let request = self.http.post(url).header("stripe-signature", signature).body(body);
        request.send().await.expect("an answer").status()
    }

    /// The last event of this type.
    pub(crate) fn event(&self, kind: &str) -> Event {
        self.stripe.events().into_iter().rev().find(|event| event.kind == kind).expect("it happened")
    }

    pub(crate) async fn row(&self, person: &Person) -> Tenant {
        self.store.tenant(person.tenant).await.expect("the table is up").expect("a row")
    }

    pub(crate) async fn subscription(&self, person: &Person) -> Option<Subscription> {
        self.row(person).await.subscription
    }

    pub(crate) async fn status(&self, person: &Person) -> Option<Status> {
        self.subscription(person).await.map(|known| known.status)
    }

    /// What the reconciler would leave behind of somebody whose retention has passed.
    pub(crate) async fn remove_tenant(&self, person: &Person) {
        let row = self.row(person).await;
        let left = row.to_tombstone(self.clock.now());
        self.store.save_tombstone(&left, row.version).await.expect("buried");
    }

    pub(crate) async fn is_removed(&self, person: &Person) -> bool {
        matches!(self.store.tenant_record(person.tenant).await.expect("up"), Some(TenantRecord::Deleted(_)))
    }

    /// What the reconciler would do: the row as it is intended, to be looked at in a day.
    pub(crate) async fn converge(&self, person: &Person, lifecycle: nbhd::domain::tenant::Lifecycle) {
        let row = self.row(person).await;
        let due = Some(Due::new(Kind::Reconcile, person.tenant, self.clock.now() + DAY));
        let settled = Tenant { lifecycle, due, ..row.clone() };
        self.store.save_tenant(&settled, Some(row.version)).await.expect("unchanged meanwhile");
    }

    /// How many nudges the reconciler has got.
    pub(crate) fn nudges(&self) -> usize {
        self.sqs.messages(sqs::LIFECYCLE).len()
    }

    /// The operations the table was asked for.
    pub(crate) fn table_calls(&self) -> Vec<String> {
        self.table.calls().into_iter().map(|call| call.operation).collect()
    }
}

async fn serve(env: &Env, clock: &Clock) -> Server {
    let app = App::new(&env_of("stripe-webhook", env), clock.clone()).expect("complete settings");
    Server::start(gateway::wrap(router(app), clock)).await.expect("a free loopback port")
}
