//! The function `telegram-relay`: the Bot API as one tenant's runtime may use it.
//!
//! `ANY /telegram/relay/{tenant_id}/bot<bot id>:<capability>/<method>`, and `…/file/bot<…>/<signed path>` for files. A
//! runtime is assumed to be hostile: it reaches its own chat and nothing else of the shared bot.

mod answer;
mod call;
mod file;
mod json;
mod markup;
pub mod older;
mod parameters;
pub mod rules;
pub mod stubs;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::rate::{Gcra, Verdict};
use nbhd::domain::secrets::is_same_secret;
use nbhd::domain::tenant::Tenant;
use nbhd::providers::telegram::{Bot, FilePath};
use nbhd::store::{RateLane, Store};
use nbhd::{providers, web};
use serde_json::{Value, json};

pub use answer::Refusal;
pub use call::Call;
pub use parameters::{File, Parameters};

/// The most bytes of a request or a file: as base64 they fit Lambda's 6 MB together with the rest of an event.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Telegram's limit for a bot in one chat. An album counts as its items: it passes whole, and the next call waits.
/// <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>
const SENDS: Gcra = Gcra::new(1, Duration::from_secs(1), 5);
/// The limit of calls that change nothing in the chat: enough for an album of files, far below the shared bot's own.
const CALLS: Gcra = Gcra::new(5, Duration::from_secs(1), 20);

/// The function's clients and settings.
#[derive(Clone, Debug)]
pub struct App {
    store: Store,
    bot: Bot,
    identity: stubs::BotIdentity,
    keys: SecretKeys,
    clock: Clock,
}

