//! The queue's part: each connection that is due, under its lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::stream::{self, StreamExt as _};
use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh::{self, Class, Failure};
use nbhd::flows::refresh::{By, Refreshed};
use nbhd::queue::RefreshJob;
use nbhd::store;
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::display;

use crate::{App, Report, count, disconnect, notice};

/// Tenants worked on at once, which bounds what Google's token endpoint sees of one invocation; the event source's
/// `MaximumConcurrency` bounds the invocations. Each vault bounds its own.
const AT_ONCE: usize = 10;

/// After this time an invocation begins nothing new: what is left is queued anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is put off goes back to the queue, apart by up to this time. What has been due for [`OVERDUE`] does not: the
/// clock has queued it again, and does so until it is done.
const APART: Duration = Duration::from_secs(30);
const OVERDUE: Duration = Duration::from_secs(10 * 60);

/// What became of a job.
#[derive(Default)]
struct Done {
    report: Report,
    /// Something failed that no row tells of: the message has to come up again.
    comes_up_again: bool,
    /// Connections to be looked at again after the longest of their vaults' rests.
    put_off: Vec<(TenantId, Provider)>,
    rest: Duration,
}

/// Handles a batch. What is reported as failed comes up again when its visibility timeout ends.
pub async fn handle(app: &App, event: SqsEvent, request_id: &str) -> (Report, SqsBatchResponse) {
    let mut report = Report::default();
    let mut response = SqsBatchResponse::default();
    let until = app.clock.now() + PATIENCE;
    for record in event.records {
        let span = tracing::info_span!("job", function = "scheduled-refresh", request_id);
        let done = work_off(app, &record, until).instrument(span).await;
        report.add(done.report);
        if done.comes_up_again {
            response.add_failure(record.message_id.unwrap_or_default());
        }
    }
    metric("RefreshesDeferred", count(report.deferred));
    metric("LeasesMet", count(report.skipped_leased));
    report.log(request_id, "batch");
    (report, response)
}

async fn work_off(app: &App, record: &SqsMessage, until: Timestamp) -> Done {
    match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
        Ok(RefreshJob::Due { connections }) => all_due(app, connections, until).await,
        Ok(RefreshJob::Disconnect { tenant_id, provider }) => {
            let report = Report { due: 1, ..disconnected(app, tenant_id, provider).await };
            Done { comes_up_again: report.failed + report.skipped_leased > 0, report, ..Done::default() }
        }
        Err(_) => {
            metric("RefreshJobsUnreadable", 1);
            tracing::error!(code = "unreadable", "the queue holds a record that is no job");
            let report = Report { due: 1, failed: 1, ..Report::default() };
            Done { report, comes_up_again: true, ..Done::default() }
        }
    }
}

/// Tenants side by side, and of each its connections one after the other: what ended for one person is told at once.
async fn all_due(app: &App, connections: Vec<(TenantId, Provider)>, until: Timestamp) -> Done {
    let mut tenants: BTreeMap<TenantId, Vec<Provider>> = BTreeMap::new();
    for (tenant, provider) in connections {
        tenants.entry(tenant).or_default().push(provider);
    }
    let work = tenants.into_iter().map(|(tenant, providers)| of_tenant(app, tenant, providers, until));
    let mut parts = stream::iter(work).buffer_unordered(AT_ONCE);
    let mut done = Done::default();
    while let Some(part) = parts.next().await {
        done.add(part);
    }
    requeue(app, &done).await;
    done
}

/// Puts what was put off on the queue again. Where the queue does not take it, it is due for the next tick as before.
async fn requeue(app: &App, done: &Done) {
    let Some((tenant, _)) = done.put_off.first() else { return };
    let wait = done.rest + refresh::stagger(*tenant, app.clock.now(), APART);
    let job = RefreshJob::Due { connections: done.put_off.clone() };
    if let Err(error) = app.queue.send_later(&job, wait).await {
        tracing::warn!(error = %error, "what was put off waits for the next tick");
    }
}

