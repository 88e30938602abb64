//! One worker on one tenant: plan, step, save, and again.

use std::time::{Duration, Instant};

use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::plan::{Outcome as StepOutcome, Plan, Spec, Step, StepScope, plan, record_outcome};
use nbhd::domain::reconcile_status::Lease;
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::domain::tenant::{Tenant, TenantRecord};
use nbhd::domain::time_limits::{INVOCATION_LIMIT, LEASE};
use nbhd::queue::{LifecycleJob, MAX_DELAY};
use nbhd::store::{self, Progress, SaveOutcome, StepRecord};
use nbhd::telemetry::metric;
use tokio::time::timeout;
use uuid::Uuid;

use crate::App;
use crate::container_spec::TenantParameters;
use crate::failure::{Failure, LOCKED_FOR, report_failure, report_lock, report_wait, wait_again};
use crate::recheck;
use crate::steps::{StepContext, StepResult};

/// A worker takes no further step after this long.
pub const BUDGET: Duration = Duration::from_secs(90);
/// A plan that still has steps after so many is left to the next job.
const MOST_STEPS: usize = 60;
/// A lease that ends sooner than this is renewed before an effect.
const MARGIN: Duration = Duration::from_secs(75);
/// No step takes longer, whatever it calls: what it did by then is found when it is retried.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(70);
const _: () = assert!(BUDGET.as_secs() + STEP_TIMEOUT.as_secs() < INVOCATION_LIMIT.as_secs());
const _: () = assert!(MARGIN.as_secs() > STEP_TIMEOUT.as_secs());

/// Others may change the row between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 5;

/// How a job on a tenant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as intended.
    Converged,
    /// Something goes on elsewhere, or failed.
    Waiting {
        /// When the next step is done or retried.
        until: Timestamp,
    },
    /// Another worker holds it.
    Leased {
        /// When that worker's lease ends, at the latest.
        until: Timestamp,
    },
    /// There is none, or none any more.
    NotFound,
    /// It was about what there is at a vendor, not about a tenant.
    Inventoried,
}

impl Outcome {
    /// What a log line says of it.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Converged => "the tenant is as intended; nothing is left to do",
            Self::Waiting { .. } => "the tenant waits for something else; a later job goes on",
            Self::Leased { .. } => "another worker holds the tenant; this job ends",
            Self::NotFound => "the tenant does not exist, or no longer; this job ends",
            Self::Inventoried => "what there is was held against the rows",
        }
    }

    /// The stable code in log lines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Waiting { .. } => "waiting",
            Self::Leased { .. } => "leased",
            Self::NotFound => "not_found",
            Self::Inventoried => "inventoried",
        }
    }
}

/// Why a tenant could not be worked on; it is safe to start over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table could not serve.
    #[error("the table could not serve")]
    Store(#[from] store::Error),
}

/// Brings a tenant as far as it can be brought now.
///
/// # Errors
/// [`Error`], when the table cannot serve. What vendors cannot do is on the row, and retried by itself.
pub async fn reconcile(app: &App, tenant: TenantId) -> Result<Outcome, Error> {
    let worker = Worker { app, owner: Uuid::new_v4().simple().to_string() };
    // Boxed: the futures of all steps are kilobytes.
    Box::pin(worker.run(tenant)).await
}

struct Worker<'a> {
    app: &'a App,
    owner: String,
}

