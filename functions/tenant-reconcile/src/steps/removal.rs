//! Removing everything, with a line of the receipt for each part.

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::plan::{Learned, Part};
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::domain::subscription::Entitlement;
use nbhd::flows::disconnect;
use nbhd::providers::Error;
use nbhd::queue::RefreshJob;
use nbhd::store::ShardSlot;

use super::{Site, StepContext, StepResult, container, keys};
use crate::failure::Failure;

/// How long to wait for the tokens to be removed before the job is queued anew.
const INTEGRATIONS_SECONDS: u64 = 30;

pub(crate) async fn remove_part<'a>(context: &StepContext<'a>, part: Part) -> Result<StepResult<'a>, Failure> {
    let purged_by = match part {
        Part::App => return container::delete_app(context).await,
        Part::Integrations => remove_integrations(context).await?,
        Part::Secret => remove_secret(context).await?.purged_by,
        Part::ModelKeys => {
            remove_model_keys(context).await?;
            None
        }
        Part::Storage | Part::Share | Part::Role | Part::Identity => {
            remove_named(context, part).await?;
            None
        }
        Part::Rows => {
            context.app.store.remove_rows(context.tenant.tenant_id, context.tenant.version).await?;
            None
        }
    };
    Ok(StepResult::new(Learned::PartRemoved { part, purged_by }))
}

/// Puts a receipt in place of the row; or, for a person who paid again meanwhile, begins a new life.
pub(crate) async fn finalize<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let (tenant, app) = (context.tenant, context.app);
    let shard = tenant.reconcile.shard.as_ref();
    let shard_slot = shard.map(|shard| ShardSlot::Release { azure_subscription: &shard.azure_subscription });
    if tenant.entitlement(app.clock.now()) != Entitlement::Remove {
        let result = StepResult::new(Learned::LifeRestarted).with_detail("a new life begins");
        return Ok(StepResult { shard_slot, ..result });
    }
    app.store.remove_steps(tenant.tenant_id, tenant.version).await?;
    Ok(StepResult { shard_slot, skip_record: true, ..StepResult::new(Learned::LifeEnded) })
}

/// Removes one part by its name, whether it is known to be there or not; whether it was. `since`: when the first
/// request that may have made a model key can have been sent.
pub(crate) async fn remove_by_name(context: &StepContext<'_>, part: Part, since: Timestamp) -> Result<bool, Failure> {
    match part {
        Part::App => container::delete_app_by_name(context).await,
        Part::Secret => Ok(remove_secret(context).await?.existed),
        Part::ModelKeys => keys::delete_strays(context, since).await.map(|deleted| deleted > 0),
        Part::Storage | Part::Share | Part::Role | Part::Identity => remove_named(context, part).await,
        Part::Integrations => {
            for provider in Provider::ALL {
                let tenant_id = context.tenant.tenant_id;
                context.app.refresh.send(&RefreshJob::Disconnect { tenant_id, provider }).await?;
            }
            Ok(false)
        }
        Part::Rows => {
            context.app.store.remove_rows(context.tenant.tenant_id, context.tenant.version).await?;
            Ok(false)
        }
    }
}

/// What the resource manager deletes within one call; whether it was there.
async fn remove_named(context: &StepContext<'_>, part: Part) -> Result<bool, Failure> {
    let (arm, name, Site { shard, group }) = (&context.app.arm, &context.names.resource, context.site()?);
    Ok(match part {
        Part::Storage => arm.delete_storage(&group, &context.app.settings.environment, name).await?,
        Part::Share => arm.delete_share(&group, &shard.account, name).await?,
        Part::Role => {
            arm.revoke_role(&group.vault_secret(&shard.vault, &context.names.secret), context.names.role).await?
        }
        Part::Identity => arm.delete_identity(&group, name).await?,
        Part::Integrations | Part::ModelKeys | Part::App | Part::Secret | Part::Rows => false,
    })
}

/// Has `scheduled-refresh` end the grants and purge the tokens: this function's identity opens no vault with tokens.
/// Also where no row speaks of any, because a connect may have been cut short before it. Says when the last vault
/// destroys what it keeps, where it does not let us.
async fn remove_integrations(context: &StepContext<'_>) -> Result<Option<Timestamp>, Failure> {
    let (store, queue, tenant_id) = (&context.app.store, &context.app.refresh, context.tenant.tenant_id);
    let (mut is_left, mut purged_by) = (false, None);
    for provider in Provider::ALL {
        match store.load_integration(tenant_id, provider).await? {
            Some(row) if row.is_removed() => purged_by = purged_by.max(row.purged_by),
            Some(_) => {
                is_left = true;
                let requested = disconnect::request(store, queue, tenant_id, provider, context.app.clock.now()).await;
                requested.map_err(|error| match error {
                    disconnect::Error::Store(error) => Failure::Store(error),
                    disconnect::Error::Queue(error) => error.into(),
                })?;
            }
            None => {
                is_left = true;
                queue.send(&RefreshJob::Disconnect { tenant_id, provider }).await?;
            }
        }
    }
    if is_left {
        Err(Failure::waiting(WaitReason::IntegrationsBeingRemoved, INTEGRATIONS_SECONDS))
    } else {
        Ok(purged_by)
    }
}

/// Those that are known, and any of a creation that was cut short.
async fn remove_model_keys(context: &StepContext<'_>) -> Result<(), Failure> {
    let status = &context.tenant.reconcile;
    for keys in status.resources.keys.iter().chain(&status.resources.former_keys) {
        context.app.gateway.delete_key(&keys.model_key).await?;
    }
    let since = status.in_flight.as_ref().map(|requests| requests.since);
    // Keys on the row were made whole; before each was made, what an earlier try had lost was looked for.
    let making = status.generation_since.filter(|_| status.resources.keys.is_none());
    let since = since.into_iter().chain(making).min().unwrap_or_else(|| context.app.clock.now());
    keys::delete_strays(context, since).await.map(drop)
}

/// How the removal of the runtime's secret ended.
struct DeletedSecret {
    existed: bool,
    /// When the vault destroys the last copy, where it does not let us.
    purged_by: Option<Timestamp>,
}

async fn remove_secret(context: &StepContext<'_>) -> Result<DeletedSecret, Failure> {
    let (vault, name) = (context.vault()?, &context.names.secret);
    let existed = vault.delete(name).await?;
    match vault.purge(name).await {
        Ok(_) => Ok(DeletedSecret { existed, purged_by: None }),
        Err(Error::Refused { status: 409, .. }) => Err(Failure::waiting(WaitReason::SecretBeingDeleted, 2)),
        Err(Error::Refused { status: 403, .. }) => {
            let date =
                vault.get_scheduled_purge(name).await?.ok_or_else(|| StepError::precondition("no_purge_date"))?;
            Ok(DeletedSecret { existed, purged_by: Some(date) })
        }
        Err(error) => Err(error.into()),
    }
}
