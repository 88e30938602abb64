//! Telegram's Bot API as a small, stateful server, and the people who write to the bot.
//!
//! It checks the token, keeps chats, messages, files and the webhook, refuses what Telegram refuses, and delivers
//! updates to the webhook as Telegram does: one at a time per chat, again until a 2xx, the secret in its header, and a
//! method in the answer carried out. See <https://core.telegram.org/bots/api>.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use bytes::Bytes;
use nbhd::clock::Clock;
use serde_json::Value;
use tokio::sync::Notify;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;

mod api;
#[cfg(feature = "contracts")]
pub mod contract;
mod delivery;
mod edits;
mod html;
mod media;
mod methods;
pub mod params;
mod state;
pub mod updates;

pub use delivery::Delivery;
pub use params::Upload;
pub use state::Sent;

use state::{Pending, Person, State};

/// The name under which calls to the Bot API stand in the journal.
pub const BOT_API: &str = "telegram";
/// The name under which deliveries to the webhook stand in the journal.
pub const WEBHOOK: &str = "telegram-updates";

/// The simulator; clones are the same Telegram.
#[derive(Clone, Debug)]
pub struct Telegram {
    /// How it fails on demand, by the method that is called, or `download`.
    pub faults: Faults<String, Failure>,
    inner: Arc<Inner>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Inner {
    token: String,
    username: String,
    clock: Clock,
    journal: Journal,
    state: Mutex<State>,
    something_pending: Notify,
    faults: Faults<String, Failure>,
}

/// How a call fails.
#[derive(Clone, Debug)]
pub enum Failure {
    /// 429 with `parameters.retry_after`, in seconds.
    Throttled(u32),
    /// This status, with a description and without an effect.
    Status(StatusCode),
    /// No answer, and no effect.
    Hang,
    /// The call has its effect and its answer is lost on the way.
    AnswerLost,
    /// 200 with a body that is no JSON, without an effect.
    NotJson,
}

/// An error answer: <https://core.telegram.org/bots/api#making-requests>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    description: String,
    retry_after: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, description: &str) -> Self {
        Self { status, description: description.to_owned(), retry_after: None }
    }
}

