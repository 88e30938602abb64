//! Which tenants labels belong to, and their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use nbhd::domain::due::Kind;
use nbhd::domain::ids::TenantId;
use nbhd::domain::names::{Label, Names};
use nbhd::domain::tenant::TenantRecord;
use nbhd::store;

use super::READ_AT_ONCE;
use crate::App;

/// Later than any row is due.
const HORIZON: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The tenant on a tag, if the names that follow from it are these.
pub(super) fn verified(app: &App, tenant: TenantId, label: &Label) -> Option<TenantId> {
    let derived = Names::derive(&app.identity_key, tenant).label();
    (derived.as_ref() == Some(label)).then_some(tenant)
}

/// Finds the tenants of `labels`. Names cannot be reversed: those of every tenant with a row that may lead to something
/// are derived. All of these have a time at which they are due, so that one pass over that index lists them.
pub(super) async fn find(app: &App, labels: &BTreeSet<Label>) -> Result<BTreeMap<Label, TenantId>, store::Error> {
    let horizon = app.clock.now() + HORIZON;
    let mut found = BTreeMap::new();
    if labels.is_empty() {
        return Ok(found);
    }
    for shard in Kind::Reconcile.shards() {
        let mut after = None;
        loop {
            let page = app.store.list_due(&shard, horizon, after).await?;
            for row in page.rows {
                let label = Names::derive(&app.identity_key, row.tenant_id).label();
                if let Some(label) = label.filter(|label| labels.contains(label)) {
                    found.insert(label, row.tenant_id);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// Reads the rows of `tenants`, some at a time.
pub(super) async fn load(
    app: &App,
    tenants: &BTreeSet<TenantId>,
) -> Result<BTreeMap<TenantId, TenantRecord>, store::Error> {
    let tenants: Vec<TenantId> = tenants.iter().copied().collect();
    let mut rows = BTreeMap::new();
    for some in tenants.chunks(READ_AT_ONCE) {
        let records = try_join_all(some.iter().map(|tenant| app.store.tenant_record(*tenant))).await?;
        rows.extend(some.iter().copied().zip(records).filter_map(|(id, record)| Some((id, record?))));
    }
    Ok(rows)
}
