//! A generation's keys: made once, told to the vault before the table.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::work::Keys;
use nbhd::providers::azure::key_vault::{Secret, is_unreadable};
use nbhd::providers::{Error, model_gateway};

use super::{Effect, Job};
use crate::bundle::{Bundle, ModelKey};
use crate::failure::Failure;

/// How far the gateway's clock may be from ours.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The vault's latest value is taken over where it is whole: the process that wrote it may have died before it could
/// say so. Otherwise a model key whose answer was lost is deleted, since nobody can know it any more.
pub(crate) async fn write<'a>(job: &Job<'a>, generation: u32, limit_cents: u32) -> Result<Effect<'a>, Failure> {
    let (name, tenant) = (job.names.model_key(generation), job.tenant);
    let (keys, detail) = match written(job, generation).await? {
        Some((bundle, version, limit_cents, disabled)) => {
            (keys(&bundle, version, limit_cents, disabled), "taken over from the vault")
        }
        None => {
            let since = tenant.work.generation_since.unwrap_or_default() - SKEW;
            for lost in job.app.gateway.find_since(|found| found == name, since).await? {
                delete_stray(job, &lost).await?;
            }
            let made = job.app.gateway.create(&name, limit_cents).await?;
            let model = ModelKey { key: made.key, hash: made.hash };
            let bundle = Bundle::new(&job.app.key, job.app.bot.id(), tenant.tenant_id, generation, model)?;
            let version = job.vault()?.set(&job.names.secret, tenant.tenant_id, &bundle.to_secret()).await?;
            (keys(&bundle, version, limit_cents, false), "made")
        }
    };
    let effect = Effect::done(move |tenant| {
        let resources = &mut tenant.work.resources;
        let former = resources.keys.replace(keys.clone());
        if let Some(former) = former.filter(|former| former.generation != keys.generation) {
            resources.former_keys = Some(former);
        }
        tenant.key_hashes = tenant.work.resources.key_hashes();
    });
    Ok(effect.found(detail))
}

/// The keys of `generation` in the vault, if they are all there and their model key still exists: with its version, and
/// the model key's limit and state.
async fn written(job: &Job<'_>, generation: u32) -> Result<Option<(Bundle, String, u32, bool)>, Failure> {
    let Secret { value, version } = match job.vault()?.latest(&job.names.secret).await {
        Ok(secret) => secret,
        Err(error) if is_unreadable(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bundle = Bundle::read(&value, &job.app.key, job.app.bot.id(), job.tenant.tenant_id, generation);
    let Some(bundle) = bundle else { return Ok(None) };
    match job.app.gateway.get(&bundle.model_key_hash).await {
        Ok(key) if key.name == job.names.model_key(generation) => {
            Ok(Some((bundle, version, key.limit_cents.unwrap_or(u32::MAX), key.disabled)))
        }
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the tenant's model keys that were made `since` then and that its row does not know: a request that made one
/// was not answered, or arrived late. How many there were.
pub(super) async fn delete_strays(job: &Job<'_>, since: Timestamp) -> Result<usize, Failure> {
    let resources = &job.tenant.work.resources;
    let known: Vec<&str> =
        resources.keys.iter().chain(&resources.former_keys).map(|keys| keys.model_key.as_str()).collect();
    let found = job.app.gateway.find_since(|name| job.names.is_model_key(name), since - SKEW).await?;
    let strays: Vec<_> = found.iter().filter(|key| !known.contains(&key.hash.as_str())).collect();
    for stray in &strays {
        delete_stray(job, stray).await?;
    }
    Ok(strays.len())
}

/// Once the lease has ended, another worker may have made it, and the row may know it.
async fn delete_stray(job: &Job<'_>, stray: &model_gateway::Key) -> Result<(), Failure> {
    if !job.is_in_time() {
        return Err(Failure::waits("lease_ended", 1));
    }
    Ok(job.app.gateway.delete(&stray.hash).await?)
}

fn keys(bundle: &Bundle, secret_version: String, limit_cents: u32, disabled: bool) -> Keys {
    Keys {
        generation: bundle.generation,
        secret_version,
        internal: bundle.internal_hash(),
        model_key: bundle.model_key_hash.clone(),
        limit_cents,
        disabled,
    }
}

pub(crate) async fn set_model_key<'a>(job: &Job<'a>, disabled: bool, limit_cents: u32) -> Result<Effect<'a>, Failure> {
    let resources = &job.tenant.work.resources;
    let change = model_gateway::Change { disabled: Some(disabled), limit_cents: Some(limit_cents) };
    for keys in resources.keys.iter().chain(&resources.former_keys) {
        match job.app.gateway.update(&keys.model_key, change).await {
            Ok(_) => {}
            // Somebody deleted it: there are no keys of this generation any more, and a running tenant gets new ones.
            Err(Error::NotFound) => {
                let lost = keys.generation;
                let forget = move |keys: &Option<Keys>| keys.clone().filter(|keys| keys.generation != lost);
                return Ok(Effect::done(move |tenant| {
                    let resources = &mut tenant.work.resources;
                    resources.keys = forget(&resources.keys);
                    resources.former_keys = forget(&resources.former_keys);
                })
                .found("the model key is gone"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Effect::done(move |tenant| {
        let resources = &mut tenant.work.resources;
        for keys in resources.keys.iter_mut().chain(&mut resources.former_keys) {
            (keys.disabled, keys.limit_cents) = (disabled, limit_cents);
        }
    }))
}

pub(crate) async fn drop_former<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    if let Some(former) = &job.tenant.work.resources.former_keys {
        job.app.gateway.delete(&former.model_key).await?;
        match job.vault()?.disable(&job.names.secret, &former.secret_version).await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Effect::done(|tenant| {
        tenant.work.resources.former_keys = None;
        tenant.key_hashes = tenant.work.resources.key_hashes();
    }))
}
