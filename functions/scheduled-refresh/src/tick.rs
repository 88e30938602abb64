//! Runs on the schedule: reads the rows that are due and queues jobs for them.

use std::collections::BTreeMap;

use futures::future::join_all;
use nbhd::clock::Timestamp;
use nbhd::domain::due::Kind;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::queue::RefreshJob;
use nbhd::store::DueRow;
use nbhd::telemetry::metric;

use crate::{App, Report, to_metric};

/// The most integrations of one job: a few seconds' work, well within the function's timeout even if some calls hang.
const MAX_JOB_SIZE: usize = 25;

/// Queues all rows that are due, from all shards at the same time. Rows that could not be read or queued stay due for
/// the next tick, and the metric `TicksIncomplete` raises an alarm.
pub async fn enqueue_due(app: &App, request_id: &str) -> Report {
    let now = app.clock.now();
    let mut report = Report::default();
    let shards = Kind::Refresh.shards().map(|shard| async move { enqueue_shard(app, &shard, now).await });
    for part in join_all(shards).await {
        report.add(part);
    }
    metric("IntegrationsDue", to_metric(report.due));
    metric("OldestOverdueSeconds", report.oldest_overdue_s);
    report.log(request_id, "tick");
    report
}

/// Queues a shard's rows page by page, so that memory does not grow with their number.
async fn enqueue_shard(app: &App, shard: &str, now: Timestamp) -> Report {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let page = match app.store.list_due(shard, now, after).await {
            Ok(page) => page,
            Err(error) => {
                metric("TicksIncomplete", 1);
                tracing::error!(
                    code = "due_rows_unreadable", shard, error = %error,
                    "Due integrations of a shard could not be read; the next tick reads them again"
                );
                return report;
            }
        };
        report.due += page.rows.len();
        let overdue = page.rows.first().map_or(0, |row| now.since(row.due_at).as_secs());
        report.oldest_overdue_s = report.oldest_overdue_s.max(u32::try_from(overdue).unwrap_or(u32::MAX));
        if let Err(error) = app.queue.send_all(&group_jobs(&page.rows)).await {
            metric("TicksIncomplete", 1);
            tracing::error!(
                code = "due_rows_not_queued", shard, error = %error,
                "Due integrations of a shard could not be queued; the next tick tries again"
            );
            report.failed += page.rows.len();
            return report;
        }
        after = page.next;
        if after.is_none() {
            return report;
        }
    }
}

/// Groups rows into jobs; all integrations of a tenant are in the same job.
fn group_jobs(rows: &[DueRow]) -> Vec<RefreshJob> {
    let mut tenants: BTreeMap<TenantId, Vec<Provider>> = BTreeMap::new();
    for row in rows {
        if let Some(provider) = row.provider {
            tenants.entry(row.tenant_id).or_default().push(provider);
        }
    }
    let mut jobs: Vec<Vec<(TenantId, Provider)>> = Vec::new();
    for (tenant, providers) in tenants {
        let integrations = providers.into_iter().map(|provider| (tenant, provider));
        match jobs.last_mut().filter(|job| job.len() < MAX_JOB_SIZE) {
            Some(job) => job.extend(integrations),
            None => jobs.push(integrations.collect()),
        }
    }
    jobs.into_iter().map(|connections| RefreshJob::Due { connections }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_integrations_are_in_one_job_and_none_is_lost() {
        let due_at = Timestamp::from_seconds(1);
        let tenants: Vec<TenantId> = (0..100).map(|_| TenantId::random()).collect();
        let of_all = |provider| {
            tenants.iter().map(move |tenant_id| DueRow { tenant_id: *tenant_id, provider: Some(provider), due_at })
        };
        let rows: Vec<DueRow> = Provider::ALL.into_iter().flat_map(of_all).collect();
        let jobs = group_jobs(&rows);
        let mut seen = 0;
        for job in &jobs {
            let RefreshJob::Due { connections } = job else { panic!("{job:?}") };
            assert!(connections.len() <= MAX_JOB_SIZE + 1);
            assert!(
                connections.iter().all(|(tenant, _)| connections.iter().filter(|(id, _)| id == tenant).count() == 2)
            );
            seen += connections.len();
        }
        assert_eq!((seen, jobs.len()), (200, 8));
    }
}
