//! One writer at a time: whoever writes a connection's secret in the vault holds the lease on its row.
//!
//! The vault cannot refuse a late writer, so the row does: taking a lease moves the row's `version` on, and what was
//! written to the vault counts only once the row names it, under the version the lease was taken with.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::integration::Integration;
use crate::store::{self, Store};

/// How long a lease lasts when its holder dies: longer than everything done under it.
///
/// Each step has its own limit; what a slow vault and a slow Google leave may be too little to write in: [`is_enough`].
pub const LEASE: Duration = Duration::from_secs(60);
/// A write to the vault, what it supersedes, and the row: the longest that takes.
const ENOUGH: Duration = Duration::from_secs(25);

/// How long to wait between two looks at a lease that another holds.
pub const POLL: Duration = Duration::from_millis(250);
/// How many looks a caller takes before giving up: 10 s in all.
pub const POLLS: u32 = 40;

/// Takes the lease of `row` as it was read; `None` when another holds it or the row changed meanwhile.
///
/// Saving the row that is returned, under its `version` and without `lease_until`, ends the lease.
///
/// # Errors
/// When the table cannot serve.
pub async fn try_take(store: &Store, row: &Integration, now: Timestamp) -> Result<Option<Integration>, store::Error> {
    if row.is_leased(now) { Ok(None) } else { take_over(store, row, now).await }
}

/// The same, also from another holder: what that one still writes to the vault counts no more.
///
/// # Errors
/// When the table cannot serve.
pub async fn take_over(store: &Store, row: &Integration, now: Timestamp) -> Result<Option<Integration>, store::Error> {
    let leased = Integration { lease_until: Some(now + LEASE), ..row.clone() };
    match store.save_integration(&leased, Some(row.version)).await {
        Ok(leased) => Ok(Some(leased)),
        Err(store::Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether enough is left of a lease at `now` to write a new version in.
pub fn is_enough(leased: &Integration, now: Timestamp) -> bool {
    leased.lease_until.is_some_and(|until| until.since(now) >= ENOUGH)
}
