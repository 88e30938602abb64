//! Makes a tenant's resources match what it is entitled to: the only place that touches Azure and the model gateway.
//!
//! A job on the `lifecycle` queue only names a tenant; what is to be done is planned from the tenant's row
//! ([`nbhd::domain::plan`]). A worker holds the tenant by a lease, does one step, saves what it learned under the row's
//! version together with a record of the step, and plans anew. It may be stopped anywhere, come twice or at once: every
//! step is safe to repeat, because what it makes is found by its name. The clock's
//! function `reconcile-sweep` queues whatever a lost message left due.

mod bundle;
mod container_spec;
mod failure;
mod inventory;
mod recheck;
mod settings;
mod steps;
mod worker;

use std::sync::OnceLock;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::release::Release;
use nbhd::domain::secrets::IdentityKey;
use nbhd::providers::azure::{credential, resource_manager, vaults::Vaults};
use nbhd::providers::{model_gateway, runtime, stripe, telegram};
use nbhd::queue::{Jobs, LifecycleJob, Queues, RefreshJob};
use nbhd::store::Store;
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use settings::Settings;

pub use worker::{BUDGET, Error, Outcome, STEP_TIMEOUT, reconcile};

/// What the function holds.
pub struct App {
    store: Store,
    lifecycle: Jobs<LifecycleJob>,
    refresh: Jobs<RefreshJob>,
    arm: resource_manager::Client,
    vaults: Vaults,
    gateway: model_gateway::Client,
    stripe: Option<stripe::Client>,
    runtime: runtime::Client,
    bot: telegram::Bot,
    identity_key: IdentityKey,
    runtime_keys: SecretKeys,
    settings: Settings,
    /// The newest release and its id, made when first needed: a start needs neither.
    newest: OnceLock<(Release, String)>,
    clock: Clock,
}

/// How the jobs of a batch ended, by count; logged with each batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Jobs in the batch.
    pub found: usize,
    /// Tenants that are as intended.
    pub converged: usize,
    /// Tenants that wait for something else.
    pub waiting: usize,
    /// Tenants left to the worker that holds them.
    pub leased: usize,
    /// Tenants that do not exist, or no longer.
    pub not_found: usize,
    /// Jobs that are about no single tenant: inventories, and removals of orphans.
    pub inventories: usize,
    /// Jobs that are redelivered because the table could not serve.
    pub failed: usize,
}

impl App {
    /// Builds every client from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or unusable.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        const QUEUE: &str = "the address of an SQS queue";
        let http = nbhd::http::client(env)?;
        let identity = credential::from_env(env, &http)?;
        let queues = Queues::new(env)?;
        Ok(Self {
            store: Store::from_env(env)?,
            lifecycle: queues.lifecycle_jobs(env.required("LIFECYCLE_QUEUE_URL", QUEUE)?),
            refresh: queues.refresh_jobs(env.required("REFRESH_QUEUE_URL", QUEUE)?),
            arm: resource_manager::Client::new(env, &http, &identity)?,
            vaults: Vaults::with_identity(&identity, env, &http, &clock)?,
            gateway: model_gateway::Client::from_env(env, http.clone())?,
            stripe: stripe::Client::from_env(env, http.clone())?,
            runtime: runtime::Client::new(http.clone()),
            bot: telegram::Bot::new(env, http)?,
            identity_key: env.identity_key("TENANT_ID_KEY")?,
            runtime_keys: env.secret_keys("RUNTIME_KEYS")?,
            settings: Settings::new(env)?,
            newest: OnceLock::new(),
            clock,
        })
    }

    /// The newest release.
    pub(crate) fn release(&self) -> &Release {
        &self.newest().0
    }

    /// The newest release's id.
    pub(crate) fn release_id(&self) -> &str {
        &self.newest().1
    }

    fn newest(&self) -> &(Release, String) {
        self.newest.get_or_init(|| {
            let release = container_spec::newest_release(&self.settings);
            let id = release.id();
            (release, id)
        })
    }
}

/// Handles a batch. What is reported as failed is redelivered when its visibility timeout ends.
pub async fn handle(app: &App, event: SqsEvent, request_id: &str) -> (Report, SqsBatchResponse) {
    let mut report = Report { found: event.records.len(), ..Report::default() };
    let mut response = SqsBatchResponse::default();
    for record in event.records {
        let span = tracing::info_span!("job", function = "tenant-reconcile", request_id, tenant_id = Empty);
        match process_job(app, &record).instrument(span).await {
            Some(Outcome::Converged) => report.converged += 1,
            Some(Outcome::Waiting { .. }) => report.waiting += 1,
            Some(Outcome::Leased { .. }) => report.leased += 1,
            Some(Outcome::NotFound) => report.not_found += 1,
            Some(Outcome::Inventoried) => report.inventories += 1,
            None => {
                report.failed += 1;
                response.add_failure(record.message_id.unwrap_or_default());
            }
        }
    }
    let Report { found, converged, waiting, leased, not_found, inventories, failed } = report;
    tracing::info!(
        request_id,
        found,
        converged,
        waiting,
        leased,
        not_found,
        inventories,
        failed,
        "a batch of lifecycle jobs is processed"
    );
    (report, response)
}

/// How one job ended; `None` when it has to be redelivered.
async fn process_job(app: &App, record: &SqsMessage) -> Option<Outcome> {
    let Ok(job) = serde_json::from_str(record.body.as_deref().unwrap_or_default()) else {
        metric("LifecycleJobsUnreadable", 1);
        tracing::error!(
            code = "lifecycle_job_unreadable",
            "the queue holds a record that is no lifecycle job; it is redelivered"
        );
        return None;
    };
    let ended = match job {
        LifecycleJob::Reconcile { tenant_id } => {
            tracing::Span::current().record("tenant_id", display(tenant_id));
            reconcile(app, tenant_id).await
        }
        // Boxed: the SDK's futures are kilobytes.
        LifecycleJob::Inventory(place) => Box::pin(inventory::take(app, place)).await,
        LifecycleJob::RemoveOrphan { inventory: of, orphan } => {
            Box::pin(inventory::remove_orphan(app, &of, &orphan)).await
        }
    };
    match ended {
        Ok(outcome) => {
            tracing::info!(code = outcome.code(), "lifecycle job done: {}", outcome.sentence());
            Some(outcome)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(display);
            tracing::warn!(code = "job_failed", %error, cause, "a lifecycle job failed; it is redelivered");
            None
        }
    }
}
