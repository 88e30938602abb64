//! Telegram's Bot API: <https://core.telegram.org/bots/api>.
//!
//! The bot's token is part of every address, so no error keeps one: what an error names is neither an address nor the
//! text of a message.

mod multipart;
pub mod refusal;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use multipart::Upload;

use super::{Error, http};
use crate::config::{ConfigError, Env};
use crate::domain::ids::ChatId;

/// The Bot API's public address.
const API_URL: &str = "https://api.telegram.org";
/// The limit of a call without files, which Telegram answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of an upload or download of the largest size that we relay; below API Gateway's 30 s.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(24);
/// A larger answer to a call is refused; a message with every field set is far below it.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// A longer path is refused; Telegram's are far below it.
const MAX_FILE_PATH_BYTES: usize = 256;
/// A longer description of a refusal is cut off, in characters.
const MAX_DESCRIPTION: usize = 100;

/// The client of the Bot API, for the one bot that all tenants share.
#[derive(Clone, Debug)]
pub struct Bot {
    http: reqwest::Client,
    base_url: String,
    token: SecretString,
}

/// The options of a message.
#[derive(Clone, Debug, Default)]
pub struct MessageOptions<'a> {
    /// The topic of the chat that it goes to; it goes to the chat itself when Telegram no longer has that topic.
    pub topic: Option<i64>,
    /// The id of the message in the same chat that this one answers; it is sent also when that one was deleted.
    pub reply_to: Option<i64>,
    /// A button under the message.
    pub button: Option<Button<'a>>,
    /// Whether the person gets it without a sound.
    pub silent: bool,
}

/// A button that opens a page.
#[derive(Clone, Copy, Debug)]
pub struct Button<'a> {
    /// Its label.
    pub text: &'a str,
    /// The https address it opens.
    pub url: &'a str,
}

/// A message that was sent. <https://core.telegram.org/bots/api#message>
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Message {
    /// Unique within its chat.
    pub message_id: i64,
}

/// A file ready to be downloaded. <https://core.telegram.org/bots/api#file>
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// The id with which this bot can fetch the file.
    pub file_id: String,
    /// An id that is the same for every bot, and fetches nothing.
    pub file_unique_id: String,
    /// Its size in bytes, when Telegram knows it.
    pub file_size: Option<u64>,
    /// The path to download it from, valid for an hour.
    pub file_path: Option<String>,
}

/// The path of a file of the bot. Its segments are of `A-Za-z0-9_-.`, none of them `.` or `..`, so that it leads
/// nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(String);

/// A downloaded file.
#[derive(Clone, Debug)]
pub struct Download {
    /// Telegram's `Content-Type`, when there is one.
    pub content_type: Option<String>,
    /// The content of the file.
    pub bytes: Bytes,
}

/// Telegram's answer to a call, which may be a refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the call succeeded.
    pub ok: bool,
    /// The result of a call that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The HTTP status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u16>,
    /// The reason of a refusal, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The reaction that a refusal asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ResponseParameters>,
}

