//! The container app: changed by operations that outlast their call.

use nbhd::domain::plan::{Part, Step};
use nbhd::domain::release::Release;
use nbhd::domain::tenant::Tenant;
use nbhd::domain::work::{App, Change, Operation, Resources};
use nbhd::providers::Error;
use nbhd::providers::azure::resource_manager::container_app::{Provisioning, Running};
use nbhd::providers::azure::resource_manager::{self as arm, ContainerApp, Polled, Started};

use super::{Effect, Job, Site};
use crate::body::{self, Own};
use crate::failure::{self, Failure};

/// How long to leave an app alone that is busy with another operation.
const BUSY_SECONDS: u64 = 10;
/// How often a container is asked whether it is up, and an app for its replicas.
const POLL_SECONDS: u64 = 5;

pub(crate) async fn put<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let (release, own, site) = (super::release::content(job).await?, own(job)?, job.site()?);
    let app = intended(job, &release, &own);
    let (wanted, id) = (job.tenant.work.release.clone(), release.id());
    let change = Change::Put { fingerprint: own.fingerprint(), release: id.clone() };
    let started = job.app.arm.put_app(&site.group, &job.names.resource, &app).await?;
    let effect = begun(job, started, change).await?;
    if wanted.as_ref() == Some(&id) {
        return Ok(effect);
    }
    // The release that was wanted is known to nobody any more, and another one took its place.
    let Effect { change, .. } = effect;
    let change = Box::new(move |tenant: &mut Tenant| {
        change(tenant);
        tenant.work.release = Some(id.clone());
    });
    Ok(Effect { change, ..effect })
}

pub(crate) async fn start<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let started = job.app.arm.start_app(&job.site()?.group, &job.names.resource).await;
    begun_on_existing(job, started, Change::Start).await
}

pub(crate) async fn stop<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let started = job.app.arm.stop_app(&job.site()?.group, &job.names.resource).await;
    begun_on_existing(job, started, Change::Stop).await
}

pub(crate) async fn delete<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let started = job.app.arm.delete_app(&job.site()?.group, &job.names.resource).await?;
    begun(job, started, Change::Delete).await
}

/// Deletes whatever app bears the tenant's name; whether there was one. Until it is gone, this waits.
pub(super) async fn delete_by_name(job: &Job<'_>) -> Result<bool, Failure> {
    let (group, name) = (job.site()?.group, &job.names.resource);
    let is_there = match job.app.arm.app(&group, name).await {
        // Whatever form it has.
        Ok(_) | Err(Error::Malformed { .. }) => true,
        Err(Error::NotFound) => false,
        Err(error) => return Err(error.into()),
    };
    match job.app.arm.delete_app(&group, name).await? {
        Started::Done => Ok(is_there),
        Started::Pending(_) | Started::Busy => Err(Failure::waits("app_is_being_deleted", BUSY_SECONDS)),
    }
}

/// Asks once what became of the operation under way.
pub(crate) async fn await_operation<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let under_way = job.tenant.work.resources.operation.as_ref().ok_or_else(|| Failure::failed("no_operation"))?;
    let ended = |then: Change| finish(job, then);
    let Ok(operation) = serde_json::from_str(&under_way.handle) else { return ended(under_way.change.clone()).await };
    match job.app.arm.poll(&operation).await? {
        Polled::Done => ended(under_way.change.clone()).await,
        Polled::Pending(operation) => {
            Ok(Effect { is_quiet: true, ..pending(job, &operation, under_way.change.clone()) })
        }
        // Only the app itself can say what became of it; the change is made again where it is still needed.
        Polled::Unknown => {
            Ok(Effect::done(|tenant| forget(&mut tenant.work.resources)).found("azure no longer knows the operation"))
        }
        Polled::Failed { code } => {
            let fails = fails(job, &under_way.change, &code);
            Ok(Effect::done(move |tenant| {
                forget(&mut tenant.work.resources);
                fails(tenant);
            })
            .found(format!("failed: {code}")))
        }
    }
}

pub(crate) async fn await_no_replica<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    match job.app.arm.replicas(&job.site()?.group, &job.names.resource).await {
        Ok(0) => Ok(Effect::done(|tenant| on_app(tenant, |app| app.drained = true))),
        Ok(_) => Err(Failure::waits("a_replica_is_left", POLL_SECONDS)),
        Err(Error::NotFound) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}

/// Through the ingress, over https, as messages come.
pub(crate) async fn check_health<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let app = job.tenant.work.resources.app.as_ref();
    let (app, fqdn) =
        app.and_then(|app| Some((app, app.fqdn.as_ref()?))).ok_or_else(|| Failure::failed("no_address"))?;
    let is_late = job.app.clock.now() >= app.changed_at + nbhd::domain::plan::HEALTHY_WITHIN;
    match job.app.runtime.health(&format!("https://{fqdn}")).await {
        Ok(()) => Ok(Effect::done(|tenant| on_app(tenant, |app| app.healthy = true))),
        Err(cause) if is_late => Err(Failure::failed(format!("unhealthy_{}", cause.to_string().replace(' ', "_")))),
        Err(_) => Err(Failure::waits("not_up_yet", POLL_SECONDS)),
    }
}

