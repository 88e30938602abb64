//! The clock's part: whatever is due is queued again, whoever lost its message.

use nbhd::domain::due::Kind;
use nbhd::queue::LifecycleJob;
use nbhd::store::{self, DueRow};
use nbhd::telemetry::metric;

use crate::App;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tenants that were due.
    pub due: usize,
    /// Those of them that are on the queue now.
    pub queued: usize,
}

/// Queues every tenant that is due. What cannot be queued now stays due.
pub async fn sweep(app: &App) -> Swept {
    let mut swept = Swept::default();
    for shard in Kind::Reconcile.shards() {
        if let Err(error) = sweep_shard(app, &shard, &mut swept).await {
            metric("SweepsFailed", 1);
            tracing::warn!(code = "shard_unread", shard, error = %error, "its tenants stay due");
        }
    }
    swept
}

async fn sweep_shard(app: &App, shard: &str, swept: &mut Swept) -> Result<(), store::Error> {
    let mut after = None;
    loop {
        let page = app.store.due(shard, app.clock.now(), after).await?;
        for DueRow { tenant_id, .. } in page.rows {
            swept.due += 1;
            match app.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await {
                Ok(()) => swept.queued += 1,
                Err(error) => tracing::warn!(code = "not_queued", %tenant_id, error = %error, "it stays due"),
            }
        }
        let Some(next) = page.next else { return Ok(()) };
        after = Some(next);
    }
}
