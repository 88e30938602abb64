//! One worker on one tenant: plan, step, save, and again.

use std::time::{Duration, Instant};

use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::plan::{Plan, Spec, Step, plan};
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Tenant, TenantRecord};
use nbhd::domain::work::{INVOCATION_LIMIT, LEASE, Lease};
use nbhd::queue::{LifecycleJob, MAX_DELAY};
use nbhd::store::{self, Place, Progress, Progressed, StepRecord};
use nbhd::telemetry::metric;
use tokio::time::timeout;
use uuid::Uuid;

use crate::App;
use crate::body::{Own, tier};
use crate::failure::{Failure, count, count_wait, failed, pause, unanswered};
use crate::recheck;
use crate::steps::{Effect, Job, only_writes};

/// A worker takes no further step after this long.
pub const BUDGET: Duration = Duration::from_secs(90);
/// A plan that does not come to rest after so many steps is left to the next job.
const MOST_STEPS: usize = 60;
/// A lease that ends sooner than this is renewed before an effect.
const MARGIN: Duration = Duration::from_secs(75);
/// No step takes longer, whatever it calls: what it did by then is found when it is taken up again.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(70);
const _: () = assert!(BUDGET.as_secs() + STEP_TIMEOUT.as_secs() < INVOCATION_LIMIT.as_secs());
const _: () = assert!(MARGIN.as_secs() > STEP_TIMEOUT.as_secs());

/// Others may change the row between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 5;

/// What became of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as intended.
    Converged,
    /// Something goes on elsewhere, or failed.
    Waiting {
        /// When it is taken up again.
        until: Timestamp,
    },
    /// Another worker holds it.
    Leased {
        /// Until when, at most.
        until: Timestamp,
    },
    /// There is none, or none any more.
    Gone,
}