impl Worker<'_> {
    async fn run(&self, id: TenantId) -> Result<Outcome, Error> {
        let mut tenant = match self.app.store.tenant_record(id).await? {
            Some(TenantRecord::Live(tenant)) => *tenant,
            Some(TenantRecord::Deleted(tombstone)) => match recheck::recheck_if_due(self.app, *tombstone).await? {
                Some(tenant) => tenant,
                None => return Ok(Outcome::NotFound),
            },
            None => return Ok(Outcome::NotFound),
        };
        let read_version = tenant.version;
        let deadline = self.app.clock.now() + BUDGET;
        for _ in 0..MOST_STEPS {
            let now = self.app.clock.now();
            tenant.reconcile.end_expired_lease(&self.owner, now);
            if let Some(lease) =
                tenant.reconcile.lease.as_ref().filter(|_| tenant.reconcile.is_held_against(&self.owner, now))
            {
                return Ok(Outcome::Leased { until: lease.until });
            }
            let plan = self.plan(&tenant, now);
            let Some(step) = plan.next(now).copied().filter(|_| now < deadline) else {
                return self.finish(tenant, &plan, read_version).await;
            };
            let next = if step.scope() == StepScope::OurTable || self.holds_lease(&tenant, now) {
                self.advance(tenant, step).await?
            } else {
                self.take_lease(tenant, now).await?
            };
            match next {
                Some(next) => tenant = next,
                None => return Ok(Outcome::NotFound),
            }
        }
        let plan = self.plan(&tenant, self.app.clock.now());
        self.finish(tenant, &plan, read_version).await
    }

    fn plan(&self, tenant: &Tenant, now: Timestamp) -> Plan {
        let settings = &self.app.settings;
        let spec = Spec {
            release: self.app.release_id().to_owned(),
            fingerprint: TenantParameters::of(tenant, now)
                .map(|parameters| parameters.fingerprint())
                .unwrap_or_default(),
            limit_cents: settings.limit_cents(tenant.tier(now)),
            newest_key: self.app.runtime_keys.newest().id(),
            older_keys: self.app.runtime_keys.ids().skip(1).collect(),
        };
        plan(tenant, &spec, now)
    }

    /// Ends the job, since nothing can be done now. The row says when it can; a delayed message comes before the sweep.
    async fn finish(&self, tenant: Tenant, plan: &Plan, read_version: u64) -> Result<Outcome, Error> {
        let now = self.app.clock.now();
        let due = plan.due(now).map(|at| Due::new(Kind::Reconcile, tenant.tenant_id, at));
        let has_worked = tenant.version != read_version;
        if tenant.due != due || tenant.reconcile.lease.is_some() {
            let mut released = tenant.clone();
            released.due = due;
            released.reconcile.lease = None;
            match self.app.store.save_tenant(&released, Some(tenant.version)).await {
                // Whoever changed it meanwhile queues another job.
                Ok(_) | Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if plan.steps.is_empty() {
            return Ok(Outcome::Converged);
        }
        let until = plan.not_before.unwrap_or(now);
        // In whole seconds, as the queue counts: a message that is delivered too soon finds nothing to do.
        let delay = Duration::from_secs(until.since(now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        if has_worked && delay <= MAX_DELAY {
            let job = LifecycleJob::Reconcile { tenant_id: tenant.tenant_id };
            if let Err(error) = self.app.lifecycle.send_delayed(&job, delay).await {
                tracing::warn!(code = "job_not_queued", %error, "the next job was not queued; the sweep queues it");
            }
        }
        Ok(Outcome::Waiting { until })
    }

    fn holds_lease(&self, tenant: &Tenant, now: Timestamp) -> bool {
        let ours = tenant.reconcile.lease.as_ref().filter(|lease| lease.owner == self.owner);
        ours.is_some_and(|lease| lease.until >= now + MARGIN)
    }

    /// Takes or renews the lease; a row that changed meanwhile is planned for anew.
    async fn take_lease(&self, tenant: Tenant, now: Timestamp) -> Result<Option<Tenant>, Error> {
        let mut leased = tenant.clone();
        self.set_lease(&mut leased, now);
        match self.app.store.save_tenant(&leased, Some(tenant.version)).await {
            Ok(leased) => Ok(Some(leased)),
            Err(store::Error::Conflict) => Ok(self.app.store.tenant(tenant.tenant_id).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// The row of a worker that dies is due when its lease ends.
    fn set_lease(&self, tenant: &mut Tenant, now: Timestamp) {
        let until = now + LEASE;
        tenant.reconcile.lease = Some(Lease { owner: self.owner.clone(), until });
        tenant.due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, until));
    }

    /// Does one step and saves what it learned; `None` when the tenant is gone.
    async fn advance(&self, tenant: Tenant, step: Step) -> Result<Option<Tenant>, Error> {
        let started = Instant::now();
        let context = StepContext::new(self.app, &tenant);
        let began = self.app.clock.now();
        let ended = timeout(STEP_TIMEOUT, context.run(step)).await;
        let ended = ended.unwrap_or_else(|_| Err(StepError::StepTimedOut.into()));
        let now = self.app.clock.now();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = match ended {
            Ok(result) => result,
            Err(Failure::Store(error)) => return Err(error.into()),
            Err(Failure::Waiting { reason, delay }) => {
                // The rollout's slot may be long in coming; nothing is wrong then.
                if step != Step::ChooseRelease {
                    report_wait(&tenant, reason, step.name(), now);
                }
                let delay = wait_again(reason, delay, tenant.reconcile.waiting_since(step.name()), now);
                StepResult::of(StepOutcome::Waiting { reason, until: now + delay })
            }
            Err(Failure::Locked { scope }) => {
                report_lock(scope.as_deref(), step.name().as_str());
                let result =
                    StepResult::of(StepOutcome::Waiting { reason: WaitReason::ScopeLocked, until: now + LOCKED_FOR });
                if let Some(scope) = scope { result.with_detail(scope) } else { result }
            }
            Err(Failure::Failed { error, retry_after }) => {
                let status = &tenant.reconcile;
                let stripe_failures = status.stripe_backoff.as_ref().map_or(0, |backoff| backoff.failures);
                let before = if step == Step::Sync { stripe_failures } else { status.failures };
                report_failure(&error, step.name(), before + 1);
                StepResult::of(StepOutcome::Failed { error, retry_after, began })
            }
        };
        let (name, outcome, detail) = (step.name(), result.outcome.code(), result.detail.clone());
        tracing::info!(
            step = name.as_str(),
            code = outcome,
            detail,
            duration_ms,
            "the reconciler's step `{name}` ended: {outcome}"
        );
        let record = StepRecord { at: now, step: name, outcome, detail, duration_ms };
        self.save(tenant.clone(), &result, record, step).await
    }

    /// Saves a step's result. Others may have changed the row meanwhile: what they wrote stays, and what was learned is
    /// written on top, as long as the lease is ours. A result that is nothing but a write is decided anew.
    async fn save(
        &self,
        tenant: Tenant,
        result: &StepResult<'_>,
        record: StepRecord,
        step: Step,
    ) -> Result<Option<Tenant>, Error> {
        let mut tenant = tenant;
        for _ in 0..ATTEMPTS {
            let mut next = record_outcome(tenant.clone(), step, &result.outcome, record.at);
            if let TenantRecord::Live(next) = &mut next {
                self.schedule(next);
            }
            let is_recorded = !result.skip_record && !result.outcome.is_repeated(&tenant, step);
            let progress = Progress {
                record: next,
                step: is_recorded.then(|| record.clone()),
                route: result.route.clone(),
                shard_slot: result.shard_slot,
            };
            match self.app.store.save_progress(progress).await {
                Ok(SaveOutcome::Saved(TenantRecord::Live(saved))) => return Ok(Some(*saved)),
                Ok(SaveOutcome::Saved(TenantRecord::Deleted(_))) => {
                    metric("TenantsRemoved", 1);
                    tracing::info!(code = "tenant_removed", "a tenant is removed; a receipt is left");
                    return Ok(None);
                }
                Ok(SaveOutcome::ShardFull) => return Ok(Some(tenant)),
                Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(fresh) = self.app.store.tenant(tenant.tenant_id).await? else { return Ok(None) };
            let is_ours = fresh.reconcile.lease.as_ref().is_some_and(|lease| lease.owner == self.owner);
            if !is_ours || step.scope() == StepScope::OurTable || step == Step::Finalize {
                return Ok(Some(fresh));
            }
            tenant = fresh;
        }
        Err(Error::Store(store::Error::Conflict))
    }

    /// Keeps the lease while there is more to do, and lets go of it together with the last result.
    fn schedule(&self, tenant: &mut Tenant) {
        let now = self.app.clock.now();
        let plan = self.plan(tenant, now);
        if plan.next(now).is_some() {
            self.set_lease(tenant, now);
            return;
        }
        let status = &mut tenant.reconcile;
        status.lease = None;
        // A step that is no longer wanted needs no backoff.
        if plan.steps.is_empty() {
            (status.step_backoff, status.failures, status.last_error) = (None, 0, None);
        }
        tenant.due = plan.due(now).map(|at| Due::new(Kind::Reconcile, tenant.tenant_id, at));
    }
}
