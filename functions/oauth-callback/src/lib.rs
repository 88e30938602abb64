//! The function `oauth-callback`: from Google's answer to a connection, and back again by the undo button.
//!
//! The order makes it safe to stop anywhere: first the redirect is checked, then the confirmation in Telegram; then the
//! nonce is spent, the code exchanged, the vault written, then rows and outcome in one transaction; the person is told
//! last.

mod callback;
mod cleanup;
mod confirmation;
mod connect;
mod consent;
mod failure;
mod outcome;
mod result;
mod save;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use nbhd::clock::{Clock, Waiter};
use nbhd::config::{ConfigError, Env};
use nbhd::flows::connect_link::Links;
use nbhd::flows::public_base::bot_address;
use nbhd::providers::azure::vaults::Vaults;
use nbhd::providers::google::{calendar, oauth};
use nbhd::providers::telegram::Bot;
use nbhd::queue::{Jobs, Queues, RefreshJob};
use nbhd::store::Store;
use nbhd::web;

use callback::CallbackQuery;
use confirmation::Confirmation;
use connect::{Connection, connect};
use failure::Failure;

/// The limit of connecting. API Gateway ends a request after 30 s; recording a failure, or the message in the chat,
/// comes after this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(22);

/// The function's clients and settings.
pub struct App {
    links: Links,
    store: Store,
    disconnects: Jobs<RefreshJob>,
    google: Option<oauth::Client>,
    calendar: calendar::Client,
    vaults: Vaults,
    bot: Bot,
    /// Where the bot is opened in Telegram: `https://t.me/<bot>`.
    bot_address: String,
    clock: Clock,
    waiter: Waiter,
    timeout: Duration,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable. Without the settings of a Google client each request gets an error page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        let refresh_queue = env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?;
        Ok(Self {
            links: Links::from_env(env)?,
            store: Store::from_env(env)?,
            disconnects: Queues::new(env)?.refresh_jobs(refresh_queue),
            google: oauth::Client::from_env(env, http.clone())?,
            calendar: calendar::Client::new(env, http.clone())?,
            vaults: Vaults::new(env, &http, &clock)?,
            bot: Bot::new(env, http)?,
            bot_address: bot_address(env)?,
            clock,
            waiter: Waiter::default(),
            timeout: REQUEST_TIMEOUT,
        })
    }

    /// Waits by `waiter` for other workers' leases.
    #[must_use]
    pub fn with_waiter(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// Limits connecting to `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let callback = get(handle_callback).head(|| async { StatusCode::METHOD_NOT_ALLOWED });
    let routes = Router::new()
        .route("/oauth/{services}/callback", callback)
        .route("/oauth/{services}/undo", post(undo::handle_undo))
        .with_state(Arc::new(app));
    web::log_requests("oauth-callback", routes)
}

async fn handle_callback(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    query: Result<Query<CallbackQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    // It would spend the sign-in, and its answer would be thrown away.
    if web::is_prefetch(&headers) {
        return Ok(web::decline_prefetch());
    }
    let now = app.clock.now();
    let Query(query) = query.map_err(|_| Failure::MissingParams)?;
    let callback = callback::verify(&app, &services, &headers, query)?;
    let is_over = match confirmation::check(&app, &callback, now).await? {
        Confirmation::Awaited => return Ok(confirmation::waiting_page(&app, &callback).into_response()),
        Confirmation::Given => false,
        Confirmation::Over => true,
    };
    Ok(match connect(&app, &callback, is_over, now).await? {
        Connection::Made(result) => result.to_page(&app, &callback),
        Connection::InProgress => result::in_progress_page(),
    }
    .into_response())
}
