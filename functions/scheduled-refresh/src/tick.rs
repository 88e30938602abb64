//! The clock's part: from what is due to jobs on the queue.

use std::collections::BTreeMap;

use futures::future::join_all;
use nbhd::clock::Timestamp;
use nbhd::domain::due::Kind;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::queue::RefreshJob;
use nbhd::store::DueRow;
use nbhd::telemetry::metric;

use crate::{App, Report, count};

/// Connections of one job: a few seconds' work, well within the function's timeout even where some hang.
const JOB: usize = 25;

/// Queues everything that is due, all shards side by side. What could not be read or queued stays due for the next
/// tick, and is told by an alarm.
pub async fn tick(app: &App, request_id: &str) -> Report {
    let now = app.clock.now();
    let mut report = Report::default();
    let shards = Kind::Refresh.shards().map(|shard| async move { fan_out(app, &shard, now).await });
    for part in join_all(shards).await {
        report.add(part);
    }
    metric("ConnectionsDue", count(report.due));
    metric("OldestOverdueSeconds", report.oldest_overdue_s);
    report.log(request_id, "tick");
    report
}

/// Page by page, so that memory does not grow with what is due.
async fn fan_out(app: &App, shard: &str, now: Timestamp) -> Report {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let page = match app.store.due(shard, now, after).await {
            Ok(page) => page,
            Err(error) => {
                metric("TicksIncomplete", 1);
                tracing::error!(shard, error = %error, "what is due cannot be read");
                return report;
            }
        };
        report.due += page.rows.len();
        let overdue = page.rows.first().map_or(0, |row| now.since(row.due_at).as_secs());
        report.oldest_overdue_s = report.oldest_overdue_s.max(u32::try_from(overdue).unwrap_or(u32::MAX));
        if let Err(error) = app.queue.send_all(&jobs(&page.rows)).await {
            metric("TicksIncomplete", 1);
            tracing::error!(shard, error = %error, "what is due cannot be queued");
            report.failed += page.rows.len();
            return report;
        }
        after = page.next;
        if after.is_none() {
            return report;
        }
    }
}

/// Jobs for these rows, in each of which a tenant's connections stand side by side.
fn jobs(rows: &[DueRow]) -> Vec<RefreshJob> {
    let mut tenants: BTreeMap<TenantId, Vec<Provider>> = BTreeMap::new();
    for row in rows {
        if let Some(provider) = row.provider {
            tenants.entry(row.tenant_id).or_default().push(provider);
        }
    }
    let mut jobs: Vec<Vec<(TenantId, Provider)>> = Vec::new();
    for (tenant, providers) in tenants {
        let connections = providers.into_iter().map(|provider| (tenant, provider));
        match jobs.last_mut().filter(|job| job.len() < JOB) {
            Some(job) => job.extend(connections),
            None => jobs.push(connections.collect()),
        }
    }
    jobs.into_iter().map(|connections| RefreshJob::Due { connections }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_connections_are_in_one_job_and_none_is_lost() {
        let due_at = Timestamp::from_seconds(1);
        let tenants: Vec<TenantId> = (0..100).map(|_| TenantId::random()).collect();
        let of_all = |provider| {
            tenants.iter().map(move |tenant_id| DueRow { tenant_id: *tenant_id, provider: Some(provider), due_at })
        };
        let rows: Vec<DueRow> = Provider::ALL.into_iter().flat_map(of_all).collect();
        let jobs = jobs(&rows);
        let mut seen = 0;
        for job in &jobs {
            let RefreshJob::Due { connections } = job else { panic!("{job:?}") };
            assert!(connections.len() <= JOB + 1);
            assert!(
                connections.iter().all(|(tenant, _)| connections.iter().filter(|(id, _)| id == tenant).count() == 2)
            );
            seen += connections.len();
        }
        assert_eq!((seen, jobs.len()), (200, 8));
    }
}