/// The reaction that a refusal asks for. <https://core.telegram.org/bots/api#responseparameters>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseParameters {
    /// Seconds to wait before the next call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Bot {
    /// The bot with `TELEGRAM_BOT_TOKEN`, at `TELEGRAM_API_URL` when that is set.
    ///
    /// # Errors
    /// [`ConfigError`] when the token is not set, or not `<digits>:<secret>`.
    pub fn new(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        const TOKEN: &str = "TELEGRAM_BOT_TOKEN";
        const HINT: &str = "the bot's token from BotFather, such as `123456:ABC-DEF`";
        let token = env.secret(TOKEN, HINT)?;
        if !is_token(token.expose_secret()) {
            return Err(ConfigError::invalid(TOKEN, HINT));
        }
        Ok(Self { http, base_url: env.url("TELEGRAM_API_URL", API_URL)?, token })
    }

    /// The bot's user id: the digits before the token's colon, which are not secret.
    pub fn id(&self) -> &str {
        self.token.expose_secret().split(':').next().unwrap_or_default()
    }

    /// Calls a method and parses its result; `IgnoredAny` accepts any result.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with Telegram's wait, [`Error::Refused`] with its description (such as `Forbidden: bot
    /// was blocked by the user`), [`Error::Unauthorized`] or [`Error::NotFound`] when the token is not known.
    pub async fn call<R: DeserializeOwned>(&self, method: &str, parameters: &impl Serialize) -> Result<R, Error> {
        let body = serde_json::to_vec(parameters).map_err(|_| Error::malformed("parameters that are not JSON"))?;
        let answer = self.post(method, "application/json", body.into(), CALL_TIMEOUT).await?;
        serde_json::from_value(answer.into_result()?).map_err(|_| Error::malformed("a result of another form"))
    }

    /// Sends a text, without a preview of the links in it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn send_message(&self, chat: ChatId, text: &str, options: MessageOptions<'_>) -> Result<Message, Error> {
        let mut parameters = json!({
            "chat_id": chat,
            "text": text,
            "link_preview_options": {"is_disabled": true},
            "disable_notification": options.silent,
        });
        if let Some(message_id) = options.reply_to {
            parameters["reply_parameters"] = json!({"message_id": message_id, "allow_sending_without_reply": true});
        }
        if let Some(Button { text, url }) = options.button {
            parameters["reply_markup"] = json!({"inline_keyboard": [[{"text": text, "url": url}]]});
        }
        self.call_in_topic("sendMessage", parameters, options.topic).await
    }

    /// Shows an action such as `typing` for five seconds, or until the next message; in a topic as a message is.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn send_chat_action(&self, chat: ChatId, action: &str, topic: Option<i64>) -> Result<(), Error> {
        let parameters = json!({"chat_id": chat, "action": action});
        self.call_in_topic::<IgnoredAny>("sendChatAction", parameters, topic).await.map(|_| ())
    }

    /// Calls a method in a topic, and once more outside it when Telegram does not know the topic, which the person may
    /// have deleted. Nothing was done by a call that was refused so.
    async fn call_in_topic<R: DeserializeOwned>(
        &self,
        method: &str,
        mut parameters: Value,
        topic: Option<i64>,
    ) -> Result<R, Error> {
        if let Some(topic) = topic {
            parameters["message_thread_id"] = Value::from(topic);
            match self.call(method, &parameters).await {
                Err(error) if refusal::is_topic_unknown(&error) => {}
                result => return result,
            }
            if let Some(parameters) = parameters.as_object_mut() {
                parameters.remove("message_thread_id");
            }
        }
        self.call(method, &parameters).await
    }

    /// Prepares a file for download; its path is valid for an hour.
    ///
    /// # Errors
    /// As [`Self::call`]; a file over 20 MB is [`Error::Refused`].
    pub async fn get_file(&self, file_id: &str) -> Result<File, Error> {
        self.call("getFile", &json!({"file_id": file_id})).await
    }

    /// Downloads a file of at most `limit` bytes; `None` when it is larger.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn download(&self, path: &FilePath, limit: usize) -> Result<Option<Download>, Error> {
        let address = format!("{}/file/bot{}/{}", self.base_url, self.token.expose_secret(), path.0);
        let response = self.http.get(address).timeout(TRANSFER_TIMEOUT).send().await?;
        let status = response.status();
        if !status.is_success() {
            return Err(map_refusal(status, None, None));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let bytes = http::read_body(response, limit).await?;
        Ok(bytes.map(|bytes| Download { content_type, bytes }))
    }

    /// Relays a container's call and returns Telegram's answer, which may be a refusal.
    ///
    /// The caller must have checked every parameter: nothing is checked here.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Failed`], [`Error::Malformed`], and [`Error::Unauthorized`] or
    /// [`Error::NotFound`] when the token is not known. A refusal of the call itself is never one of them.
    pub async fn relay(
        &self,
        method: &str,
        parameters: &Map<String, Value>,
        uploads: &[Upload],
    ) -> Result<Answer, Error> {
        if uploads.is_empty() {
            let body = serde_json::to_vec(parameters).map_err(|_| Error::malformed("parameters that are not JSON"))?;
            return self.post(method, "application/json", body.into(), CALL_TIMEOUT).await;
        }
        let form = multipart::encode_form(parameters, uploads);
        self.post(method, &form.content_type, form.body, TRANSFER_TIMEOUT).await
    }

    async fn post(&self, method: &str, content_type: &str, body: Bytes, limit: Duration) -> Result<Answer, Error> {
        let address = format!("{}/bot{}/{method}", self.base_url, self.token.expose_secret());
        let request = self.http.post(address).header(header::CONTENT_TYPE, content_type).body(body).timeout(limit);
        let response = request.send().await?;
        let status = response.status();
        if status.is_server_error() {
            return Err(Error::Failed { status: status.as_u16() });
        }
        let body = http::read_body(response, MAX_ANSWER_BYTES)
            .await?
            .ok_or_else(|| Error::malformed("an answer that is too large"))?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| Error::malformed("an answer that is not Telegram's"))?;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Err(map_refusal(status, None, None)),
            _ => Ok(answer),
        }
    }
}

