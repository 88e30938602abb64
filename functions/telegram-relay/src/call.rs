//! Builds the call that goes on to Telegram from the parameters that the rules allow; nothing else is copied.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http;
use nbhd::domain::ids::ChatId;
use nbhd::providers::telegram::Upload;
use serde_json::{Map, Value};

use crate::MAX_BYTES;
use crate::answer::Refusal;
use crate::parameters::{File, Parameters};
use crate::rules::{Method, Parameter, Rule};
use crate::{json, markup, older};

/// The most characters of a file name that is sent on.
const MAX_FILE_NAME: usize = 200;

/// The most items of an album that Telegram accepts. <https://core.telegram.org/bots/api#sendmediagroup>
const LARGEST_ALBUM: u32 = 10;

/// The parameters and files of a checked call.
#[derive(Debug, Default)]
pub struct Call {
    /// The allow-listed parameters, with the tenant's own chat wherever one is named.
    pub parameters: Map<String, Value>,
    /// The files that those parameters refer to.
    pub uploads: Vec<Upload>,
}

/// Reads a request for the method `name` of the tenant of `chat`, and holds it to the method's rules.
///
/// # Errors
/// A [`Refusal`] in Telegram's words: no such method, no call, too big, or as of [`Call::check`].
pub(crate) async fn check_request(
    chat: ChatId,
    name: &str,
    request: Request,
) -> Result<(&'static Method, Call), Refusal> {
    let method = Method::find(name).ok_or_else(|| Refusal::unknown_method(name))?;
    let (head, body) = request.into_parts();
    if !matches!(head.method, http::Method::GET | http::Method::POST) {
        return Err(Refusal::NOT_FOUND);
    }
    let body = to_bytes(body, MAX_BYTES).await.map_err(|_| Refusal::TOO_BIG)?;
    let given = Parameters::from_request(head.uri.query(), &head.headers, body).await?;
    Ok((method, Call::check(method, chat, given)?))
}

impl Call {
    /// Checks a method's parameters for the tenant of `chat`.
    ///
    /// # Errors
    /// A [`Refusal`] in Telegram's words for the first parameter that is unknown, refused or malformed, and for a file
    /// that no parameter refers to.
    pub fn check(method: &Method, chat: ChatId, mut given: Parameters) -> Result<Self, Refusal> {
        older::translate(method, &mut given);
        let Parameters { mut values, files } = given;
        let mut checker = Checker { chat, files, uploads: Vec::new() };
        let mut parameters = Map::new();
        for (name, rule) in method.parameters() {
            if matches!(rule, Rule::NoPreview) {
                values.remove(*name);
                parameters.insert((*name).to_owned(), serde_json::json!({ "is_disabled": true }));
                continue;
            }
            match values.remove(*name) {
                Some(value) if is_absent(rule, &value) => {}
                Some(value) => {
                    if let Some(value) = checker.check_value(name, rule, value)? {
                        parameters.insert((*name).to_owned(), value);
                    }
                }
                None => checker.take_file(name, rule),
            }
        }
        if let Some(name) = values.keys().chain(checker.files.keys()).next() {
            return Err(unknown_parameter(name));
        }
        if method.takes_chat_id() && !parameters.contains_key("chat_id") {
            return Err(Refusal::bad_request("chat_id is empty"));
        }
        markup::clean_texts(&mut parameters)?;
        Ok(Self { parameters, uploads: checker.uploads })
    }

    /// The number of messages that the call makes: one for each item of an album, else one.
    pub fn messages(&self) -> u32 {
        let items = self.parameters.get("media").and_then(Value::as_array).map_or(1, Vec::len);
        u32::try_from(items).unwrap_or(u32::MAX).clamp(1, LARGEST_ALBUM)
    }
}

struct Checker {
    chat: ChatId,
    /// Files that no parameter has referred to yet.
    files: BTreeMap<String, File>,
    uploads: Vec<Upload>,
}

impl Checker {
    /// Checks a value by its rule; `None` when it is left out.
    fn check_value(&mut self, name: &str, rule: &Rule, value: Value) -> Result<Option<Value>, Refusal> {
        let checked = match rule {
            Rule::OwnChat => {
                let own = value.as_i64() == Some(self.chat.0) || value.as_str() == Some(&self.chat.to_string());
                let chat = own.then(|| Value::from(self.chat.0));
                return chat.map(Some).ok_or_else(|| Refusal::bad_request("chat not found"));
            }
            Rule::Dropped(_) | Rule::NoPreview => return Ok(None),
            Rule::Refused(reason) => {
                return Err(Refusal::bad_request(format!("parameter \"{name}\" is not accepted: {reason}")));
            }
            Rule::Labelled(_) if value.is_string() => Some(serde_json::json!({ "text": value })),
            Rule::Object(fields) | Rule::Labelled(fields) => return self.check_object(name, fields, value),
            Rule::List(of) => return self.check_list(name, of, value).map(Some),
            Rule::Media => return self.check_media(name, value).map(Some),
            Rule::Integer => json::to_integer(&value),
            Rule::Float => to_float(&value),
            Rule::Boolean => json::to_boolean(&value),
            Rule::Text => value.is_string().then_some(value),
            Rule::ParseMode => value.as_str().is_some_and(markup::is_mode).then_some(value),
            Rule::Url if value.as_str().is_some_and(|text| !is_web_address(text)) => return Ok(None),
            Rule::Url => value.is_string().then_some(value),
        };
        checked.map(Some).ok_or_else(|| malformed_parameter(name))
    }

