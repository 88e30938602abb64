//! `nbhd tenants`: lists tenants.

use clap::ValueEnum;
use nbhd::clock::Timestamp;
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, TenantRecord};
use serde_json::{Value, json};

use crate::{Operator, Output};

/// A tenant's state as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Pending,
    Provisioning,
    Active,
    Suspended,
    Deprovisioning,
    Deleted,
}

pub(crate) async fn list(operator: &Operator, wanted: Option<State>) -> anyhow::Result<Output> {
    let now = operator.clock.now();
    let mut records = operator.store.list_tenants().await?;
    records.retain(|record| wanted.is_none_or(|wanted| state(record) == wanted));
    records.sort_by_key(|record| (state(record) as u8, id(record)));
    let rows = records.iter().map(|record| row(record, now)).collect();
    Ok(Output::Rows { head: vec!["tenant", "state", "entitled", "tier", "stripe", "customer"], rows })
}

fn row(record: &TenantRecord, now: Timestamp) -> Vec<Value> {
    let name = state(record).to_possible_value().map(|value| value.get_name().to_owned());
    let mut row = vec![json!(id(record)), json!(name)];
    row.extend(match record {
        TenantRecord::Live(tenant) => {
            let subscription = tenant.subscription.as_ref();
            [
                json!(describe_entitlement(tenant.entitlement(now))),
                json!((subscription.is_some() || tenant.gift.is_some()).then(|| tenant.tier(now))),
                json!(subscription.map(|known| known.status)),
            ]
        }
        TenantRecord::Deleted(_) => [Value::Null, Value::Null, Value::Null],
    });
    row.push(json!(record.customer()));
    row
}

/// Describes an entitlement, with the time at which it changes by itself.
pub(crate) fn describe_entitlement(entitled: Entitlement) -> String {
    let to = match entitled {
        Entitlement::Pending => "pending",
        Entitlement::Run { .. } => "run",
        Entitlement::Suspend { .. } => "suspend",
        Entitlement::Remove => "remove",
    };
    entitled.changes_at().map_or_else(|| to.to_owned(), |at| format!("{to} until {at}"))
}

fn id(record: &TenantRecord) -> String {
    match record {
        TenantRecord::Live(tenant) => tenant.tenant_id.to_string(),
        TenantRecord::Deleted(tombstone) => tombstone.tenant_id.to_string(),
    }
}

fn state(record: &TenantRecord) -> State {
    match record {
        TenantRecord::Live(tenant) => match tenant.lifecycle {
            Lifecycle::Pending => State::Pending,
            Lifecycle::Provisioning => State::Provisioning,
            Lifecycle::Active => State::Active,
            Lifecycle::Suspended => State::Suspended,
            Lifecycle::Deprovisioning => State::Deprovisioning,
        },
        TenantRecord::Deleted(_) => State::Deleted,
    }
}
