//! Removing everything, with a line of the receipt for each part.

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::plan::Part;
use nbhd::domain::tenant::{Removed, Tenant};
use nbhd::flows::disconnect;
use nbhd::providers::Error;
use nbhd::queue::RefreshJob;

use super::{Effect, Job, Site, container, keys};
use crate::failure::Failure;

/// How long to wait for the tokens to be removed before the job is queued anew.
const CONNECTIONS_SECONDS: u64 = 30;

pub(crate) async fn remove<'a>(job: &Job<'a>, part: Part) -> Result<Effect<'a>, Failure> {
    let purged_by = match part {
        Part::App => return container::delete(job).await,
        Part::Connections => disconnected(job).await?,
        Part::Secret => secret(job).await?.purged_by,
        Part::ModelKeys => {
            model_keys(job).await?;
            None
        }
        Part::Storage | Part::Share | Part::Role | Part::Identity => {
            remove_named(job, part).await?;
            None
        }
        Part::Rows => {
            job.app.store.remove_rows(job.tenant.tenant_id, job.tenant.version).await?;
            None
        }
    };
    let now = job.app.clock.now();
    Ok(Effect::done(move |tenant| receipt(tenant, part, now, purged_by)))
}

/// Removes one part by its name, whether it is known to be there or not; whether it was. `since`: when the first
/// request that may have made a model key can have been sent.
pub(crate) async fn remove_by_name(job: &Job<'_>, part: Part, since: Timestamp) -> Result<bool, Failure> {
    match part {
        Part::App => container::delete_by_name(job).await,
        Part::Secret => Ok(secret(job).await?.was_there),
        Part::ModelKeys => keys::delete_strays(job, since).await.map(|deleted| deleted > 0),
        Part::Storage | Part::Share | Part::Role | Part::Identity => remove_named(job, part).await,
        Part::Connections => {
            for provider in Provider::ALL {
                let tenant_id = job.tenant.tenant_id;
                job.app.refresh.send(&RefreshJob::Disconnect { tenant_id, provider }).await?;
            }
            Ok(false)
        }
        Part::Rows => {
            job.app.store.remove_rows(job.tenant.tenant_id, job.tenant.version).await?;
            Ok(false)
        }
    }
}

/// What the resource manager deletes within one call; whether it was there.
async fn remove_named(job: &Job<'_>, part: Part) -> Result<bool, Failure> {
    let (arm, name, Site { shard, group }) = (&job.app.arm, &job.names.resource, job.site()?);
    Ok(match part {
        Part::Storage => arm.delete_storage(&group, &job.app.settings.environment, name).await?,
        Part::Share => arm.delete_share(&group, &shard.account, name).await?,
        Part::Role => arm.revoke(&group.vault_secret(&shard.vault, &job.names.secret), job.names.role).await?,
        Part::Identity => arm.delete_identity(&group, name).await?,
        Part::Connections | Part::ModelKeys | Part::App | Part::Secret | Part::Rows => false,
    })
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
    let line = Removed { what: part.as_str().to_owned(), at, purged_by, late: false };
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
    let work = &job.tenant.work;
    for keys in work.resources.keys.iter().chain(&work.resources.former_keys) {
        job.app.gateway.delete(&keys.model_key).await?;
    }
    let since = work.in_flight.as_ref().map(|requests| requests.since);
    // Keys on the row were made whole; before each was made, what an earlier try had lost was looked for.
    let making = work.generation_since.filter(|_| work.resources.keys.is_none());
    let since = since.into_iter().chain(making).min().unwrap_or_else(|| job.app.clock.now());
    keys::delete_strays(job, since).await.map(drop)
}

/// What became of the runtime's secret.
struct Deleted {
    was_there: bool,
    /// When the vault destroys the last copy, where it does not let us.
    purged_by: Option<Timestamp>,
}

async fn secret(job: &Job<'_>) -> Result<Deleted, Failure> {
    let (vault, name) = (job.vault()?, &job.names.secret);
    let was_there = vault.delete(name).await?;
    match vault.purge(name).await {
        Ok(_) => Ok(Deleted { was_there, purged_by: None }),
        Err(Error::Refused { status: 409, .. }) => Err(Failure::waits("secret_is_being_deleted", 2)),
        Err(Error::Refused { status: 403, .. }) => {
            let date = vault.scheduled_purge(name).await?.ok_or_else(|| Failure::failed("no_purge_date"))?;
            Ok(Deleted { was_there, purged_by: Some(date) })
        }
        Err(error) => Err(error.into()),
    }
}
