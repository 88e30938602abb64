//! Works off the `refresh` queue: removes what is left of connections that were revoked.
//!
//! A job may come twice, at once, or be stopped anywhere: what it finds done it leaves, and what it could not do comes
//! up again with the message.

mod disconnect;

use std::time::Instant;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::providers::azure::key_vault::Vault;
use nbhd::providers::google::oauth;
use nbhd::queue::RefreshJob;
use nbhd::store::Store;
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use disconnect::Outcome;

/// What the function holds.
pub struct App {
    store: Store,
    vault: Vault,
    google: Option<oauth::Client>,
    clock: Clock,
}

/// What became of a batch, by count; logged with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Jobs in the batch.
    pub found: usize,
    /// Connections whose tokens are gone now.
    pub disconnected: usize,
    /// Connections left alone: there is none, or it was connected again.
    pub left_alone: usize,
    /// Jobs that come up again because another worker holds the connection's lease.
    pub skipped_leased: usize,
    /// Jobs that come up again because something failed.
    pub failed: usize,
}

impl App {
    /// Builds every client from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or unusable.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        Ok(Self {
            store: Store::new(env)?,
            vault: Vault::new(env, &http)?,
            google: oauth::Client::from_env(env, http)?,
            clock,
        })
    }
}

/// Handles a batch. What is reported as failed comes up again when its visibility timeout ends.
pub async fn handle(app: &App, event: SqsEvent, request_id: &str) -> (Report, SqsBatchResponse) {
    let mut report = Report { found: event.records.len(), ..Report::default() };
    let mut response = SqsBatchResponse::default();
    for record in event.records {
        let span = tracing::info_span!("job", function = "scheduled-refresh", request_id, tenant_id = Empty);
        let outcome = work_off(app, &record).instrument(span).await;
        match outcome {
            Some(Outcome::Disconnected) => report.disconnected += 1,
            Some(Outcome::LeftAlone) => report.left_alone += 1,
            Some(Outcome::Leased) => report.skipped_leased += 1,
            None => report.failed += 1,
        }
        if matches!(outcome, None | Some(Outcome::Leased)) {
            response.add_failure(record.message_id.unwrap_or_default());
        }
    }
    let Report { found, disconnected, left_alone, skipped_leased, failed } = report;
    tracing::info!(request_id, found, disconnected, left_alone, skipped_leased, failed, "batch done");
    (report, response)
}

/// What became of one job; `None` when it failed.
async fn work_off(app: &App, record: &SqsMessage) -> Option<Outcome> {
    let Ok(job) = serde_json::from_str(record.body.as_deref().unwrap_or_default()) else {
        metric("RefreshJobsUnreadable", 1);
        tracing::error!(code = "unreadable", "the queue holds a record that is no job");
        return None;
    };
    let RefreshJob::Disconnect { tenant_id, provider } = job;
    tracing::Span::current().record("tenant_id", display(tenant_id));
    let started = Instant::now();
    let result = disconnect::run(app, tenant_id, provider).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(outcome) => {
            tracing::info!(code = outcome.code(), provider = %provider, duration_ms, "job done");
            Some(outcome)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(display);
            tracing::warn!(code = "failed", provider = %provider, duration_ms, error = %error, cause, "comes up again");
            metric("DisconnectsFailed", 1);
            None
        }
    }
}
