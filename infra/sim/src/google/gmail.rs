//! Gmail v1: `users.messages.list`, `users.messages.get`, `users.messages.attachments.get` and `users.threads.get`.
//! See <https://developers.google.com/workspace/gmail/api/reference/rest>.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::World;
use super::accounts::Account;
use super::api::{Params, Refused, authorized};
use super::mailbox::{Format, Message};
use super::query::Query;

const SCOPES: [&str; 3] = [
    "https://mail.google.com/",
    "https://www.googleapis.com/auth/gmail.modify",
    "https://www.googleapis.com/auth/gmail.readonly",
];
/// Opens headers, but neither searches nor bodies.
const METADATA: &str = "https://www.googleapis.com/auth/gmail.metadata";
const READING: [&str; 4] = [SCOPES[0], SCOPES[1], SCOPES[2], METADATA];

pub(super) async fn list_messages(
    State(world): State<World>,
    Path(user): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let most = params.number("maxResults", 100, 500)?;
    let from = page_start(&params)?;
    let with_spam_and_trash = params.flag("includeSpamTrash")?;
    let search = params.get("q").filter(|search| !search.is_empty());
    let scopes: &[&str] = if search.is_some() { &SCOPES } else { &READING };
    let now = world.clock.now();
    let answer = authorized(&world, &headers, scopes, |account, _| {
        own_mailbox(account, &user)?;
        let search = Query::parse(search.unwrap_or_default());
        let found = account.mailbox.search(&search, &params.all("labelIds"), with_spam_and_trash, now);
        let page: Vec<_> = found.iter().skip(from).take(most).collect();
        let mut answer = json!({ "resultSizeEstimate": found.len() });
        if !page.is_empty() {
            let item = |message: &&&Message| json!({ "id": message.id, "threadId": message.thread_id });
            answer["messages"] = page.iter().map(item).collect();
        }
        if from + page.len() < found.len() {
            answer["nextPageToken"] = URL_SAFE_NO_PAD.encode((from + page.len()).to_string()).into();
        }
        Ok(answer)
    })?;
    params.answer(answer)
}

pub(super) async fn message(
    State(world): State<World>,
    Path((user, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let format = format(&params)?;
    let answer = authorized(&world, &headers, scopes_for(format), |account, _| {
        own_mailbox(account, &user)?;
        let message = account.mailbox.message(well_formed(&id)?).ok_or_else(Refused::not_found)?;
        Ok(message.resource(format, &params.all("metadataHeaders")))
    })?;
    params.answer(answer)
}

pub(super) async fn attachment(
    State(world): State<World>,
    Path((user, message, id)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let answer = authorized(&world, &headers, &SCOPES, |account, _| {
        own_mailbox(account, &user)?;
        let message = account.mailbox.message(well_formed(&message)?).ok_or_else(Refused::not_found)?;
        message.attachment(&id).ok_or_else(Refused::not_found)
    })?;
    params.answer(answer)
}

pub(super) async fn thread(
    State(world): State<World>,
    Path((user, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let format = format(&params)?;
    let answer = authorized(&world, &headers, scopes_for(format), |account, _| {
        own_mailbox(account, &user)?;
        let messages = account.mailbox.thread(well_formed(&id)?);
        let newest = messages.last().ok_or_else(Refused::not_found)?.resource(Format::Minimal, &[]);
        let names = params.all("metadataHeaders");
        let messages: Vec<_> = messages.iter().map(|message| message.resource(format, &names)).collect();
        // `threads.get` leaves the thread's own snippet empty: only `threads.list` fills it.
        Ok(json!({ "id": id, "historyId": newest["historyId"], "messages": messages }))
    })?;
    params.answer(answer)
}

fn format(params: &Params) -> Result<Format, Refused> {
    match params.get("format").map(str::to_lowercase).as_deref() {
        None | Some("full") => Ok(Format::Full),
        Some("metadata") => Ok(Format::Metadata),
        Some("minimal") => Ok(Format::Minimal),
        Some(other) => Err(Refused::invalid(format!("Invalid value at 'format': {other}"))),
    }
}

fn scopes_for(format: Format) -> &'static [&'static str] {
    match format {
        Format::Full => &SCOPES,
        Format::Metadata | Format::Minimal => &READING,
    }
}

fn own_mailbox(account: &Account, user: &str) -> Result<(), Refused> {
    if user == "me" || user == account.email {
        return Ok(());
    }
    let message = format!("Delegation denied for {}", account.email);
    Err(Refused::new(axum::http::StatusCode::FORBIDDEN, "forbidden", message))
}

/// Gmail tells an identifier it could never have given out (400) from one it does not know (404).
fn well_formed(id: &str) -> Result<&str, Refused> {
    let is_hexadecimal = (1..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hexadecimal { Ok(id) } else { Err(Refused::invalid("Invalid id value")) }
}

fn page_start(params: &Params) -> Result<usize, Refused> {
    let Some(token) = params.get("pageToken") else { return Ok(0) };
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.and_then(|start| start.parse().ok()).ok_or_else(|| Refused::invalid("Invalid pageToken"))
}