    /// Checks an object field by field; `None` when one of them is dropped, and the object with it.
    fn check_object(&mut self, name: &str, fields: &[Parameter], value: Value) -> Result<Option<Value>, Refusal> {
        let Some(Value::Object(mut given)) = parse_nested(value) else { return Err(malformed_parameter(name)) };
        older::rename_fields(|name| fields.iter().any(|(field, _)| *field == name), &mut given);
        let mut object = Map::new();
        let mut is_whole = true;
        for (key, value) in given {
            let (_, rule) = fields.iter().find(|(field, _)| *field == key).ok_or_else(|| unknown_parameter(&key))?;
            if is_absent(rule, &value) {
                continue;
            }
            match self.check_value(&key, rule, value)? {
                Some(value) => {
                    object.insert(key, value);
                }
                None => is_whole = false,
            }
        }
        markup::clean_texts(&mut object)?;
        Ok(is_whole.then_some(Value::Object(object)))
    }

    /// Checks a list item by item. Rows of a keyboard that have no buttons left are left out, as Telegram does.
    fn check_list(&mut self, name: &str, of: &Rule, value: Value) -> Result<Value, Refusal> {
        let Some(Value::Array(given)) = parse_nested(value) else { return Err(malformed_parameter(name)) };
        let mut list = Vec::new();
        for item in given {
            let item = self.check_value(name, of, item)?;
            list.extend(item.filter(|item| item.as_array().is_none_or(|row| !row.is_empty())));
        }
        Ok(Value::Array(list))
    }

    /// Returns a file id as it is; for `attach://`, takes the file and gives it a name of our own.
    fn check_media(&mut self, name: &str, value: Value) -> Result<Value, Refusal> {
        let Some(text) = value.as_str() else { return Err(malformed_parameter(name)) };
        if let Some(part) = text.strip_prefix("attach://") {
            let file = self.files.remove(part).ok_or_else(|| Refusal::bad_request("attached file not found"))?;
            let field = format!("file{}", self.uploads.len());
            let value = Value::from(format!("attach://{field}"));
            self.add_upload(field, file);
            return Ok(value);
        }
        if is_file_id(text) {
            return Ok(value);
        }
        let reason = "wrong file identifier/HTTP URL specified: a file is uploaded or named by its file_id";
        Err(Refusal::bad_request(reason))
    }

    /// Takes the file that was sent under a media parameter's own name, if there is one.
    fn take_file(&mut self, name: &str, rule: &Rule) {
        if matches!(rule, Rule::Media)
            && let Some(file) = self.files.remove(name)
        {
            self.add_upload(name.to_owned(), file);
        }
    }

    fn add_upload(&mut self, field: String, file: File) {
        let file_name = file.name.chars().filter(|c| !c.is_control()).take(MAX_FILE_NAME).collect();
        self.uploads.push(Upload { field, file_name, bytes: file.bytes });
    }
}

/// Parses an object or list that outside JSON is sent as its text.
fn parse_nested(value: Value) -> Option<Value> {
    match value.as_str() {
        Some(text) => json::parse(text.as_bytes()),
        None => Some(value),
    }
}

/// Whether a value says no more than that its parameter is not given: in a form, an empty text for an object or a list.
fn is_absent(rule: &Rule, value: &Value) -> bool {
    value.is_null() || matches!(rule, Rule::Object(_) | Rule::List(_)) && value.as_str() == Some("")
}

fn to_float(value: &Value) -> Option<Value> {
    let number: f64 = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then(|| Value::from(number))
}

/// Whether an address leads to the web. One of another scheme may lead to a person, or make the client act.
fn is_web_address(text: &str) -> bool {
    let is_of = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    is_of("https://") || is_of("http://")
}

fn is_file_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn unknown_parameter(name: &str) -> Refusal {
    let name: String = name.chars().take(64).collect();
    Refusal::bad_request(format!("unknown parameter {name:?}"))
}

fn malformed_parameter(name: &str) -> Refusal {
    Refusal::bad_request(format!("parameter \"{name}\" is not of its form"))
}
