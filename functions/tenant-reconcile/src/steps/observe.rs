//! Whether the resources are as the row says; what is not is forgotten, and so made again.

use nbhd::clock::Timestamp;
use nbhd::domain::tenant::Tenant;
use nbhd::domain::work::{App, Identity, Keys};
use nbhd::providers::Error;
use nbhd::providers::azure::key_vault::is_unreadable;
use nbhd::providers::azure::resource_manager::container_app::{Provisioning, Running};
use nbhd::telemetry::metric;

use super::{Effect, Job, azure, container, keys};
use crate::failure::Failure;

/// What was found of each resource.
#[derive(Clone, Default)]
struct Found {
    identity: Option<Identity>,
    reader: Option<String>,
    share: bool,
    storage: bool,
    keys_intact: bool,
    model_key: Option<(Option<u32>, bool)>,
    /// Of the generation before, while a rotation goes on.
    former_model_key: Option<(Option<u32>, bool)>,
    app: Option<SeenApp>,
}

#[derive(Clone)]
struct SeenApp {
    running: bool,
    fqdn: Option<String>,
    departs: bool,
    /// Whether an operation changes it now.
    changes: bool,
}

pub(crate) async fn run<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let began = job.app.clock.now();
    let found = look(job).await?;
    let strays = match &job.tenant.work.in_flight {
        Some(requests) => keys::delete_strays(job, requests.since).await?,
        None => 0,
    };
    let mut after = job.tenant.clone();
    apply(&mut after, &found, began);
    let mut drifted = differences(job.tenant, &after);
    if strays > 0 {
        drifted.push("model key that the row does not know");
    }
    if !drifted.is_empty() {
        metric("DriftFound", 1);
        tracing::warn!(code = "drift", what = drifted.join(", "), "a resource is not as it was left");
    }
    let now = job.app.clock.now();
    let effect = Effect::done(move |tenant| {
        apply(tenant, &found, now);
        tenant.work.observed_at = Some(now);
        // What takes effect after the look is the next one's.
        tenant.work.in_flight.take_if(|requests| requests.until <= began);
    });
    Ok(if drifted.is_empty() { Effect { is_quiet: true, ..effect } } else { effect.found(drifted.join(", ")) })
}

