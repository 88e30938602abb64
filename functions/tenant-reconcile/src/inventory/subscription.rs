//! One Azure subscription: its lists, what in them no row knows, and the tenants whose resources are not in them as
//! their rows say.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join4;
use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::inventory::{Orphan, is_known};
use nbhd::domain::names::Label;
use nbhd::domain::shard::Shard;
use nbhd::domain::step_error::StepError;
use nbhd::domain::step_name::Part;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use nbhd::providers::azure::resource_manager::container_app::RunningState;
use nbhd::providers::azure::resource_manager::{ContainerApp, Tags};
use nbhd::queue::LifecycleJob;
use nbhd::store;
use uuid::Uuid;

use super::{Section, record, tenants};
use crate::App;
use crate::container_spec::TENANT_TAG;
use crate::failure::Failure;
use crate::steps::{StepContext, has_drifted};

/// What bears one label.
#[derive(Default)]
struct Seen {
    parts: Vec<Part>,
    tenant: Option<TenantId>,
    role: Option<Uuid>,
    app: Option<ContainerApp>,
}

pub(super) async fn take(app: &App, azure_subscription: &str) -> Result<(), Failure> {
    let began = app.clock.now();
    let mut seen = list(app, azure_subscription).await?;
    // Whatever the lists have was made after its row was written, so that the rows are read after them.
    let untagged = seen.iter().filter(|(_, seen)| seen.tenant.is_none()).map(|(label, _)| label.clone()).collect();
    for (label, tenant) in tenants::find(app, &untagged).await? {
        if let Some(seen) = seen.get_mut(&label) {
            seen.tenant = Some(tenant);
        }
    }
    let rows = tenants::load(app, &seen.values().filter_map(|seen| seen.tenant).collect::<BTreeSet<_>>()).await?;
    let (mut orphans, mut doubted) = (Vec::new(), 0_usize);
    let listed = seen.len();
    for (label, seen) in seen {
        let row = seen.tenant.and_then(|tenant| rows.get(&tenant));
        match row {
            Some(TenantRecord::Live(tenant)) if is_known(row, azure_subscription) => {
                doubted += usize::from(differs(app, tenant, &seen).await? && doubt(app, tenant).await?);
            }
            known if is_known(known, azure_subscription) => {}
            _ => orphans.push(orphan(&label, seen, app.clock.now())),
        }
    }
    tracing::info!(
        code = "subscription_listed",
        azure_subscription,
        listed,
        doubted,
        orphans = orphans.len(),
        "an Azure subscription was held against the rows"
    );
    record(app, azure_subscription, orphans, &Section { began, is_first: true, is_last: true }).await
}

/// Every resource of the subscription that bears a name of ours.
async fn list(app: &App, azure_subscription: &str) -> Result<BTreeMap<Label, Seen>, Failure> {
    let shards = || app.settings.shards.iter().filter(|shard| shard.azure_subscription == azure_subscription);
    let first = shards().next().ok_or_else(|| StepError::precondition("no_shard"))?;
    let group = app.settings.group(first);
    // Side by side: of thousands of tenants each takes many pages, and an invocation has minutes.
    let (arm, environment) = (&app.arm, &app.settings.environment);
    let (apps, identities, storages, roles) = try_join4(
        arm.list_apps(&group),
        arm.list_identities(&group),
        arm.list_storages(&group, environment),
        arm.list_role_assignments(&group),
    )
    .await?;
    let mut seen = BTreeMap::<Label, Seen>::new();
    for found in apps {
        let Some(label) = Label::of_resource(found.id.name()) else { continue };
        let tenant = tagged(app, &found.tags, &label);
        note(&mut seen, label, Part::App, tenant).app = Some(found);
    }
    for identity in identities {
        let Some(label) = Label::of_resource(identity.id.name()) else { continue };
        let tenant = tagged(app, &identity.tags, &label);
        note(&mut seen, label, Part::Identity, tenant);
    }
    for name in storages {
        if let Some(label) = Label::of_resource(&name) {
            note(&mut seen, label, Part::Storage, None);
        }
    }
    for role in roles {
        if let Some(label) = Label::of_secret(role.scope.name()) {
            note(&mut seen, label, Part::Role, None).role = role.name;
        }
    }
    for Shard { account, vault_url, .. } in shards() {
        for name in app.arm.list_shares(&group, account).await? {
            if let Some(label) = Label::of_resource(&name) {
                note(&mut seen, label, Part::Share, None);
            }
        }
        let vault = app.vaults.find(Some(vault_url)).ok_or_else(|| StepError::precondition("vault_not_in_settings"))?;
        for (name, tenant) in vault.list_secrets().await? {
            let Some(label) = Label::of_secret(&name) else { continue };
            let tenant = tenant.and_then(|tenant| tenants::verified(app, tenant, &label));
            note(&mut seen, label, Part::Secret, tenant);
        }
    }
    Ok(seen)
}

