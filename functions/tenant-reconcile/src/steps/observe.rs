//! Whether the resources are as the row says; what is not is forgotten, and so made again.

use nbhd::domain::plan::{Finding, Learned, ModelKeyState, ObservedApp};
use nbhd::domain::resources::{Identity, Keys};
use nbhd::providers::Error;
use nbhd::providers::azure::key_vault::is_unreadable;
use nbhd::providers::azure::resource_manager::ContainerApp;
use nbhd::providers::azure::resource_manager::container_app::{ProvisioningState, RunningState};
use nbhd::telemetry::metric;

use super::{StepContext, StepResult, container, infrastructure, keys};
use crate::failure::Failure;

pub(crate) async fn observe<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let finding = observe_resources(context).await?;
    let strays = match &context.tenant.reconcile.in_flight {
        Some(requests) => keys::delete_strays(context, requests.since).await?,
        None => 0,
    };
    let mut drifted = finding.drift_from(context.tenant);
    if strays > 0 {
        drifted.push("model key that the row does not know");
    }
    let result = StepResult::new(Learned::Observed(finding));
    if drifted.is_empty() {
        return Ok(StepResult { skip_record: true, ..result });
    }
    let drifted = drifted.join(", ");
    metric("DriftFound", 1);
    tracing::warn!(code = "drift", what = drifted, "a resource is not as it was left; it is made so again");
    Ok(result.with_detail(drifted))
}

async fn observe_resources(context: &StepContext<'_>) -> Result<Finding, Failure> {
    let began = context.app.clock.now();
    let (site, arm, settings) = (context.site()?, &context.app.arm, &context.app.settings);
    let (group, name, resources) = (&site.group, &context.names.resource, &context.tenant.reconcile.resources);
    let identity = ok_or_not_found(arm.get_identity(group, name).await)?;
    let scope = group.vault_secret(&site.shard.vault, &context.names.secret);
    let role = ok_or_not_found(arm.get_role_assignment(&scope, context.names.role).await)?;
    let share = ok_or_not_found(arm.get_share(group, &site.shard.account, name).await)?;
    let storage = match arm.get_storage(group, &settings.environment, name).await {
        Ok(storage) => storage == infrastructure::intended_storage(context, &site),
        Err(Error::NotFound | Error::Malformed { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let (mut secret_intact, mut model_key) = (true, None);
    if let Some(keys) = &resources.keys {
        secret_intact = match context.vault()?.get_latest(&context.names.secret).await {
            Ok(secret) => secret.version == keys.secret_version,
            Err(error) if is_unreadable(&error) => false,
            Err(error) => return Err(error.into()),
        };
        model_key = observe_model_key(context, keys).await?;
    }
    let former_model_key = match &resources.former_keys {
        Some(keys) => observe_model_key(context, keys).await?,
        None => None,
    };
    let app = match ok_or_not_found(arm.get_app(group, name).await)? {
        None => None,
        Some(seen) => Some(ObservedApp {
            running: seen.running != RunningState::Stopped,
            fqdn: seen.fqdn.clone(),
            has_drifted: has_drifted(context, &seen).await?,
            is_changing: matches!(seen.provisioning, ProvisioningState::InProgress | ProvisioningState::Deleting),
        }),
    };
    Ok(Finding {
        began,
        identity: identity.map(|identity| Identity { principal_id: identity.principal_id }),
        // Another role, or one on more than this secret, is none of ours: it is made anew under its name.
        secret_reader: role.filter(|role| role.is_reader_of(&scope)).map(|role| role.principal_id),
        share: share.is_some(),
        storage,
        secret_intact,
        model_key,
        former_model_key,
        app,
    })
}

async fn observe_model_key(context: &StepContext<'_>, keys: &Keys) -> Result<Option<ModelKeyState>, Failure> {
    let known = ok_or_not_found(context.app.gateway.get_key(&keys.model_key).await)?;
    Ok(known.map(|key| ModelKeyState { limit_cents: key.limit_cents, disabled: key.disabled }))
}

/// Whether the app differs from what was put; known only of a release whose form this code knows.
pub(crate) async fn has_drifted(context: &StepContext<'_>, seen: &ContainerApp) -> Result<bool, Failure> {
    let known = context.tenant.reconcile.resources.app.as_ref();
    let known = known.zip(container::tenant_parameters(context).ok());
    let Some((known, parameters)) = known.filter(|(known, own)| known.fingerprint == own.fingerprint()) else {
        return Ok(false);
    };
    let release = super::release::comparable(context, &known.release).await?;
    let differs = |release| !seen.find_drift(&container::intended_app(context, &release, &parameters)).is_empty();
    Ok(release.is_some_and(differs))
}

fn ok_or_not_found<T>(answer: Result<T, Error>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
