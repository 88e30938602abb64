//! What the webhook's tests share: Telegram, the table, the queues and the function between them.

use std::ops::Deref;

use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::domain::scope::GrantedScopes;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::billing_link::{self, BillingLink};
use nbhd::store::Store;
use nbhd_sim::gateway;
use nbhd_sim::rights::env_of;
use nbhd_sim::server::Server;
use nbhd_sim::telegram::Delivery;
use nbhd_sim::testbed::{PUBLIC_BASE_URL, Testbed, WEBHOOK_SECRET};
use serde_json::{Value, json};
use telegram_webhook::{App, router};

pub(crate) const ANA: i64 = 1001;
pub(crate) const STRANGER: i64 = 1009;
pub(crate) const SECRET: &str = WEBHOOK_SECRET;

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
    http: reqwest::Client,
    pub(crate) env: Env,
    function: Server,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    /// One tenant, Ana's, whose assistant runs.
    pub(crate) async fn start() -> Self {
        Self::start_with(|env| env).await
    }

    /// The same, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(Env) -> Env) -> Self {
        // Lines are kept from here on, so that tests can look for what must not be in them.
        nbhd::telemetry::capture();
        let testbed = Testbed::start(Clock::manual(Timestamp::from_seconds(1_795_000_000))).await.expect("a test bed");
        let env = change(testbed.env());
        let (clock, telegram) = (&testbed.clock, &testbed.telegram);
        let app = App::new(&env_of("telegram-webhook", &env), clock.clone()).expect("complete settings");
        let function = Server::start(gateway::wrap(router(app), clock)).await.expect("a free loopback port");
        telegram.deliver_to(&format!("{}/telegram/webhook", function.base_url()), SECRET);
        telegram.knows(ANA, "Ana");
        let store = Store::from_env(&env).expect("complete settings");
        let tenant = TenantId::random();
        let http = nbhd::http::client_with_roots(None).expect("a client");
        let world = Self { testbed, store, tenant, http, env, function };
        world.set_route(RouteStatus::Active).await;
        world.store.save_tenant(&world.tenant_row(), None).await.expect("a new tenant");
        world.forget_calls();
        world
    }

    /// Ana writes `text`, and Telegram tries once to deliver it.
    pub(crate) async fn ana_says(&self, text: &str) -> Delivery {
        self.telegram.says(ANA, text);
        self.deliver().await
    }

    /// Telegram's next attempt, which must be the only one.
    pub(crate) async fn deliver(&self) -> Delivery {
        let mut attempts = self.telegram.deliver().await;
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts.remove(0)
    }

    /// A request to the function with any secret and any body; the status and the body of its answer.
    pub(crate) async fn post(&self, secret: Option<&str>, body: impl Into<Vec<u8>>) -> (u16, String) {
        let mut request = self.http.post(format!("{}/telegram/webhook", self.function.base_url())).body(body.into());
        if let Some(secret) = secret {
            request = request.header("x-telegram-bot-api-secret-token", secret);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// What the link says that the last message to `chat` carries on its button, which leads to `page`.
    pub(crate) fn billing_link(&self, chat: i64, page: &str) -> BillingLink {
        let sent = self.telegram.sent_to(chat).pop().expect("a message");
        let url = sent.message["reply_markup"]["inline_keyboard"][0][0]["url"].as_str().expect("a button").to_owned();
        let token = url.strip_prefix(&format!("{PUBLIC_BASE_URL}/billing/{page}?link=")).expect("that page");
        let links = billing_link::Links::from_env(&self.env).expect("complete settings");
        links.read(token, self.clock.now()).expect("fresh").content
    }

    /// A second instance of the function, such as one that starts after the first was stopped.
    pub(crate) fn another_instance(&self) -> axum::Router {
        router(App::new(&env_of("telegram-webhook", &self.env), self.clock.clone()).expect("complete settings"))
    }

    /// The bodies on the inbound queue, oldest first.
    pub(crate) fn queued(&self) -> Vec<String> {
        self.sqs.messages("inbound.fifo").into_iter().map(|message| message.sent.body).collect()
    }

    /// The jobs on the refresh queue, oldest first.
    pub(crate) fn jobs(&self) -> Vec<String> {
        self.sqs.messages("refresh").into_iter().map(|message| message.sent.body).collect()
    }

    /// The operations the table was asked for, and whether it did them.
    pub(crate) fn table_calls(&self) -> Vec<(String, bool)> {
        self.table.calls().into_iter().map(|call| (call.operation, call.succeeded)).collect()
    }

    pub(crate) async fn set_route(&self, status: RouteStatus) {
        let route = Route { status, ..Route::new(ChatId(ANA), self.tenant) };
        self.store.put_route(&route).await.expect("the table is up");
    }

    /// Ana's route as no version of this code writes it.
    pub(crate) fn corrupt_route(&self) {
        let corrupt = json!({
            "TableName": nbhd_sim::table::NAME,
            "Item": {"pk": {"S": format!("CHAT#{ANA}")}, "sk": {"S": "ROUTE"}, "status": {"S": "active"}},
        });
        self.table.put(corrupt).expect("a writable table");
    }

    pub(crate) async fn connect(&self, provider: Provider) {
        let row = Integration {
            granted: GrantedScopes::parse(provider.scope()),
            account: Some("ana@example.com".to_owned()),
            secret_version: "1".to_owned(),
            ..Integration::new(self.tenant, provider, self.clock.now())
        };
        self.store.save_integration(&row, None).await.expect("a new row");
    }

    pub(crate) async fn status_of(&self, provider: Provider) -> Status {
        self.store.load_integration(self.tenant, provider).await.expect("the table is up").expect("a row").status
    }

    fn tenant_row(&self) -> Tenant {
        Tenant { lifecycle: Lifecycle::Active, ..Tenant::new(self.tenant, ChatId(ANA)) }
    }
}

/// A message of Ana's.
pub(crate) fn private(update_id: i64, text: &str) -> Value {
    let person = json!({"id": ANA, "is_bot": false, "first_name": "Ana"});
    let chat = json!({"id": ANA, "type": "private", "first_name": "Ana"});
    json!({"update_id": update_id, "message": {
        "message_id": 1, "from": person, "chat": chat, "date": 1_795_000_000, "text": text,
    }})
}
