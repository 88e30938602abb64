//! Removing everything, with a line of the receipt for each part.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::plan::Part;
use nbhd::domain::tenant::{Removed, Tenant};
use nbhd::flows::disconnect;
use nbhd::providers::Error;
use nbhd::queue::RefreshJob;

use super::{Effect, Job, Site, container};
use crate::failure::Failure;

/// How long to wait for the tokens to be removed before the job is queued anew.
const CONNECTIONS_SECONDS: u64 = 30;
const SKEW: Duration = Duration::from_secs(60 * 60);

pub(crate) async fn remove<'a>(job: &Job<'a>, part: Part) -> Result<Effect<'a>, Failure> {
    let name = &job.names.resource;
    let purged_by = match part {
        Part::Connections => disconnected(job).await,
        Part::ModelKeys => model_keys(job).await.map(|()| None),
        Part::App => return container::delete(job).await,
        Part::Storage => {
            let environment = &job.app.settings.environment;
            Ok(job.app.arm.delete_storage(&job.site()?.group, environment, name).await.map(|()| None)?)
        }
        Part::Share => {
            let Site { shard, group } = job.site()?;
            Ok(job.app.arm.delete_share(&group, &shard.account, name).await.map(|()| None)?)
        }
        Part::Role => {
            let site = job.site()?;
            let scope = site.group.vault_secret(&site.shard.vault, &job.names.secret);
            Ok(job.app.arm.revoke(&scope, job.names.role).await.map(|()| None)?)
        }
        Part::Identity => Ok(job.app.arm.delete_identity(&job.site()?.group, name).await.map(|()| None)?),
        Part::Secret => secret(job).await,
        Part::Rows => Ok(job.app.store.remove_rows(job.tenant.tenant_id).await.map(|()| None)?),
    }?;
    let now = job.app.clock.now();
    Ok(Effect::done(move |tenant| receipt(tenant, part, now, purged_by)))
}

/// Writes the line that says that a part is gone.
pub(super) fn receipt(tenant: &mut Tenant, part: Part, at: Timestamp, purged_by: Option<Timestamp>) {
    let resources = &mut tenant.work.resources;
    match part {
        Part::Connections | Part::Rows => {}
        Part::ModelKeys => (resources.keys, resources.former_keys) = (None, None),
        Part::App => resources.app = None,
        Part::Storage => resources.storage = false,
        Part::Share => resources.share = false,
        Part::Role => resources.reader = None,
        Part::Identity => resources.identity = None,
        Part::Secret => tenant.key_hashes = Vec::new(),
    }
    let line = Removed { what: part.as_str().to_owned(), at, purged_by };
    if !tenant.work.receipt.iter().any(|known| known.what == line.what) {
        tenant.work.receipt.push(line);
    }
}

/// Has `scheduled-refresh` end the grants and purge the tokens: this function's identity opens no vault with tokens.
/// Also where no row speaks of any, because a connect may have been cut short before it. Says when the last vault
/// destroys what it keeps, where it does not let us.
async fn disconnected(job: &Job<'_>) -> Result<Option<Timestamp>, Failure> {
    let (store, queue, tenant_id) = (&job.app.store, &job.app.refresh, job.tenant.tenant_id);
    let (mut is_left, mut purged_by) = (false, None);
    for provider in Provider::ALL {
        match store.integration(tenant_id, provider).await? {
            Some(row) if row.is_removed() => purged_by = purged_by.max(row.purged_by),
            Some(_) => {
                is_left = true;
                let requested = disconnect::request(store, queue, tenant_id, provider, job.app.clock.now()).await;
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
    if is_left { Err(Failure::waits("connections_are_being_removed", CONNECTIONS_SECONDS)) } else { Ok(purged_by) }
}

/// Those that are known, and any of a creation that was cut short.
async fn model_keys(job: &Job<'_>) -> Result<(), Failure> {
    let (tenant, gateway) = (job.tenant, &job.app.gateway);
    let resources = &tenant.work.resources;
    for keys in resources.keys.iter().chain(&resources.former_keys) {
        gateway.delete(&keys.model_key).await?;
    }
    let generation = tenant.newest_generation();
    // Keys on the row were made whole; before each was made, what an earlier try had lost was looked for.
    if resources.keys.as_ref().is_some_and(|keys| keys.generation == generation) {
        return Ok(());
    }
    let since = tenant.work.generation_since.unwrap_or_default() - SKEW;
    for lost in gateway.find_since(&job.names.model_key(generation), since).await? {
        gateway.delete(&lost.hash).await?;
    }
    Ok(())
}

/// When the vault destroys the last copy, where it does not let us.
async fn secret(job: &Job<'_>) -> Result<Option<Timestamp>, Failure> {
    let (vault, name) = (job.vault()?, &job.names.secret);
    vault.delete(name).await?;
    match vault.purge(name).await {
        Ok(()) => Ok(None),
        Err(Error::Refused { status: 409, .. }) => Err(Failure::waits("secret_is_being_deleted", 2)),
        Err(Error::Refused { status: 403, .. }) => {
            let date = vault.scheduled_purge(name).await?;
            date.map(Some).ok_or_else(|| Failure::failed("no_purge_date"))
        }
        Err(error) => Err(error.into()),
    }
}
