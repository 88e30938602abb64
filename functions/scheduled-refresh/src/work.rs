//! Processes jobs from the `refresh` queue: each integration that is due, under its lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::stream::{self, StreamExt as _};
use nbhd::clock::Timestamp;
use nbhd::domain::backoff;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh_failure::{Class, Failure};
use nbhd::flows::refresh::{RefreshOutcome, Trigger};
use nbhd::queue::RefreshJob;
use nbhd::store;
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::display;

use crate::{App, Report, disconnect, notice, to_metric};

/// How many tenants an invocation processes at once, which bounds its calls to Google's token endpoint. The event
/// source's `MaximumConcurrency` bounds the invocations, and each vault client bounds its own calls.
const MAX_CONCURRENT_TENANTS: usize = 10;

/// After this time an invocation begins no further refresh; the integrations that are left are queued again.
const BATCH_BUDGET: Duration = Duration::from_secs(30);

/// Deferred integrations are queued again with a random delay of up to this time.
const REQUEUE_SPREAD: Duration = Duration::from_secs(30);
/// Integrations that have been due for longer are not queued again: every tick queues them until they are done.
const OVERDUE_AFTER: Duration = Duration::from_secs(10 * 60);

/// The result of a job, or of a part of one.
#[derive(Default)]
struct JobResult {
    report: Report,
    /// Something failed that no row records, so the message must be redelivered.
    must_redeliver: bool,
    /// Integrations to queue again after `delay`, the longest time that one of their vaults asked to wait.
    deferred: Vec<(TenantId, Provider)>,
    delay: Duration,
}

/// Processes a batch. A message that is reported as failed is redelivered when its visibility timeout ends.
pub async fn process_batch(app: &App, event: SqsEvent, request_id: &str) -> (Report, SqsBatchResponse) {
    let mut report = Report::default();
    let mut response = SqsBatchResponse::default();
    let deadline = app.clock.now() + BATCH_BUDGET;
    for record in event.records {
        let span = tracing::info_span!("job", function = "scheduled-refresh", request_id);
        let result = process_job(app, &record, deadline).instrument(span).await;
        report.add(result.report);
        if result.must_redeliver {
            response.add_failure(record.message_id.unwrap_or_default());
        }
    }
    metric("RefreshesDeferred", to_metric(report.deferred));
    metric("LeasesHeld", to_metric(report.skipped_leased));
    report.log(request_id, "batch");
    (report, response)
}

async fn process_job(app: &App, record: &SqsMessage, deadline: Timestamp) -> JobResult {
    match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
        Ok(RefreshJob::Due { connections }) => process_due(app, connections, deadline).await,
        Ok(RefreshJob::Disconnect { tenant_id, provider }) => {
            let report = Report { due: 1, ..disconnect_integration(app, tenant_id, provider).await };
            JobResult { must_redeliver: report.failed + report.skipped_leased > 0, report, ..JobResult::default() }
        }
        Err(_) => {
            metric("RefreshJobsUnreadable", 1);
            tracing::error!(
                code = "refresh_job_unreadable",
                "Message on the refresh queue is not a job; it is redelivered and ends in the dead-letter queue"
            );
            let report = Report { due: 1, failed: 1, ..Report::default() };
            JobResult { report, must_redeliver: true, ..JobResult::default() }
        }
    }
}

/// Processes tenants at the same time, and the integrations of each one after the other, so that one notice names all
/// that ended for a person.
async fn process_due(app: &App, integrations: Vec<(TenantId, Provider)>, deadline: Timestamp) -> JobResult {
    let mut tenants: BTreeMap<TenantId, Vec<Provider>> = BTreeMap::new();
    for (tenant, provider) in integrations {
        tenants.entry(tenant).or_default().push(provider);
    }
    let work = tenants.into_iter().map(|(tenant, providers)| process_tenant(app, tenant, providers, deadline));
    let mut parts = stream::iter(work).buffer_unordered(MAX_CONCURRENT_TENANTS);
    let mut result = JobResult::default();
    while let Some(part) = parts.next().await {
        result.add(part);
    }
    requeue(app, &result).await;
    result
}

/// Queues deferred integrations again. If the queue fails, they stay due and the next tick queues them.
async fn requeue(app: &App, result: &JobResult) {
    let Some((tenant, _)) = result.deferred.first() else { return };
    let wait =
        result.delay + backoff::spread(tenant.as_bytes(), app.clock.now().millis().unsigned_abs(), REQUEUE_SPREAD);
    let job = RefreshJob::Due { connections: result.deferred.clone() };
    if let Err(error) = app.queue.send_delayed(&job, wait).await {
        tracing::warn!(
            code = "requeue_failed", error = %error, count = result.deferred.len(),
            "Deferred integrations could not be queued again; the next tick queues them"
        );
    }
}