impl Telegram {
    /// Starts Telegram with one bot of this token (`<digits>:<secret>`) and user name.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(token: &str, username: &str, clock: Clock, journal: Journal) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            token: token.to_owned(),
            username: username.to_owned(),
            clock,
            journal: journal.clone(),
            state: Mutex::default(),
            something_pending: Notify::new(),
            faults: Faults::default(),
        });
        let server = Server::start(journal.wrap(BOT_API, api::router(Arc::clone(&inner)))).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// The Bot API's base URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// Someone who has started the bot before: it may write to them.
    pub fn knows(&self, chat: impl Into<i64>, name: &str) {
        let person = Person { name: name.to_owned(), language: Some("en".to_owned()), has_blocked: false };
        self.inner.state().people.insert(chat.into(), person);
    }

    /// The person of this private chat writes `text`; returns the update's identifier.
    pub fn says(&self, chat: impl Into<i64>, text: &str) -> i64 {
        let chat = chat.into();
        self.queue_from(chat, |writer| updates::text(writer, text))
    }

    /// The person writes `text` in a topic of the private chat, which they open with it; returns the update's
    /// identifier.
    pub fn says_in_topic(&self, chat: impl Into<i64>, topic: i64, text: &str) -> i64 {
        let chat = chat.into();
        self.inner.state().topics.insert((chat, topic));
        self.queue_from(chat, |writer| updates::in_topic(updates::text(writer, text), topic))
    }

    /// The person deletes a topic of the private chat; nothing can be sent to it from now on.
    pub fn deletes_topic(&self, chat: impl Into<i64>, topic: i64) {
        self.inner.state().topics.remove(&(chat.into(), topic));
    }

    /// The person sends a file; returns its `file_id`.
    pub fn uploads_file(
        &self,
        chat: impl Into<i64>,
        filename: &str,
        mime_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        let upload =
            Upload { filename: filename.to_owned(), mime_type: Some(mime_type.to_owned()), bytes: bytes.into() };
        let file_id = self.inner.state().store_file("documents", &upload);
        self.queue_from(chat.into(), |writer| updates::document(writer, &file_id, &upload));
        file_id
    }

    /// The person presses the button of a message the bot sent; returns the callback query's identifier.
    pub fn presses(&self, chat: impl Into<i64>, message_id: i64, data: &str) -> String {
        let chat = chat.into();
        let query_id = {
            let mut state = self.inner.state();
            let query_id = format!("CALLBACK-{}", state.next_number());
            state.callbacks.insert(query_id.clone(), state::Callback::default());
            query_id
        };
        self.queue_from(chat, |writer| updates::callback_query(writer, &query_id, message_id, data));
        query_id
    }

    /// The person blocks the bot, which gets `my_chat_member`; returns the update's identifier.
    pub fn blocks_the_bot(&self, chat: impl Into<i64>) -> i64 {
        let chat = chat.into();
        let update = self.queue_from(chat, updates::blocked);
        if let Some(person) = self.inner.state().people.get_mut(&chat) {
            person.has_blocked = true;
        }
        update
    }

    /// Queues any update: `content` without its `update_id`, which is added and returned.
    pub fn sends_update(&self, content: Value) -> i64 {
        let mut state = self.inner.state();
        let update_id = updates::FIRST_ID + state.next_number();
        let mut update = content;
        update["update_id"] = Value::from(update_id);
        let body = Bytes::from(update.to_string());
        let pending = Pending { update_id, chat: updates::chat_of(&update), body, since: self.inner.clock.now() };
        state.pending.push_back(pending);
        drop(state);
        self.inner.something_pending.notify_one();
        update_id
    }

    /// What the bot sent to this chat, oldest first, deleted messages left out.
    pub fn sent_to(&self, chat: impl Into<i64>) -> Vec<Sent> {
        let chat = chat.into();
        self.inner.state().sent.iter().filter(|sent| sent.chat == chat && !sent.deleted).cloned().collect()
    }

    /// The texts and captions of [`Telegram::sent_to`].
    pub fn texts_to(&self, chat: impl Into<i64>) -> Vec<String> {
        self.sent_to(chat).into_iter().map(|sent| sent.text).collect()
    }

    /// The chat actions shown in this chat, such as `typing`.
    pub fn actions_in(&self, chat: impl Into<i64>) -> Vec<String> {
        let chat = chat.into();
        let state = self.inner.state();
        state.actions.iter().filter(|shown| shown.chat == chat).map(|shown| shown.action.clone()).collect()
    }

    /// The topics that the actions of [`Telegram::actions_in`] were shown in.
    pub fn topics_of_actions_in(&self, chat: impl Into<i64>) -> Vec<Option<i64>> {
        let chat = chat.into();
        let state = self.inner.state();
        state.actions.iter().filter(|shown| shown.chat == chat).map(|shown| shown.topic).collect()
    }

    /// How the bot answered this callback query; `None` while it has not.
    pub fn answer_to_query(&self, query_id: &str) -> Option<String> {
        self.inner.state().callbacks.get(query_id)?.answer.clone()
    }

    /// Sets the webhook as a call of `setWebhook` would.
    pub fn deliver_to(&self, url: &str, secret: &str) {
        let mut state = self.inner.state();
        state.webhook = state::Webhook {
            url: url.to_owned(),
            secret: Some(secret.to_owned()),
            max_connections: 40,
            ..state::Webhook::default()
        };
    }

    /// How many updates the webhook has not accepted yet.
    pub fn pending(&self) -> usize {
        self.inner.state().pending.len()
    }

    fn queue_from(&self, chat: i64, content: impl FnOnce(&updates::Writer) -> Value) -> i64 {
        let writer = {
            let mut state = self.inner.state();
            let message_id = state.next_number();
            state.received.insert((chat, message_id));
            let newcomer =
                || Person { name: format!("Person {chat}"), language: Some("en".to_owned()), has_blocked: false };
            let person = state.people.entry(chat).or_insert_with(newcomer);
            person.has_blocked = false;
            updates::Writer::new(chat, person, message_id, self.inner.clock.now())
        };
        self.sends_update(content(&writer))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bot(&self) -> Value {
        let id: i64 = self.token.split(':').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
        serde_json::json!({"id": id, "is_bot": true, "first_name": "NBHD United", "username": self.username})
    }
}
