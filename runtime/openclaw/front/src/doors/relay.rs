//! The door to the Bot API, which is the relay's.

use std::time::Duration;

use hyper::{Method, StatusCode};
use nbhd::domain::secrets::is_same_secret;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Doors, Passage, address, json_answer};
use crate::server::Response;

/// The methods that the relay passes on or answers itself; it holds their parameters to its rules.
pub const METHODS: [&str; 38] = [
    "getMe",
    "getWebhookInfo",
    "setWebhook",
    "deleteWebhook",
    "getMyCommands",
    "setMyCommands",
    "deleteMyCommands",
    "sendMessage",
    "sendPhoto",
    "sendLivePhoto",
    "sendAudio",
    "sendDocument",
    "sendVideo",
    "sendAnimation",
    "sendVoice",
    "sendVideoNote",
    "sendMediaGroup",
    "sendLocation",
    "sendVenue",
    "sendContact",
    "sendPoll",
    "sendDice",
    "sendSticker",
    "sendChatAction",
    "setMessageReaction",
    "answerCallbackQuery",
    "editMessageText",
    "editMessageCaption",
    "editMessageMedia",
    "editMessageLiveLocation",
    "stopMessageLiveLocation",
    "editMessageReplyMarkup",
    "stopPoll",
    "deleteMessage",
    "deleteMessages",
    "getFile",
    "sendRichMessage",
    "sendRichMessageDraft",
];

/// The relay takes 4 MiB, and says so itself.
const MAX_BODY_BYTES: usize = 5 << 20;
const TIMEOUT: Duration = Duration::from_secs(35);

/// `/bot<token>/<method>` and `/file/bot<token>/<path>`.
pub(super) fn open(doors: &Doors, method: &Method, path: &str, query: Option<&str>) -> Option<Passage> {
    let (prefix, rest) = match path.strip_prefix("/file/bot") {
        Some(rest) => ("file/bot", rest),
        None => ("bot", path.strip_prefix("/bot")?),
    };
    let (token, target) = rest.split_once('/')?;
    let is_listed = if prefix == "bot" {
        matches!(*method, Method::GET | Method::POST) && METHODS.iter().any(|known| known.eq_ignore_ascii_case(target))
    } else {
        *method == Method::GET && is_file_path(target) && query.is_none()
    };
    if !is_same_secret(&doors.local.relay_token, token) || !is_listed {
        return None;
    }
    let path = format!("{prefix}{}/{target}", doors.secrets.relay_token.expose_secret());
    Some(Passage {
        method: method.clone(),
        url: address(&doors.relay_url, &path, query)?,
        credentials: Vec::new(),
        max_body_bytes: MAX_BODY_BYTES,
        timeout: TIMEOUT,
        when_unreachable: ask_to_repeat,
        door: "relay",
    })
}

/// The relay's paths are a signature's letters and Telegram's folders and names.
fn is_file_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_segment = |part: &str| !part.is_empty() && part.bytes().all(is_plain) && part.trim_matches('.') == part;
    path.split('/').all(is_segment)
}

/// A message is sent again after this answer alone; after any other one it is lost.
fn ask_to_repeat() -> Response {
    let description = "Too Many Requests: retry after 2";
    let body =
        json!({ "ok": false, "error_code": 429, "description": description, "parameters": { "retry_after": 2 } });
    json_answer(StatusCode::TOO_MANY_REQUESTS, &body)
}
