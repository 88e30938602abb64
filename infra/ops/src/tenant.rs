//! `nbhd tenant`, and the commands that change one tenant.

use anyhow::{Context as _, bail};
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::reconcile_status::{ReconcileStatus, RemovedPart, StepBackoff};
use nbhd::domain::resources::Resources;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::queue::LifecycleJob;
use nbhd::store::{self, StepRecord};
use serde_json::{Value, json};

use crate::{Operator, Output, grant, integrations, tenants};

/// How often a write is tried when a webhook or the reconciler writes the row at the same time.
pub(crate) const ATTEMPTS: usize = 5;
/// The most steps that `nbhd tenant` lists.
const LAST_STEPS: i32 = 15;

pub(crate) async fn show_tenant(operator: &Operator, id: TenantId) -> anyhow::Result<Output> {
    match operator.store.tenant_record(id).await? {
        Some(TenantRecord::Live(tenant)) => show_live(operator, &tenant).await,
        Some(TenantRecord::Deleted(tombstone)) => Ok(show_tombstone(&tombstone)),
        None => bail!("there is no tenant `{id}`; `nbhd tenants` lists them"),
    }
}

async fn show_live(operator: &Operator, tenant: &Tenant) -> anyhow::Result<Output> {
    let connections = operator.store.tenant_view(tenant.tenant_id).await?.map(|view| view.integrations);
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
    let steps = Output::Rows { head, rows: steps.iter().map(step).collect() };
    let (status, value) = (&tenant.reconcile, |value: Value| Output::Value(value));
    let error = status.last_error.as_ref();
    let error = error.map(|last| format!("{} at {}, {} in a row: {}", last.step, last.at, status.failures, last.error));
    Ok(Output::Parts(vec![
        ("state", value(json!(tenant.lifecycle))),
        ("entitled", Output::from_text(tenants::describe_entitlement(tenant.entitlement(operator.clock.now())))),
        ("held_by_an_operator", value(json!(tenant.held))),
        ("granted", value(json!(tenant.gift.map(|gift| grant::describe(gift, operator.clock.now()))))),
        ("trial_spent", value(json!(tenant.trial_spent))),
        ("customer", value(json!(tenant.customer))),
        ("subscription", value(json!(tenant.subscription))),
        ("resources", describe_resources(&status.resources)),
        ("shard", value(json!(status.shard))),
        ("release", value(json!(status.release))),
        ("waits_for", value(json!(describe_waits(status)))),
        ("last_error", value(json!(error))),
        ("last_steps", steps),
        ("secret_generations", value(tenant.generations().map(|generation| generation.to_string()).collect())),
        ("next_reconcile", value(json!(tenant.due.as_ref().map(|due| due.at.rfc3339())))),
        ("connections", integrations::to_output(&connections)),
    ]))
}

/// The back-offs that delay the tenant's next step.
fn describe_waits(status: &ReconcileStatus) -> Vec<String> {
    let step = status.step_backoff.as_ref();
    let step = step.map(|backoff| {
        let StepBackoff { step, reason, until, since } = backoff;
        format!("{step} until {until}, since {since}: {reason}")
    });
    let stripe = status.stripe_backoff.as_ref();
    let stripe = stripe.map(|stripe| format!("an answer of Stripe, asked again at {}: {}", stripe.until, stripe.error));
    step.into_iter().chain(stripe).collect()
}

/// The state of each resource, without the names that give access to it.
fn describe_resources(known: &Resources) -> Output {
    let app = known.app.as_ref();
    let state = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
    let presence = |is: bool| json!(state(is, "present", "absent"));
    let running = app.map(|app| match (app.running, app.healthy) {
        (true, true) => "running",
        (true, false) => "starting",
        (false, _) => "stopped",
    });
    let keys = known.keys.as_ref().map(|keys| {
        format!("generation {}, {}", keys.generation, state(keys.disabled, "model key disabled", "model key enabled"))
    });
    let rows = vec![
        vec![json!("identity"), presence(known.identity.is_some())],
        vec![json!("keys"), json!(keys)],
        vec![json!("role on its secret"), presence(known.secret_reader.is_some())],
        vec![json!("file share"), presence(known.share)],
        vec![json!("environment storage"), presence(known.storage)],
        vec![json!("container app"), json!(running)],
        vec![json!("operation under way"), json!(known.operation.is_some())],
    ];
    Output::Rows { head: vec!["resource", "state"], rows }
}

