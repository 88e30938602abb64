//! The function `scheduled-refresh`: refreshes tokens before they end, notifies people whose integration ended, and
//! removes the tokens of integrations that people disconnected.
//!
//! A tick of the schedule ([`enqueue_due`]) reads the rows that are due and queues jobs for them on the `refresh`
//! queue; [`process_batch`] processes the jobs. A tick does not write to the table: only a job moves a row's due time.
//! So a tick that is killed loses nothing, and the second of two jobs for a row finds it leased or no longer due. A job
//! does what the row's status asks for: Active, a refresh; Expired, a notice to its person; Revoked, the removal of its
//! tokens.

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

pub use tick::enqueue_due;
pub use work::process_batch;

/// The clients of this function.
pub struct App {
    store: Store,
    queue: Jobs<RefreshJob>,
    refresher: Refresher,
    links: Links,
    bot: Bot,
    clock: Clock,
}

/// What a tick or a batch did, in counts. It is logged at the end of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Integrations that a tick found due, or that a batch named.
    pub due: usize,
    /// Integrations whose grant Google confirmed, as a rule with a fresh token.
    pub refreshed: usize,
    /// Integrations that a permanent failure ended.
    pub expired: usize,
    /// Integrations deferred because their vault is throttled or the time was up.
    pub deferred: usize,
    /// Integrations that are retried because something failed.
    pub failed: usize,
    /// Integrations that another worker leases.
    pub skipped_leased: usize,
    /// How long the most overdue integration that a tick found has been due, in seconds.
    pub oldest_overdue_s: u32,
    /// People who were notified that an integration ended.
    pub notified: usize,
    /// Integrations whose tokens were removed.
    pub disconnected: usize,
    /// Integrations that needed nothing, or no longer did.
    pub unchanged: usize,
}

impl App {
    /// Builds every client from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or unusable.
    pub fn from_env(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        let store = Store::from_env(env)?;
        let queue = env.required("REFRESH_QUEUE_URL", "the address of the queue of refresh jobs")?;
        Ok(Self {
            queue: Queues::new(env)?.refresh_jobs(queue),
            refresher: Refresher::from_env(env, &http, store.clone(), clock.clone())?,
            links: Links::from_env(env)?,
            bot: Bot::new(env, http)?,
            store,
            clock,
        })
    }
}

/// Handles an event of the function: a batch of the queue if it has `Records`, else a tick of the schedule.
///
/// # Errors
/// When an event with `Records` is not a batch.
pub async fn handle_event(app: &App, event: Value, request_id: &str) -> Result<Value, serde_json::Error> {
    if event.get("Records").is_none() {
        return Ok(json!(enqueue_due(app, request_id).await));
    }
    let batch: SqsEvent = serde_json::from_value(event)?;
    serde_json::to_value(process_batch(app, batch, request_id).await.1)
}

impl Report {
    fn log(&self, request_id: &str, run: &str) {
        let Self { due, refreshed, expired, deferred, failed, skipped_leased, oldest_overdue_s, .. } = *self;
        let Self { notified, disconnected, unchanged, .. } = *self;
        tracing::info!(
            request_id,
            run,
            due,
            refreshed,
            expired,
            deferred,
            failed,
            skipped_leased,
            oldest_overdue_s,
            notified,
            disconnected,
            unchanged,
            "Scheduled refresh finished a run; the counts say what it did"
        );
    }

    /// Adds the counts of another part of the work.
    pub fn add(&mut self, other: Self) {
        self.due += other.due;
        self.refreshed += other.refreshed;
        self.expired += other.expired;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.skipped_leased += other.skipped_leased;
        self.oldest_overdue_s = self.oldest_overdue_s.max(other.oldest_overdue_s);
        self.notified += other.notified;
        self.disconnected += other.disconnected;
        self.unchanged += other.unchanged;
    }
}

/// Converts a count to a metric's value.
fn to_metric(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