async fn of_tenant(app: &App, tenant: TenantId, providers: Vec<Provider>, until: Timestamp) -> Done {
    let mut done = Done { report: Report { due: providers.len(), ..Report::default() }, ..Done::default() };
    let mut is_to_be_told = false;
    for provider in providers {
        if app.clock.now() >= until {
            done.defer((tenant, provider), Duration::ZERO);
            continue;
        }
        match app.store.integration(tenant, provider).await {
            Ok(Some(row)) if row.is_due(app.clock.now()) => {
                is_to_be_told |= Box::pin(look(app, &row, &mut done)).await;
            }
            // Gone, or done since it was queued.
            Ok(_) => done.report.left_alone += 1,
            Err(error) => done.unrecorded(tenant, &error),
        }
    }
    if is_to_be_told {
        match Box::pin(notice::tell(app, tenant)).await {
            Ok(report) => done.report.add(report),
            Err(error) => done.unrecorded(tenant, &error),
        }
    }
    done
}

/// Does what a due row needs; `true` when its person has to be told that it ended.
async fn look(app: &App, row: &Integration, done: &mut Done) -> bool {
    match row.status {
        Status::Active => return renew(app, row, done).await,
        Status::Expired => return true,
        Status::Revoked => done.report.add(disconnected(app, row.tenant_id, row.provider).await),
    }
    false
}

async fn renew(app: &App, row: &Integration, done: &mut Done) -> bool {
    let now = app.clock.now();
    let vault = app.refresher.vaults().recorded(row.vault.as_deref());
    if let Some(rest) = vault.and_then(|vault| vault.rest(now)) {
        // It asked to be left alone: not even the row is touched.
        if row.due.as_ref().is_some_and(|due| now.since(due.at) < OVERDUE) {
            done.defer((row.tenant_id, row.provider), rest);
        } else {
            done.report.deferred += 1;
        }
        return false;
    }
    let report = &mut done.report;
    match app.refresher.refresh(row, None, By::Schedule).await {
        Ok(Refreshed::Token { .. }) => report.refreshed += 1,
        Ok(Refreshed::Elsewhere) => report.skipped_leased += 1,
        Err(failed) if failed.failure.class() == Class::Final => {
            report.expired += 1;
            return true;
        }
        Err(failed) => {
            report.failed += 1;
            done.comes_up_again |= failed.failure == Failure::TableDown;
        }
    }
    false
}

async fn disconnected(app: &App, tenant: TenantId, provider: Provider) -> Report {
    let started = Instant::now();
    let result = disconnect::run(app, tenant, provider).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut report = Report::default();
    match result {
        Ok(outcome) => {
            tracing::info!(code = outcome.code(), tenant_id = %tenant, provider = %provider, duration_ms, "job done");
            match outcome {
                disconnect::Outcome::Disconnected => report.disconnected += 1,
                disconnect::Outcome::LeftAlone => report.left_alone += 1,
                disconnect::Outcome::Leased => report.skipped_leased += 1,
            }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(display);
            tracing::warn!(
                code = "failed",
                tenant_id = %tenant,
                provider = %provider,
                duration_ms,
                error = %error,
                cause,
                "comes up again"
            );
            metric("DisconnectsFailed", 1);
            report.failed += 1;
        }
    }
    report
}

impl Done {
    fn add(&mut self, part: Self) {
        self.report.add(part.report);
        self.comes_up_again |= part.comes_up_again;
        self.put_off.extend(part.put_off);
        self.rest = self.rest.max(part.rest);
    }

    fn defer(&mut self, connection: (TenantId, Provider), rest: Duration) {
        self.report.deferred += 1;
        self.put_off.push(connection);
        self.rest = self.rest.max(rest);
    }

    /// The table could not be read or written.
    fn unrecorded(&mut self, tenant: TenantId, error: &store::Error) {
        tracing::warn!(code = "failed", tenant_id = %tenant, error = %error, "comes up again");
        self.report.failed += 1;
        self.comes_up_again = true;
    }
}