fn note(seen: &mut BTreeMap<Label, Seen>, label: Label, part: Part, tenant: Option<TenantId>) -> &mut Seen {
    let seen = seen.entry(label).or_default();
    if !seen.parts.contains(&part) {
        seen.parts.push(part);
    }
    seen.tenant = seen.tenant.or(tenant);
    seen
}

/// A tag can be edited by whoever may write resources: it counts if the names follow from it.
fn tagged(app: &App, tags: &Tags, label: &Label) -> Option<TenantId> {
    tags.get(TENANT_TAG)?.parse().ok().and_then(|tenant| tenants::verified(app, tenant, label))
}

fn orphan(label: &Label, seen: Seen, now: Timestamp) -> Orphan {
    let Seen { parts, tenant, role, app: _ } = seen;
    let name = label.resource();
    Orphan { name, parts, tenant, role, key: None, limit_cents: None, first_seen: now, last_seen: now }
}

/// Whether the lists say otherwise than the row of a tenant that nobody works on.
async fn differs(app: &App, tenant: &Tenant, seen: &Seen) -> Result<bool, Failure> {
    let status = &tenant.reconcile;
    let is_at_work = status.lease.is_some() || status.in_flight.is_some() || status.resources.operation.is_some();
    if is_at_work || !matches!(tenant.lifecycle, Lifecycle::Active | Lifecycle::Suspended) {
        return Ok(false);
    }
    let known = &status.resources;
    let expected = [
        (known.identity.is_some(), Part::Identity),
        (known.secret_reader.is_some(), Part::Role),
        (known.share, Part::Share),
        (known.storage, Part::Storage),
        (known.keys.is_some(), Part::Secret),
        (known.app.is_some(), Part::App),
    ];
    if expected.into_iter().any(|(is_known, part)| is_known != seen.parts.contains(&part)) {
        return Ok(true);
    }
    let Some((known, seen)) = known.app.as_ref().zip(seen.app.as_ref()) else { return Ok(false) };
    if known.running == (seen.running == RunningState::Stopped) {
        return Ok(true);
    }
    has_drifted(&StepContext::new(app, tenant), seen).await
}

/// Has the tenant observed now, by its own worker: a list may be behind, and what it says changes nothing by itself.
async fn doubt(app: &App, tenant: &Tenant) -> Result<bool, Failure> {
    let mut doubted = tenant.clone();
    doubted.reconcile.observed_at = None;
    doubted.due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, app.clock.now()));
    match app.store.save_tenant(&doubted, Some(tenant.version)).await {
        Ok(_) => {}
        // Whoever changed it meanwhile works on it.
        Err(store::Error::Conflict) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let job = LifecycleJob::Reconcile { tenant_id: tenant.tenant_id };
    if let Err(error) = app.lifecycle.send(&job).await {
        tracing::warn!(code = "job_not_queued", %error, "the next job was not queued; the sweep queues it");
    }
    Ok(true)
}
