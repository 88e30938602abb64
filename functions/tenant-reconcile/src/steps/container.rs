//! The container app: changed by operations that outlast their call.

use std::time::Duration;

use nbhd::domain::plan::{HEALTHY_WITHIN, Learned, Part, StepName};
use nbhd::domain::release::Release;
use nbhd::domain::resources::{AppChange, Operation};
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::providers::Error;
use nbhd::providers::azure::resource_manager::container_app::{ProvisioningState, RunningState};
use nbhd::providers::azure::resource_manager::{self as arm, ContainerAppSpec, Obstacle, PollOutcome, StartOutcome};

use super::{Site, StepContext, StepResult};
use crate::container_spec::{self, TenantParameters};
use crate::failure::{BUSY_SECONDS, Failure, ROLE_SECONDS, report_failure};

/// A role takes 10 minutes at most; this is more.
const ROLE_EFFECTIVE_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How often a container is asked whether it is up, and an app for its replicas.
const POLL_SECONDS: u64 = 5;

pub(crate) async fn put_app<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let (release, parameters, site) =
        (super::release::chosen_release(context).await?, tenant_parameters(context)?, context.site()?);
    let id = release.id();
    if context.tenant.reconcile.release.as_ref() != Some(&id) {
        return Ok(StepResult::new(Learned::ReleaseReplaced { release: id }));
    }
    let app = intended_app(context, &release, &parameters);
    let change = AppChange::Put { fingerprint: parameters.fingerprint(), release: id };
    let started = context.app.arm.put_app(&site.group, &context.names.resource, &app).await;
    match started {
        Ok(started) => track_operation(context, started, change, Some(&app)).await,
        // The role of the identity that pulls may be new as well; but a release can also name what nobody may pull.
        Err(error) if Obstacle::of(&error) == Some(Obstacle::ImageUnreadable) && !is_role_old(context) => {
            Err(Failure::waiting(WaitReason::RoleNotEffective, ROLE_SECONDS))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn start_app<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let started = context.app.arm.start_app(&context.site()?.group, &context.names.resource).await;
    track_if_found(context, started, AppChange::Start).await
}

pub(crate) async fn stop_app<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let started = context.app.arm.stop_app(&context.site()?.group, &context.names.resource).await;
    track_if_found(context, started, AppChange::Stop).await
}

pub(crate) async fn delete_app<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let started = context.app.arm.delete_app(&context.site()?.group, &context.names.resource).await?;
    track_operation(context, started, AppChange::Delete, None).await
}

/// Deletes whatever app bears the tenant's name; whether there was one. Until it is gone, this waits.
pub(super) async fn delete_app_by_name(context: &StepContext<'_>) -> Result<bool, Failure> {
    let (group, name) = (context.site()?.group, &context.names.resource);
    let exists = match context.app.arm.get_app(&group, name).await {
        // Whatever form it has.
        Ok(_) | Err(Error::Malformed { .. }) => true,
        Err(Error::NotFound) => false,
        Err(error) => return Err(error.into()),
    };
    match context.app.arm.delete_app(&group, name).await? {
        StartOutcome::Done => Ok(exists),
        StartOutcome::Pending(_) | StartOutcome::Busy => {
            Err(Failure::waiting(WaitReason::AppBeingDeleted, BUSY_SECONDS))
        }
    }
}

/// Asks once what became of the operation under way.
pub(crate) async fn await_operation<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let under_way = context.tenant.reconcile.resources.operation.as_ref();
    let under_way = under_way.ok_or_else(|| StepError::precondition("no_operation"))?;
    let change = under_way.change.clone();
    let Ok(operation) = serde_json::from_str(&under_way.handle) else { return read_result(context, change).await };
    match context.app.arm.poll(&operation).await? {
        PollOutcome::Done => read_result(context, change).await,
        PollOutcome::Pending(operation) => {
            Ok(StepResult { skip_record: true, ..operation_started(context, &operation, change) })
        }
        // Only the app itself can say what became of it; the change is made again where it is still needed.
        PollOutcome::Unknown => {
            Ok(StepResult::new(Learned::OperationForgotten).with_detail("azure no longer knows the operation"))
        }
        PollOutcome::Failed { code } => {
            report_operation_failure(context, &change, &code);
            let detail = format!("failed: {code}");
            Ok(StepResult::new(Learned::OperationFailed { code }).with_detail(detail))
        }
    }
}

pub(crate) async fn await_no_replica<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    match context.app.arm.count_replicas(&context.site()?.group, &context.names.resource).await {
        Ok(0) => Ok(StepResult::new(Learned::AppDrained)),
        Ok(_) => Err(Failure::waiting(WaitReason::ReplicaLeft, POLL_SECONDS)),
        Err(Error::NotFound) => Ok(app_missing()),
        Err(error) => Err(error.into()),
    }
}

/// Through the ingress, over https, as messages come.
pub(crate) async fn check_health<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let app = context.tenant.reconcile.resources.app.as_ref();
    let app_and_host = app.and_then(|app| Some((app, app.fqdn.as_ref()?)));
    let (app, fqdn) = app_and_host.ok_or_else(|| StepError::precondition("no_address"))?;
    let is_late = context.app.clock.now() >= app.changed_at + HEALTHY_WITHIN;
    match context.app.runtime.check_health(&format!("https://{fqdn}")).await {
        Ok(()) => Ok(StepResult::new(Learned::AppHealthy)),
        Err(cause) if is_late => Err(StepError::Unhealthy { cause: cause.to_string() }.into()),
        Err(_) => Err(Failure::waiting(WaitReason::NotUpYet, POLL_SECONDS)),
    }
}

