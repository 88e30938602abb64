//! `nbhd tenant`, and what may be asked for one.

use anyhow::{Context as _, bail};
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::reconcile_status::{ReconcileStatus, RemovedPart, StepBackoff};
use nbhd::domain::resources::Resources;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::queue::LifecycleJob;
use nbhd::store::{self, StepRecord};
use serde_json::{Value, json};

use crate::{Operator, Shown, integrations, tenants};

/// A webhook or the reconciler may write between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 5;
/// How many steps are shown.
const LAST_STEPS: i32 = 15;

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
    let steps = operator.store.last_steps(tenant.tenant_id, LAST_STEPS, operator.clock.now()).await?;
    let step = |step: &StepRecord| {
        vec![
            json!(step.at.rfc3339()),
            json!(step.step),
            json!(step.outcome),
            json!(step.detail),
            json!(step.duration_ms),
        ]
    };
    let head = vec!["at", "step", "outcome", "detail", "ms"];
    let steps = Shown::Rows { head, rows: steps.iter().map(step).collect() };
    let (status, value) = (&tenant.reconcile, |value: Value| Shown::Value(value));
    let error = status.last_error.as_ref();
    let error = error.map(|last| format!("{} at {}, {} in a row: {}", last.step, last.at, status.failures, last.error));
    Ok(Shown::Parts(vec![
        ("state", value(json!(tenant.lifecycle))),
        ("entitled", Shown::sentence(tenants::entitlement(tenant.entitlement(operator.clock.now())))),
        ("held by an operator", value(json!(tenant.held))),
        ("customer", value(json!(tenant.customer))),
        ("subscription", value(json!(tenant.subscription))),
        ("resources", resources(&status.resources)),
        ("where", value(json!(status.shard))),
        ("release", value(json!(status.release))),
        ("waits for", value(json!(waits(status)))),
        ("last error", value(json!(error))),
        ("last steps", steps),
        ("secret generations", value(tenant.generations().collect())),
        ("looked at next", value(json!(tenant.due.as_ref().map(|due| due.at.rfc3339())))),
        ("connections", integrations::rows(&connections)),
    ]))
}

/// What holds it up at present.
fn waits(status: &ReconcileStatus) -> Vec<String> {
    let step = status.step_backoff.as_ref();
    let step = step.map(|backoff| {
        let StepBackoff { step, reason, until, since } = backoff;
        format!("{step} until {until}, since {since}: {reason}")
    });
    let stripe = status.stripe_backoff.as_ref();
    let stripe = stripe.map(|stripe| format!("an answer of Stripe's until {}: {}", stripe.until, stripe.error));
    step.into_iter().chain(stripe).collect()
}

/// What there is, without a name that opens anything.
fn resources(known: &Resources) -> Shown {
    let app = known.app.as_ref();
    let state = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
    let there = |is: bool| json!(state(is, "there", "not there"));
    let running = app.map(|app| match (app.running, app.healthy) {
        (true, true) => "running",
        (true, false) => "starting",
        (false, _) => "stopped",
    });
    let keys = known.keys.as_ref().map(|keys| {
        format!("generation {}, {}", keys.generation, state(keys.disabled, "model key disabled", "model key enabled"))
    });
    let rows = vec![
        vec![json!("identity"), there(known.identity.is_some())],
        vec![json!("keys"), json!(keys)],
        vec![json!("role on its secret"), there(known.secret_reader.is_some())],
        vec![json!("file share"), there(known.share)],
        vec![json!("environment storage"), there(known.storage)],
        vec![json!("container app"), json!(running)],
        vec![json!("operation under way"), json!(known.operation.is_some())],
    ];
    Shown::Rows { head: vec!["resource", "state"], rows }
}

fn receipt(tombstone: &Tombstone) -> Shown {
    let row = |line: &RemovedPart| {
        let found = if line.late { "after the removal" } else { "in the removal" };
        vec![
            json!(line.part.description()),
            json!(line.at.rfc3339()),
            json!(line.purged_by.map(|at| at.rfc3339())),
            json!(found),
        ]
    };
    let recheck = tombstone
        .recheck
        .at
        .map_or_else(|| "was rechecked for the last time".to_owned(), |at| format!("is rechecked at {at}"));
    let rows = tombstone.receipt.iter().map(row).collect();
    Shown::Parts(vec![
        ("state", Shown::sentence(format!("deleted at {}", tombstone.deleted_at))),
        ("recheck", Shown::sentence(recheck)),
        ("customer", Shown::Value(json!(tombstone.customer))),
        ("receipt", Shown::Rows { head: vec!["removed", "at", "destroyed by the vendor", "found"], rows }),
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

pub(crate) async fn rotate_keys(operator: &Operator, id: TenantId) -> anyhow::Result<Shown> {
    change(operator, id, |tenant| Tenant { rotation_requested: true, ..tenant }).await?;
    Ok(Shown::sentence(format!("`{id}` gets new keys; `nbhd tenant {id}` shows how far that is")))
}

/// Writes what is wanted of a tenant, and has it looked at.
async fn change(operator: &Operator, id: TenantId, wanted: impl Fn(Tenant) -> Tenant) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(tenant) = operator.store.tenant(id).await? else { bail!("there is no tenant `{id}`, or no longer") };
        let version = tenant.version;
        // The nudge may get lost: then the sweep finds it.
        let due = Some(Due::new(Kind::Reconcile, id, operator.clock.now()));
        match operator.store.save_tenant(&Tenant { due, ..wanted(tenant) }, Some(version)).await {
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
