//! When an integration's token is renewed, and what a failed renewal means for the integration.
//!
//! | failure | class | state | next |
//! |---|---|---|---|
//! | `invalid_grant` or alike, also with the vault's latest version | final | Expired | the person is notified once |
//! | no refresh token in the vault | final | Expired | the person is notified once |
//! | `invalid_client`, `unauthorized_client`, … | configuration | Active | alarm, back-off |
//! | our client at Google is not configured | configuration | Active | alarm, back-off |
//! | the vault has no such secret | configuration | Active | alarm, back-off |
//! | the settings have no such vault | configuration | Active | alarm, back-off |
//! | Google: no response, 429, 5xx, unreadable | transient | Active | back-off, alarm by rate |
//! | the vault: throttled, down | transient | Active | back-off, alarm by rate |
//! | the table is down | transient | Active | still due: the next tick |

use std::time::Duration;

use super::backoff;
use super::due::{Due, Kind};
use super::integration::{Integration, Status};
use super::refresh_failure::{Class, Failure};
use crate::clock::Timestamp;

/// An integration that a runtime used within this time is in use: its token is renewed before it ends.
const IN_USE_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// A use is recorded on the row when the last record is this old: at most four writes a day.
const USE_RECORD_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// How long before its end the token of an integration in use is due, plus a jitter of up to [`SPREAD`]. A tick finds
/// a due row up to five minutes late, so that three ticks may fail. Of integrations that were made at the same time,
/// each tick finds a third.
const LEAD: Duration = Duration::from_secs(15 * 60);
const SPREAD: Duration = Duration::from_secs(15 * 60);
/// How often an idle integration is renewed, which also shows whether it was revoked; up to [`IDLE_SPREAD`] sooner.
const KEEP_ALIVE: Duration = Duration::from_secs(7 * 24 * 3600);
const IDLE_SPREAD: Duration = Duration::from_secs(12 * 3600);
/// How soon an idle integration is renewed whose superseded versions may still be readable.
const SUPERSEDED_RETRY: Duration = Duration::from_secs(3600);

/// The back-off: doubled with every failure in a row, up to an hour.
const FIRST_TRANSIENT: Duration = Duration::from_secs(60);
const FIRST_CONFIGURATION: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether a runtime used the integration within a day, or as much longer as the record of a use may be late.
pub fn is_in_use(row: &Integration, now: Timestamp) -> bool {
    row.used_at.is_some_and(|at| now.since(at) < IN_USE_WINDOW + USE_RECORD_INTERVAL)
}

/// Whether a runtime's call at `now` has to be recorded on the row.
pub fn needs_use_record(row: &Integration, now: Timestamp) -> bool {
    row.used_at.is_none_or(|at| now.since(at) >= USE_RECORD_INTERVAL)
}

/// The row after a runtime's call at `now`. A use does not shorten a back-off.
#[must_use]
pub fn with_use(row: &Integration, now: Timestamp) -> Integration {
    let row = Integration { used_at: Some(now), ..row.clone() };
    if row.failures == 0 { with_next_renewal(row, now) } else { row }
}

/// The row, due for its next renewal; the last one did not fail.
#[must_use]
pub fn with_next_renewal(row: Integration, now: Timestamp) -> Integration {
    let at = next_renewal(&row, now);
    Integration { due: Some(due_entry(&row, at)), ..row }
}

/// The row after a renewal failed, without its lease. The status says what it is due for: an Expired integration is
/// due until its person was notified.
#[must_use]
pub fn with_failure(row: &Integration, failure: Failure, retry_after: Option<Duration>, now: Timestamp) -> Integration {
    let failures = row.failures.saturating_add(1);
    let row = Integration { failures, failure: Some(failure), lease_until: None, ..row.clone() };
    match failure.class() {
        Class::Final => Integration { status: Status::Expired, failures: 0, due: Some(due_entry(&row, now)), ..row },
        Class::Configuration => {
            let at = now + back_off(&row, FIRST_CONFIGURATION);
            Integration { due: Some(due_entry(&row, at)), ..row }
        }
        Class::Transient => {
            let asked = retry_after.unwrap_or_default().min(LONGEST);
            let at = now + back_off(&row, FIRST_TRANSIENT).max(asked);
            Integration { due: Some(due_entry(&row, at)), ..row }
        }
    }
}

