//! Removes an orphan, at an operator's word: after it was known for hours, and only while no row knows it.

use std::collections::BTreeSet;

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::inventory::{GATEWAY, Orphan, is_key_known, is_known};
use nbhd::domain::names::{Label, Names};
use nbhd::domain::reconcile_status::ReconcileStatus;
use nbhd::domain::step_error::StepError;
use nbhd::domain::step_name::Part;
use nbhd::domain::tenant::{Tenant, TenantRecord};
use nbhd::queue::LifecycleJob;
use nbhd::telemetry::metric;
use uuid::Uuid;

use super::{change, describe, tenants};
use crate::App;
use crate::failure::Failure;
use crate::steps::{StepContext, remove_by_name};
use crate::worker::{Error, Outcome};

/// Removes an orphan of an inventory by its id. What a vendor refuses stays listed.
pub(crate) async fn remove_orphan(app: &App, of: &str, id: &str) -> Result<Outcome, Error> {
    let inventory = app.store.load_inventory(of).await?;
    let found = inventory.and_then(|inventory| inventory.orphans.into_iter().find(|orphan| orphan.id() == id));
    let Some(orphan) = found else { return Ok(Outcome::Inventoried) };
    let code = match Box::pin(remove(app, of, &orphan)).await {
        Ok(Verdict::Removed) => {
            change(app, of, |inventory| inventory.orphans.retain(|known| known.id() != id)).await?;
            metric("OrphansRemoved", 1);
            "orphan_removed"
        }
        Ok(Verdict::Known) => {
            change(app, of, |inventory| inventory.orphans.retain(|known| known.id() != id)).await?;
            "orphan_known"
        }
        Ok(Verdict::TooYoung) => "orphan_too_young",
        Err(Failure::Store(error)) => return Err(error.into()),
        Err(Failure::Waiting { delay, .. }) => {
            let job = LifecycleJob::RemoveOrphan { inventory: of.to_owned(), orphan: id.to_owned() };
            match app.lifecycle.send_delayed(&job, delay).await {
                Ok(()) => "orphan_waits",
                Err(_) => "orphan_stays",
            }
        }
        Err(failure) => {
            let error = describe(&failure);
            tracing::warn!(
                code = "orphan_not_removed",
                of,
                name = orphan.name,
                error,
                "an orphan was not removed; it stays listed"
            );
            return Ok(Outcome::Inventoried);
        }
    };
    tracing::info!(code, of, name = orphan.name, "an operator had an orphan removed");
    Ok(Outcome::Inventoried)
}

enum Verdict {
    Removed,
    /// A row knows it by now.
    Known,
    TooYoung,
}

async fn remove(app: &App, of: &str, orphan: &Orphan) -> Result<Verdict, Failure> {
    if !orphan.is_removable(app.clock.now()) {
        return Ok(Verdict::TooYoung);
    }
    let label = if orphan.key.is_some() { Label::of_model_key(&orphan.name) } else { Label::of_resource(&orphan.name) };
    let label = label.ok_or_else(|| StepError::precondition("name_not_ours"))?;
    let row = find_row(app, orphan.tenant, &label).await?;
    if of == GATEWAY {
        let key = orphan.key.as_deref().ok_or_else(|| StepError::precondition("no_key"))?;
        if is_key_known(row.as_ref(), key) {
            return Ok(Verdict::Known);
        }
        app.gateway.delete_key(key).await?;
        return Ok(Verdict::Removed);
    }
    if is_known(row.as_ref(), of) {
        return Ok(Verdict::Known);
    }
    remove_resources(app, of, orphan, &label).await?;
    Ok(Verdict::Removed)
}

/// The row of whoever the names are: a person may have come back since the inventory.
async fn find_row(app: &App, tenant: Option<TenantId>, label: &Label) -> Result<Option<TenantRecord>, Failure> {
    let found = match tenant {
        Some(tenant) => Some(tenant),
        None => tenants::find(app, &BTreeSet::from([label.clone()])).await?.remove(label),
    };
    match found {
        Some(tenant) => Ok(app.store.tenant_record(tenant).await?),
        None => Ok(None),
    }
}

/// Removes by name, in each place of the subscription, first what can act.
async fn remove_resources(app: &App, of: &str, orphan: &Orphan, label: &Label) -> Result<(), Failure> {
    let role = orphan.role;
    for shard in app.settings.shards.iter().filter(|shard| shard.azure_subscription == of) {
        let reconcile = ReconcileStatus { shard: Some(shard.clone()), ..ReconcileStatus::new() };
        // It is no tenant, but the names and the place of what may have been one.
        let tenant = orphan.tenant.unwrap_or_else(|| TenantId::from(Uuid::nil()));
        let tenant = Tenant { reconcile, ..Tenant::new(tenant, ChatId(0)) };
        let names = Names { resource: label.resource(), secret: label.secret(), role: role.unwrap_or_default() };
        let context = StepContext { app, tenant: &tenant, names };
        let is_named = |part: &Part| match part {
            Part::App | Part::Storage | Part::Share | Part::Identity | Part::Secret => true,
            Part::Role => role.is_some(),
            Part::Integrations | Part::ModelKeys | Part::Rows => false,
        };
        for part in Part::ALL.into_iter().filter(is_named) {
            remove_by_name(&context, part, app.clock.now()).await?;
        }
    }
    Ok(())
}
