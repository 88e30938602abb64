//! What the simulator remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use axum::http::StatusCode;
use bytes::Bytes;
use nbhd::clock::Timestamp;
use serde_json::{Value, json};

use super::Refusal;
use super::params::{Params, Upload};

/// What Telegram keeps between two calls.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) people: BTreeMap<i64, Person>,
    pub(super) sent: Vec<Sent>,
    pub(super) actions: Vec<Action>,
    /// What people wrote, by chat and message.
    pub(super) received: BTreeSet<(i64, i64)>,
    /// The topics of private chats, by chat and number.
    pub(super) topics: BTreeSet<(i64, i64)>,
    pub(super) callbacks: BTreeMap<String, Callback>,
    pub(super) files: BTreeMap<String, StoredFile>,
    pub(super) webhook: Webhook,
    pub(super) pending: VecDeque<Pending>,
    counter: i64,
}

/// Someone who has written to the bot.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) language: Option<String>,
    pub(super) has_blocked: bool,
}

/// A message the bot sent, in the state its later edits left it in.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The chat it is in.
    pub chat: i64,
    /// Its identifier.
    pub message_id: i64,
    /// The method that sent it, such as `sendPhoto`.
    pub method: String,
    /// Its text or caption, as a person reads it.
    pub text: String,
    /// The message it replies to.
    pub reply_to: Option<i64>,
    /// The topic of the chat that it is in.
    pub topic: Option<i64>,
    /// The parameters it was sent with.
    pub params: Params,
    /// What `sendMessage` and its like answered, kept up to date by edits.
    pub message: Value,
    /// The emoji the bot reacted with.
    pub reactions: Vec<String>,
    /// Whether it was deleted since.
    pub deleted: bool,
}

/// An action that the bot showed, such as `typing`, and where.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) chat: i64,
    pub(super) topic: Option<i64>,
    pub(super) action: String,
}

/// A button that was pressed, and how the bot answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Callback {
    pub(super) answer: Option<String>,
}

/// A file that can be fetched through `getFile`.
#[derive(Clone, Debug)]
pub(super) struct StoredFile {
    pub(super) path: String,
    pub(super) bytes: Bytes,
}

/// The bot's one webhook slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) max_connections: i64,
    pub(super) allowed_updates: Option<Value>,
    pub(super) last_error: Option<(Timestamp, String)>,
}

/// An update that its webhook has not yet accepted.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) update_id: i64,
    pub(super) chat: Option<i64>,
    pub(super) body: Bytes,
    pub(super) since: Timestamp,
}

impl State {
    /// A number that was not given before: message, update, callback and file identifiers come from here.
    pub(super) fn next_number(&mut self) -> i64 {
        self.counter += 1;
        self.counter
    }

    /// The private chat, if its person has written to the bot and has not blocked it.
    pub(super) fn find_reachable(&self, chat: i64) -> Result<&Person, Refusal> {
        match self.people.get(&chat) {
            None => Err(Refusal::bad_request("chat not found")),
            Some(person) if person.has_blocked => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden: bot was blocked by the user"))
            }
            Some(person) => Ok(person),
        }
    }

    /// The topic of the chat that a call names, if it names one.
    pub(super) fn find_topic(&self, chat: i64, params: &Params) -> Result<Option<i64>, Refusal> {
        let topic = params.integer("message_thread_id").filter(|topic| *topic > 0);
        match topic {
            Some(topic) if !self.topics.contains(&(chat, topic)) => {
                Err(Refusal::bad_request("message thread not found"))
            }
            topic => Ok(topic),
        }
    }

    /// The message that a call replies to, if it replies to one that is there.
    pub(super) fn find_replied(&self, chat: i64, params: &Params) -> Result<Option<i64>, Refusal> {
        let (reply, always) = params.reply();
        let is_sent = |id| self.sent.iter().any(|sent| (sent.chat, sent.message_id, sent.deleted) == (chat, id, false));
        match reply {
            Some(id) if !always && !self.received.contains(&(chat, id)) && !is_sent(id) => {
                Err(Refusal::bad_request("message to be replied not found"))
            }
            reply => Ok(reply),
        }
    }

    /// The bot's message in `chat`, unless it was deleted.
    pub(super) fn sent_mut(&mut self, chat: i64, message_id: i64) -> Option<&mut Sent> {
        self.sent.iter_mut().find(|sent| sent.chat == chat && sent.message_id == message_id && !sent.deleted)
    }

    /// Keeps `upload` and returns its `file_id`.
    pub(super) fn store_file(&mut self, folder: &str, upload: &Upload) -> String {
        let number = self.next_number();
        let extension = upload.filename.rsplit_once('.').map_or("bin", |(_, extension)| extension);
        let stored = StoredFile { path: format!("{folder}/file_{number}.{extension}"), bytes: upload.bytes.clone() };
        let file_id = format!("FILE-{number}");
        self.files.insert(file_id.clone(), stored);
        file_id
    }
}

/// A private chat as Telegram writes it; <https://core.telegram.org/bots/api#chat>.
pub(super) fn private_chat(chat: i64, person: &Person) -> Value {
    json!({"id": chat, "type": "private", "first_name": person.name})
}

/// A person as Telegram writes one; <https://core.telegram.org/bots/api#user>.
pub(super) fn user(chat: i64, person: &Person) -> Value {
    let mut user = json!({"id": chat, "is_bot": false, "first_name": person.name});
    if let Some(language) = &person.language {
        user["language_code"] = json!(language);
    }
    user
}
