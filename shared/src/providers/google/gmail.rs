//! Gmail, read only. Every request names the fields it wants: that costs as many of Gmail's units, but fewer bytes and
//! less time.
//! <https://developers.google.com/workspace/gmail/api/reference/rest>

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, api};
use crate::config::{ConfigError, Env};
use crate::providers::http;

/// The header fields that a list shows of a message.
const SUMMARY_HEADERS: [&str; 3] = ["Subject", "From", "Date"];
const SUMMARY_FIELDS: &str = "id,threadId,snippet,internalDate,payload/headers";

/// The client of Gmail's API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// The results of a search: the ids of messages.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchResults {
    /// The newest first.
    pub messages: Vec<MessageRef>,
    /// An estimate of how many messages match in all.
    pub result_size_estimate: u64,
}

/// A message of a search's results.
#[derive(Clone, Debug, Deserialize)]
pub struct MessageRef {
    /// Gmail's id of the message.
    pub id: String,
}

/// A message, with the fields that the call asks for.
/// <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#Message>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Gmail's id of the message.
    pub id: String,
    /// Gmail's id of the conversation that it belongs to.
    pub thread_id: String,
    /// Its first words, with HTML entities.
    #[serde(default)]
    pub snippet: String,
    /// When Gmail accepted it, in milliseconds since the epoch, as decimal digits.
    #[serde(default)]
    pub internal_date: Option<String>,
    /// Labels such as `INBOX`; only [`Client::get_message`] asks for them.
    #[serde(default)]
    pub label_ids: Vec<String>,
    /// The tree of its parts as raw JSON: it can be nested deeper than a stack allows, so it is parsed only where
    /// needed.
    #[serde(default)]
    pub payload: Option<Box<RawValue>>,
}

/// The header fields of a message, in order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Headers {
    headers: Vec<HeaderField>,
}

/// Gmail leaves out what is empty, so that a field may have no value.
#[derive(Clone, Debug, Deserialize)]
struct HeaderField {
    name: Option<String>,
    value: Option<String>,
}

/// The content of a part, as base64url.
#[derive(Deserialize)]
struct Attachment {
    data: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Thread {
    messages: Vec<Message>,
}

impl Client {
    /// A client for `GMAIL_API_URL`, by default Google's own.
    ///
    /// # Errors
    /// [`ConfigError`] when that setting is not an address.
    pub fn new(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        Ok(Self { http, base: http::base_url(env, "GMAIL_API_URL", "https://gmail.googleapis.com/gmail/v1")? })
    }

    /// Searches for the newest messages that match `query`, in the language of Gmail's search box; costs 5 units.
    pub async fn search(&self, token: &SecretString, query: &str, max_results: u32) -> Result<SearchResults, Error> {
        let mut url = http::join(&self.base, &["users", "me", "messages"]);
        url.query_pairs_mut()
            .append_pair("maxResults", &max_results.to_string())
            .append_pair("fields", "messages/id,resultSizeEstimate");
        if !query.is_empty() {
            url.query_pairs_mut().append_pair("q", query);
        }
        api::fetch_json(self.http.get(url), token).await
    }

    /// Fetches what a list shows of a message; costs 20 units. [`Error::NotFound`] when it was deleted meanwhile.
    pub async fn get_summary(&self, token: &SecretString, id: &str) -> Result<Message, Error> {
        let mut url = http::join(&self.base, &["users", "me", "messages", id]);
        request_summaries(&mut url, SUMMARY_FIELDS);
        api::fetch_json(self.http.get(url), token).await
    }

    /// Fetches a message without its attachments; costs 20 units.
    pub async fn get_message(&self, token: &SecretString, id: &str) -> Result<Message, Error> {
        let mut url = http::join(&self.base, &["users", "me", "messages", id]);
        url.query_pairs_mut()
            .append_pair("format", "full")
            .append_pair("fields", "id,threadId,snippet,internalDate,labelIds,payload");
        api::fetch_json(self.http.get(url), token).await
    }

    /// Fetches the content of a part that Gmail keeps apart from its message, as base64url; costs 20 units.
    /// [`Error::NotFound`] when it is gone.
    /// <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages.attachments/get>
    pub async fn get_attachment(&self, token: &SecretString, message: &str, id: &str) -> Result<String, Error> {
        let mut url = http::join(&self.base, &["users", "me", "messages", message, "attachments", id]);
        url.query_pairs_mut().append_pair("fields", "data");
        let attachment: Attachment = api::fetch_json(self.http.get(url), token).await?;
        Ok(attachment.data.unwrap_or_default())
    }

    /// Fetches what a list shows of each message of a conversation, oldest first; costs 40 units.
    pub async fn list_thread(&self, token: &SecretString, thread_id: &str) -> Result<Vec<Message>, Error> {
        let mut url = http::join(&self.base, &["users", "me", "threads", thread_id]);
        request_summaries(&mut url, &format!("messages({SUMMARY_FIELDS})"));
        api::fetch_json::<Thread>(self.http.get(url), token).await.map(|thread| thread.messages)
    }
}

fn request_summaries(url: &mut Url, fields: &str) {
    let mut query = url.query_pairs_mut();
    query.append_pair("format", "metadata").append_pair("fields", fields);
    query.extend_pairs(SUMMARY_HEADERS.map(|name| ("metadataHeaders", name)));
}

impl Message {
    /// The header fields that the call asked for; none when they are not of Gmail's form.
    pub fn headers(&self) -> Headers {
        self.payload.as_ref().and_then(|payload| serde_json::from_str(payload.get()).ok()).unwrap_or_default()
    }
}

impl Headers {
    /// The first field of this name that has a value, in whatever case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let is_named = |field: &&HeaderField| field.name.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name));
        self.headers.iter().filter(is_named).find_map(|field| field.value.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_beside_any_depth_of_parts() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let headers = r#"[{"name":"SUBJECT","value":"Hi"}]"#;
        let message = format!(r#"{{"id":"1","threadId":"2","payload":{{"parts":{deep},"headers":{headers}}}}}"#);
        let message: Message = serde_json::from_str(&message).expect("a message");
        assert_eq!(message.headers().get("Subject"), Some("Hi"));
        assert_eq!(message.headers().get("From"), None);
    }

    #[test]
    fn a_header_without_a_value_does_not_cost_the_others() {
        let headers = r#"[{"name":"Subject"},{"value":"x"},{},{"name":"From","value":"a@b.test"},{"name":null}]"#;
        let message = format!(r#"{{"id":"1","threadId":"2","payload":{{"headers":{headers}}}}}"#);
        let message: Message = serde_json::from_str(&message).expect("a message");
        assert_eq!((message.headers().get("Subject"), message.headers().get("From")), (None, Some("a@b.test")));
    }
}
