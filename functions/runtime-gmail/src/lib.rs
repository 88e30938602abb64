//! The function `runtime-gmail`: a tenant's mail, read for its runtime, which never holds a Google token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::try_join_all;
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::integration::Provider;
use nbhd::flows::runtime_request::{Caller, Claim, Gate, Parameters, Problem, answer, place, route};
use nbhd::providers::Error;
use nbhd::providers::google::gmail;
use nbhd::web::logged;
use secrecy::SecretString;

pub mod body;
mod charset;
mod html;
mod shapes;

use shapes::{Detail, List, Summary};

/// The longest search, in characters.
const MAX_QUERY: usize = 1_000;

/// What this function uses.
pub struct App {
    gate: Gate,
    gmail: gmail::Client,
}

/// A message and, when asked for, the conversation around it.
type WithThread = (gmail::Message, Vec<gmail::Message>);

impl App {
    /// From the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// When one is missing or unusable; without a Google client it starts, and answers `provider_not_configured`.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        Ok(Self { gate: Gate::new(env, &http, Provider::Gmail, clock)?, gmail: gmail::Client::new(env, http)? })
    }
}

/// `GET …/gmail/messages/` and `GET …/gmail/messages/{id}/`.
pub fn router(app: App) -> Router {
    logged("runtime-gmail", Router::new().route(&route(Provider::Gmail), get(serve)).with_state(Arc::new(app)))
}

async fn serve(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (tenant, below) = place(uri.path());
    answer(app.read(Claim::of(tenant, &headers), &below, uri.query()).await)
}

impl App {
    async fn read(&self, claim: Option<Claim>, below: &[&str], query: Option<&str>) -> Result<Response, Problem> {
        let caller = self.gate.admit(claim).await?;
        match below {
            ["messages"] => Ok(Json(self.list(&caller, query).await?).into_response()),
            ["messages", id] => Ok(Json(self.detail(&caller, id, query).await?).into_response()),
            _ => Err(Problem::invalid("path", "must be `messages/` or `messages/{id}/`")),
        }
    }

    async fn list(&self, caller: &Caller, query: Option<&str>) -> Result<List, Problem> {
        let parameters = Parameters::read(query, &["q", "max_results"])?;
        let search = parameters.text("q", MAX_QUERY)?.unwrap_or_default();
        let max_results = parameters.number("max_results", 5, 1..=10)?;
        let (messages, result_size_estimate) =
            self.gate.ask(caller, "q", |token| self.search(token, search, max_results)).await?;
        let messages = messages.iter().map(Summary::of).collect();
        Ok(List { provider: Provider::Gmail, tenant_id: caller.tenant_id, messages, result_size_estimate })
    }

    /// Two round trips: who was found, then what each looks like, all at once.
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

    /// A message that was deleted since it was found is no reason to show none of the others.
    async fn summary(&self, token: &SecretString, id: &str) -> Result<Option<gmail::Message>, Error> {
        match self.gmail.summary(token, id).await {
            Err(Error::NotFound) => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn detail(&self, caller: &Caller, id: &str, query: Option<&str>) -> Result<Detail, Problem> {
        let parameters = Parameters::read(query, &["include_thread", "thread_limit"])?;
        let include_thread = parameters.flag("include_thread", true)?;
        let thread_limit = parameters.number("thread_limit", 5, 1..=10)? as usize;
        if !is_message_id(id) {
            return Err(Problem::invalid("id", "must be a message's id, as a list gives it"));
        }
        let found = self.gate.ask(caller, "id", |token| self.message(token, id, include_thread)).await?;
        let (message, thread) = found.ok_or(Problem::MessageNotFound)?;
        Ok(Detail::of(caller.tenant_id, &message, &thread, thread_limit))
    }

    async fn message(&self, token: SecretString, id: &str, with_thread: bool) -> Result<Option<WithThread>, Error> {
        let message = match self.gmail.message(&token, id).await {
            // Gmail calls an id it never gave out invalid, and one it forgot not found: it is the same to a reader.
            Err(Error::NotFound) => return Ok(None),
            Err(Error::Refused { status: 400, reason }) if reason == "invalidArgument" => return Ok(None),
            answer => answer?,
        };
        let thread = if with_thread { self.thread(&token, &message.thread_id).await? } else { Vec::new() };
        Ok(Some((message, thread)))
    }

    async fn thread(&self, token: &SecretString, id: &str) -> Result<Vec<gmail::Message>, Error> {
        match self.gmail.thread(token, id).await {
            Err(Error::NotFound) => Ok(Vec::new()),
            answer => answer,
        }
    }
}

/// Gmail's are 16 hexadecimal digits; anything in the way of an address is refused here, not only escaped later.
fn is_message_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