/// The row of an Expired integration whose person could not be notified at `now`, due for another attempt.
#[must_use]
pub fn with_notice_retry(row: &Integration, retry_after: Option<Duration>, now: Timestamp) -> Integration {
    let row = Integration { failures: row.failures.saturating_add(1), ..row.clone() };
    let at = now + back_off(&row, FIRST_TRANSIENT).max(retry_after.unwrap_or_default().min(LONGEST));
    Integration { due: Some(due_entry(&row, at)), ..row }
}

/// The wait after `row.failures` of them in a row: doubled each time, up to an hour; half of it is jitter.
fn back_off(row: &Integration, first: Duration) -> Duration {
    let doubled = backoff::exponential(first, row.failures, LONGEST);
    doubled / 2 + jitter(row, u64::from(row.failures), doubled / 2)
}

/// The entry of an integration's row in the index of due rows.
pub fn due_entry(row: &Integration, at: Timestamp) -> Due {
    Due::new(Kind::Refresh, row.tenant_id, at)
}

fn next_renewal(row: &Integration, now: Timestamp) -> Timestamp {
    let Some(expires_at) = row.expires_at else { return now };
    if !is_in_use(row, now) {
        return if row.superseded.is_empty() {
            now + KEEP_ALIVE - jitter(row, 0, IDLE_SPREAD)
        } else {
            now + SUPERSEDED_RETRY
        };
    }
    // A token of a few minutes is renewed at half its life, not at every tick.
    let half_life = now + expires_at.since(now) / 2;
    // The jitter depends on the token's end, so that integrations with the same jitter do not stay together for ever.
    (expires_at - LEAD - jitter(row, expires_at.seconds().unsigned_abs(), SPREAD)).max(half_life)
}

