//! `nbhd rotate-keys --all`: every tenant whose secrets are not of the newest runtime key gets new ones.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use nbhd::domain::generation::KeyId;
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Operator, Output, tenant};

/// Asks for the rotations, at most so many a minute: each stops a container and starts it anew. What was asked for
/// before is not asked for again, so that the command goes on where it was stopped.
pub(crate) async fn rotate_all(operator: &Operator, per_minute: u32) -> anyhow::Result<Output> {
    let keys = operator.env.secret_keys("RUNTIME_KEYS")?;
    let newest = keys.newest().id();
    let tenants: Vec<_> = live_tenants(operator).await?.into_iter().filter(|row| is_outdated(row, newest)).collect();
    let mut pace = interval(Duration::from_secs(60) / per_minute);
    // Who was slow does not hurry afterwards.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (count, mut requested) = (tenants.len(), 0_usize);
    for (place, listed) in tenants.iter().enumerate() {
        let id = listed.tenant_id;
        // Read anew, since the list may be hours old.
        let tenant = operator.store.tenant(id).await.with_context(|| stopped(requested, count))?;
        if !tenant.is_some_and(|tenant| is_outdated(&tenant, newest)) {
            continue;
        }
        pace.tick().await;
        tenant::request_rotation(operator, id).await.with_context(|| stopped(requested, count))?;
        requested += 1;
        // On the other stream than the outcome. A closed pipe is no failure.
        let _ = writeln!(std::io::stderr().lock(), "{} of {count}: `{id}` gets new keys", place + 1);
    }
    let left = live_tenants(operator).await?;
    Ok(Output::Parts(vec![
        ("rotations_requested", Output::Value(json!(requested))),
        ("keys", count_by_key(&keys, &left)),
        ("next", Output::from_text(advise(&left, newest))),
    ]))
}

fn stopped(requested: usize, count: usize) -> String {
    format!("it stopped after {requested} of {count} tenants; the same command goes on")
}

/// Whether a rotation is to be asked for. One without a key gets the newest with its first resources, and one that is
/// being removed needs none.
fn is_outdated(tenant: &Tenant, newest: KeyId) -> bool {
    let is_of_another = tenant.newest_generation().key.is_some_and(|key| key != newest);
    is_of_another && !tenant.rotation_requested && tenant.lifecycle != Lifecycle::Deprovisioning
}

/// How many tenants have secrets of each key: those under rotation of two.
fn count_by_key(keys: &SecretKeys, tenants: &[Tenant]) -> Output {
    #[derive(Default)]
    struct Count {
        tenants: usize,
        suspended: usize,
    }
    let mut counts: BTreeMap<KeyId, Count> = keys.ids().map(|id| (id, Count::default())).collect();
    for tenant in tenants {
        let mut of: Vec<KeyId> = tenant.generations().filter_map(|generation| generation.key).collect();
        of.dedup();
        for key in of {
            let count = counts.entry(key).or_default();
            count.tenants += 1;
            count.suspended += usize::from(tenant.lifecycle == Lifecycle::Suspended);
        }
    }
    let place = |id: KeyId| keys.ids().position(|listed| listed == id);
    let row = |(id, count): (&KeyId, &Count)| {
        let listed = match place(*id) {
            Some(0) => "newest",
            Some(_) => "older",
            None => "not listed",
        };
        vec![json!(id.as_str()), json!(listed), json!(count.tenants), json!(count.suspended)]
    };
    Output::Rows { head: vec!["key", "listed", "tenants", "of_them_suspended"], rows: counts.iter().map(row).collect() }
}

/// What an operator does next.
fn advise(tenants: &[Tenant], newest: KeyId) -> String {
    let is_left =
        |tenant: &&Tenant| tenant.generations().any(|generation| generation.key.is_some_and(|key| key != newest));
    let left = tenants.iter().filter(is_left).filter(|tenant| tenant.lifecycle != Lifecycle::Suspended).count();
    if left > 0 {
        return format!("{left} tenants that run still have secrets of an older key: run it again after some minutes");
    }
    format!("every key but `{newest}` can be removed; suspended tenants get new keys when they resume")
}

async fn live_tenants(operator: &Operator) -> anyhow::Result<Vec<Tenant>> {
    let live = |record| match record {
        TenantRecord::Live(tenant) => Some(*tenant),
        TenantRecord::Deleted(_) => None,
    };
    let mut tenants: Vec<Tenant> = operator.store.list_tenants().await?.into_iter().filter_map(live).collect();
    tenants.sort_by_key(|tenant| tenant.tenant_id);
    Ok(tenants)
}