impl Outcome {
    /// The stable code in log lines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Waiting { .. } => "waiting",
            Self::Leased { .. } => "leased",
            Self::Gone => "gone",
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
/// [`Error`], when the table cannot serve. What vendors cannot do is on the row, and taken up again by itself.
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
            Some(TenantRecord::Deleted(tombstone)) => match recheck::run(self.app, *tombstone).await? {
                Some(tenant) => tenant,
                None => return Ok(Outcome::Gone),
            },
            None => return Ok(Outcome::Gone),
        };
        let read_version = tenant.version;
        let deadline = self.app.clock.now() + BUDGET;
        for _ in 0..MOST_STEPS {
            let now = self.app.clock.now();
            tenant.work.end_expired_lease(&self.owner, now);
            if let Some(lease) = tenant.work.lease.as_ref().filter(|_| tenant.work.is_held_against(&self.owner, now)) {
                return Ok(Outcome::Leased { until: lease.until });
            }
            let plan = self.plan(&tenant, now);
            let Some(step) = plan.next(now).copied().filter(|_| now < deadline) else {
                return self.rest(tenant, &plan, read_version).await;
            };
            let next = if only_writes(step) || self.holds(&tenant, now) {
                self.advance(tenant, step).await?
            } else {
                self.take(tenant, now).await?
            };
            match next {
                Some(next) => tenant = next,
                None => return Ok(Outcome::Gone),
            }
        }
        let plan = self.plan(&tenant, self.app.clock.now());
        self.rest(tenant, &plan, read_version).await
    }

    fn plan(&self, tenant: &Tenant, now: Timestamp) -> Plan {
        let settings = &self.app.settings;
        let spec = Spec {
            release: settings.release_id().to_owned(),
            fingerprint: Own::of(tenant).map(|own| own.fingerprint()).unwrap_or_default(),
            limit_cents: settings.limit_cents(tier(tenant)),
        };
        plan(tenant, &spec, now)
    }

    /// Nothing can be done now: the row says when it can, and a message says it sooner than the sweep would.
    async fn rest(&self, tenant: Tenant, plan: &Plan, read_version: u64) -> Result<Outcome, Error> {
        let now = self.app.clock.now();
        let due = plan.due(now).map(|at| Due::new(Kind::Reconcile, tenant.tenant_id, at));
        let has_worked = tenant.version != read_version;
        if tenant.due != due || tenant.work.lease.is_some() {
            let mut resting = tenant.clone();
            resting.due = due;
            resting.work.lease = None;
            match self.app.store.save_tenant(&resting, Some(tenant.version)).await {
                // Who changed it meanwhile nudges us again.
                Ok(_) | Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if plan.steps.is_empty() {
            return Ok(Outcome::Converged);
        }
        let until = plan.not_before.unwrap_or(now);
        // In whole seconds, as the queue counts: a message that comes up too soon finds nothing to do.
        let delay = Duration::from_secs(until.since(now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        if has_worked && delay <= MAX_DELAY {
            let job = LifecycleJob::Reconcile { tenant_id: tenant.tenant_id };
            if let Err(error) = self.app.lifecycle.send_later(&job, delay).await {
                tracing::warn!(code = "not_queued", error = %error, "the sweep takes it up");
            }
        }
        Ok(Outcome::Waiting { until })
    }

    fn holds(&self, tenant: &Tenant, now: Timestamp) -> bool {
        let ours = tenant.work.lease.as_ref().filter(|lease| lease.owner == self.owner);
        ours.is_some_and(|lease| lease.until >= now + MARGIN)
    }

    /// Takes or renews the lease; a row that changed meanwhile is planned for anew.
    async fn take(&self, tenant: Tenant, now: Timestamp) -> Result<Option<Tenant>, Error> {
        let mut leased = tenant.clone();
        self.hold(&mut leased, now);
        match self.app.store.save_tenant(&leased, Some(tenant.version)).await {
            Ok(leased) => Ok(Some(leased)),
            Err(store::Error::Conflict) => Ok(self.app.store.tenant(tenant.tenant_id).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// The row of a worker that dies is due when its lease ends.
    fn hold(&self, tenant: &mut Tenant, now: Timestamp) {
        let until = now + LEASE;
        tenant.work.lease = Some(Lease { owner: self.owner.clone(), until });
        tenant.due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, until));
    }

    /// Does one step and saves what came of it; `None` when the tenant is gone.
    async fn advance(&self, tenant: Tenant, step: Step) -> Result<Option<Tenant>, Error> {
        let started = Instant::now();
        if step == Step::Bury {
            return self.bury(tenant, started).await;
        }
        let job = Job::new(self.app, &tenant);
        let began = self.app.clock.now();
        let ended = timeout(STEP_TIMEOUT, job.run(step)).await;
        let result = ended.unwrap_or_else(|_| Err(Failure::unknown("unknown_step_timed_out")));
        let now = self.app.clock.now();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let record = |outcome: &str, detail: Option<String>| StepRecord {
            at: now,
            step: step.name().to_owned(),
            outcome: outcome.to_owned(),
            detail,
            duration_ms,
        };
        let (effect, outcome) = match result {
            Ok(effect) => {
                let change = effect.change;
                let settled = move |tenant: &mut Tenant| {
                    change(tenant);
                    succeeded(tenant, step);
                };
                (Effect { change: Box::new(settled), ..effect }, "done".to_owned())
            }
            Err(Failure::Store(error)) => return Err(error.into()),
            Err(Failure::Waits { code, delay }) => {
                // A turn may be long in coming; nothing is wrong then.
                if step != Step::ChooseRelease {
                    count_wait(&tenant, code, step.name(), now);
                }
                let until = now + delay;
                (Effect::done(move |tenant| pause(tenant, step.name(), code, now, until)), code.to_owned())
            }
            Err(Failure::Failed { code, delay, .. }) if step == Step::Sync => {
                let before = tenant.work.unanswered.as_ref().map_or(0, |before| before.failures);
                count(&code, step.name(), before + 1);
                let outcome = code.clone();
                (Effect::done(move |tenant| unanswered(tenant, &code, now, delay)), outcome)
            }
            Err(Failure::Failed { code, delay, is_unknown }) => {
                count(&code, step.name(), tenant.work.failures + 1);
                let outcome = code.clone();
                let names = (step.name(), step.name());
                let effect = Effect::done(move |tenant| {
                    failed(tenant, names, &code, now, delay);
                    if is_unknown && step.changes_resources() {
                        tenant.work.note_in_flight(began, now);
                    }
                });
                (effect, outcome)
            }
        };
        tracing::info!(step = step.name(), code = outcome, detail = effect.detail, duration_ms, "step");
        let record = record(&outcome, effect.detail.clone());
        self.save(tenant.clone(), &effect, record, step).await
    }

    /// Saves a step's result. Others may have changed the row meanwhile: what they wrote stays, and what was learned is
    /// written on top, as long as the lease is ours. A result that is nothing but a write is decided anew.
    async fn save(
        &self,
        tenant: Tenant,
        effect: &Effect<'_>,
        record: StepRecord,
        step: Step,
    ) -> Result<Option<Tenant>, Error> {
        let mut tenant = tenant;
        for _ in 0..ATTEMPTS {
            let mut next = tenant.clone();
            (effect.change)(&mut next);
            self.arrange(&mut next);
            let is_news = tenant
                .work
                .pause
                .as_ref()
                .is_none_or(|known| known.step != step.name() || known.code != record.outcome);
            let saved = if is_news && !effect.is_quiet {
                let (step, route, place) = (record.clone(), effect.route.clone(), effect.place);
                self.app.store.save_progress(Progress { tenant: next, step, route, place }).await
            } else {
                let saved = self.app.store.save_tenant(&next, Some(tenant.version)).await;
                saved.map(|saved| Progressed::Done(Box::new(saved)))
            };
            match saved {
                Ok(Progressed::Done(saved)) => return Ok(Some(*saved)),
                Ok(Progressed::Full) => return Ok(Some(tenant)),
                Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(fresh) = self.app.store.tenant(tenant.tenant_id).await? else { return Ok(None) };
            let is_ours = fresh.work.lease.as_ref().is_some_and(|lease| lease.owner == self.owner);
            if effect.is_write || !is_ours {
                return Ok(Some(fresh));
            }
            tenant = fresh;
        }
        Err(Error::Store(store::Error::Conflict))
    }

    /// Keeps the lease while there is more to do, and lets go of it together with the last result.
    fn arrange(&self, tenant: &mut Tenant) {
        let now = self.app.clock.now();
        let plan = self.plan(tenant, now);
        if plan.next(now).is_some() {
            self.hold(tenant, now);
            return;
        }
        let work = &mut tenant.work;
        work.lease = None;
        // A step that is no longer wanted needs no pause.
        if plan.steps.is_empty() {
            (work.pause, work.failures, work.last_error) = (None, 0, None);
        }
        tenant.due = plan.due(now).map(|at| Due::new(Kind::Reconcile, tenant.tenant_id, at));
    }

    /// Leaves a receipt and nothing else; or, for a person who paid again meanwhile, begins a new life.
    async fn bury(&self, tenant: Tenant, started: Instant) -> Result<Option<Tenant>, Error> {
        let now = self.app.clock.now();
        let place = tenant.work.shard.as_ref().map(|shard| Place::Leave { subscription: &shard.subscription });
        if tenant.entitlement(now) == Entitlement::Remove {
            self.app.store.remove_steps(tenant.tenant_id, tenant.version).await?;
            return match self.app.store.end_tenant(&tenant.buried(now), place).await {
                Ok(()) => {
                    metric("TenantsRemoved", 1);
                    tracing::info!(step = Step::Bury.name(), code = "done", "a receipt is all that is left");
                    Ok(None)
                }
                Err(store::Error::Conflict) => Ok(self.app.store.tenant(tenant.tenant_id).await?),
                Err(error) => Err(error.into()),
            };
        }
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (step, outcome) = (Step::Bury.name().to_owned(), "done".to_owned());
        let record = StepRecord { at: now, step, outcome, detail: Some("a new life begins".to_owned()), duration_ms };
        let tombstone = tenant.buried(now);
        let due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, now));
        let anew = tombstone.revived(tenant.chat_id, tenant.subscription.clone(), now);
        let anew = Tenant { held: tenant.held, version: tenant.version, due, ..anew };
        let tenant_id = tenant.tenant_id;
        match self.app.store.save_progress(Progress { tenant: anew, step: record, route: None, place }).await {
            Ok(Progressed::Done(saved)) => Ok(Some(*saved)),
            Ok(Progressed::Full) | Err(store::Error::Conflict) => Ok(self.app.store.tenant(tenant_id).await?),
            Err(error) => Err(error.into()),
        }
    }
}

fn succeeded(tenant: &mut Tenant, step: Step) {
    let work = &mut tenant.work;
    if step == Step::Sync {
        work.unanswered = None;
    }
    if work.pause.as_ref().is_some_and(|pause| pause.step == step.name()) {
        work.pause = None;
    }
    if work.last_error.as_ref().is_some_and(|last| last.step == step.name()) {
        (work.failures, work.last_error) = (0, None);
    }
}
