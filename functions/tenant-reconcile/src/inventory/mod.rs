//! What there is at Azure, in the runtimes' vaults and at the model gateway, held against the rows.
//!
//! Every other job begins with a row. A row that was lost with what it led to, or a table that was restored, leave
//! things that cost money, hold a person's files or can spend on a model, and that no job would ever look for. So each
//! hour every place is listed, page by page and not tenant by tenant. What bears a name of ours is looked up in the
//! rows: by the tenant on a tag, and where nothing has a tag, by deriving the names of every tenant.

mod gateway;
mod removal;
mod subscription;
mod tenants;

use std::collections::BTreeSet;

use nbhd::clock::Timestamp;
use nbhd::domain::inventory::{GATEWAY, Inventory, Orphan, Place};
use nbhd::queue::LifecycleJob;
use nbhd::store;
use nbhd::telemetry::metric;

use crate::App;
use crate::failure::Failure;
use crate::worker::{Error, Outcome};

pub(crate) use removal::remove_orphan;

/// How many rows are read at once.
const READ_AT_ONCE: usize = 25;
/// Others may write an inventory between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 5;

/// Takes an inventory. What a vendor cannot serve now is left to the next hour's.
pub(crate) async fn take(app: &App, place: Place) -> Result<Outcome, Error> {
    let (of, taken) = match place {
        Place::All => {
            queue_all(app).await;
            return Ok(Outcome::Inventoried);
        }
        Place::Subscription { id } => {
            let taken = Box::pin(subscription::take(app, &id)).await;
            (id, taken)
        }
        Place::Gateway { offset, began } => (GATEWAY.to_owned(), Box::pin(gateway::take(app, offset, began)).await),
    };
    match taken {
        Ok(()) => {}
        Err(Failure::Store(error)) => return Err(error.into()),
        Err(failure) => {
            metric("InventoriesFailed", 1);
            let error = describe(&failure);
            tracing::warn!(code = "inventory_failed", of, error, "an inventory was not taken; the next hour takes it");
        }
    }
    Ok(Outcome::Inventoried)
}

async fn queue_all(app: &App) {
    let subscriptions: BTreeSet<_> = app.settings.shards.iter().map(|shard| &shard.azure_subscription).collect();
    let places = subscriptions.into_iter().map(|id| Place::Subscription { id: id.clone() });
    let gateway = Place::Gateway { offset: 0, began: app.clock.now() };
    let jobs: Vec<_> = places.chain([gateway]).map(LifecycleJob::Inventory).collect();
    if let Err(error) = app.lifecycle.send_all(&jobs).await {
        metric("InventoriesFailed", 1);
        tracing::warn!(
            code = "inventory_failed",
            of = "all",
            %error,
            "inventories were not queued; the next hour takes them"
        );
    }
}

/// A part of an inventory.
struct Section {
    /// When the inventory began.
    began: Timestamp,
    is_first: bool,
    is_last: bool,
}

/// Writes what was found, and reports it after the last section.
async fn record(app: &App, of: &str, found: Vec<Orphan>, section: &Section) -> Result<(), Failure> {
    let now = app.clock.now();
    let saved = change(app, of, |inventory| {
        if section.is_first {
            inventory.more = 0;
        }
        inventory.add(found.clone());
        if section.is_last {
            inventory.end(section.began, now);
        }
    })
    .await?;
    if !section.is_last {
        return Ok(());
    }
    metric("InventoriesTaken", 1);
    let count = saved.orphans.len() + saved.more;
    if count > 0 {
        metric("OrphansFound", u32::try_from(count).unwrap_or(u32::MAX));
        let oldest = saved.orphans.iter().map(|orphan| orphan.first_seen).min().map(Timestamp::rfc3339);
        tracing::warn!(
            code = "orphans_found",
            of,
            count,
            oldest,
            "there are things of ours that no row knows; `nbhd orphans` lists them"
        );
    }
    Ok(())
}

/// Changes an inventory's item, and returns it as it was saved.
async fn change(app: &App, of: &str, change: impl Fn(&mut Inventory)) -> Result<Inventory, store::Error> {
    for _ in 0..ATTEMPTS {
        let mut inventory = app.store.load_inventory(of).await?.unwrap_or_else(|| Inventory::new(of));
        change(&mut inventory);
        match app.store.save_inventory(&inventory).await {
            Ok(()) => return Ok(inventory),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(store::Error::Conflict)
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Store(error) => error.to_string(),
        Failure::Waiting { reason, .. } => reason.to_string(),
        Failure::Locked { .. } => "locked".to_owned(),
        Failure::Failed { error, .. } => error.to_string(),
    }
}
