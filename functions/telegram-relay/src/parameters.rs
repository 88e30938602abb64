//! Reads a call's parameters from exactly one place: the query, or the body in one of Telegram's three encodings.
//! <https://core.telegram.org/bots/api#making-requests>

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::stream;
use multer::{Field, Multipart};
use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::json;

/// The most bytes of text that are parsed. Telegram accepts far less, and a larger text would fill the memory.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// A call's parameters before they are checked. A form's values are texts, even of a number or an object.
#[derive(Debug, Default)]
pub struct Parameters {
    /// The parameters by name.
    pub values: Map<String, Value>,
    /// The files that the call carries, by the name of their part.
    pub files: BTreeMap<String, File>,
}

/// A file that a call carries.
#[derive(Debug)]
pub struct File {
    /// The sender's name of it.
    pub name: String,
    /// The file's content.
    pub bytes: Bytes,
}

impl Parameters {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// A [`Refusal`] when both query and body carry some, when a name comes twice, or when the body does not have the
    /// encoding that its content type names.
    pub async fn from_request(query: Option<&str>, headers: &HeaderMap, body: Bytes) -> Result<Self, Refusal> {
        let query = query.unwrap_or_default();
        if body.is_empty() {
            return Self::from_form(query.as_bytes());
        }
        if !query.is_empty() {
            return Err(Refusal::bad_request("parameters are accepted from the query or from the body, not from both"));
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "multipart/form-data" => Self::from_multipart(content_type, body).await,
            _ if body.len() > MAX_TEXT_BYTES => Err(Refusal::TOO_BIG),
            "application/json" => Self::from_json(&body),
            "application/x-www-form-urlencoded" => Self::from_form(&body),
            _ => Err(Refusal::bad_request("unsupported content type")),
        }
    }

    fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        match json::parse(body) {
            Some(Value::Object(values)) => Ok(Self { values, files: BTreeMap::new() }),
            Some(_) | None => Err(Refusal::bad_request("the body is not a JSON object of parameters, each named once")),
        }
    }

    fn from_form(text: &[u8]) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_bytes(text).map_err(|_| Refusal::bad_request("the parameters are not a form"))?;
        let mut parameters = Self::default();
        for (name, value) in pairs {
            parameters.add_value(name, value)?;
        }
        Ok(parameters)
    }

    async fn from_multipart(content_type: &str, body: Bytes) -> Result<Self, Refusal> {
        let not_multipart = || Refusal::bad_request("the body is not the multipart form its content type says");
        let boundary = multer::parse_boundary(content_type).map_err(|_| not_multipart())?;
        let mut form = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
        let mut parameters = Self::default();
        while let Some(field) = form.next_field().await.map_err(|_| not_multipart())? {
            let name = field.name().ok_or_else(not_multipart)?.to_owned();
            let file_name = field.file_name().map(|name| unquoted_file_name(&field).unwrap_or_else(|| name.to_owned()));
            let bytes = field.bytes().await.map_err(|_| not_multipart())?;
            match file_name {
                Some(file_name) => parameters.add_file(name, File { name: file_name, bytes })?,
                None if bytes.len() > MAX_TEXT_BYTES => return Err(Refusal::TOO_BIG),
                None => {
                    let text = String::from_utf8(bytes.into()).map_err(|_| not_multipart())?;
                    parameters.add_value(name, text)?;
                }
            }
        }
        Ok(parameters)
    }

    fn add_value(&mut self, name: String, value: String) -> Result<(), Refusal> {
        self.ensure_unused(&name)?;
        self.values.insert(name, Value::String(value));
        Ok(())
    }

    fn add_file(&mut self, name: String, file: File) -> Result<(), Refusal> {
        self.ensure_unused(&name)?;
        self.files.insert(name, file);
        Ok(())
    }

    fn ensure_unused(&self, name: &str) -> Result<(), Refusal> {
        match self.values.contains_key(name) || self.files.contains_key(name) {
            true => Err(Refusal::bad_request("a parameter is given twice")),
            false => Ok(()),
        }
    }
}

/// Reads the whole of a file name that is written without quotes: grammY, and so `OpenClaw`, writes even spaces so.
fn unquoted_file_name(field: &Field<'_>) -> Option<String> {
    let disposition = String::from_utf8_lossy(field.headers().get(header::CONTENT_DISPOSITION)?.as_bytes());
    let (_, name) = disposition.split_once("filename=")?;
    (!name.starts_with('"')).then(|| name.trim().to_owned())
}
