//! Ending a connection: at once for the person, and thoroughly by a job of `scheduled-refresh`.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider, Status};
use crate::domain::refresh;
use crate::queue::{self, Jobs, RefreshJob};
use crate::store::{self, Store};

/// A refresh may change the row between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 3;

/// How long a job on the queue may take before the clock queues another.
const JOB_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The connection may still be there, or its job not queued: ask again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table could not serve.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The queue did not take the job.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// Revokes a connection, so that from now on no token of it is handed out, and queues the removal of its tokens;
/// `false` when there never was one.
///
/// Safe to stop anywhere and to run again: a connection that is revoked already is queued anew, because nobody knows
/// whether it was before.
///
/// # Errors
/// [`Error`], when the table or the queue is down.
pub async fn request(
    store: &Store,
    queue: &Jobs<RefreshJob>,
    tenant: TenantId,
    provider: Provider,
    now: Timestamp,
) -> Result<bool, Error> {
    if !revoke(store, tenant, provider, now).await? {
        return Ok(false);
    }
    queue.send(&RefreshJob::Disconnect { tenant_id: tenant, provider }).await?;
    Ok(true)
}

async fn revoke(store: &Store, tenant: TenantId, provider: Provider, now: Timestamp) -> Result<bool, store::Error> {
    for _ in 0..ATTEMPTS {
        let Some(read) = store.integration(tenant, provider).await? else { return Ok(false) };
        if read.status == Status::Revoked {
            return Ok(true);
        }
        // A lease stays: its holder may be writing to the vault, and the job that removes the secret waits for it. The
        // clock looks after a job that gets lost.
        let due = Some(refresh::due(&read, now + JOB_PATIENCE));
        let revoked = Integration { status: Status::Revoked, due, ..read.clone() };
        match store.save_integration(&revoked, Some(read.version)).await {
            Ok(_) => return Ok(true),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(store::Error::Conflict)
}
