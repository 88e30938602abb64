//! The lease on the tenant's share: of all replicas, one runs an `OpenClaw`.
//!
//! A lease is a file with a number. Who takes over makes the file of the next number, which a share lets one process
//! do; the highest number is the lease. Its holder appends a byte from time to time. Whoever waits compares nothing but
//! whether the file changes, by a clock of its own, so that clocks need not agree.
//!
//! A holder that has not renewed for [`LOST_AFTER`] stops its `OpenClaw` at once, and one that has not been seen to
//! renew for [`LAPSED_AFTER`] has lost its lease: what a holder stops, it stops before another one starts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nbhd::clock::Waiter;
use tokio::sync::watch;

use crate::share::{Appender, Folder};

/// How often a lease is renewed.
pub const RENEWAL: Duration = Duration::from_secs(10);
/// How often one that somebody else has is looked at.
pub const POLL: Duration = Duration::from_secs(2);
/// A holder that could not renew for this long has to stop.
pub const LOST_AFTER: Duration = Duration::from_secs(30);
/// A lease that nobody was seen to renew for this long is free.
pub const LAPSED_AFTER: Duration = Duration::from_secs(60);

const ENDING: &str = ".lease";
const HEARTBEAT: u8 = b'.';
/// Whoever writes it last has no `OpenClaw` any more.
const RELEASED: u8 = b'R';

/// A time that only grows, from any beginning.
#[derive(Clone)]
pub struct Uptime(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Uptime {
    /// The system's.
    pub fn system() -> Self {
        let start = Instant::now();
        Self::hook(move || start.elapsed())
    }

    /// What `hook` says. For tests.
    pub fn hook(hook: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uptime")
    }
}

/// What the share says of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    number: u64,
    bytes: u64,
    is_released: bool,
}

/// Decides when who waits may take the lease.
#[derive(Debug, Default)]
pub struct Candidate {
    seen: Option<(Seen, Duration)>,
}

impl Candidate {
    /// The number to take now, if the lease is free. The share was asked at one time and answered at another: the
    /// holder may have renewed as late as the answer, and the lease was seen unchanged as early as the question.
    pub fn observe(&mut self, seen: Option<Seen>, (asked, answered): (Duration, Duration)) -> Option<u64> {
        let Some(seen) = seen else { return Some(1) };
        let unchanged_for = match self.seen {
            Some((before, since)) if before == seen => asked.saturating_sub(since),
            Some(_) | None => {
                self.seen = Some((seen, answered));
                Duration::ZERO
            }
        };
        (seen.is_released || unchanged_for >= LAPSED_AFTER).then_some(seen.number + 1)
    }
}

/// The files of the lease. All of it blocks.
#[derive(Clone, Debug)]
pub struct Files(Folder);

/// A lease that is held.
#[derive(Debug)]
pub struct Held {
    files: Files,
    number: u64,
    file: Appender,
}

impl Files {
    /// The lease in `folder`.
    pub fn new(folder: Folder) -> Self {
        Self(folder)
    }

    /// The lease as it is; `None` when nobody has ever had it.
    ///
    /// # Errors
    /// When the share cannot be read.
    pub fn read(&self) -> io::Result<Option<Seen>> {
        let Some(number) = self.highest()? else { return Ok(None) };
        let content = self.0.read(&name_of(number))?;
        let is_released = content.last() == Some(&RELEASED);
        Ok(Some(Seen { number, bytes: content.len() as u64, is_released }))
    }

