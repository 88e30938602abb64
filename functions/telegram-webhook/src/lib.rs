//! The function `telegram-webhook`: answers the bot's own commands and queues every other update for its assistant.
//!
//! Once its secret is verified, an update gets 200 or 503 and nothing else: Telegram retries any other status for a
//! day, which slows the bot for everyone. 503 means that the table or the queue is unavailable; Telegram's retry then
//! does what this call did not. <https://core.telegram.org/bots/api#setwebhook>

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::{ConfigError, Env};
use nbhd::domain::command::Command;
use nbhd::domain::ids::ChatId;
use nbhd::domain::keyboards::cut_keyboards_with_links;
use nbhd::domain::rate::Gcra;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::secrets::WebhookSecrets;
use nbhd::domain::update::{PrivateUpdate, Update};
use nbhd::flows::connect_link::Links;
use nbhd::flows::{billing_link, disconnect};
use nbhd::queue::{self, LARGEST_UPDATE, Queues};
use nbhd::store::{self, Admission, Store, StrangerReply};
use nbhd::telemetry::metric;
use nbhd::web::{json_error, log_requests, record_tenant};

mod commands;
mod confirm;
mod replies;

use confirm::StartAnswer;
use replies::Reply;

const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// The most bytes of a body that are read; Telegram's updates are far shorter.
const LARGEST_BODY: usize = 1 << 20;
/// The time between two welcomes of a chat without a tenant: short, since a person may need another link.
const STRANGER_PAUSE: Duration = Duration::from_secs(20);
/// The time between two replies to commands in a group.
const GROUP_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The most items of an album. <https://core.telegram.org/bots/api#sendmediagroup>
const LARGEST_ALBUM: u32 = 10;

/// The function's clients and settings.
#[derive(Clone)]
pub struct App {
    secrets: Option<WebhookSecrets>,
    bot: String,
    limit: Gcra,
    links: Links,
    billing: billing_link::Links,
    store: Store,
    inbound: queue::Updates,
    refresh: queue::Jobs<queue::RefreshJob>,
    /// Until when no stranger is answered, in milliseconds: a flood then costs no write to the one item that counts it.
    strangers_paused_until: Arc<AtomicI64>,
    clock: Clock,
}

/// The table or the queue was unavailable, or a row is corrupt.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

impl From<disconnect::Error> for Error {
    fn from(error: disconnect::Error) -> Self {
        match error {
            disconnect::Error::Store(error) => error.into(),
            disconnect::Error::Queue(error) => error.into(),
        }
    }
}

impl App {
    /// Reads the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or invalid. Without `TELEGRAM_WEBHOOK_SECRETS` the function
    /// starts, and answers 503.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let queues = Queues::new(env)?;
        let per_minute = env.number("RATE_LIMIT_PER_MINUTE", 30, 1..=6000)?;
        let burst = env.number("RATE_LIMIT_BURST", 30, 1..=1000)?;
        Ok(Self {
            secrets: env.webhook_secrets("TELEGRAM_WEBHOOK_SECRETS")?,
            bot: env.required("TELEGRAM_BOT_USERNAME", "the bot's user name, without @")?.to_owned(),
            limit: Gcra::new(per_minute, Duration::from_secs(60), burst),
            links: Links::from_env(env)?,
            billing: billing_link::Links::from_env(env)?,
            store: Store::from_env(env)?,
            inbound: queues.updates(env.required("INBOUND_QUEUE_URL", "the address of `inbound.fifo`")?),
            refresh: queues
                .refresh_jobs(env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?),
            strangers_paused_until: Arc::default(),
            clock,
        })
    }
}

/// The function's one route, `POST /telegram/webhook`.
pub fn router(app: App) -> Router {
    log_requests(
        "telegram-webhook",
        Router::new().route("/telegram/webhook", post(receive_update)).with_state(Arc::new(app)),
    )
}

async fn receive_update(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let Some(secrets) = &app.secrets else {
        tracing::error!(
            code = "webhook_secret_missing",
            "`TELEGRAM_WEBHOOK_SECRETS` is not set; no update can be verified, and each is answered with 503"
        );
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "not_configured", "The webhook is not configured yet.");
    };
    let given = headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_from_telegram = secrets.accept(given);
    match to_bytes(body, LARGEST_BODY).await {
        Ok(body) if is_from_telegram => app.respond(&body).await,
        Ok(_) => json_error(StatusCode::FORBIDDEN, "forbidden", "Only Telegram may call this address."),
        Err(_) if is_from_telegram => {
            record_unusable("too_large");
            StatusCode::OK.into_response()
        }
        Err(_) => json_error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "A body has at most 1 MB."),
    }
}