impl FilePath {
    /// Parses a path of `getFile`, such as `photos/file_7.jpg`; `None` when it could lead elsewhere.
    pub fn parse(path: &str) -> Option<Self> {
        let is_plain_name = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !name.is_empty() && name != "." && name != ".." && name.bytes().all(known)
        };
        (path.len() <= MAX_FILE_PATH_BYTES && path.split('/').all(is_plain_name)).then(|| Self(path.to_owned()))
    }

    /// The path, relative to the bot's files.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Answer {
    /// The result, or the refusal as an error.
    fn into_result(self) -> Result<Value, Error> {
        match self {
            Self { ok: true, result: Some(result), .. } => Ok(result),
            Self { error_code, description, parameters, .. } => {
                let status = error_code.and_then(|code| StatusCode::from_u16(code).ok());
                let retry_after = parameters.and_then(|parameters| parameters.retry_after);
                Err(map_refusal(status.unwrap_or(StatusCode::BAD_REQUEST), retry_after, description))
            }
        }
    }
}

/// Whether a text is `<digits>:<secret>`; such a token also stays within one segment of an address.
fn is_token(token: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    token.split_once(':').is_some_and(|(id, secret)| {
        !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && !secret.is_empty()
            && secret.bytes().all(known)
    })
}

fn map_refusal(status: StatusCode, retry_after: Option<u64>, description: Option<String>) -> Error {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Error::RateLimited { retry_after: retry_after.map(Duration::from_secs) },
        StatusCode::UNAUTHORIZED => Error::Unauthorized,
        StatusCode::NOT_FOUND => Error::NotFound,
        status if status.is_server_error() => Error::Failed { status: status.as_u16() },
        status => Error::Refused { status: status.as_u16(), reason: strip_quotation(&description.unwrap_or_default()) },
    }
}

/// A description up to the place where it quotes what was sent: errors are logged, people's text never is.
fn strip_quotation(description: &str) -> String {
    let plain = description.split('"').next().unwrap_or_default().split(" '").next().unwrap_or_default();
    plain.trim_end().chars().take(MAX_DESCRIPTION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> reqwest::Client {
        crate::http::client_with_roots(None).expect("embedded roots")
    }

    #[test]
    fn a_file_path_cannot_lead_elsewhere() {
        for path in ["photos/file_7.jpg", "documents/file_12.tar.gz", "file", "voice/file_0.oga"] {
            assert!(FilePath::parse(path).is_some(), "{path}");
        }
        let long = "a".repeat(MAX_FILE_PATH_BYTES + 1);
        for path in
            ["", "/", "/etc/passwd", "a//b", "a/", "..", "a/../b", "./a", "a%2e", "a\\b", "a?b", "a#b", "ä", &long]
        {
            assert!(FilePath::parse(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_token_is_in_no_debug_output_and_its_id_is_known() {
        let env = Env::from_pairs([("TELEGRAM_BOT_TOKEN", "123:SECRET_part")]);
        let bot = Bot::new(&env, client()).expect("a token");
        assert_eq!(bot.id(), "123");
        assert!(!format!("{bot:?}").contains("SECRET_part"));
    }

    #[test]
    fn a_token_of_another_form_is_refused() {
        for token in ["987", ":xyz", "98a:xyz", "987:", "987:a/b", "987:a?b"] {
            let env = Env::from_pairs([("TELEGRAM_BOT_TOKEN", token)]);
            let error = Bot::new(&env, client()).expect_err(token);
            assert!(!error.to_string().contains(token));
        }
    }

    #[test]
    fn a_refusal_keeps_telegrams_wait_and_its_description() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).expect("Telegram's form").into_result();
        let limited =
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":7}}"#;
        assert!(matches!(read(limited), Err(Error::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 7));
        let blocked = r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#;
        assert!(matches!(read(blocked), Err(Error::Refused { status: 403, reason }) if reason.contains("blocked")));
        assert!(matches!(read(r#"{"ok":false,"error_code":502}"#), Err(Error::Failed { status: 502 })));
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        let tag = "Bad Request: can't parse entities: Unsupported start tag \"secret\" at byte offset 7";
        assert_eq!(strip_quotation(tag), "Bad Request: can't parse entities: Unsupported start tag");
        assert_eq!(strip_quotation("Bad Request: button URL 'secret' is invalid"), "Bad Request: button URL");
        assert_eq!(strip_quotation(&"x".repeat(1_000)).len(), MAX_DESCRIPTION);
    }
}
