//! Reads the time, and is the only module that does; everything below a handler takes `now` as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment `seconds` seconds after the Unix epoch, saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Reads an RFC 3339 date-time with any offset; `None` when it is not one.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        i64::try_from(nanos / 1_000_000).ok().map(Self)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time from `earlier` to this moment; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment as RFC 3339 in UTC, such as `2026-11-21T03:39:18.000Z`.
    pub fn rfc3339(self) -> String {
        let nanos = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| self.0.to_string())
    }

    /// The day in UTC, such as `2026-11-21`.
    pub fn date(self) -> String {
        self.rfc3339().split('T').next().unwrap_or_default().to_owned()
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// The clock that a handler takes `now` from: the system's, or one that tests and the local world can move.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that stands still until it is moved, in milliseconds since the Unix epoch; clones share it.
    Manual(Arc<AtomicI64>),
    /// The system's clock plus an offset in milliseconds, for the local world; clones share it.
    Offset(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.millis())))
    }

    /// The system's clock with an offset of zero, which can be moved forward while it runs.
    pub fn offset() -> Self {
        Self::Offset(Arc::default())
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Manual(millis) => Timestamp(millis.load(Ordering::SeqCst)),
            Self::Offset(offset) => Timestamp(system_now().0.saturating_add(offset.load(Ordering::SeqCst))),
        }
    }

    /// Moves the clock forward by a duration; the system's clock cannot be moved and stays.
    pub fn advance(&self, by: Duration) {
        match self {
            Self::System => {}
            Self::Manual(millis) | Self::Offset(millis) => {
                millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
            }
        }
    }

    /// Returns when it is `at`: sleeps on the system's clock, and moves any other clock forward instead.
    pub async fn sleep_until(&self, at: Timestamp) {
        match self {
            Self::System => tokio::time::sleep(at.since(self.now())).await,
            Self::Manual(_) | Self::Offset(_) => self.set(at.max(self.now())),
        }
    }

    /// Sets the clock to a moment; the system's clock cannot be moved and stays, and an offset one only moves forward.
    pub fn set(&self, to: Timestamp) {
        match self {
            Self::System => {}
            Self::Manual(millis) => millis.store(to.millis(), Ordering::SeqCst),
            Self::Offset(_) => self.advance(to.since(self.now())),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The way in which a caller waits before it reads a row again that another worker is working on.
#[derive(Clone, Default)]
pub enum Waiter {
    /// Waits for the runtime's timer.
    #[default]
    Timer,
    /// Waits for a future of the hook, by which tests decide when the time has passed.
    Hook(Arc<Hook>),
}

type Hook = dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

impl Waiter {
    /// A waiter that awaits the future that `hook` returns.
    pub fn hook<W: Future<Output = ()> + Send + 'static>(hook: impl Fn(Duration) -> W + Send + Sync + 'static) -> Self {
        Self::Hook(Arc::new(move |duration| Box::pin(hook(duration))))
    }

    /// Waits for `duration`, or for the hook.
    pub async fn wait(&self, duration: Duration) {
        match self {
            Self::Timer => tokio::time::sleep(duration).await,
            Self::Hook(hook) => hook(duration).await,
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_survives_the_round_trip() {
        let at = Timestamp::from_millis(1_795_232_358_123);
        assert_eq!(Timestamp::parse_rfc3339(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T05:00:00+02:00"), Some(Timestamp::from_seconds(1_795_230_000)));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21"), None);
    }

    #[test]
    fn a_manual_clock_moves_only_when_moved() {
        let clock = Clock::manual(Timestamp::from_seconds(10));
        let twin = clock.clone();
        twin.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_seconds(15));
        assert_eq!(Timestamp::from_seconds(1).since(clock.now()), Duration::ZERO);
    }

    #[test]
    fn an_offset_clock_runs_and_can_be_moved_forward() {
        let (clock, hour) = (Clock::offset(), Duration::from_secs(3600));
        clock.advance(hour);
        assert!(clock.now().since(Clock::System.now()) > hour - Duration::from_secs(1));
        let later = clock.now() + hour;
        clock.set(later);
        assert!(clock.now() >= later);
    }
}
