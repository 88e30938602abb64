//! The lease on an integration's row: its holder alone may write the integration's secret in the vault.
//!
//! The vault cannot refuse a writer whose lease has ended, so the row does. Acquiring a lease increases the row's
//! `version`. A new version of the secret counts only once the row names it, and the row is saved only under the
//! `version` that the lease was acquired with.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::integration::Integration;
use crate::store::{self, Store};

/// How long a lease lasts when its holder dies.
///
/// Every call under a lease has its own timeout. After slow calls the time that is left may not suffice for a write:
/// [`has_time_to_write`].
pub const LEASE: Duration = Duration::from_secs(60);
/// The longest that it takes to write the vault, disable the superseded versions and save the row.
const WRITE_TIME: Duration = Duration::from_secs(25);

/// How long a worker waits before it reads a row again that another worker leases.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often a worker reads a leased row before it gives up: for 10 s in all.
pub const MAX_POLLS: u32 = 40;

/// Acquires the lease of `row` as it was read. Returns `None` when another worker holds it or the row has changed.
///
/// To release the lease, save the returned row under its `version` and without `lease_until`.
///
/// # Errors
/// [`store::Error::Unavailable`] when the table cannot serve.
pub async fn try_acquire(
    store: &Store,
    row: &Integration,
    now: Timestamp,
) -> Result<Option<Integration>, store::Error> {
    if row.is_leased(now) { Ok(None) } else { take_over(store, row, now).await }
}

/// Acquires the lease even from another holder, whose later writes to the vault no longer count.
///
/// # Errors
/// [`store::Error::Unavailable`] when the table cannot serve.
pub async fn take_over(store: &Store, row: &Integration, now: Timestamp) -> Result<Option<Integration>, store::Error> {
    let leased = Integration { lease_until: Some(now + LEASE), ..row.clone() };
    match store.save_integration(&leased, Some(row.version)).await {
        Ok(leased) => Ok(Some(leased)),
        Err(store::Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether enough time is left of a lease at `now` to write a new version of the secret.
pub fn has_time_to_write(leased: &Integration, now: Timestamp) -> bool {
    leased.lease_until.is_some_and(|until| until.since(now) >= WRITE_TIME)
}
