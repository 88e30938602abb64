//! Answers in the Bot API's own shape: <https://core.telegram.org/bots/api#making-requests>.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nbhd::domain::ids::ChatId;
use nbhd::providers::telegram::{Answer, ResponseParameters};
use nbhd::{providers, store};
use serde_json::{Map, Value};

/// A refusal of ours, which a runtime cannot tell from one of Telegram's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    description: Cow<'static, str>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    /// The tenant is unknown or the capability is not one of its own: nothing says which.
    pub const UNAUTHORIZED: Self = Self::new(StatusCode::UNAUTHORIZED, "Unauthorized");
    /// There is nothing at this address, or nothing that may be seen from there.
    pub const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "Not Found");
    /// The method is not passed on.
    pub const NO_METHOD: Self = Self::new(StatusCode::NOT_FOUND, "Not Found: method not found");
    /// The tenant's assistant is not to run.
    pub const INACTIVE: Self = Self::new(StatusCode::FORBIDDEN, "Forbidden: the assistant is suspended");
    /// More than can pass through here.
    pub const TOO_BIG: Self = Self::new(StatusCode::BAD_REQUEST, "Bad Request: file is too big");
    /// Telegram did not answer, or not to us.
    pub const BAD_GATEWAY: Self = Self::new(StatusCode::BAD_GATEWAY, "Bad Gateway");
    /// We cannot serve for now.
    pub const UNAVAILABLE: Self = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");

    const fn new(status: StatusCode, description: &'static str) -> Self {
        Self { status, description: Cow::Borrowed(description), retry_after: None }
    }

    /// The call is not one that can be made.
    pub fn bad_request(reason: impl AsRef<str>) -> Self {
        let description = Cow::Owned(format!("Bad Request: {}", reason.as_ref()));
        Self { status: StatusCode::BAD_REQUEST, description, retry_after: None }
    }

    /// Too many calls; at least one second to wait.
    pub fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        let description = Cow::Owned(format!("Too Many Requests: retry after {seconds}"));
        Self { status: StatusCode::TOO_MANY_REQUESTS, description, retry_after: Some(seconds) }
    }

    /// The refusal's HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = Answer {
            ok: false,
            result: None,
            error_code: Some(self.status.as_u16()),
            description: Some(self.description.into_owned()),
            parameters: self.retry_after.map(|seconds| ResponseParameters { retry_after: Some(seconds) }),
        };
        (self.status, Json(answer)).into_response()
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the table could not serve");
        Self::UNAVAILABLE
    }
}

/// For calls of our own. Telegram's word on *our* credential is no word on the runtime's.
impl From<providers::Error> for Refusal {
    fn from(error: providers::Error) -> Self {
        use providers::Error::{Failed, Malformed, NotFound, RateLimited, Refused, Unauthorized, Unreachable};
        match error {
            RateLimited { retry_after } => Self::too_many_requests(retry_after.unwrap_or_default()),
            Refused { status, reason } => Self {
                status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
                description: Cow::Owned(reason),
                retry_after: None,
            },
            Unreachable { .. } | Unauthorized | NotFound | Failed { .. } | Malformed { .. } => {
                tracing::error!(%error, "Telegram could not serve");
                Self::BAD_GATEWAY
            }
        }
    }
}

/// A success of ours.
pub(crate) fn success(result: Value) -> Response {
    let answer = Answer { ok: true, result: Some(result), error_code: None, description: None, parameters: None };
    (StatusCode::OK, Json(answer)).into_response()
}

/// Telegram's own answer to a call for the tenant of `chat`, refusals and waits included, without other people's names
/// and without what stands in other messages.
pub(crate) fn of_telegram(mut answer: Answer, chat: ChatId, bot: i64) -> Response {
    if let Some(result) = &mut answer.result {
        hide_strangers(result, chat, bot);
        hide_other_messages(result);
    }
    let status = match (answer.ok, answer.error_code) {
        (true, _) => StatusCode::OK,
        (false, code) => code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST),
    };
    (status, Json(answer)).into_response()
}

