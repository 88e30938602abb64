//! The model gateway: its keys, a hundred a call, and those that no row knows.

use std::collections::BTreeSet;
use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::inventory::{GATEWAY, Orphan, Place, is_key_known};
use nbhd::domain::names::Label;
use nbhd::domain::step_name::Part;
use nbhd::providers::model_gateway::Key;
use nbhd::queue::LifecycleJob;

use super::{Section, record, tenants};
use crate::App;
use crate::failure::Failure;
use crate::worker::BUDGET;

/// A younger key may be of a worker that has not written its row yet.
const SETTLED_AFTER: Duration = Duration::from_secs(60 * 60);
/// How many keys are held against the rows at once: it bounds the memory.
const KEYS_AT_ONCE: usize = 2_000;

/// Reads the list from `offset` on, for as long as a job may take; the rest is another job's.
pub(super) async fn take(app: &App, offset: usize, began: Timestamp) -> Result<(), Failure> {
    let deadline = app.clock.now() + BUDGET;
    let (mut offset, mut is_first) = (offset, offset == 0);
    loop {
        let (mut keys, mut has_more) = (Vec::new(), true);
        while has_more && keys.len() < KEYS_AT_ONCE {
            let page = app.gateway.list_keys(offset).await?;
            offset += page.len();
            has_more = !page.is_empty();
            keys.extend(page.into_iter().filter_map(|key| Some((Label::of_model_key(&key.name)?, key))));
        }
        let orphans = find_orphans(app, keys).await?;
        let section = Section { began, is_first, is_last: !has_more };
        record(app, GATEWAY, orphans, &section).await?;
        is_first = false;
        if !has_more {
            return Ok(());
        }
        if app.clock.now() >= deadline {
            let rest = Place::Gateway { offset, began };
            return Ok(app.lifecycle.send(&LifecycleJob::Inventory(rest)).await?);
        }
    }
}

async fn find_orphans(app: &App, keys: Vec<(Label, Key)>) -> Result<Vec<Orphan>, Failure> {
    let now = app.clock.now();
    let labels: BTreeSet<Label> = keys.iter().map(|(label, _)| label.clone()).collect();
    let tenants = tenants::find(app, &labels).await?;
    let rows = tenants::load(app, &tenants.values().copied().collect()).await?;
    let is_settled =
        |key: &Key| Timestamp::parse_rfc3339(&key.created_at).is_none_or(|made| made + SETTLED_AFTER <= now);
    let orphan = |(label, key): (Label, Key)| {
        let tenant = tenants.get(&label).copied();
        let row = tenant.and_then(|tenant| rows.get(&tenant));
        (is_settled(&key) && !is_key_known(row, &key.hash)).then(|| Orphan {
            name: key.name,
            parts: vec![Part::ModelKeys],
            tenant,
            role: None,
            key: Some(key.hash),
            limit_cents: key.limit_cents,
            first_seen: now,
            last_seen: now,
        })
    };
    Ok(keys.into_iter().filter_map(orphan).collect())
}
