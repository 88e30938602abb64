//! The lease on the tenant's share: of all replicas, one runs an `OpenClaw`.
//!
//! A lease is a file with a number. Who takes over makes the file of the next number, which a share lets one process do;
//! the highest number is the lease. Its holder appends a byte from time to time. Whoever waits compares nothing but
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
pub const LOOK: Duration = Duration::from_secs(2);
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
    pub fn look(&self) -> io::Result<Option<Seen>> {
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
        if let Ok(Ok(seen)) = tokio::task::spawn_blocking(move || asking.look()).await
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
            () = waiter.wait(LOOK) => {}
            () = is_held.closed() => {}
        }
    }
    None
}

/// Renews the lease until it is lost, or, and then it comes back, until nobody listens any more. A share that hangs does
/// not hold up the end.
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
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Mutex, mpsc};

    use tokio::task::JoinHandle;

    use super::*;
    use crate::share::{Effect, Effects, Fault};

    const SECOND: Duration = Duration::from_secs(1);

    fn files(root: &Path) -> Files {
        Files::new(Folder::new(root.join("lease"), Effects::default()))
    }

    fn at(seconds: u32) -> (Duration, Duration) {
        (SECOND * seconds, SECOND * seconds)
    }

    #[test]
    fn one_that_nobody_has_is_free_and_one_that_is_renewed_never() {
        let seen = |bytes| Some(Seen { number: 4, bytes, is_released: false });
        assert_eq!(Candidate::default().observe(None, at(0)), Some(1));
        let mut candidate = Candidate::default();
        for time in 0..500 {
            assert_eq!(candidate.observe(seen(u64::from(time / 59)), at(time)), None, "{time}");
        }
        assert_eq!(candidate.observe(seen(8), at(500)), None);
        assert_eq!(candidate.observe(seen(8), at(531)), None);
        assert_eq!(candidate.observe(seen(8), at(532)), Some(5));
    }

    #[test]
    fn a_share_that_answers_late_shortens_nothing() {
        let seen = Some(Seen { number: 1, bytes: 1, is_released: false });
        let mut candidate = Candidate::default();
        assert_eq!(candidate.observe(seen, (SECOND, SECOND * 40)), None);
        assert_eq!(candidate.observe(seen, (SECOND * 99, SECOND * 200)), None);
        assert_eq!(candidate.observe(seen, (SECOND * 100, SECOND * 200)), Some(2));
    }

    #[test]
    fn one_process_takes_it_and_whoever_had_it_before_sees_that() {
        let root = tempfile::tempdir().expect("a folder");
        let (one, two) = (files(root.path()), files(root.path()));
        assert_eq!(one.look().expect("readable"), None);
        let mut held = one.take(1).expect("writable").expect("first");
        assert!(two.take(1).expect("writable").is_none(), "the second to come");
        assert!(held.renew().expect("writable"));
        let seen = two.look().expect("readable").expect("held");
        assert_eq!(seen, Seen { number: 1, bytes: 2, is_released: false });
        let next = two.take(2).expect("writable").expect("lapsed");
        assert!(!held.renew().unwrap_or(false));
        next.release().expect("writable");
        assert!(one.look().expect("readable").expect("released").is_released);
        let mut again = one.take(3).expect("writable").expect("free");
        assert!(again.renew().expect("writable"));
    }

    /// A share that hangs or fails on demand, and a time that runs as fast as somebody waits for it.
    #[derive(Clone, Default)]
    struct Scene {
        seconds: Arc<AtomicU64>,
        fails: Arc<AtomicBool>,
        hangs: Arc<AtomicBool>,
        /// What hangs goes on when this is dropped.
        hang: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
        stands_still: bool,
    }

    impl Scene {
        fn start(&self, root: &Path) -> (watch::Receiver<bool>, JoinHandle<()>) {
            let scene = self.clone();
            let effects = Effects::hook(move |effect| {
                if effect == Effect::Write && scene.hangs.load(Ordering::SeqCst) {
                    let _ = scene.hang.lock().expect("whole").take().map(|hang| hang.recv());
                }
                let fails = effect == Effect::Write && scene.fails.load(Ordering::SeqCst);
                if fails { Fault::Fails(io::ErrorKind::NotConnected) } else { Fault::None }
            });
            let (seconds, now) = (Arc::clone(&self.seconds), Arc::clone(&self.seconds));
            let (hangs, stands_still) = (Arc::clone(&self.hangs), self.stands_still);
            let waiter = Waiter::hook(move |pause| {
                let (seconds, is_limit) = (Arc::clone(&seconds), pause > RENEWAL && !hangs.load(Ordering::SeqCst));
                async move {
                    if is_limit {
                        std::future::pending::<()>().await;
                    }
                    if !stands_still {
                        seconds.fetch_add(pause.as_secs(), Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            });
            let uptime = Uptime::hook(move || SECOND * u32::try_from(now.load(Ordering::SeqCst)).unwrap_or(u32::MAX));
            let (is_held, held) = watch::channel(false);
            let files = Files::new(Folder::new(root.join("lease"), effects));
            (held, tokio::spawn(keep(files, uptime, waiter, is_held)))
        }

        fn seconds(&self) -> u64 {
            self.seconds.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn the_next_replica_has_it_when_it_is_released_and_no_sooner() {
        let root = tempfile::tempdir().expect("a folder");
        let old = Scene::default();
        let (mut first, _old) = old.start(root.path());
        first.wait_for(|held| *held).await.expect("alive");
        let new = Scene { stands_still: true, ..Scene::default() };
        let (mut second, _new) = new.start(root.path());
        while old.seconds() < 300 {
            tokio::task::yield_now().await;
            assert!(*first.borrow() && !*second.borrow());
        }
        drop(first);
        second.wait_for(|held| *held).await.expect("alive");
    }

    #[tokio::test]
    async fn a_dead_replicas_lease_lapses_after_60_seconds() {
        let root = tempfile::tempdir().expect("a folder");
        let (mut first, old) = Scene::default().start(root.path());
        first.wait_for(|held| *held).await.expect("alive");
        old.abort();
        let new = Scene::default();
        let (mut second, _new) = new.start(root.path());
        second.wait_for(|held| *held).await.expect("alive");
        assert!((60..80).contains(&new.seconds()), "{}", new.seconds());
    }

    #[tokio::test]
    async fn who_cannot_renew_for_30_seconds_loses_it_and_takes_it_again_once_the_share_is_back() {
        let root = tempfile::tempdir().expect("a folder");
        let scene = Scene::default();
        let (mut held, _keeper) = scene.start(root.path());
        held.wait_for(|held| *held).await.expect("alive");
        scene.fails.store(true, Ordering::SeqCst);
        let failing_since = scene.seconds();
        held.wait_for(|held| !*held).await.expect("alive");
        let lost_after = scene.seconds() - failing_since;
        assert!((20..=50).contains(&lost_after), "{lost_after}");
        scene.fails.store(false, Ordering::SeqCst);
        held.wait_for(|held| *held).await.expect("alive");
    }

    #[tokio::test]
    async fn a_share_that_hangs_loses_it_as_well() {
        let root = tempfile::tempdir().expect("a folder");
        let scene = Scene::default();
        let (mut held, _keeper) = scene.start(root.path());
        held.wait_for(|held| *held).await.expect("alive");
        let (hanging, hang) = mpsc::channel();
        *scene.hang.lock().expect("whole") = Some(hang);
        scene.hangs.store(true, Ordering::SeqCst);
        held.wait_for(|held| !*held).await.expect("alive");
        drop(hanging);
        scene.hangs.store(false, Ordering::SeqCst);
        held.wait_for(|held| *held).await.expect("alive");
    }
}