async fn process_tenant(app: &App, tenant: TenantId, providers: Vec<Provider>, deadline: Timestamp) -> JobResult {
    let mut result = JobResult { report: Report { due: providers.len(), ..Report::default() }, ..JobResult::default() };
    let mut needs_notice = false;
    for provider in providers {
        if app.clock.now() >= deadline {
            result.defer((tenant, provider), Duration::ZERO);
            continue;
        }
        match app.store.load_integration(tenant, provider).await {
            Ok(Some(row)) if row.is_due(app.clock.now()) => {
                needs_notice |= Box::pin(process_integration(app, &row, &mut result)).await;
            }
            // The row was deleted or processed since it was queued.
            Ok(_) => result.report.unchanged += 1,
            Err(error) => result.record_store_error(tenant, &error),
        }
    }
    if needs_notice {
        match Box::pin(notice::notify_person(app, tenant)).await {
            Ok(report) => result.report.add(report),
            Err(error) => result.record_store_error(tenant, &error),
        }
    }
    result
}

/// Does what the status of a due row asks for. Returns whether its person must be notified that it ended.
async fn process_integration(app: &App, row: &Integration, result: &mut JobResult) -> bool {
    match row.status {
        Status::Active => return refresh_integration(app, row, result).await,
        Status::Expired => return true,
        Status::Revoked => result.report.add(disconnect_integration(app, row.tenant_id, row.provider).await),
    }
    false
}

async fn refresh_integration(app: &App, row: &Integration, result: &mut JobResult) -> bool {
    let now = app.clock.now();
    let vault = app.refresher.vaults().find(row.vault.as_deref());
    if let Some(delay) = vault.and_then(|vault| vault.throttled_for(now)) {
        // The vault is throttled: the row is not even leased.
        if row.due.as_ref().is_some_and(|due| now.since(due.at) < OVERDUE_AFTER) {
            result.defer((row.tenant_id, row.provider), delay);
        } else {
            result.report.deferred += 1;
        }
        return false;
    }
    let report = &mut result.report;
    match app.refresher.refresh(row, None, Trigger::Schedule).await {
        Ok(RefreshOutcome::Token { .. }) => report.refreshed += 1,
        Ok(RefreshOutcome::Superseded) => report.skipped_leased += 1,
        Err(failed) if failed.failure.class() == Class::Final => {
            report.expired += 1;
            return true;
        }
        Err(failed) => {
            report.failed += 1;
            result.must_redeliver |= failed.failure == Failure::TableDown;
        }
    }
    false
}

async fn disconnect_integration(app: &App, tenant: TenantId, provider: Provider) -> Report {
    let started = Instant::now();
    let result = disconnect::remove_tokens(app, tenant, provider).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut report = Report::default();
    match result {
        Ok(outcome) => {
            tracing::info!(
                code = outcome.code(), tenant_id = %tenant, provider = %provider, duration_ms,
                "Disconnect job ended; it is redelivered only if the integration is leased"
            );
            match outcome {
                disconnect::Outcome::Disconnected => report.disconnected += 1,
                disconnect::Outcome::Unchanged => report.unchanged += 1,
                disconnect::Outcome::Leased => report.skipped_leased += 1,
            }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(display);
            tracing::warn!(
                code = "disconnect_failed", tenant_id = %tenant, provider = %provider, duration_ms, error = %error,
                cause, "Tokens of a revoked integration could not be removed; the job is redelivered"
            );
            metric("DisconnectsFailed", 1);
            report.failed += 1;
        }
    }
    report
}

impl JobResult {
    fn add(&mut self, part: Self) {
        self.report.add(part.report);
        self.must_redeliver |= part.must_redeliver;
        self.deferred.extend(part.deferred);
        self.delay = self.delay.max(part.delay);
    }

    fn defer(&mut self, integration: (TenantId, Provider), delay: Duration) {
        self.report.deferred += 1;
        self.deferred.push(integration);
        self.delay = self.delay.max(delay);
    }

    /// Records that the table could not be read or written.
    fn record_store_error(&mut self, tenant: TenantId, error: &store::Error) {
        tracing::warn!(
            code = "table_unavailable", tenant_id = %tenant, error = %error,
            "Table call failed during a refresh job; the job is redelivered"
        );
        self.report.failed += 1;
        self.must_redeliver = true;
    }
}
