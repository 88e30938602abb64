//! Builds answers in the Bot API's own shape: <https://core.telegram.org/bots/api#making-requests>.
//!
//! A runtime sends a message again after 429 alone, as often as twice and after the seconds of `retry_after`; any other
//! error loses the answer that a person waits for. So a call is answered with 429 whenever it may be repeated:
//!
//! | what happened to the call | it sends or edits a message | any other call |
//! |---|---|---|
//! | it never reached Telegram: the table is down, no connection was made, one of our limits refused it | 429 | 429 |
//! | Telegram refused it: its own limit, or the bot's token, which is ours to correct | 429 | 429 |
//! | Telegram refused it: any other 4xx | as Telegram says | as Telegram says |
//! | nobody knows: no answer in time, the connection lost, an answer of another form, Telegram's 5xx | 502 | 429 |
//!
//! Telegram does not document whether a call had its effect that it answers with a 5xx. A message that may have arrived
//! is not sent twice; a reaction, a deletion or `getFile` is the same when it is done twice.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nbhd::domain::ids::ChatId;
use nbhd::providers::telegram::{Answer, ResponseParameters};
use nbhd::{providers, store};
use serde_json::{Map, Value};

use crate::rules::{Pace, RICH_METHODS, RICH_REFUSAL};

/// The time after which a runtime may repeat a call that surely had no effect. Two repeats of a message cover an outage
/// of 20 s; more than 60 s a runtime does not wait.
const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// A refusal by the relay, in the shape of Telegram's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    description: Cow<'static, str>,
    /// The seconds to wait before a retry.
    retry_after: Option<u64>,
}

impl Refusal {
    /// The tenant is unknown, or the capability is not one of its own; both look alike.
    pub const UNAUTHORIZED: Self = Self::new(StatusCode::UNAUTHORIZED, "Unauthorized");
    /// There is nothing at this address, or nothing that the tenant may see.
    pub const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "Not Found");
    /// The method is not one that the relay forwards.
    pub const NO_METHOD: Self = Self::new(StatusCode::NOT_FOUND, "Not Found: method not found");
    /// The tenant may not be served now, as it is suspended.
    pub const INACTIVE: Self = Self::new(StatusCode::FORBIDDEN, "Forbidden: the assistant is suspended");
    /// The request or the file is larger than [`crate::MAX_BYTES`].
    pub const TOO_BIG: Self = Self::new(StatusCode::BAD_REQUEST, "Bad Request: file is too big");
    /// The call may have had its effect, and must not be repeated.
    pub const BAD_GATEWAY: Self = Self::new(StatusCode::BAD_GATEWAY, "Bad Gateway");

    const fn new(status: StatusCode, description: &'static str) -> Self {
        Self { status, description: Cow::Borrowed(description), retry_after: None }
    }

    /// The relay forwards no method of this name.
    pub fn unknown_method(name: &str) -> Self {
        let is_rich = RICH_METHODS.iter().any(|rich| rich.eq_ignore_ascii_case(name));
        if is_rich { Self::bad_request(RICH_REFUSAL) } else { Self::NO_METHOD }
    }

    /// A parameter of the call is unknown, refused or malformed.
    pub fn bad_request(reason: impl AsRef<str>) -> Self {
        let description = Cow::Owned(format!("Bad Request: {}", reason.as_ref()));
        Self { status: StatusCode::BAD_REQUEST, description, retry_after: None }
    }

    /// The call exceeds a rate limit; a wait shorter than a second counts as one.
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
        tracing::error!(
            code = "table_unavailable",
            %error,
            "the table could not be used; the runtime gets 429 and repeats its call"
        );
        Self::too_many_requests(REPEAT_AFTER)
    }
}

/// The answer to a runtime whose call Telegram did not carry out, or may not have; `pace` says what a repeat would do.
pub(crate) fn telegram_refusal(error: providers::Error, pace: Pace) -> Refusal {
    use providers::Error::{Failed, Malformed, NotFound, RateLimited, Refused, Unauthorized, Unreachable};
    let is_without_effect = error.is_unsent() || matches!(error, Unauthorized | NotFound);
    match error {
        RateLimited { retry_after } => Refusal::too_many_requests(retry_after.unwrap_or_default()),
        Refused { status, reason } => Refusal {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            description: Cow::Owned(reason),
            retry_after: None,
        },
        Unreachable { .. } | Unauthorized | NotFound | Failed { .. } | Malformed { .. } => {
            let refusal = match pace {
                Pace::Send if !is_without_effect => Refusal::BAD_GATEWAY,
                Pace::Send | Pace::Call => Refusal::too_many_requests(REPEAT_AFTER),
            };
            tracing::error!(
                code = "relay_telegram_failed",
                %error,
                status = refusal.status.as_u16(),
                "Telegram did not carry the call out, or did not say so"
            );
            refusal
        }
    }
}

