//! The function `oauth-callback`: from Google's answer to a connection, and back again by the undo button.
//!
//! The order is what makes it safe to stop anywhere: who comes back is checked first, then the nonce is spent, the code
//! exchanged, the vault written, then rows and outcome in one transaction, and the person told last.

mod arrival;
mod connect;
mod ending;
mod result;
mod save;
mod tidy;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use nbhd::clock::{Clock, Waiter};
use nbhd::config::{ConfigError, Env};
use nbhd::flows::connect_link::Links;
use nbhd::providers::azure::vaults::Vaults;
use nbhd::providers::google::{calendar, oauth};
use nbhd::providers::telegram::Bot;
use nbhd::queue::{Jobs, Queues, RefreshJob};
use nbhd::store::Store;
use nbhd::web;

/// When a connection is given up: API Gateway ends a request after 30 s, and outcome and page are due before.
///
/// What comes after this time is the note of a failure, or the message in the chat.
const PATIENCE: Duration = Duration::from_secs(22);

/// What the function holds.
pub struct App {
    links: Links,
    store: Store,
    disconnects: Jobs<RefreshJob>,
    google: Option<oauth::Client>,
    calendar: calendar::Client,
    vaults: Vaults,
    bot: Bot,
    clock: Clock,
    waiter: Waiter,
    patience: Duration,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable; a Google client that is not configured is answered for, page by page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        let refresh_queue = env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?;
        Ok(Self {
            links: Links::from_env(env)?,
            store: Store::new(env)?,
            disconnects: Queues::new(env)?.refresh_jobs(refresh_queue),
            google: oauth::Client::from_env(env, http.clone())?,
            calendar: calendar::Client::new(env, http.clone())?,
            vaults: Vaults::new(env, &http, &clock)?,
            bot: Bot::new(env, http)?,
            clock,
            waiter: Waiter::default(),
            patience: PATIENCE,
        })
    }

    /// The same, waiting for other workers as `waiter` does.
    #[must_use]
    pub fn waiting_by(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// The same, giving a connection up after `patience`.
    #[must_use]
    pub fn answering_within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let callback = get(arrival::callback).head(|| async { StatusCode::METHOD_NOT_ALLOWED });
    let routes = Router::new()
        .route("/oauth/{services}/callback", callback)
        .route("/oauth/{services}/undo", post(undo::undo))
        .with_state(Arc::new(app));
    web::logged("oauth-callback", routes)
}
