//! The clock's part of the reconciler: every tenant that is due is queued, so that a lost message is made good.
//!
//! A function of its own, with the due index and the lifecycle queue and nothing else: a full queue cannot delay it,
//! and it opens nothing at Azure.

use futures::future::join_all;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::{ConfigError, Env};
use nbhd::domain::due::Kind;
use nbhd::domain::inventory::Place;
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;
use nbhd::telemetry::metric;
use serde_json::{Value, json};

/// The clients of this function.
pub struct App {
    store: Store,
    queue: Jobs<LifecycleJob>,
    clock: Clock,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tenants that were due.
    pub due: usize,
    /// Those of them that are on the queue now.
    pub queued: usize,
}

impl App {
    /// Builds the clients from the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or invalid.
    pub fn from_env(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let queue = Queues::new(env)?
            .lifecycle_jobs(env.required("LIFECYCLE_QUEUE_URL", "the address of the queue with lifecycle jobs")?);
        Ok(Self { store: Store::from_env(env)?, queue, clock })
    }
}

/// Does what a schedule of `template.yaml` asks for by its input, `{"job": "inventory"}` or anything else for a sweep;
/// what it returns is for whoever invokes it by hand.
pub async fn handle(app: &App, input: &Value, request_id: &str) -> Value {
    if input["job"] == "inventory" {
        queue_inventory(app, request_id).await;
        return Value::Null;
    }
    let report = queue_due(app, request_id).await;
    json!({ "due": report.due, "queued": report.queued })
}

/// Queues every tenant that is due, from all shards at the same time, so that none waits for another. What cannot be
/// read or queued now stays due for the next sweep.
pub async fn queue_due(app: &App, request_id: &str) -> Report {
    let now = app.clock.now();
    let shards = Kind::Reconcile.shards().map(|shard| async move { queue_shard(app, &shard, now).await });
    let report = join_all(shards)
        .await
        .into_iter()
        .fold(Report::default(), |sum, part| Report { due: sum.due + part.due, queued: sum.queued + part.queued });
    tracing::info!(request_id, due = report.due, queued = report.queued, "swept the tenants that are due");
    report
}

/// Queues an inventory of everything, from which `tenant-reconcile` makes a job for each place. One that cannot be
/// queued now is left out: the next comes within the hour.
pub async fn queue_inventory(app: &App, request_id: &str) {
    if let Err(error) = app.queue.send(&LifecycleJob::Inventory(Place::All)).await {
        metric("SweepsFailed", 1);
        tracing::warn!(code = "inventory_not_queued", request_id, %error, "an hour's inventory was not queued");
    }
}

/// Queues a shard's tenants page by page, so that memory does not grow with their number.
async fn queue_shard(app: &App, shard: &str, now: Timestamp) -> Report {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let page = match app.store.list_due(shard, now, after).await {
            Ok(page) => page,
            Err(error) => {
                metric("SweepsFailed", 1);
                tracing::warn!(
                    code = "due_rows_unreadable",
                    shard,
                    %error,
                    "a shard of the due index was not read; its tenants stay due"
                );
                return report;
            }
        };
        report.due += page.rows.len();
        let jobs: Vec<_> = page.rows.iter().map(|row| LifecycleJob::Reconcile { tenant_id: row.tenant_id }).collect();
        match app.queue.send_all(&jobs).await {
            Ok(()) => report.queued += jobs.len(),
            Err(error) => {
                metric("SweepsFailed", 1);
                tracing::warn!(
                    code = "due_rows_not_queued",
                    shard,
                    %error,
                    "due tenants of a shard were not queued; they stay due"
                );
                return report;
            }
        }
        after = page.next;
        if after.is_none() {
            return report;
        }
    }
}
