//! Every kind of update Telegram can send, without its `update_id`.
//!
//! See <https://core.telegram.org/bots/api#update>.

use nbhd::clock::Timestamp;
use serde_json::{Value, json};

use super::params::Upload;
use super::state::{Person, private_chat, user};

/// Update identifiers start here, so that they are not mistaken for a message's.
pub(super) const FIRST_ID: i64 = 700_000_000;

/// Who writes, and when: what every update from a private chat repeats.
#[derive(Clone, Debug)]
pub struct Writer {
    chat: Value,
    from: Value,
    message_id: i64,
    date: i64,
}

impl Writer {
    pub(super) fn new(chat: i64, person: &Person, message_id: i64, at: Timestamp) -> Self {
        Self { chat: private_chat(chat, person), from: user(chat, person), message_id, date: at.seconds() }
    }

    fn message(&self) -> Value {
        json!({"message_id": self.message_id, "from": self.from, "chat": self.chat, "date": self.date})
    }
}

/// A text message in a private chat.
pub fn text(writer: &Writer, text: &str) -> Value {
    let mut message = writer.message();
    message["text"] = json!(text);
    if let Some(command) = text.split_whitespace().next().filter(|word| word.len() > 1 && word.starts_with('/')) {
        let length = command.encode_utf16().count();
        message["entities"] = json!([{"type": "bot_command", "offset": 0, "length": length}]);
    }
    json!({"message": message})
}

/// The same message in a topic of its chat.
pub fn in_topic(mut update: Value, topic: i64) -> Value {
    update["message"]["message_thread_id"] = json!(topic);
    update["message"]["is_topic_message"] = json!(true);
    update
}

/// A file sent in a private chat.
pub fn document(writer: &Writer, file_id: &str, upload: &Upload) -> Value {
    let mut message = writer.message();
    message["document"] = json!({
        "file_id": file_id, "file_unique_id": format!("U{file_id}"), "file_name": upload.filename,
        "mime_type": upload.mime_type, "file_size": upload.bytes.len(),
    });
    json!({"message": message})
}

/// The press of a button under one of the bot's messages.
pub fn callback_query(writer: &Writer, query_id: &str, message_id: i64, data: &str) -> Value {
    let message = json!({"chat": writer.chat, "message_id": message_id, "date": 0});
    json!({"callback_query": {
        "id": query_id, "from": writer.from, "message": message, "chat_instance": "-1", "data": data,
    }})
}

/// The bot is blocked by its user.
pub fn blocked(writer: &Writer) -> Value {
    let bot = json!({"id": 1, "is_bot": true, "first_name": "NBHD United"});
    json!({"my_chat_member": {
        "chat": writer.chat, "from": writer.from, "date": writer.date,
        "old_chat_member": {"status": "member", "user": bot},
        "new_chat_member": {"status": "kicked", "user": bot, "until_date": 0},
    }})
}

/// A message in a private chat that was edited.
pub fn edited(chat: i64, message_id: i64, text: &str) -> Value {
    json!({"edited_message": {
        "message_id": message_id, "from": {"id": chat, "is_bot": false, "first_name": "Ana"}, "date": 1_795_000_000,
        "chat": {"id": chat, "type": "private", "first_name": "Ana"}, "edit_date": 1_795_000_060, "text": text,
    }})
}

/// A message in a group that the bot is a member of.
pub fn in_group(group: i64, from: i64, text: &str) -> Value {
    json!({"message": {
        "message_id": 7, "from": {"id": from, "is_bot": false, "first_name": "Ana"}, "date": 1_795_000_000,
        "chat": {"id": group, "type": "supergroup", "title": "Neighbours"}, "text": text,
    }})
}

/// A post in a channel that the bot administers.
pub fn channel_post(channel: i64, text: &str) -> Value {
    json!({"channel_post": {
        "message_id": 8, "chat": {"id": channel, "type": "channel", "title": "News"},
        "sender_chat": {"id": channel, "type": "channel", "title": "News"}, "date": 1_795_000_000, "text": text,
    }})
}

/// An answer to a poll: an update without a chat.
pub fn poll_answer(from: i64) -> Value {
    json!({"poll_answer": {
        "poll_id": "1", "user": {"id": from, "is_bot": false, "first_name": "Ana"}, "option_ids": [0],
        "option_persistent_ids": ["a"],
    }})
}

/// A query typed after the bot's name in another chat: an update without a chat.
pub fn inline_query(from: i64, query: &str) -> Value {
    let from = json!({"id": from, "is_bot": false, "first_name": "Ana"});
    json!({"inline_query": {"id": "1", "from": from, "query": query, "offset": ""}})
}

/// A reaction to a message in a private chat.
pub fn reaction(chat: i64, message_id: i64, emoji: &str) -> Value {
    json!({"message_reaction": {
        "chat": {"id": chat, "type": "private", "first_name": "Ana"}, "message_id": message_id,
        "user": {"id": chat, "is_bot": false, "first_name": "Ana"}, "date": 1_795_000_000,
        "old_reaction": [], "new_reaction": [{"type": "emoji", "emoji": emoji}],
    }})
}

/// The chat an update is about: updates of one chat are delivered one after the other.
pub(super) fn chat_of(update: &Value) -> Option<i64> {
    let content = update.as_object()?.iter().find(|(name, _)| *name != "update_id")?.1;
    content.pointer("/chat/id").or_else(|| content.pointer("/message/chat/id")).and_then(Value::as_i64)
}
