//! Chats, their tenants' runtimes, and `telegram-forward` between the queue and them.

use std::convert::Infallible;
use std::ops::Deref;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::generation::Generation;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::route::Route;
use nbhd::queue::{Queues, Updates};
use nbhd::store::Store;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::rights::env_of;
use nbhd_sim::runtime::Runtime;
use nbhd_sim::sqs::queue::Message;
use nbhd_sim::sqs::{INBOUND, INBOUND_DLQ};
use nbhd_sim::testbed::{Testbed, generation};
use serde_json::json;
use telegram_forward::App;

pub(crate) const ANA: i64 = 1001;
pub(crate) const BEN: i64 = 1002;
const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);
/// A hang is noticed after this long, instead of 25 s; a busy machine still delivers in time.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) store: Store,
    pub(crate) app: App,
    pub(crate) inbound: Updates,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_delivery_timeout(DELIVERY_TIMEOUT).await
    }

    pub(crate) async fn with_delivery_timeout(timeout: Duration) -> Self {
        // Log lines belong into the capture, not among the tests' own.
        nbhd::telemetry::capture();
        let testbed = Testbed::start(Clock::manual(NOON)).await.expect("a test bed");
        let env = testbed.env();
        let store = Store::from_env(&env).expect("complete settings");
        let inbound = Queues::new(&env).expect("complete settings").updates(&testbed.sqs.url(INBOUND));
        let app = App::new(&env_of("telegram-forward", &env), testbed.clock.clone())
            .expect("complete settings")
            .with_delivery_timeout(timeout);
        Self { testbed, store, app, inbound }
    }

    /// A person with an assistant that runs, for as long as the value is held.
    #[must_use]
    pub(crate) async fn add_chat(&self, chat: i64) -> Runtime {
        self.telegram.knows(chat, "Someone");
        let tenant_id = TenantId::random();
        let runtime = self.runtime(tenant_id, generation(1)).await;
        self.set_route(chat, |route| {
            route.tenant_id = tenant_id;
            route.runtime_url = Some(runtime.base_url());
        })
        .await;
        runtime
    }

    /// A runtime that knows the webhook secret of one generation.
    pub(crate) async fn runtime(&self, tenant_id: TenantId, generation: Generation) -> Runtime {
        self.start_runtime(tenant_id, generation).await.expect("a free port")
    }

    /// Changes a chat's route; one that was not there is active, without a runtime.
    pub(crate) async fn set_route(&self, chat: i64, change: impl FnOnce(&mut Route)) {
        let new = || Route { generation: generation(1), ..Route::new(ChatId(chat), TenantId::random()) };
        let mut route = self.store.load_route(ChatId(chat)).await.expect("readable").unwrap_or_else(new);
        change(&mut route);
        self.store.put_route(&route).await.expect("written");
    }

    pub(crate) async fn route(&self, chat: i64) -> Route {
        self.store.load_route(ChatId(chat)).await.expect("readable").expect("there is a route")
    }

    /// The webhook has put a message of the chat on the queue; the message's number is the update's.
    pub(crate) async fn says(&self, chat: i64, update_id: i64) {
        self.send_update(chat, update_id, update(chat, update_id).as_bytes()).await;
    }

    pub(crate) async fn send_update(&self, chat: i64, update_id: i64, body: &[u8]) {
        self.inbound.send(ChatId(chat), update_id, body).await.expect("queued");
    }

    /// What the function's `main` does with an event.
    pub(crate) async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, Infallible> {
        Ok(telegram_forward::handle(&self.app, event, "a-request").await)
    }

    /// Handles what can be received now.
    pub(crate) async fn drain(&self) -> nbhd_sim::pump::Report {
        Pump::new(&self.sqs, INBOUND, &self.clock, Limits::default(), |event| self.handle(event)).drain().await
    }

    /// Handles everything, moving the clock to when a message is redelivered.
    pub(crate) async fn run_until_idle(&self) -> nbhd_sim::pump::Report {
        Pump::new(&self.sqs, INBOUND, &self.clock, Limits::default(), |event| self.handle(event)).run_until_idle().await
    }

    /// Handles what can be received now, and moves the clock to when the next message can.
    pub(crate) async fn attempt(&self) -> Option<Duration> {
        self.drain().await;
        let wait = self.waiting().iter().map(|message| message.visible_at.since(self.clock.now())).max()?;
        self.clock.advance(wait);
        Some(wait)
    }

    pub(crate) fn waiting(&self) -> Vec<Message> {
        self.sqs.messages(INBOUND)
    }

    /// The ids of the updates in the dead-letter queue.
    pub(crate) fn dead_letters(&self) -> Vec<i64> {
        let id = |message: Message| message.sent.deduplication.and_then(|id| id.parse().ok()).expect("an update id");
        self.sqs.messages(INBOUND_DLQ).into_iter().map(id).collect()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A private message as Telegram sends it.
pub(crate) fn update(chat: i64, update_id: i64) -> String {
    json!({
        "update_id": update_id,
        "message": {
            "message_id": update_id,
            "date": 1_795_262_400,
            "chat": { "id": chat, "type": "private", "first_name": "Someone" },
            "from": { "id": chat, "is_bot": false, "first_name": "Someone" },
            "text": format!("message {update_id}"),
        },
    })
    .to_string()
}

/// The same message in a topic of its chat.
pub(crate) fn in_topic(chat: i64, update_id: i64, topic: i64) -> String {
    let update = serde_json::from_str(&update(chat, update_id)).expect("JSON");
    nbhd_sim::telegram::updates::in_topic(update, topic).to_string()
}