/// A successful answer with this result.
pub(crate) fn success_response(result: Value) -> Response {
    let answer = Answer { ok: true, result: Some(result), error_code: None, description: None, parameters: None };
    (StatusCode::OK, Json(answer)).into_response()
}

/// Turns Telegram's answer, be it a result, a refusal or a wait, into one for the tenant of `chat`: without other
/// people's names, and without the content of other messages.
pub(crate) fn telegram_response(mut answer: Answer, chat: ChatId, bot: i64) -> Response {
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

/// Removes everything but the id from each user who is neither the tenant's person nor the bot, and mentions of such a
/// user as a whole.
///
/// A mention by number (`tg://user?id=…`, in markup) makes Telegram answer with the name of anyone the shared bot
/// knows, and so with those of other subscribers; already that there is a mention says that the bot knows them. A
/// contact's `user_id` says so of a phone number. <https://core.telegram.org/bots/api#formatting-options>
fn hide_strangers(value: &mut Value, chat: ChatId, bot: i64) {
    match value {
        Value::Array(items) => {
            items.retain(|item| !is_mention_of_stranger(item, chat, bot));
            items.iter_mut().for_each(|item| hide_strangers(item, chat, bot));
        }
        Value::Object(object) if is_stranger(object, chat, bot) => {
            object.retain(|field, _| field == "id" || field == "is_bot");
            object.insert("first_name".to_owned(), Value::from("User"));
        }
        Value::Object(object) => {
            if object.contains_key("phone_number") && object.get("user_id").and_then(Value::as_i64) != Some(chat.0) {
                object.remove("user_id");
            }
            object.values_mut().for_each(|field| hide_strangers(field, chat, bot));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a value is a `text_mention` of anyone but the person and the bot.
/// <https://core.telegram.org/bots/api#messageentity>
fn is_mention_of_stranger(value: &Value, chat: ChatId, bot: i64) -> bool {
    let id = value.get("user").and_then(|user| user.get("id")).and_then(Value::as_i64);
    value.get("type").is_some_and(|kind| kind == "text_mention") && id != Some(chat.0) && id != Some(bot)
}

/// Whether an object is a user other than the person and the bot; only users have `is_bot`.
/// <https://core.telegram.org/bots/api#user>
fn is_stranger(object: &Map<String, Value>, chat: ChatId, bot: i64) -> bool {
    let id = object.get("id").and_then(Value::as_i64);
    object.contains_key("is_bot") && id != Some(chat.0) && id != Some(bot)
}

/// Removes keyboards, and all but the identifying fields of every message within a message.
///
/// A runtime may reply to any message of its chat, and Telegram's answer then holds that message too. Some messages are
/// the bot's own, and whoever has the address behind their buttons can pay, cancel or connect for the person.
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
    fn other_peoples_names_are_not_returned() {
        let person = json!({"id": 7, "is_bot": false, "first_name": "Ana"});
        let ben = json!({"id": 8, "is_bot": false, "first_name": "Ben", "last_name": "B", "username": "ben"});
        let mention = |user: &Value| json!({"type": "text_mention", "offset": 0, "length": 3, "user": user});
        let mut message = json!([{
            "from": {"id": 42, "is_bot": true, "first_name": "Bot"},
            "chat": {"id": 7, "first_name": "Ana"},
            "entities": [mention(&ben), mention(&person), {"type": "bold", "offset": 0, "length": 1}, mention(&ben)],
            "contact": {"phone_number": "1", "first_name": "B", "user_id": 8},
            "sender": ben,
        }]);
        hide_strangers(&mut message, ChatId(7), 42);
        assert!(!message.to_string().contains("en\""), "{message}");
        let left = json!([mention(&person), {"type": "bold", "offset": 0, "length": 1}]);
        assert_eq!(message[0]["entities"], left, "not even that somebody was mentioned");
        assert_eq!(message[0]["sender"], json!({"id": 8, "is_bot": false, "first_name": "User"}));
        assert_eq!(message[0]["contact"], json!({"phone_number": "1", "first_name": "B"}));
        assert_eq!(message[0]["from"]["first_name"], "Bot");
    }

    #[test]
    fn the_content_of_other_messages_is_not_returned() {
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
