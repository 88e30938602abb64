//! What lies around the container.

use nbhd::domain::work::Identity;
use nbhd::providers::azure::resource_manager::{Granted, Share, Storage};
use nbhd::telemetry::metric;

use super::{Effect, Job, Site};
use crate::body;
use crate::failure::Failure;

/// A tenant's journal and snapshots are far below it.
const SHARE_GIB: u32 = 5;
/// The secret with the storage account's key, in the vault of the shard.
const ACCOUNT_KEY: &str = "storage-account-key";

pub(crate) async fn make_identity<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let (site, app) = (job.site()?, job.app);
    let tags = body::tags(job.tenant);
    let made = app.arm.put_identity(&site.group, &job.names.resource, &app.settings.location, &tags).await?;
    let identity = Identity { principal_id: made.principal_id };
    Ok(Effect::done(move |tenant| tenant.work.resources.identity = Some(identity.clone())))
}

pub(crate) async fn grant_role<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let site = job.site()?;
    let identity = job.tenant.work.resources.identity.as_ref().ok_or_else(|| Failure::failed("no_identity"))?;
    let scope = site.group.vault_secret(&site.shard.vault, &job.names.secret);
    let principal = identity.principal_id.clone();
    match job.app.arm.grant_secret(&scope, job.names.role, &principal).await? {
        Granted::InPlace => Ok(Effect::done(move |tenant| tenant.work.resources.reader = Some(principal.clone()))),
        Granted::PrincipalUnknown => Err(Failure::waits("principal_unknown", 10)),
        // An identity made anew: the assignment of the one before stands under the same name.
        Granted::NameTaken => {
            job.app.arm.revoke(&scope, job.names.role).await?;
            Err(Failure::waits("former_role_revoked", 1))
        }
        Granted::LimitReached => {
            metric("RoleAssignmentsExhausted", 1);
            Err(Failure::failed("role_assignments_exhausted"))
        }
    }
}

pub(crate) async fn make_share<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let Site { shard, group } = job.site()?;
    let share = Share { name: job.names.resource.clone(), quota: SHARE_GIB, metadata: body::tags(job.tenant) };
    job.app.arm.put_share(&group, &shard.account, &share).await?;
    Ok(Effect::done(|tenant| tenant.work.resources.share = true))
}

pub(crate) async fn make_storage<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let (site, settings) = (job.site()?, &job.app.settings);
    let (storage, name) = (storage(job, &site), &job.names.resource);
    job.app.arm.put_storage(&site.group, &settings.environment, name, &storage).await?;
    Ok(Effect::done(|tenant| tenant.work.resources.storage = true))
}

/// What the environment shall know of the share.
pub(super) fn storage(job: &Job<'_>, site: &Site<'_>) -> Storage {
    Storage {
        account: site.shard.account.clone(),
        share: job.names.resource.clone(),
        key_url: format!("{}/secrets/{ACCOUNT_KEY}", site.shard.vault_url),
        key_identity: job.app.settings.environment_identity(&site.group),
    }
}