/// Leaves nothing but the id of every user who is neither the tenant's person nor the bot.
///
/// A mention by number (`tg://user?id=…`, in markup) makes Telegram answer with the name of anyone the shared bot
/// knows, and so with those of other subscribers. <https://core.telegram.org/bots/api#formatting-options>
fn hide_strangers(value: &mut Value, chat: ChatId, bot: i64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide_strangers(item, chat, bot)),
        Value::Object(object) if is_stranger(object, chat, bot) => {
            object.retain(|field, _| field == "id" || field == "is_bot");
            object.insert("first_name".to_owned(), Value::from("User"));
        }
        Value::Object(object) => object.values_mut().for_each(|field| hide_strangers(field, chat, bot)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Only a user has `is_bot`. <https://core.telegram.org/bots/api#user>
fn is_stranger(object: &Map<String, Value>, chat: ChatId, bot: i64) -> bool {
    let id = object.get("id").and_then(Value::as_i64);
    object.contains_key("is_bot") && id != Some(chat.0) && id != Some(bot)
}

/// Leaves of every message within a message what names it, and nothing of keyboards.
///
/// A runtime may reply to any message of its chat, and Telegram answers with the whole of that one too. Some are ours,
/// and whoever has the address behind their buttons may pay, cancel or connect for the person.
/// <https://core.telegram.org/bots/api#message>
fn hide_other_messages(value: &mut Value) {
    const OTHERS: [&str; 2] = ["reply_to_message", "pinned_message"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide_other_messages),
        Value::Object(object) => {
            object.remove("reply_markup");
            for (name, field) in object {
                if let Some(other) = field.as_object_mut().filter(|_| OTHERS.contains(&name.as_str())) {
                    other.retain(|field, _| matches!(field.as_str(), "message_id" | "date" | "chat"));
                } else {
                    hide_other_messages(field);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_peoples_names_do_not_come_back() {
        let person = json!({"id": 7, "is_bot": false, "first_name": "Ana"});
        let mut message = json!([{
            "from": {"id": 42, "is_bot": true, "first_name": "Bot"},
            "chat": {"id": 7, "first_name": "Ana"},
            "entities": [
                {"user": person},
                {"user": {"id": 8, "is_bot": false, "first_name": "Ben", "last_name": "B", "username": "ben"}},
            ],
        }]);
        hide_strangers(&mut message, ChatId(7), 42);
        assert!(!message.to_string().contains("en\""), "{message}");
        assert_eq!(message[0]["entities"][0]["user"], person);
        assert_eq!(message[0]["entities"][1]["user"], json!({"id": 8, "is_bot": false, "first_name": "User"}));
        assert_eq!(message[0]["from"]["first_name"], "Bot");
    }

    #[test]
    fn what_stands_in_other_messages_does_not_come_back() {
        let keyboard = json!({"inline_keyboard": [[{"text": "Manage", "url": "https://x.example/?t=secret"}]]});
        let chat = json!({"id": 7, "type": "private"});
        let other = json!({"message_id": 3, "date": 1, "chat": chat, "text": "secret", "reply_markup": keyboard});
        let mut result = json!([{
            "message_id": 4, "date": 2, "chat": chat, "text": "mine", "reply_markup": keyboard,
            "reply_to_message": other, "pinned_message": other,
        }]);
        hide_other_messages(&mut result);
        let named = json!({"message_id": 3, "date": 1, "chat": chat});
        let expected = json!([{
            "message_id": 4, "date": 2, "chat": chat, "text": "mine",
            "reply_to_message": named, "pinned_message": named,
        }]);
        assert_eq!(result, expected);
    }

    #[test]
    fn a_wait_is_at_least_a_second_and_rounded_up() {
        assert_eq!(Refusal::too_many_requests(Duration::ZERO).retry_after, Some(1));
        assert_eq!(Refusal::too_many_requests(Duration::from_millis(1001)).retry_after, Some(2));
    }
}