    /// Takes the lease `number`; `None` when another process was quicker. Older ones are removed.
    ///
    /// # Errors
    /// When the share cannot be written.
    pub fn take(&self, number: u64) -> io::Result<Option<Held>> {
        let file = match self.0.create(&name_of(number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            file => file?,
        };
        let mut held = Held { files: self.clone(), number, file };
        if !held.renew()? {
            return Ok(None);
        }
        for older in self.numbers()?.into_iter().filter(|older| *older < number) {
            // One that stays is no lease all the same.
            let _ = self.0.remove(&name_of(older));
        }
        Ok(Some(held))
    }

    fn highest(&self) -> io::Result<Option<u64>> {
        Ok(self.numbers()?.into_iter().max())
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let number_of = |name: &String| name.strip_suffix(ENDING)?.parse().ok();
        Ok(self.0.list()?.iter().filter_map(number_of).collect())
    }
}

impl Held {
    /// Renews the lease; whether it is still this process's.
    ///
    /// # Errors
    /// When the share cannot be written: the lease is held until [`LOST_AFTER`] all the same.
    pub fn renew(&mut self) -> io::Result<bool> {
        self.file.append(&[HEARTBEAT])?;
        Ok(self.files.highest()? == Some(self.number))
    }

    /// Gives the lease back, so that the next one does not have to wait.
    ///
    /// # Errors
    /// When the share cannot be written: the lease lapses by itself.
    pub fn release(mut self) -> io::Result<()> {
        self.file.append(&[RELEASED])
    }
}

/// Takes the lease as soon as it is free, and says in `is_held` whether this process has it, until nobody listens. Then
/// the lease is released.
pub async fn keep(files: Files, uptime: Uptime, waiter: Waiter, is_held: watch::Sender<bool>) {
    while let Some((held, taken)) = take_when_free(&files, &uptime, &waiter, &is_held).await {
        is_held.send_replace(true);
        tracing::info!(number = held.number, "this replica has the lease on the share");
        if let Some(held) = hold(held, taken, &uptime, &waiter, &is_held).await {
            let _ = tokio::task::spawn_blocking(move || held.release()).await;
            return;
        }
        is_held.send_replace(false);
        tracing::error!(code = "lease_lost", "the lease on the share is lost; OpenClaw is stopped at once");
    }
}

/// The lease, and the time from which on it counts as renewed; `None` when nobody listens any more.
async fn take_when_free(
    files: &Files,
    uptime: &Uptime,
    waiter: &Waiter,
    is_held: &watch::Sender<bool>,
) -> Option<(Held, Duration)> {
    let mut candidate = Candidate::default();
    while !is_held.is_closed() {
        let asked = uptime.now();
        let asking = files.clone();
        if let Ok(Ok(seen)) = tokio::task::spawn_blocking(move || asking.read()).await
            && let Some(number) = candidate.observe(seen, (asked, uptime.now()))
        {
            let (started, taking) = (uptime.now(), files.clone());
            let taken = tokio::task::spawn_blocking(move || taking.take(number)).await;
            if let Ok(Ok(Some(held))) = taken
                && uptime.now().saturating_sub(started) < LOST_AFTER
            {
                return Some((held, started));
            }
        }
        tokio::select! {
            () = waiter.wait(POLL) => {}
            () = is_held.closed() => {}
        }
    }
    None
}

/// Renews the lease until it is lost, or, and then it comes back, until nobody listens any more. A share that hangs
/// does not hold up the end.
async fn hold(
    mut held: Held,
    mut renewed: Duration,
    uptime: &Uptime,
    waiter: &Waiter,
    is_held: &watch::Sender<bool>,
) -> Option<Held> {
    loop {
        tokio::select! {
            () = waiter.wait(RENEWAL) => {}
            () = is_held.closed() => return Some(held),
        }
        let started = uptime.now();
        let renewal = tokio::task::spawn_blocking(move || {
            let result = held.renew();
            (held, result)
        });
        let result;
        (held, result) = tokio::select! {
            answer = renewal => answer.ok()?,
            () = waiter.wait((renewed + LOST_AFTER).saturating_sub(started)) => return None,
        };
        match result {
            Ok(true) => renewed = started,
            Ok(false) => return None,
            Err(_) if uptime.now().saturating_sub(renewed) >= LOST_AFTER => return None,
            Err(_) => {}
        }
    }
}

fn name_of(number: u64) -> String {
    format!("{number:012}{ENDING}")
}

#[cfg(test)]
mod tests;
