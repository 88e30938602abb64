//! The function `runtime-gmail`: reads a tenant's mail for its runtime, which never gets a Google token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::{try_join, try_join_all};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::integration::Provider;
use nbhd::flows::runtime_request::{
    Caller, Credentials, Gate, Problem, QueryParameters, parse_path, respond, route_path,
};
use nbhd::providers::google::{Cause, Error, gmail};
use nbhd::web::log_requests;
use secrecy::SecretString;

pub mod body;
mod charset;
mod header;
mod html;
mod invitation;
mod response;

use body::{Body, Fetched, Reading};
use response::{MessageDetail, MessageList, MessageSummary};

/// The longest search, in characters.
const MAX_QUERY: usize = 1_000;

/// The clients of this function.
pub struct App {
    gate: Gate,
    gmail: gmail::Client,
}

/// A message, its body and, when asked for, the conversation around it.
type Opened = (gmail::Message, Body, Vec<gmail::Message>);

impl App {
    /// Builds the clients from the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or unusable. Without a Google client it starts, and responds with
    /// `provider_not_configured`.
    pub fn from_env(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        Ok(Self { gate: Gate::from_env(env, &http, Provider::Gmail, clock)?, gmail: gmail::Client::new(env, http)? })
    }
}

/// `GET …/gmail/messages/` and `GET …/gmail/messages/{id}/`.
pub fn router(app: App) -> Router {
    let path = route_path(Provider::Gmail);
    log_requests("runtime-gmail", Router::new().route(&path, get(handle_request)).with_state(Arc::new(app)))
}

async fn handle_request(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (tenant, segments) = parse_path(uri.path());
    respond(app.serve(Credentials::from_headers(tenant, &headers), &segments, uri.query()).await)
}

impl App {
    async fn serve(
        &self,
        credentials: Option<Credentials>,
        path: &[&str],
        query: Option<&str>,
    ) -> Result<Response, Problem> {
        let caller = self.gate.authenticate(credentials).await?;
        match path {
            ["messages"] => Ok(Json(self.list(&caller, query).await?).into_response()),
            ["messages", id] => Ok(Json(self.detail(&caller, id, query).await?).into_response()),
            _ => Err(Problem::invalid("path", "must be `messages/` or `messages/{id}/`")),
        }
    }

    async fn list(&self, caller: &Caller, query: Option<&str>) -> Result<MessageList, Problem> {
        let parameters = QueryParameters::parse(query, &["q", "max_results"])?;
        let search = parameters.text("q", MAX_QUERY)?.unwrap_or_default();
        let max_results = parameters.number("max_results", 5, 1..=10)?;
        let (messages, result_size_estimate) =
            self.gate.call_google(caller, "q", |token| self.search(token, search, max_results)).await?;
        let messages = messages.iter().map(MessageSummary::from_message).collect();
        Ok(MessageList { provider: Provider::Gmail, tenant_id: caller.tenant_id, messages, result_size_estimate })
    }

    /// Two round trips to Gmail: the ids that match, then the summary of each, all at once.
    async fn search(
        &self,
        token: SecretString,
        search: &str,
        max_results: u32,
    ) -> Result<(Vec<gmail::Message>, u64), Error> {
        let found = self.gmail.search(&token, search, max_results).await?;
        let messages = try_join_all(found.messages.iter().map(|message| self.summary(&token, &message.id))).await?;
        Ok((messages.into_iter().flatten().collect(), found.result_size_estimate))
    }

    /// Returns `None` for a message that was deleted since the search, so that the others are still listed.
    async fn summary(&self, token: &SecretString, id: &str) -> Result<Option<gmail::Message>, Error> {
        match self.gmail.get_summary(token, id).await {
            Err(Error::NotFound) => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn detail(&self, caller: &Caller, id: &str, query: Option<&str>) -> Result<MessageDetail, Problem> {
        let parameters = QueryParameters::parse(query, &["include_thread", "thread_limit"])?;
        let include_thread = parameters.flag("include_thread", true)?;
        let thread_limit = parameters.number("thread_limit", 5, 1..=10)? as usize;
        if !is_message_id(id) {
            return Err(Problem::invalid("id", "must be a message's id, as a list gives it"));
        }
        let found = self.gate.call_google(caller, "id", |token| self.message(token, id, include_thread)).await?;
        let (message, body, thread) = found.ok_or(Problem::MessageNotFound)?;
        Ok(MessageDetail::from_message(caller.tenant_id, &message, body, &thread, thread_limit))
    }

    async fn message(&self, token: SecretString, id: &str, include_thread: bool) -> Result<Option<Opened>, Error> {
        let message = match self.gmail.get_message(&token, id).await {
            // Gmail answers 400 for an id that it never gave out, and 404 for a deleted message.
            Err(Error::NotFound) => return Ok(None),
            Err(Error::Refused { status: 400, reason }) if reason.cause == Cause::Parameter => return Ok(None),
            answer => answer?,
        };
        let thread =
            async { if include_thread { self.thread(&token, &message.thread_id).await } else { Ok(Vec::new()) } };
        let (body, thread) = try_join(self.body(&token, &message), thread).await?;
        Ok(Some((message, body, thread)))
    }

    /// Reads a message's body, and fetches first what Gmail keeps apart of its text.
    async fn body(&self, token: &SecretString, message: &gmail::Message) -> Result<Body, Error> {
        let Some(payload) = message.payload.as_deref() else { return Ok(Body::default()) };
        let mut fetched = Fetched::new();
        loop {
            let Reading { body, missing } = body::read(payload, &fetched);
            if missing.is_empty() {
                return Ok(body);
            }
            let texts = try_join_all(missing.into_iter().map(|id| self.part(token, &message.id, id))).await?;
            fetched.extend(texts);
        }
    }

    /// Fetches the content of a part; `None` for one that is gone, so that the rest of the message is still read.
    async fn part(&self, token: &SecretString, id: &str, part: String) -> Result<(String, Option<String>), Error> {
        match self.gmail.get_attachment(token, id, &part).await {
            Err(Error::NotFound) => Ok((part, None)),
            // As Gmail answers an attachment id that it does not take any more.
            Err(Error::Refused { status: 400, reason }) if reason.cause == Cause::Parameter => Ok((part, None)),
            answer => answer.map(|data| (part, Some(data))),
        }
    }

    async fn thread(&self, token: &SecretString, id: &str) -> Result<Vec<gmail::Message>, Error> {
        match self.gmail.list_thread(token, id).await {
            Err(Error::NotFound) => Ok(Vec::new()),
            answer => answer,
        }
    }
}

/// Gmail's ids are 16 hexadecimal digits. An id with a character that has a meaning in a URL is refused here, although
/// it would be escaped later.
fn is_message_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
