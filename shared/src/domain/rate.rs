//! The generic cell rate algorithm: one moment a key, the *theoretical arrival time*, holds the whole state of a limit.
//! <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>

use std::time::Duration;

use crate::clock::Timestamp;

/// A rate limit: one event every `interval` on average, and more of them at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    interval: Duration,
    tolerance: Duration,
}

/// Whether an event conforms to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event conforms; carries the theoretical arrival time to store.
    Admit(Timestamp),
    /// The event does not conform; carries the time until one would.
    Refuse(Duration),
}

impl Gcra {
    /// A limit of `count` events every `period` on average, and `burst` at once; both count as at least 1.
    pub const fn new(count: u32, period: Duration, burst: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        let burst = if burst == 0 { 1 } else { burst };
        let interval = Duration::from_millis(period.as_millis() as u64 / count as u64);
        Self { interval, tolerance: interval.saturating_mul(burst - 1) }
    }

    /// The same limit for an event of which `parts` count as one; 0 counts as 1.
    #[must_use]
    pub fn for_part_of(self, parts: u32) -> Self {
        Self { interval: self.interval / parts.max(1), ..self }
    }

    /// The average time between events.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest time that the theoretical arrival time may lie ahead of now for an event to conform.
    pub const fn tolerance(&self) -> Duration {
        self.tolerance
    }

    /// Checks an event at `now` against the stored theoretical arrival time (`None` for a key never seen).
    pub fn check(&self, stored: Option<Timestamp>, now: Timestamp) -> Verdict {
        self.check_batch(stored, now, 1)
    }

    /// Checks `count` events that come as one: all pass if one would, and the next event waits for all of them.
    pub fn check_batch(&self, stored: Option<Timestamp>, now: Timestamp, count: u32) -> Verdict {
        let arrival = stored.map_or(now, |at| at.max(now));
        let ahead = arrival.since(now);
        match ahead.checked_sub(self.tolerance()) {
            Some(wait) if !wait.is_zero() => Verdict::Refuse(wait),
            Some(_) | None => Verdict::Admit(arrival + self.interval.saturating_mul(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_waits_one_interval() {
        let limit = Gcra::new(30, Duration::from_secs(60), 10);
        let now = Timestamp::from_seconds(1_000);
        let mut stored = None;
        for _ in 0..10 {
            let Verdict::Admit(at) = limit.check(stored, now) else { panic!("the burst is ten") };
            stored = Some(at);
        }
        assert_eq!(limit.check(stored, now), Verdict::Refuse(Duration::from_secs(2)));
        assert!(matches!(limit.check(stored, now + Duration::from_secs(2)), Verdict::Admit(_)));
    }

    #[test]
    fn events_that_come_as_one_pass_whole_and_are_waited_for() {
        let limit = Gcra::new(1, Duration::from_secs(1), 5);
        let now = Timestamp::from_seconds(1_000);
        let Verdict::Admit(stored) = limit.check_batch(None, now, 10) else { panic!("one would pass") };
        assert_eq!(limit.check(Some(stored), now), Verdict::Refuse(Duration::from_secs(6)));
        assert_eq!(limit.check_batch(Some(stored), now, 10), Verdict::Refuse(Duration::from_secs(6)));
        assert!(matches!(limit.check(Some(stored), now + Duration::from_secs(6)), Verdict::Admit(_)));
    }

    #[test]
    fn parts_count_as_one_event_together() {
        let limit = Gcra::new(30, Duration::from_secs(60), 3);
        let (part, now) = (limit.for_part_of(10), Timestamp::from_seconds(1_000));
        let mut stored = None;
        for _ in 0..20 {
            let Verdict::Admit(at) = part.check(stored, now) else { panic!("two wholes of three") };
            stored = Some(at);
        }
        let Verdict::Admit(at) = limit.check(stored, now) else { panic!("the third whole") };
        assert_eq!(part.check(Some(at), now), Verdict::Refuse(Duration::from_secs(2)));
        assert_eq!(limit.for_part_of(0), limit);
    }

    #[test]
    fn a_long_pause_restores_the_burst_and_no_more() {
        let limit = Gcra::new(1, Duration::from_secs(1), 5);
        let mut stored = Some(Timestamp::from_seconds(0));
        let later = Timestamp::from_seconds(1_000_000);
        let mut admitted = 0;
        while let Verdict::Admit(at) = limit.check(stored, later) {
            stored = Some(at);
            admitted += 1;
        }
        assert_eq!(admitted, 5);
    }
}
