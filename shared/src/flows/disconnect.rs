//! Disconnects an integration: its row is Revoked at once, and a job of `scheduled-refresh` removes its tokens.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider, Status};
use crate::domain::refresh;
use crate::queue::{self, Jobs, RefreshJob};
use crate::store::{self, Store};

/// How often the row is read again after a refresh changed it between our read and our write.
const ATTEMPTS: usize = 3;

/// How long a queued job may take before a tick queues another.
const JOB_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The integration may not be Revoked, or its job not queued: the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table is unavailable.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The queue did not take the job.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// Makes an integration Revoked, so that no token of it is handed out any more, and queues the removal of its tokens.
/// Returns `false` when there is no such integration.
///
/// Idempotent: for an integration that is already Revoked the job is queued again, because an earlier call may have
/// stopped before it queued one.
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
    if !revoke_integration(store, tenant, provider, now).await? {
        return Ok(false);
    }
    queue.send(&RefreshJob::Disconnect { tenant_id: tenant, provider }).await?;
    Ok(true)
}

async fn revoke_integration(
    store: &Store,
    tenant: TenantId,
    provider: Provider,
    now: Timestamp,
) -> Result<bool, store::Error> {
    for _ in 0..ATTEMPTS {
        let Some(read) = store.load_integration(tenant, provider).await? else { return Ok(false) };
        if read.status == Status::Revoked {
            return Ok(true);
        }
        // A lease stays on the row: its holder may be writing to the vault, and the job waits for it. If the job is
        // lost, the row becomes due.
        let due = Some(refresh::due_entry(&read, now + JOB_TIMEOUT));
        let revoked = Integration { status: Status::Revoked, due, ..read.clone() };
        match store.save_integration(&revoked, Some(read.version)).await {
            Ok(_) => return Ok(true),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(store::Error::Conflict)
}
