//! One writer at a time: whoever writes a connection's secret in the vault holds the lease on its row.
//!
//! The vault cannot refuse a late writer, so the row does: taking a lease moves the row's `version` on, and what was
//! written to the vault counts only once the row names it, under the version the lease was taken with.

use std::time::Duration;

use crate::clock::{Clock, Timestamp, Waiter};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};
use crate::store::{self, Store};

/// How long a lease lasts when its holder dies: longer than everything done under it, each step of which has its own
/// limit.
pub const LEASE: Duration = Duration::from_secs(45);

/// How often a lease held by another is looked at, and how many times before the caller gives up (10 s).
pub(crate) const POLL: Duration = Duration::from_millis(250);
pub(crate) const POLLS: u32 = 40;

/// Why a lease was not had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another holds it, and did not finish while we waited.
    #[error("another is working on the connection")]
    Busy,
    /// The table could not serve.
    #[error("the lease could not be taken")]
    Store(#[from] store::Error),
}

/// Takes the lease of `row` as it was read; `None` when another holds it or the row changed meanwhile.
///
/// # Errors
/// When the table cannot serve.
pub async fn try_take(store: &Store, row: &Integration, now: Timestamp) -> Result<Option<Integration>, store::Error> {
    if row.is_leased(now) {
        return Ok(None);
    }
    let leased = Integration { lease_until: Some(now + LEASE), ..row.clone() };
    match store.save_integration(&leased, Some(row.version)).await {
        Ok(leased) => Ok(Some(leased)),
        Err(store::Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the lease of a connection, waiting for its holder if need be; `None` when there is no such row, and so nobody
/// to keep out.
///
/// Saving the row that is returned, with its `version` and without `lease_until`, ends the lease.
///
/// # Errors
/// [`Error::Busy`] after 10 s, or when the table cannot serve.
pub async fn take(
    store: &Store,
    clock: &Clock,
    waiter: &Waiter,
    tenant: TenantId,
    provider: Provider,
) -> Result<Option<Integration>, Error> {
    for _ in 0..POLLS {
        let Some(row) = store.integration(tenant, provider).await? else { return Ok(None) };
        let now = clock.now();
        match try_take(store, &row, now).await? {
            Some(leased) => return Ok(Some(leased)),
            None if row.is_leased(now) => waiter.wait(POLL).await,
            None => {}
        }
    }
    Err(Error::Busy)
}