async fn look(job: &Job<'_>) -> Result<Found, Failure> {
    let (site, arm, settings) = (job.site()?, &job.app.arm, &job.app.settings);
    let (group, name, resources) = (&site.group, &job.names.resource, &job.tenant.work.resources);
    let identity = there(arm.identity(group, name).await)?;
    let scope = group.vault_secret(&site.shard.vault, &job.names.secret);
    let role = there(arm.role_assignment(&scope, job.names.role).await)?;
    let share = there(arm.share(group, &site.shard.account, name).await)?;
    let storage = match arm.storage(group, &settings.environment, name).await {
        Ok(storage) => storage == azure::storage(job, &site),
        Err(Error::NotFound | Error::Malformed { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let (mut keys_intact, mut model_key) = (true, None);
    if let Some(keys) = &resources.keys {
        keys_intact = match job.vault()?.latest(&job.names.secret).await {
            Ok(secret) => secret.version == keys.secret_version,
            Err(error) if is_unreadable(&error) => false,
            Err(error) => return Err(error.into()),
        };
        model_key = look_at_model_key(job, keys).await?;
    }
    let former_model_key = match &resources.former_keys {
        Some(keys) => look_at_model_key(job, keys).await?,
        None => None,
    };
    let app = match there(arm.app(group, name).await)? {
        None => None,
        Some(seen) => Some(SeenApp {
            running: seen.running != Running::Stopped,
            fqdn: seen.fqdn.clone(),
            departs: departs(job, &seen).await?,
            changes: matches!(seen.provisioning, Provisioning::InProgress | Provisioning::Deleting),
        }),
    };
    Ok(Found {
        identity: identity.map(|identity| Identity { principal_id: identity.principal_id }),
        // Another role, or one on more than this secret, is none of ours: it is made anew under its name.
        reader: role.filter(|role| role.is_reader_of(&scope)).map(|role| role.principal_id),
        share: share.is_some(),
        storage,
        keys_intact,
        model_key,
        former_model_key,
        app,
    })
}

/// Its limit, and whether it is switched off.
async fn look_at_model_key(job: &Job<'_>, keys: &Keys) -> Result<Option<(Option<u32>, bool)>, Failure> {
    let known = there(job.app.gateway.get(&keys.model_key).await)?;
    Ok(known.map(|key| (key.limit_cents, key.disabled)))
}

/// Only of a release that this code knows the form of.
async fn departs(job: &Job<'_>, seen: &nbhd::providers::azure::resource_manager::App) -> Result<bool, Failure> {
    let (known, own) = (job.tenant.work.resources.app.as_ref(), container::own(job).ok());
    let Some((known, own)) = known.zip(own).filter(|(known, own)| known.fingerprint == own.fingerprint()) else {
        return Ok(false);
    };
    let release = super::release::comparable(job, &known.release).await?;
    Ok(release.is_some_and(|release| !seen.departures(&container::intended(job, &release, &own)).is_empty()))
}

/// Writes what was found over what was known.
fn apply(tenant: &mut Tenant, found: &Found, now: Timestamp) {
    let mut lost_keys = false;
    let resources = &mut tenant.work.resources;
    resources.identity = found.identity.clone();
    resources.reader = found.reader.clone();
    resources.share = found.share;
    resources.storage = found.storage;
    match (&mut resources.keys, found.model_key) {
        (Some(keys), Some((limit_cents, disabled))) if found.keys_intact => {
            keys.limit_cents = limit_cents.unwrap_or(u32::MAX);
            keys.disabled = disabled;
        }
        // Their model key may still be there: who makes keys anew deletes it, and otherwise the next look does.
        (keys, _) => lost_keys = keys.take().is_some(),
    }
    if let Some(former) = &mut resources.former_keys {
        // One that is gone pays for nothing either.
        let (limit_cents, disabled) = found.former_model_key.unwrap_or((Some(former.limit_cents), true));
        (former.limit_cents, former.disabled) = (limit_cents.unwrap_or(u32::MAX), disabled);
    }
    resources.app = match (resources.app.take(), &found.app) {
        (_, None) => None,
        (Some(known), Some(seen)) => Some(App {
            fingerprint: if seen.departs { String::new() } else { known.fingerprint.clone() },
            healthy: known.healthy && seen.running == known.running && seen.fqdn == known.fqdn,
            drained: known.drained && !seen.running,
            running: seen.running,
            fqdn: seen.fqdn.clone(),
            ..known
        }),
        // Made by a call that was cut short: it is not known to be as intended.
        (None, Some(seen)) => Some(App {
            fingerprint: String::new(),
            release: String::new(),
            fqdn: seen.fqdn.clone(),
            running: seen.running,
            drained: false,
            healthy: false,
            changed_at: tenant.work.observed_at.unwrap_or_default(),
        }),
    };
    // An operation that nobody here waits for: what it leads to is seen when it is over.
    let changes = found.app.as_ref().is_some_and(|app| app.changes) && tenant.work.resources.operation.is_none();
    if lost_keys || changes {
        let since = tenant.work.generation_since.filter(|_| lost_keys).unwrap_or(now);
        tenant.work.note_in_flight(since, now);
    }
}

/// What is no longer as it was, by name.
fn differences(before: &Tenant, after: &Tenant) -> Vec<&'static str> {
    let (old, new) = (&before.work.resources, &after.work.resources);
    let checks = [
        ("identity", old.identity != new.identity),
        ("role", old.reader != new.reader),
        ("share", old.share != new.share),
        ("storage", old.storage != new.storage),
        ("keys", old.keys != new.keys || old.former_keys != new.former_keys),
        ("app", old.app != new.app),
    ];
    checks.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
