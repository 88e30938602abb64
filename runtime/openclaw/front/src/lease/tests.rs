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
    assert_eq!(one.read().expect("readable"), None);
    let mut held = one.take(1).expect("writable").expect("first");
    assert!(two.take(1).expect("writable").is_none(), "the second to come");
    assert!(held.renew().expect("writable"));
    let seen = two.read().expect("readable").expect("held");
    assert_eq!(seen, Seen { number: 1, bytes: 2, is_released: false });
    let next = two.take(2).expect("writable").expect("lapsed");
    assert!(!held.renew().unwrap_or(false));
    next.release().expect("writable");
    assert!(one.read().expect("readable").expect("released").is_released);
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
