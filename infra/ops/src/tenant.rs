//! `nbhd tenant`, and what may be asked for one.

use anyhow::{Context as _, bail};
use nbhd::domain::ids::TenantId;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::queue::LifecycleJob;
use nbhd::store;
use serde_json::{Value, json};

use crate::{Operator, Shown, integrations, tenants};

/// A webhook or the reconciler may write between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 5;

pub(crate) async fn show(operator: &Operator, id: TenantId) -> anyhow::Result<Shown> {
    match operator.store.tenant_record(id).await? {
        Some(TenantRecord::Live(tenant)) => live(operator, &tenant).await,
        Some(TenantRecord::Deleted(tombstone)) => Ok(receipt(&tombstone)),
        None => bail!("there is no tenant `{id}`; `nbhd tenants` lists them"),
    }
}

async fn live(operator: &Operator, tenant: &Tenant) -> anyhow::Result<Shown> {
    let connections = operator.store.runtime_view(tenant.tenant_id).await?.map(|(_, connections)| connections);
    let connections = connections.unwrap_or_default();
    let value = |value: Value| Shown::Value(value);
    Ok(Shown::Parts(vec![
        ("state", value(json!(tenant.lifecycle))),
        ("entitled", Shown::sentence(tenants::entitlement(tenant.entitlement(operator.clock.now())))),
        ("held by an operator", value(json!(tenant.held))),
        ("customer", value(json!(tenant.customer))),
        ("subscription", value(json!(tenant.subscription))),
        ("secret generations", value(tenant.generations().collect())),
        ("looked at next", value(json!(tenant.due.as_ref().map(|due| due.at.rfc3339())))),
        ("connections", integrations::rows(&connections)),
    ]))
}

fn receipt(tombstone: &Tombstone) -> Shown {
    let row = |line: &nbhd::domain::tenant::Removed| {
        vec![json!(line.what), json!(line.at.rfc3339()), json!(line.purged_by.map(|at| at.rfc3339()))]
    };
    let rows = tombstone.receipt.iter().map(row).collect();
    Shown::Parts(vec![
        ("state", Shown::sentence(format!("deleted at {}", tombstone.deleted_at))),
        ("customer", Shown::Value(json!(tombstone.customer))),
        ("receipt", Shown::Rows { head: vec!["removed", "at", "destroyed by the vendor"], rows }),
    ])
}

pub(crate) async fn reconcile(operator: &Operator, id: TenantId) -> anyhow::Result<Shown> {
    operator.store.tenant_record(id).await?.with_context(|| format!("there is no tenant `{id}`"))?;
    nudge(operator, id).await?;
    Ok(Shown::sentence(format!("`{id}` is looked at; `nbhd tenant {id}` shows what was done")))
}

pub(crate) async fn hold(operator: &Operator, id: TenantId, held: bool) -> anyhow::Result<Shown> {
    change(operator, id, |tenant| Tenant { held, ..tenant }).await?;
    let what = if held { "suspended until `nbhd resume`" } else { "as Stripe says again" };
    Ok(Shown::sentence(format!("`{id}` is {what}")))
}

/// Writes what is wanted of a tenant, and has it looked at.
async fn change(operator: &Operator, id: TenantId, wanted: impl Fn(Tenant) -> Tenant) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(tenant) = operator.store.tenant(id).await? else { bail!("there is no tenant `{id}`, or no longer") };
        let version = tenant.version;
        match operator.store.save_tenant(&wanted(tenant), Some(version)).await {
            Ok(_) => return nudge(operator, id).await,
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the row of `{id}` keeps changing: try again")
}

async fn nudge(operator: &Operator, tenant_id: TenantId) -> anyhow::Result<()> {
    Ok(operator.lifecycle()?.send(&LifecycleJob::Reconcile { tenant_id }).await?)
}