impl App {
    /// Reads the settings and builds every client.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or invalid.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let bot = Bot::new(env, nbhd::http::client(env)?)?;
        let username = env.required("TELEGRAM_BOT_USERNAME", "the bot's name behind `@`")?;
        Ok(Self {
            store: Store::from_env(env)?,
            identity: stubs::BotIdentity { id: bot.id().parse().unwrap_or_default(), username: username.to_owned() },
            bot,
            keys: env.secret_keys("RUNTIME_KEYS")?,
            clock,
        })
    }

    async fn route_request(&self, tenant: &str, path: &str, request: Request) -> Result<Response, Refusal> {
        let target = Target::parse(path).ok_or(Refusal::NOT_FOUND)?;
        let tenant = self.authorize(tenant, target.token).await?;
        web::record_tenant(tenant.tenant_id);
        if !tenant.may_serve() {
            return Err(Refusal::INACTIVE);
        }
        match target.operation {
            Operation::DownloadFile(signed) => self.download_file(&tenant, signed).await,
            Operation::CallMethod(name) => self.call_method(&tenant, name, request).await,
        }
    }

    /// Loads the tenant if the capability is one of its own. One whose key is not listed any more is none.
    async fn authorize(&self, tenant: &str, token: &str) -> Result<Tenant, Refusal> {
        let id = tenant.parse().map_err(|_| Refusal::UNAUTHORIZED)?;
        let (bot, capability) = token.split_once(':').ok_or(Refusal::UNAUTHORIZED)?;
        let tenant = self.store.tenant(id).await?.ok_or(Refusal::UNAUTHORIZED)?;
        let valid = tenant.generations().fold(false, |valid, generation| {
            let ours = self.keys.relay_capability(id, generation);
            valid | ours.is_some_and(|ours| is_same_secret(&ours, capability))
        });
        if valid && bot == self.bot.id() { Ok(tenant) } else { Err(Refusal::UNAUTHORIZED) }
    }

    async fn call_method(&self, tenant: &Tenant, name: &str, request: Request) -> Result<Response, Refusal> {
        if let Some(result) = stubs::stub_result(name, &self.identity) {
            self.charge_rate_limit(tenant, rules::Pace::Call, 1).await?;
            return Ok(answer::success_response(result));
        }
        let checked = call::check_request(tenant.chat_id, name, request).await;
        // A call that is refused costs us too.
        let (pace, count) =
            checked.as_ref().map_or((rules::Pace::Call, 1), |(method, call)| (method.pace, call.messages()));
        self.charge_rate_limit(tenant, pace, count).await?;
        let (method, call) = checked?;
        tracing::info!(method = method.name, files = call.uploads.len(), "the runtime's call goes on to Telegram");
        if method.name == "getFile" {
            return self.call_get_file(tenant, &call).await;
        }
        let answer = self.bot.relay(method.name, &call.parameters, &call.uploads).await;
        let answer = answer.map_err(|error| answer::telegram_refusal(error, method.pace))?;
        Ok(answer::telegram_response(answer, tenant.chat_id, self.identity.id))
    }

    async fn call_get_file(&self, tenant: &Tenant, call: &Call) -> Result<Response, Refusal> {
        let file_id = call.parameters.get("file_id").and_then(Value::as_str).unwrap_or_default();
        let file = self.bot.get_file(file_id).await;
        let file = file.map_err(|error| answer::telegram_refusal(error, rules::Pace::Call))?;
        if file.file_size.is_some_and(|size| size > MAX_BYTES as u64) {
            return Err(Refusal::TOO_BIG);
        }
        let path = file.file_path.as_deref().and_then(FilePath::parse).ok_or(Refusal::BAD_GATEWAY)?;
        let signed = file::sign_path(&self.keys, tenant.tenant_id, &path, self.clock.now());
        let mut result = json!({"file_id": file.file_id, "file_unique_id": file.file_unique_id, "file_path": signed});
        if let Some(size) = file.file_size {
            result["file_size"] = Value::from(size);
        }
        Ok(answer::success_response(result))
    }

    async fn download_file(&self, tenant: &Tenant, signed: &str) -> Result<Response, Refusal> {
        self.charge_rate_limit(tenant, rules::Pace::Call, 1).await?;
        let path = file::verify_path(&self.keys, tenant.tenant_id, signed, self.clock.now());
        let path = path.ok_or(Refusal::NOT_FOUND)?;
        match self.bot.download(&path, MAX_BYTES).await {
            Ok(Some(file)) => Ok(file::file_response(file)),
            Ok(None) => Err(Refusal::TOO_BIG),
            Err(providers::Error::NotFound) => Err(Refusal::NOT_FOUND),
            Err(error) => Err(answer::telegram_refusal(error, rules::Pace::Call)),
        }
    }

    async fn charge_rate_limit(&self, tenant: &Tenant, pace: rules::Pace, count: u32) -> Result<(), Refusal> {
        let (lane, limit) = match pace {
            rules::Pace::Send => (RateLane::Sends, SENDS),
            rules::Pace::Call => (RateLane::Calls, CALLS),
        };
        match self.store.charge_runtime(tenant.tenant_id, (lane, count), limit, None, self.clock.now()).await? {
            Verdict::Admit(_) => Ok(()),
            Verdict::Refuse(wait) => Err(Refusal::too_many_requests(wait)),
        }
    }
}

/// The function's one route, for any method.
pub fn router(app: App) -> Router {
    let router =
        Router::new().route("/telegram/relay/{tenant_id}/{*path}", any(handle_request)).with_state(Arc::new(app));
    web::log_requests("telegram-relay", router)
}

async fn handle_request(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request<Body>,
) -> Response {
    let Ok(Path((tenant, path))) = path else { return Refusal::NOT_FOUND.into_response() };
    app.route_request(&tenant, &path, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// A parsed address of the Bot API.
struct Target<'a> {
    /// `<bot id>:<capability>`
    token: &'a str,
    operation: Operation<'a>,
}

enum Operation<'a> {
    CallMethod(&'a str),
    DownloadFile(&'a str),
}

impl<'a> Target<'a> {
    /// Reads `bot<token>/<method>` or `file/bot<token>/<path>`.
    fn parse(path: &'a str) -> Option<Self> {
        if let Some((token, file)) = path.strip_prefix("file/bot").and_then(|rest| rest.split_once('/')) {
            return Some(Self { token, operation: Operation::DownloadFile(file) });
        }
        let (token, method) = path.strip_prefix("bot")?.split_once('/')?;
        Some(Self { token, operation: Operation::CallMethod(method) })
    }
}