impl App {
    async fn respond(&self, body: &[u8]) -> Response {
        match self.process_update(body).await {
            Ok(Some(reply)) => Json(reply).into_response(),
            Ok(None) => StatusCode::OK.into_response(),
            Err(error) => {
                metric("WebhookUnavailable", 1);
                tracing::error!(
                    code = "update_not_accepted",
                    %error,
                    "the update could not be routed or queued; Telegram will send it again"
                );
                json_error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Send this update again.")
            }
        }
    }

    async fn process_update(&self, body: &[u8]) -> Result<Option<Reply>, Error> {
        if body.len() > LARGEST_UPDATE {
            record_unusable("too_large");
            return Ok(None);
        }
        match Update::parse(body) {
            Update::Unusable(reason) => {
                record_unusable(reason);
                Ok(None)
            }
            Update::NonPrivate { update_id, chat, topic, text } if Command::parse(&text, &self.bot).is_some() => {
                let is_answered = self.may_answer_stranger(chat, update_id, GROUP_PAUSE, self.clock.now()).await?;
                Ok(is_answered.then(|| replies::private_chats_only(chat).in_topic(topic)))
            }
            Update::NonPrivate { .. } => {
                record_unusable("not_private");
                Ok(None)
            }
            Update::Private(update) => {
                let reply = match self.process_private(&update, body).await {
                    Err(Error::Store(error @ store::Error::Corrupt { .. })) => {
                        metric("RowsCorrupt", 1);
                        tracing::error!(
                            code = "row_corrupt",
                            %error,
                            "a row of the tenant is corrupt, so the update was not processed; an operator has to \
                             repair it"
                        );
                        Some(replies::out_of_order(update.chat))
                    }
                    result => result?,
                };
                Ok(reply.map(|reply| reply.in_topic(update.topic)))
            }
        }
    }

    async fn process_private(&self, update: &PrivateUpdate, body: &[u8]) -> Result<Option<Reply>, Error> {
        let now = self.clock.now();
        // An album comes as one update for each item, and counts as one message.
        let limit = if update.is_album_item { self.limit.for_part_of(LARGEST_ALBUM) } else { self.limit };
        let admission = self.store.admit_update(update.chat, update.update_id, limit, now).await?;
        let command = Command::parse(&update.text, &self.bot);
        if let Some(Command::Start(Some(sign_in))) = &command
            && update.is_new_message
        {
            let route = match &admission {
                Admission::Admitted(route) | Admission::Limited { route, .. } => Some(route),
                Admission::Unknown => None,
            };
            match self.answer_start_token(sign_in, route, update, now).await? {
                StartAnswer::Answered(reply) => return Ok(reply),
                StartAnswer::NoSignIn => {}
            }
        }
        match admission {
            Admission::Unknown => {
                let is_answered = self.may_answer_stranger(update.chat, update.update_id, STRANGER_PAUSE, now).await?;
                Ok(is_answered.then(|| replies::welcome(update.chat, self.checkout_button(update, now))))
            }
            Admission::Limited { notify, .. } => {
                metric("UpdatesLimited", 1);
                Ok(notify.then(|| replies::slow_down(update.chat)))
            }
            Admission::Admitted(route) => {
                record_tenant(route.tenant_id);
                match command {
                    Some(command) => self.run_command(command, &route, update, now).await.map(Some),
                    None if route.status == RouteStatus::Suspended => {
                        Ok(Some(replies::suspended(update.chat, self.portal_button(&route, update, now))))
                    }
                    None => {
                        let body = cut_keyboards_with_links(body);
                        self.inbound.send(update.chat, update.update_id, &body).await?;
                        Ok(None)
                    }
                }
            }
        }
    }
}

impl App {
    /// Whether a chat that has no tenant is answered now: once in `pause`, and so many of all in 10 s. In silence
    /// nothing is lost, since a stranger's messages lead nowhere.
    async fn may_answer_stranger(
        &self,
        chat: ChatId,
        update_id: i64,
        pause: Duration,
        now: Timestamp,
    ) -> Result<bool, Error> {
        if now.millis() < self.strangers_paused_until.load(Ordering::Relaxed) {
            metric("StrangersNotAnswered", 1);
            return Ok(false);
        }
        Ok(match self.store.claim_stranger_reply(chat, update_id, pause, now).await? {
            StrangerReply::Granted => true,
            StrangerReply::ChatPaused => false,
            StrangerReply::AllPaused(until) => {
                self.strangers_paused_until.store(until.millis(), Ordering::Relaxed);
                metric("StrangersNotAnswered", 1);
                false
            }
        })
    }
}

/// Counts and logs an update that the bot does not process. An alarm watches the count; Telegram gets 200.
fn record_unusable(reason: &'static str) {
    metric("UpdatesUnusable", 1);
    tracing::info!(code = "update_unusable", reason, "the bot does not process this update; it was dropped");
}
