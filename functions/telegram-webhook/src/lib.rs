//! The function `telegram-webhook`: what people write to the bot goes to the queue of their assistant.
//!
//! After the secret is verified Telegram is answered 200 or 503 and nothing else: any other answer is repeated for a
//! day and slows the bot for everyone. 503 means that the table or the queue is down, and that Telegram's retry will do
//! what this call did not. <https://core.telegram.org/bots/api#setwebhook>

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::command::Command;
use nbhd::domain::rate::Gcra;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::secrets::same_secret;
use nbhd::domain::update::{Private, Update};
use nbhd::flows::connect_link::Links;
use nbhd::flows::{billing_link, disconnect};
use nbhd::queue::{self, LARGEST_UPDATE, Queues};
use nbhd::store::{self, Admission, Store};
use nbhd::telemetry::metric;
use nbhd::web::{json_error, logged, record_tenant};
use secrecy::SecretString;

mod commands;
mod replies;

use replies::Reply;

const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// A longer body is not read to its end.
const LARGEST_BODY: usize = 1 << 20;

/// What this function uses.
#[derive(Clone)]
pub struct App {
    secret: Option<SecretString>,
    bot: String,
    limit: Gcra,
    links: Links,
    billing: billing_link::Links,
    store: Store,
    inbound: queue::Updates,
    refresh: queue::Jobs<queue::RefreshJob>,
    clock: Clock,
}

/// The table or the queue could not serve.
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
    /// From the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// When one is missing or unusable; without `TELEGRAM_WEBHOOK_SECRET` it starts, and answers 503.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let queues = Queues::new(env)?;
        let per_minute = env.number("RATE_LIMIT_PER_MINUTE", 30, 1..=6000)?;
        let burst = env.number("RATE_LIMIT_BURST", 10, 1..=1000)?;
        Ok(Self {
            secret: env.optional_secret("TELEGRAM_WEBHOOK_SECRET"),
            bot: env.required("TELEGRAM_BOT_USERNAME", "the bot's user name, without @")?.to_owned(),
            limit: Gcra::new(per_minute, Duration::from_secs(60), burst),
            links: Links::from_env(env)?,
            billing: billing_link::Links::from_env(env)?,
            store: Store::new(env)?,
            inbound: queues.updates(env.required("INBOUND_QUEUE_URL", "the address of `inbound.fifo`")?),
            refresh: queues.refresh(env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?),
            clock,
        })
    }
}

/// `POST /telegram/webhook`.
pub fn router(app: App) -> Router {
    logged("telegram-webhook", Router::new().route("/telegram/webhook", post(receive)).with_state(Arc::new(app)))
}

async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let Some(secret) = &app.secret else {
        tracing::error!(code = "not_configured", "`TELEGRAM_WEBHOOK_SECRET` is not set: no update can be verified");
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "not_configured", "The webhook is not configured yet.");
    };
    let given = headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_telegram = same_secret(secret, given);
    match to_bytes(body, LARGEST_BODY).await {
        Ok(body) if is_telegram => app.answer(&body).await,
        Ok(_) => json_error(StatusCode::FORBIDDEN, "forbidden", "Only Telegram may call this address."),
        Err(_) if is_telegram => {
            unusable("too_large");
            StatusCode::OK.into_response()
        }
        Err(_) => json_error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "A body has at most 1 MB."),
    }
}

impl App {
    async fn answer(&self, body: &[u8]) -> Response {
        match self.handle(body).await {
            Ok(Some(reply)) => Json(reply).into_response(),
            Ok(None) => StatusCode::OK.into_response(),
            Err(error) => {
                metric("WebhookUnavailable", 1);
                tracing::error!(code = "unavailable", %error, "Telegram will send this update again");
                json_error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Send this update again.")
            }
        }
    }

    async fn handle(&self, body: &[u8]) -> Result<Option<Reply>, Error> {
        if body.len() > LARGEST_UPDATE {
            unusable("too_large");
            return Ok(None);
        }
        match Update::parse(body) {
            Update::Unusable(reason) => {
                unusable(reason);
                Ok(None)
            }
            Update::Elsewhere { chat, text } if Command::parse(&text, &self.bot).is_some() => {
                Ok(Some(replies::private_chats_only(chat)))
            }
            Update::Elsewhere { .. } => {
                unusable("not_private");
                Ok(None)
            }
            Update::Private(update) => match self.serve(&update, body).await {
                Err(Error::Store(error @ store::Error::Corrupt { .. })) => {
                    metric("RowsCorrupt", 1);
                    tracing::error!(code = "corrupt", %error, "a person has to mend this row");
                    Ok(Some(replies::out_of_order(update.chat)))
                }
                served => served,
            },
        }
    }

    async fn serve(&self, update: &Private, body: &[u8]) -> Result<Option<Reply>, Error> {
        let now = self.clock.now();
        match self.store.admit(update.chat, update.update_id, self.limit, now).await? {
            Admission::Unknown => Ok(Some(replies::welcome(update.chat, self.checkout_button(update, now)))),
            Admission::Limited { tell } => {
                metric("UpdatesLimited", 1);
                Ok(tell.then(|| replies::slow_down(update.chat)))
            }
            Admission::Admitted(route) => {
                record_tenant(route.tenant_id);
                match Command::parse(&update.text, &self.bot) {
                    Some(command) => self.obey(command, &route, update, now).await.map(Some),
                    None if route.status == RouteStatus::Suspended => {
                        Ok(Some(replies::suspended(update.chat, self.portal_button(&route, update, now))))
                    }
                    None => {
                        self.inbound.send(update.chat, update.update_id, body).await?;
                        Ok(None)
                    }
                }
            }
        }
    }
}

/// Says that an update cannot be used: an alarm watches the count, and Telegram need not send it again.
fn unusable(reason: &'static str) {
    metric("UpdatesUnusable", 1);
    tracing::info!(code = "unusable", reason, "an update is of no use to us");
}
