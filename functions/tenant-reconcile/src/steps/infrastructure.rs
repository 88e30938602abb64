//! What lies around the container.

use nbhd::domain::plan::Learned;
use nbhd::domain::resources::Identity;
use nbhd::domain::step_error::{StepError, WaitReason};
use nbhd::providers::azure::resource_manager::{GrantOutcome, Share, Storage};
use nbhd::telemetry::metric;

use super::{Site, StepContext, StepResult};
use crate::container_spec;
use crate::failure::Failure;

/// A tenant's journal and snapshots are far below it.
const SHARE_GIB: u32 = 5;
/// The secret with the storage account's key, in the vault of the shard.
const ACCOUNT_KEY: &str = "storage-account-key";

pub(crate) async fn make_identity<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let (site, app) = (context.site()?, context.app);
    let tags = container_spec::tags(context.tenant);
    let made = app.arm.put_identity(&site.group, &context.names.resource, &app.settings.location, &tags).await?;
    Ok(StepResult::new(Learned::IdentityMade(Identity { principal_id: made.principal_id })))
}

pub(crate) async fn grant_role<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let site = context.site()?;
    let identity =
        context.tenant.reconcile.resources.identity.as_ref().ok_or_else(|| StepError::precondition("no_identity"))?;
    let scope = site.group.vault_secret(&site.shard.vault, &context.names.secret);
    let principal_id = identity.principal_id.clone();
    match context.app.arm.grant_secret(&scope, context.names.role, &principal_id).await? {
        GrantOutcome::InPlace => Ok(StepResult::new(Learned::RoleGranted { principal_id })),
        GrantOutcome::PrincipalUnknown => Err(Failure::waiting(WaitReason::PrincipalUnknown, 10)),
        // An identity made anew: the assignment of the one before stands under the same name.
        GrantOutcome::NameTaken => {
            context.app.arm.revoke_role(&scope, context.names.role).await?;
            Err(Failure::waiting(WaitReason::FormerRoleRevoked, 1))
        }
        GrantOutcome::LimitReached => {
            metric("RoleAssignmentsExhausted", 1);
            Err(StepError::precondition("role_assignments_exhausted").into())
        }
    }
}

pub(crate) async fn make_share<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let Site { shard, group } = context.site()?;
    let share = Share {
        name: context.names.resource.clone(),
        quota: SHARE_GIB,
        metadata: container_spec::tags(context.tenant),
    };
    context.app.arm.put_share(&group, &shard.account, &share).await?;
    Ok(StepResult::new(Learned::ShareMade))
}

pub(crate) async fn make_storage<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let (site, settings) = (context.site()?, &context.app.settings);
    let (storage, name) = (intended_storage(context, &site), &context.names.resource);
    context.app.arm.put_storage(&site.group, &settings.environment, name, &storage).await?;
    Ok(StepResult::new(Learned::StorageMade))
}

/// What the environment shall know of the share.
pub(super) fn intended_storage(context: &StepContext<'_>, site: &Site<'_>) -> Storage {
    Storage {
        account: site.shard.account.clone(),
        share: context.names.resource.clone(),
        key_url: format!("{}/secrets/{ACCOUNT_KEY}", site.shard.vault_url),
        key_identity: context.app.settings.environment_identity(&site.group),
    }
}
