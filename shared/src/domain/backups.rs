//! What is kept of a removed tenant for a while by itself, since nobody can delete single things from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far back the table can be restored, `RecoveryPeriodInDays` of `template.yaml`. It held the tenant's rows: chat,
/// time zone, the names of connected accounts; no token, and no text of anybody.
pub const TABLE_BACKUP: Duration = DAY.saturating_mul(35);

/// How long a message waits that could not be delivered, `MessageRetentionPeriod` of the inbound dead letters.
pub const DEAD_LETTERS: Duration = DAY.saturating_mul(14);

/// How long log lines are kept, `RetentionInDays` of both log groups. They have the tenant's id, and nobody's words.
pub const LOGS: Duration = DAY.saturating_mul(30);

/// Until when each of them may still hold something of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    /// The end of [`TABLE_BACKUP`].
    pub table_until: Timestamp,
    /// The end of [`DEAD_LETTERS`].
    pub dead_letters_until: Timestamp,
    /// The end of [`LOGS`].
    pub logs_until: Timestamp,
}

impl Backups {
    /// What is kept of a tenant that is removed at `removal`. Each ends a day later than its period: until then a
    /// message may be under way, and a recheck writes to the receipt.
    pub fn after(removal: Timestamp) -> Self {
        let until = |period| removal + period + DAY;
        Self { table_until: until(TABLE_BACKUP), dead_letters_until: until(DEAD_LETTERS), logs_until: until(LOGS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backup_ends_a_day_after_its_period() {
        let kept = Backups::after(Timestamp::from_seconds(1_800_000_000));
        let days = [kept.table_until, kept.dead_letters_until, kept.logs_until].map(Timestamp::date);
        assert_eq!(days, ["2027-02-20", "2027-01-30", "2027-02-15"]);
    }
}