fn show_tombstone(tombstone: &Tombstone) -> Output {
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
    let backups = tombstone.backups.map_or_else(Vec::new, |kept| {
        let places = [
            ("backups of the table", kept.table_until),
            ("messages not delivered", kept.dead_letters_until),
            ("logs", kept.logs_until),
        ];
        places.map(|(place, until)| vec![json!(place), json!(until.date())]).to_vec()
    });
    Output::Parts(vec![
        ("state", Output::from_text(format!("deleted at {}", tombstone.deleted_at))),
        ("recheck", Output::from_text(recheck)),
        ("trial_spent", Output::Value(json!(tombstone.trial_spent))),
        ("customer", Output::Value(json!(tombstone.customer))),
        ("held_by_an_operator", Output::Value(json!(tombstone.held))),
        ("backups", Output::Rows { head: vec!["kept_in", "until"], rows: backups }),
        ("receipt", Output::Rows { head: vec!["removed", "at", "destroyed_by", "found"], rows }),
    ])
}

pub(crate) async fn request_reconcile(operator: &Operator, id: TenantId) -> anyhow::Result<Output> {
    operator.store.tenant_record(id).await?.with_context(|| format!("there is no tenant `{id}`"))?;
    send_reconcile_job(operator, id).await?;
    Ok(Output::from_text(format!("`{id}` is queued for the reconciler; `nbhd tenant {id}` shows its steps")))
}

pub(crate) async fn set_hold(operator: &Operator, id: TenantId, held: bool) -> anyhow::Result<Output> {
    if let Some(TenantRecord::Deleted(tombstone)) = operator.store.tenant_record(id).await? {
        operator.store.save_tombstone(&Tombstone { held, ..(*tombstone).clone() }, tombstone.version).await?;
        let what = if held { "stays without an assistant, whoever pays" } else { "gets an assistant with a payment" };
        return Ok(Output::from_text(format!("`{id}` is removed; it {what}")));
    }
    update_tenant(operator, id, |tenant| Tenant { held, ..tenant }).await?;
    let what =
        if held { "is suspended until `nbhd resume`" } else { "follows its subscription at Stripe, or a grant, again" };
    Ok(Output::from_text(format!("`{id}` {what}")))
}

pub(crate) async fn request_rotation(operator: &Operator, id: TenantId) -> anyhow::Result<Output> {
    update_tenant(operator, id, |tenant| Tenant { rotation_requested: true, ..tenant }).await?;
    Ok(Output::from_text(format!("`{id}` gets new keys; `nbhd tenant {id}` shows the progress")))
}

/// Changes a tenant's row, and queues the tenant for the reconciler.
async fn update_tenant(operator: &Operator, id: TenantId, wanted: impl Fn(Tenant) -> Tenant) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(tenant) = operator.store.tenant(id).await? else {
            bail!("there is no tenant `{id}`, or it was removed; `nbhd tenants` lists them")
        };
        let version = tenant.version;
        // If the job is lost, the sweep finds the row by this time.
        let due = Some(Due::new(Kind::Reconcile, id, operator.clock.now()));
        match operator.store.save_tenant(&Tenant { due, ..wanted(tenant) }, Some(version)).await {
            Ok(_) => return send_reconcile_job(operator, id).await,
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the row of `{id}` changed {ATTEMPTS} times while it was written; try again")
}

pub(crate) async fn send_reconcile_job(operator: &Operator, tenant_id: TenantId) -> anyhow::Result<()> {
    Ok(operator.lifecycle_jobs()?.send(&LifecycleJob::Reconcile { tenant_id }).await?)
}
