//! How long the reconciler's work may go on, and which of these times outlives which: ARCHITECTURE.md has the table.

use std::time::Duration;

/// After how long the platform ends an invocation of `tenant-reconcile`: its `Timeout` in `template.yaml`.
pub const INVOCATION_LIMIT: Duration = Duration::from_secs(170);
/// How long a worker's lease on a tenant lasts when it dies: longer than any invocation, so that no worker acts after
/// its lease. What it had sent by then may still arrive.
pub const LEASE: Duration = Duration::from_secs(180);
/// For how long a request that was sent and never answered may still take effect. No vendor states a bound: this is
/// our own, far beyond the longest timeout of a call (25 s).
pub const IN_FLIGHT: Duration = Duration::from_secs(10 * 60);
/// When what was removed is looked for the last time, after the time before.
pub const LAST_RECHECK_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