/// The app as it shall be.
pub(super) fn intended(job: &Job<'_>, release: &Release, own: &Own) -> ContainerApp {
    body::app(&job.app.settings, release, &job.names, job.tenant, own)
}

pub(super) fn own(job: &Job<'_>) -> Result<Own, Failure> {
    Own::of(job.tenant).ok_or_else(|| Failure::failed("no_keys"))
}

async fn begun<'a>(job: &Job<'a>, started: Started, change: Change) -> Result<Effect<'a>, Failure> {
    match started {
        Started::Done => finish(job, change).await,
        Started::Pending(operation) => Ok(pending(job, &operation, change).found("begun")),
        Started::Busy => Err(Failure::waits("app_busy", BUSY_SECONDS)),
    }
}

/// Starting or stopping what somebody deleted finds it gone.
async fn begun_on_existing<'a>(
    job: &Job<'a>,
    started: Result<Started, Error>,
    change: Change,
) -> Result<Effect<'a>, Failure> {
    match started {
        Ok(started) => begun(job, started, change).await,
        Err(Error::NotFound) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}

fn pending<'a>(job: &Job<'a>, operation: &arm::Operation, change: Change) -> Effect<'a> {
    let poll_at = job.app.clock.now() + operation.retry_after();
    let handle = serde_json::to_string(operation).unwrap_or_default();
    let operation = Operation { change, handle, poll_at };
    Effect::done(move |tenant| tenant.work.resources.operation = Some(operation.clone()))
}

/// The change is in effect: what it led to is read from the app itself.
async fn finish<'a>(job: &Job<'a>, change: Change) -> Result<Effect<'a>, Failure> {
    let Site { group, .. } = job.site()?;
    let now = job.app.clock.now();
    let seen = match job.app.arm.app(&group, &job.names.resource).await {
        Ok(seen) => seen,
        Err(Error::NotFound) => {
            let is_deletion = change == Change::Delete;
            return Ok(Effect::done(move |tenant| {
                tenant.work.resources.operation = None;
                tenant.work.resources.app = None;
                if is_deletion {
                    super::removal::receipt(tenant, Part::App, now, None);
                }
            })
            .found(if is_deletion { "gone" } else { "not there" }));
        }
        Err(error) => return Err(error.into()),
    };
    let what = change.name();
    let failed = seen.provisioning == Provisioning::Failed;
    let fails = failed.then(|| fails(job, &change, "provisioning_failed"));
    let (fingerprint, release) = match change {
        // A deletion that ended and left an app begins again.
        Change::Delete => return Ok(Effect::done(|tenant| tenant.work.resources.operation = None).found("still there")),
        Change::Put { fingerprint, release } if !failed => (Some(fingerprint), Some(release)),
        Change::Put { .. } => (Some(String::new()), None),
        Change::Start | Change::Stop => (None, None),
    };
    let stopped = seen.running == Running::Stopped;
    let (fqdn, detail) = (seen.fqdn, if failed { "provisioning failed" } else { "done" });
    Ok(Effect::done(move |tenant| {
        let work = &mut tenant.work;
        work.resources.operation = None;
        let known = work.resources.app.take();
        let before = known.as_ref();
        work.resources.app = Some(App {
            fingerprint: fingerprint.clone().or_else(|| before.map(|app| app.fingerprint.clone())).unwrap_or_default(),
            release: release.clone().or_else(|| before.map(|app| app.release.clone())).unwrap_or_default(),
            fqdn: fqdn.clone(),
            running: !stopped,
            drained: false,
            healthy: false,
            changed_at: now,
        });
        if let Some(fails) = &fails {
            fails(tenant);
        } else if work.last_error.as_ref().is_some_and(|last| last.step == what) {
            (work.failures, work.last_error) = (0, None);
        }
    })
    .found(detail))
}

/// Azure's final word is that a change failed: it is made again after a while, later each time.
fn fails(job: &Job<'_>, change: &Change, code: &str) -> impl Fn(&mut Tenant) + Send + Sync + 'static {
    let (what, step) = match change {
        Change::Put { .. } => (change.name(), Step::PutApp),
        Change::Start => (change.name(), Step::StartApp),
        Change::Stop => (change.name(), Step::StopApp),
        Change::Delete => (change.name(), Step::Remove(Part::App)),
    };
    let (code, now) = (format!("azure_{code}"), job.app.clock.now());
    failure::count(&code, what, job.tenant.work.failures + 1);
    move |tenant| failure::failed(tenant, (what, step.name()), &code, now, None)
}

fn gone<'a>() -> Effect<'a> {
    Effect::done(|tenant| tenant.work.resources.app = None).found("the app is gone")
}

/// An operation that ended without a result: the app is not believed to be what it was.
fn forget(resources: &mut Resources) {
    let change = resources.operation.take().map(|operation| operation.change);
    if let (Some(Change::Put { .. }), Some(app)) = (change, &mut resources.app) {
        app.fingerprint = String::new();
    }
}

pub(super) fn on_app(tenant: &mut Tenant, change: impl Fn(&mut App)) {
    if let Some(app) = &mut tenant.work.resources.app {
        change(app);
    }
}
