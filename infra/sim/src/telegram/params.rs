//! A call's parameters, from wherever Telegram takes them: query, form, JSON or multipart.
//!
//! See <https://core.telegram.org/bots/api#making-requests>.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::Value;

use super::Refusal;

/// The parameters of one call.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Parameters by name.
    pub values: BTreeMap<String, ParamValue>,
    /// Files sent along, by the name of their part.
    pub uploads: BTreeMap<String, Upload>,
}

/// One parameter as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// From a query or a form: text, whatever its type.
    Text(String),
    /// From a JSON body, with its type.
    Typed(Value),
}

/// A file sent along in a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The sender's name for it.
    pub filename: String,
    /// Its content type, as the sender says.
    pub mime_type: Option<String>,
    /// What is in it.
    pub bytes: Bytes,
}

impl Params {
    /// Reads the parameters of a request; those of the body win over those of the query, as at Telegram.
    pub(crate) async fn read(query: &str, content_type: &str, body: &Bytes) -> Result<Self, Refusal> {
        let mut params = Self::default();
        params.take_form(query.as_bytes())?;
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => params.take_json(body)?,
            "application/x-www-form-urlencoded" => params.take_form(body)?,
            "multipart/form-data" => params.take_multipart(content_type, body).await?,
            _ if body.is_empty() => {}
            _ => return Err(Refusal::bad_request("can't parse the body: unknown content type")),
        }
        Ok(params)
    }

    /// The parameters of a call that came as the answer to an update: a JSON object naming its `method`.
    pub(crate) fn from_object(object: serde_json::Map<String, Value>) -> Self {
        let values = object.into_iter().map(|(name, value)| (name, ParamValue::Typed(value))).collect();
        Self { values, uploads: BTreeMap::new() }
    }

    /// The parameter as text.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            ParamValue::Text(text) => Some(text.clone()),
            ParamValue::Typed(Value::String(text)) => Some(text.clone()),
            ParamValue::Typed(Value::Null) => None,
            ParamValue::Typed(other) => Some(other.to_string()),
        }
    }

    /// The parameter as a whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// The parameter as JSON; in a query or a form it is JSON in text.
    pub fn json(&self, name: &str) -> Option<Value> {
        match self.values.get(name)? {
            ParamValue::Text(text) => serde_json::from_str(text).ok(),
            // Telegram takes serialised JSON inside a JSON body too.
            ParamValue::Typed(Value::String(text)) => serde_json::from_str(text).ok(),
            ParamValue::Typed(value) => Some(value.clone()),
        }
    }

    /// The message that the call replies to, and whether it is sent in spite of that message's absence. The older
    /// spelling counts where the present one is not given, as in Telegram's server.
    /// <https://core.telegram.org/bots/api-changelog#december-29-2023>
    pub fn reply(&self) -> (Option<i64>, bool) {
        let (message_id, always) = if self.values.contains_key("reply_parameters") {
            let reply = self.json("reply_parameters").unwrap_or_default();
            (reply["message_id"].as_i64(), reply["allow_sending_without_reply"] == true)
        } else {
            let always = self.text("allow_sending_without_reply").unwrap_or_default().to_ascii_lowercase();
            (self.integer("reply_to_message_id"), ["true", "yes", "1"].contains(&always.trim()))
        };
        (message_id.filter(|id| *id > 0), always)
    }

    /// Whether the parameter or a file of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.uploads.contains_key(name) || self.text(name).is_some_and(|text| !text.is_empty())
    }

    fn take_form(&mut self, encoded: &[u8]) -> Result<(), Refusal> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_bytes(encoded).map_err(|_| Refusal::bad_request("can't parse the parameters"))?;
        self.values.extend(pairs.into_iter().map(|(name, text)| (name, ParamValue::Text(text))));
        Ok(())
    }

    fn take_json(&mut self, body: &Bytes) -> Result<(), Refusal> {
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| Refusal::bad_request("can't parse JSON object"))?;
        self.values.extend(Self::from_object(object).values);
        Ok(())
    }

    async fn take_multipart(&mut self, content_type: &str, body: &Bytes) -> Result<(), Refusal> {
        let broken = |_| Refusal::bad_request("can't parse the multipart body");
        let boundary = multer::parse_boundary(content_type).map_err(broken)?;
        let whole = body.clone();
        let once = futures::stream::once(async move { Ok::<_, std::convert::Infallible>(whole) });
        let mut parts = multer::Multipart::new(once, boundary);
        while let Some(part) = parts.next_field().await.map_err(broken)? {
            let Some(name) = part.name().map(str::to_owned) else { continue };
            match part.file_name().map(str::to_owned) {
                Some(filename) => {
                    let mime_type = part.content_type().map(ToString::to_string);
                    let bytes = part.bytes().await.map_err(broken)?;
                    self.uploads.insert(name, Upload { filename, mime_type, bytes });
                }
                None => {
                    self.values.insert(name, ParamValue::Text(part.text().await.map_err(broken)?));
                }
            }
        }
        Ok(())
    }
}

impl Refusal {
    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &format!("Bad Request: {reason}"))
    }
}