/// A part of `range` that is the connection's own: the same in every process, and different from the others', so that a
/// million of them do not march in step.
fn jitter(row: &Integration, salt: u64, range: Duration) -> Duration {
    backoff::spread(&[row.tenant_id.as_bytes(), row.provider.as_str().as_bytes()].concat(), salt, range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TenantId;
    use crate::domain::integration::Provider;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn row() -> Integration {
        let row = Integration::new(TenantId::random(), Provider::Gmail, NOW);
        Integration { expires_at: Some(NOW + HOUR), ..row }
    }

    fn due_at(row: &Integration) -> Timestamp {
        row.due.as_ref().expect("due").at
    }

    #[test]
    fn an_integration_in_use_is_renewed_a_quarter_of_an_hour_before_its_token_ends() {
        for _ in 0..100 {
            let at = due_at(&with_next_renewal(row(), NOW));
            assert!((NOW + 30 * MINUTE..=NOW + 45 * MINUTE).contains(&at), "{at}");
        }
        let short = with_next_renewal(Integration { expires_at: Some(NOW + 10 * MINUTE), ..row() }, NOW);
        assert_eq!(due_at(&short), NOW + 5 * MINUTE);
    }

    #[test]
    fn an_idle_integration_is_renewed_once_a_week() {
        for used_at in [None, Some(NOW - 30 * HOUR)] {
            let at = due_at(&with_next_renewal(Integration { used_at, ..row() }, NOW));
            assert!((NOW + 6 * DAY + 12 * HOUR..=NOW + 7 * DAY).contains(&at), "{at}");
        }
        let used_yesterday = Integration { used_at: Some(NOW - 24 * HOUR), ..row() };
        assert!(is_in_use(&used_yesterday, NOW), "the record of a use may be six hours late");
    }

    #[test]
    fn an_unknown_end_is_due_now() {
        for used_at in [None, Some(NOW)] {
            assert_eq!(due_at(&with_next_renewal(Integration { expires_at: None, used_at, ..row() }, NOW)), NOW);
        }
    }

    #[test]
    fn an_idle_integration_is_renewed_soon_while_a_superseded_version_may_be_readable() {
        let untidy = Integration { used_at: None, ..row() }.with_superseded(vec!["1".to_owned()]);
        assert_eq!(due_at(&with_next_renewal(untidy, NOW)), NOW + HOUR);
    }

    /// As ticks see them: what became due since the last one is renewed at once.
    #[test]
    fn a_herd_that_was_renewed_in_one_tick_disperses_and_no_token_ends_before_its_turn() {
        let tick = 5 * MINUTE;
        let mut herd: Vec<Integration> = (0..1200).map(|_| with_next_renewal(row(), NOW)).collect();
        let mut busiest = Vec::new();
        for round in 0..6 {
            let mut most = 0;
            for minutes in (0..60).step_by(5) {
                let now = NOW + round * HOUR + minutes * MINUTE + tick;
                let due = herd.iter_mut().filter(|row| row.is_due(now));
                let renewed = due.map(|row| {
                    assert!(row.expires_at.is_some_and(|expires_at| expires_at >= now + 10 * MINUTE), "in time");
                    let fresh = Integration { used_at: Some(now), expires_at: Some(now + HOUR), ..row.clone() };
                    *row = with_next_renewal(fresh, now);
                });
                most = most.max(renewed.count());
            }
            busiest.push(most);
        }
        // In one part of three after an hour, and ever closer to one of eight: a token's turn comes about that often.
        assert!(busiest[0] <= 500 && busiest[5] <= 300, "{busiest:?}");
    }

    #[test]
    fn use_is_recorded_every_six_hours_and_brings_the_next_renewal_forward() {
        let row = with_next_renewal(Integration { used_at: None, ..row() }, NOW);
        assert!(needs_use_record(&row, NOW) && due_at(&row) > NOW + DAY);
        let noted = with_use(&row, NOW);
        assert!(due_at(&noted) < NOW + HOUR);
        assert!(!needs_use_record(&noted, NOW + 6 * HOUR - MINUTE) && needs_use_record(&noted, NOW + 6 * HOUR));
    }

    #[test]
    fn use_does_not_cut_a_back_off_short() {
        let failing = with_failure(&row(), Failure::ProviderDown, None, NOW);
        assert_eq!(due_at(&with_use(&failing, NOW)), due_at(&failing));
    }

    #[test]
    fn jitter_is_each_integrations_own_and_always_the_same() {
        let rows: Vec<Integration> = (0..1000).map(|_| row()).collect();
        let at = |row: &Integration| due_at(&with_next_renewal(row.clone(), NOW));
        assert!(rows.iter().all(|row| at(row) == at(row)));
        // A quarter of an hour in five parts: none stands empty, none holds more than twice its share.
        let mut parts = [0; 5];
        for row in &rows {
            let place = at(row).since(NOW + 30 * MINUTE).as_secs() / 180;
            parts[usize::try_from(place).expect("small").min(4)] += 1;
        }
        assert!(parts.iter().all(|count| (100..400).contains(count)), "{parts:?}");
        let gmail = row();
        let calendar = Integration { provider: Provider::GoogleCalendar, ..gmail.clone() };
        assert_ne!(at(&gmail), at(&calendar));
    }

    #[test]
    fn every_failure_has_a_name_of_its_own_that_reads_back() {
        for failure in Failure::ALL {
            assert_eq!(serde_json::to_value(failure).expect("serializable"), failure.as_str());
        }
    }

    #[test]
    fn only_a_permanent_failure_expires_an_integration() {
        for failure in Failure::ALL {
            let after = with_failure(&row(), failure, None, NOW);
            let is_final = matches!(failure, Failure::GrantEnded | Failure::NoRefreshToken);
            let status = if is_final { Status::Expired } else { Status::Active };
            assert_eq!((after.status, after.failure, after.lease_until), (status, Some(failure), None));
            assert_eq!(after.failures, u32::from(!is_final));
            assert_eq!(due_at(&after) == NOW, is_final, "its person is to be notified");
        }
    }

    #[test]
    fn back_off_doubles_with_jitter_up_to_an_hour() {
        for (failure, first) in [(Failure::ProviderDown, MINUTE), (Failure::ClientRefused, 5 * MINUTE)] {
            let mut failing = row();
            for round in 0..40 {
                failing = with_failure(&failing, failure, None, NOW);
                let full = first.saturating_mul(1 << round.min(16)).min(HOUR);
                let wait = due_at(&failing).since(NOW);
                assert!((full / 2..=full).contains(&wait), "{failure:?} {round}: {wait:?}");
            }
            assert_eq!(failing.failures, 40);
        }
    }

    #[test]
    fn what_google_asks_for_is_waited_but_no_longer_than_an_hour() {
        let wait = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            due_at(&with_failure(&row(), Failure::RateLimited, asked, NOW)).since(NOW)
        };
        assert!(wait(1) <= MINUTE);
        assert_eq!(wait(600), 10 * MINUTE);
        assert_eq!(wait(1_000_000), HOUR);
    }
}
