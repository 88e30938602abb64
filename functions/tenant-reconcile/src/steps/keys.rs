//! A generation's keys: made once, and written into the vault before the table.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::generation::Generation;
use nbhd::domain::plan::Learned;
use nbhd::domain::resources::Keys;
use nbhd::providers::azure::key_vault::{Secret, is_unreadable};
use nbhd::providers::{Error, model_gateway};

use super::{StepContext, StepResult};
use crate::bundle::{Bundle, ModelKey};
use crate::failure::Failure;

/// How far the gateway's clock may be from ours.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The vault's latest value is taken over where it is whole: the process that wrote it may have died before it could
/// say so. Otherwise a model key whose answer was lost is deleted, since nobody can know it any more.
pub(crate) async fn write_keys<'a>(
    context: &StepContext<'a>,
    generation: Generation,
    limit_cents: u32,
) -> Result<StepResult<'a>, Failure> {
    let (name, tenant) = (context.names.model_key(generation), context.tenant);
    let (keys, detail) = match read_from_vault(context, generation).await? {
        Some((bundle, version, limit_cents, disabled)) => {
            (keys(&bundle, version, limit_cents, disabled), "taken over from the vault")
        }
        None => {
            let since = tenant.reconcile.generation_since.unwrap_or_default() - SKEW;
            for lost in context.app.gateway.find_keys_since(|found| found == name, since).await? {
                delete_stray(context, &lost).await?;
            }
            let made = context.app.gateway.create_key(&name, limit_cents).await?;
            let model = ModelKey { key: made.key, hash: made.hash };
            let bundle =
                Bundle::new(&context.app.runtime_keys, context.app.bot.id(), tenant.tenant_id, generation, model)?;
            let version = context.vault()?.set(&context.names.secret, tenant.tenant_id, &bundle.to_secret()).await?;
            (keys(&bundle, version, limit_cents, false), "made")
        }
    };
    Ok(StepResult::new(Learned::KeysWritten(keys)).with_detail(detail))
}

/// The keys of `generation` in the vault, if they are all there and their model key still exists: with its version, and
/// the model key's limit and state.
async fn read_from_vault(
    context: &StepContext<'_>,
    generation: Generation,
) -> Result<Option<(Bundle, String, u32, bool)>, Failure> {
    let Secret { value, version, .. } = match context.vault()?.get_latest(&context.names.secret).await {
        Ok(secret) => secret,
        Err(error) if is_unreadable(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bundle =
        Bundle::read(&value, &context.app.runtime_keys, context.app.bot.id(), context.tenant.tenant_id, generation);
    let Some(bundle) = bundle else { return Ok(None) };
    match context.app.gateway.get_key(&bundle.model_key_hash).await {
        Ok(key) if key.name == context.names.model_key(generation) => {
            Ok(Some((bundle, version, key.limit_cents.unwrap_or(u32::MAX), key.disabled)))
        }
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the tenant's model keys that were made `since` then and that its row does not know: a request that made one
/// was not answered, or arrived late. How many there were.
pub(super) async fn delete_strays(context: &StepContext<'_>, since: Timestamp) -> Result<usize, Failure> {
    let resources = &context.tenant.reconcile.resources;
    let known: Vec<&str> =
        resources.keys.iter().chain(&resources.former_keys).map(|keys| keys.model_key.as_str()).collect();
    let found = context.app.gateway.find_keys_since(|name| context.names.is_model_key(name), since - SKEW).await?;
    let strays: Vec<_> = found.iter().filter(|key| !known.contains(&key.hash.as_str())).collect();
    for stray in &strays {
        delete_stray(context, stray).await?;
    }
    Ok(strays.len())
}

/// Once the lease has ended, another worker may have made it, and the row may know it.
async fn delete_stray(context: &StepContext<'_>, stray: &model_gateway::Key) -> Result<(), Failure> {
    context.require_lease()?;
    context.app.gateway.delete_key(&stray.hash).await?;
    Ok(())
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

pub(crate) async fn set_model_keys<'a>(
    context: &StepContext<'a>,
    disabled: bool,
    limit_cents: u32,
) -> Result<StepResult<'a>, Failure> {
    let resources = &context.tenant.reconcile.resources;
    let change = model_gateway::KeyChange { disabled: Some(disabled), limit_cents: Some(limit_cents) };
    for keys in resources.keys.iter().chain(&resources.former_keys) {
        match context.app.gateway.update_key(&keys.model_key, change).await {
            Ok(_) => {}
            // Somebody deleted it: there are no keys of this generation any more, and a running tenant gets new ones.
            Err(Error::NotFound) => {
                let missing = Learned::ModelKeyMissing { generation: keys.generation };
                return Ok(StepResult::new(missing).with_detail("the model key is gone"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StepResult::new(Learned::ModelKeysSet { disabled, limit_cents }))
}

pub(crate) async fn drop_former_keys<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let mut found = true;
    if let Some(former) = &context.tenant.reconcile.resources.former_keys {
        found = context.app.gateway.delete_key(&former.model_key).await?;
        match context.vault()?.disable(&context.names.secret, &former.secret_version).await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StepResult::new(Learned::FormerKeysDropped { found }))
}
