//! Keeps connections fresh, tells people when one ended, and removes what is left of those they ended.
//!
//! The clock ([`tick`]) finds what is due and fans it out to the `refresh` queue; the queue ([`handle`]) works it off.
//! A tick writes nothing to the table: a row's due time is moved only by the work done on it. So a tick that is killed
//! forgets nothing, and of two that overlap the second finds rows that are leased, or no longer due. What each row
//! needs, its status says: Active, a refresh; Expired, a message to its person; Revoked, the removal of its tokens.

mod disconnect;
mod notice;
mod tick;
mod work;

use aws_lambda_events::event::sqs::SqsEvent;
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::flows::connect_link::Links;
use nbhd::flows::refresh::Refresher;
use nbhd::providers::telegram::Bot;
use nbhd::queue::{Jobs, Queues, RefreshJob};
use nbhd::store::Store;
use serde::Serialize;
use serde_json::{Value, json};

pub use tick::tick;
pub use work::handle;

/// What the function holds.
pub struct App {
    store: Store,
    queue: Jobs<RefreshJob>,
    refresher: Refresher,
    links: Links,
    bot: Bot,
    clock: Clock,
}

/// What became of a tick or of a batch, by count; logged and emitted with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Connections that a tick found due, or that a batch named.
    pub due: usize,
    /// Connections whose grant Google confirmed, as a rule with a fresh token.
    pub refreshed: usize,
    /// Connections that Google's last word ended.
    pub expired: usize,
    /// Connections left for later: their vault asked to wait, or the time was up.
    pub deferred: usize,
    /// Connections that come up again because something failed.
    pub failed: usize,
    /// Connections that another worker is at.
    pub skipped_leased: usize,
    /// How long the most overdue connection that a tick found has been due, in seconds.
    pub oldest_overdue_s: u32,
    /// People who were told that a connection ended.
    pub told: usize,
    /// Connections whose tokens are gone now.
    pub disconnected: usize,
    /// Connections that needed nothing (any more).
    pub left_alone: usize,
}

impl App {
    /// Builds every client from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or unusable.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        let store = Store::new(env)?;
        let queue = env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?;
        Ok(Self {
            queue: Queues::new(env)?.refresh(queue),
            refresher: Refresher::new(env, &http, store.clone(), clock.clone())?,
            links: Links::from_env(env)?,
            bot: Bot::new(env, http)?,
            store,
            clock,
        })
    }
}

/// Takes an event: a batch of the queue's, or else the clock's.
///
/// # Errors
/// When the event claims to be a batch and is none.
pub async fn run(app: &App, event: Value, request_id: &str) -> Result<Value, serde_json::Error> {
    if event.get("Records").is_none() {
        return Ok(json!(tick(app, request_id).await));
    }
    let batch: SqsEvent = serde_json::from_value(event)?;
    serde_json::to_value(handle(app, batch, request_id).await.1)
}

impl Report {
    fn log(&self, request_id: &str, what: &str) {
        let Self { due, refreshed, expired, deferred, failed, skipped_leased, oldest_overdue_s, .. } = *self;
        let Self { told, disconnected, left_alone, .. } = *self;
        tracing::info!(
            request_id,
            due,
            refreshed,
            expired,
            deferred,
            failed,
            skipped_leased,
            oldest_overdue_s,
            told,
            disconnected,
            left_alone,
            "{what} done"
        );
    }

    /// Adds what another part of the work found.
    pub fn add(&mut self, other: Self) {
        self.due += other.due;
        self.refreshed += other.refreshed;
        self.expired += other.expired;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.skipped_leased += other.skipped_leased;
        self.oldest_overdue_s = self.oldest_overdue_s.max(other.oldest_overdue_s);
        self.told += other.told;
        self.disconnected += other.disconnected;
        self.left_alone += other.left_alone;
    }
}

/// A count as a metric takes it.
fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