/// The app as it shall be.
pub(super) fn intended_app(
    context: &StepContext<'_>,
    release: &Release,
    parameters: &TenantParameters,
) -> ContainerAppSpec {
    container_spec::container_app(&context.app.settings, release, &context.names, context.tenant, parameters)
}

pub(super) fn tenant_parameters(context: &StepContext<'_>) -> Result<TenantParameters, Failure> {
    Ok(TenantParameters::of(context.tenant, context.app.clock.now())
        .ok_or_else(|| StepError::precondition("no_keys"))?)
}

async fn track_operation<'a>(
    context: &StepContext<'a>,
    started: StartOutcome,
    change: AppChange,
    intended: Option<&ContainerAppSpec>,
) -> Result<StepResult<'a>, Failure> {
    match started {
        StartOutcome::Done => read_result(context, change).await,
        StartOutcome::Pending(operation) => Ok(operation_started(context, &operation, change).with_detail("begun")),
        StartOutcome::Busy if is_already(context, &change, intended).await? => read_result(context, change).await,
        StartOutcome::Busy => Err(Failure::waiting(WaitReason::AppBusy, BUSY_SECONDS)),
    }
}

/// Whether the app, which Azure would not change, already is as the change makes it.
async fn is_already(
    context: &StepContext<'_>,
    change: &AppChange,
    intended: Option<&ContainerAppSpec>,
) -> Result<bool, Failure> {
    let seen = match context.app.arm.get_app(&context.site()?.group, &context.names.resource).await {
        Ok(seen) => seen,
        Err(Error::NotFound) => return Ok(*change == AppChange::Delete),
        Err(error) => return Err(error.into()),
    };
    let is_so = match change {
        AppChange::Put { .. } => intended.is_some_and(|intended| seen.find_drift(intended).is_empty()),
        AppChange::Start => seen.running == RunningState::Running,
        AppChange::Stop => seen.running == RunningState::Stopped,
        AppChange::Delete => false,
    };
    Ok(is_so && seen.provisioning == ProvisioningState::Succeeded)
}

/// Whether the app's PUT has waited for longer than any role takes.
fn is_role_old(context: &StepContext<'_>) -> bool {
    let since = context.tenant.reconcile.waiting_since(StepName::PutApp);
    since.is_some_and(|since| context.app.clock.now() >= since + ROLE_EFFECTIVE_WITHIN)
}

/// Starting or stopping an app that somebody deleted finds it missing.
async fn track_if_found<'a>(
    context: &StepContext<'a>,
    started: Result<StartOutcome, Error>,
    change: AppChange,
) -> Result<StepResult<'a>, Failure> {
    match started {
        Ok(started) => track_operation(context, started, change, None).await,
        Err(Error::NotFound) => Ok(app_missing()),
        Err(error) => Err(error.into()),
    }
}

fn operation_started<'a>(context: &StepContext<'a>, operation: &arm::Operation, change: AppChange) -> StepResult<'a> {
    let poll_at = context.app.clock.now() + operation.retry_after();
    let handle = serde_json::to_string(operation).unwrap_or_default();
    StepResult::new(Learned::OperationStarted(Operation { change, handle, poll_at }))
}

/// The change is in effect: what it led to is read from the app itself.
async fn read_result<'a>(context: &StepContext<'a>, change: AppChange) -> Result<StepResult<'a>, Failure> {
    let Site { group, .. } = context.site()?;
    let is_deletion = change == AppChange::Delete;
    let seen = match context.app.arm.get_app(&group, &context.names.resource).await {
        Ok(_) if is_deletion => {
            // A deletion that ended and left an app begins again.
            return Ok(StepResult::new(Learned::OperationForgotten).with_detail("the app still exists"));
        }
        Ok(seen) => seen,
        Err(Error::NotFound) if is_deletion => {
            let removed = Learned::PartRemoved { part: Part::App, purged_by: None };
            return Ok(StepResult::new(removed).with_detail("the app is gone"));
        }
        Err(Error::NotFound) => return Ok(app_missing()),
        Err(error) => return Err(error.into()),
    };
    let failure = (seen.provisioning == ProvisioningState::Failed).then(|| "provisioning_failed".to_owned());
    if let Some(code) = &failure {
        report_operation_failure(context, &change, code);
    }
    let detail = if failure.is_some() { "provisioning failed" } else { "done" };
    let running = seen.running != RunningState::Stopped;
    Ok(StepResult::new(Learned::AppChanged { change, running, fqdn: seen.fqdn, failure }).with_detail(detail))
}

fn report_operation_failure(context: &StepContext<'_>, change: &AppChange, code: &str) {
    let error = StepError::OperationFailed { code: code.to_owned() };
    report_failure(&error, change.step(), context.tenant.reconcile.failures + 1);
}

fn app_missing<'a>() -> StepResult<'a> {
    StepResult::new(Learned::AppMissing).with_detail("there is no app")
}
