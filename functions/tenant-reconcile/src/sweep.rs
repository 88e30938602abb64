//! The clock's part: whatever is due is queued, so that a lost message is made good.

use nbhd::domain::due::Kind;
use nbhd::queue::LifecycleJob;
use nbhd::store::{self, DueRow};
use nbhd::telemetry::metric;

use crate::App;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Tenants that were due.
    pub due: usize,
    /// Those of them that are on the queue now.
    pub queued: usize,
}

/// Queues every tenant that is due. What cannot be queued now stays due.
pub async fn sweep(app: &App) -> SweepReport {
    let mut report = SweepReport::default();
    for shard in Kind::Reconcile.shards() {
        if let Err(error) = sweep_shard(app, &shard, &mut report).await {
            metric("SweepsFailed", 1);
            tracing::warn!(
                code = "due_rows_unreadable",
                shard,
                %error,
                "a shard of the due index was not read; its tenants stay due"
            );
        }
    }
    report
}

async fn sweep_shard(app: &App, shard: &str, report: &mut SweepReport) -> Result<(), store::Error> {
    let mut after = None;
    loop {
        let page = app.store.list_due(shard, app.clock.now(), after).await?;
        for DueRow { tenant_id, .. } in page.rows {
            report.due += 1;
            match app.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await {
                Ok(()) => report.queued += 1,
                Err(error) => {
                    tracing::warn!(
                        code = "job_not_queued",
                        %tenant_id,
                        %error,
                        "a due tenant was not queued; it stays due"
                    );
                }
            }
        }
        let Some(next) = page.next else { return Ok(()) };
        after = Some(next);
    }
}
