//! The front stopped between any two of its effects, and started anew.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nbhd_front::Front;
use nbhd_front::journal;
use nbhd_front::share::{Effect, Effects, Fault, Folder};

use super::support::{WEBHOOK_SECRET, World, is_update};

const UPDATES: [i64; 3] = [7, 3, 5];

/// Lets effects take place up to one, and none from there on; what was not synced by then is lost.
#[derive(Clone, Default)]
struct Stop {
    effects: Arc<AtomicUsize>,
    is_stopped: Arc<AtomicBool>,
    synced: Arc<Mutex<HashMap<PathBuf, u64>>>,
}

impl Stop {
    /// `at` is counted from 1; the last write is torn there if it is one.
    fn effects(&self, at: usize, share: &Path) -> Effects {
        let (stop, journal) = (self.clone(), share.join("journal"));
        Effects::hook(move |effect| {
            let count = stop.effects.fetch_add(1, Ordering::SeqCst) + 1;
            if count < at {
                // The front writes one file at a time: this sync is of all that was written.
                if effect == Effect::Sync {
                    *stop.synced.lock().expect("whole") = sizes(&journal);
                }
                return Fault::None;
            }
            stop.is_stopped.store(true, Ordering::SeqCst);
            let is_torn = count == at && effect == Effect::Write && at.is_multiple_of(2);
            if is_torn { Fault::Torn(at) } else { Fault::Fails(ErrorKind::NotConnected) }
        })
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// The share without what was never synced to it.
    fn lose_unsynced(&self, share: &Path) {
        let synced = self.synced.lock().expect("whole");
        for path in sizes(&share.join("journal")).into_keys() {
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
            file.set_len(synced.get(&path).copied().unwrap_or_default()).expect("truncated");
        }
    }
}

fn sizes(folder: &Path) -> HashMap<PathBuf, u64> {
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.expect("readable"));
    files.map(|file| (file.path(), file.metadata().expect("a file").len())).collect()
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_nothing_ended_comes_again_and_the_order_stays() {
    let undisturbed = Stop::default();
    assert!(!play(usize::MAX, &undisturbed, false).await);
    let count = undisturbed.effects.load(Ordering::SeqCst);
    assert!(count > 25, "only {count} effects");
    let mut stopped = 0;
    for at in 1..=count {
        stopped += usize::from(play(at, &Stop::default(), false).await);
        play(at, &Stop::default(), true).await;
    }
    // How often the share is read depends on how the tasks take turns; the other effects come every time.
    assert!(stopped + 5 > count, "stopped {stopped} of {count} times");
}

/// Plays two boots, the first up to the effect `at`, after which what was not synced is lost or not; whether it came.
async fn play(at: usize, stop: &Stop, is_lossy: bool) -> bool {
    let world = World::new().await;
    drop(world.start().await);
    let front = world.start_with(stop.effects(at, world.share())).await;
    let mut acknowledged = Vec::new();
    for (turn, id) in UPDATES.into_iter().enumerate() {
        // As the queue does: the next one only after this one.
        while !stop.is_stopped() && !acknowledged.contains(&id) {
            if world.deliver(&front, id).await {
                acknowledged.push(id);
            }
        }
        front.permit_turns(turn > 0);
    }
    while !stop.is_stopped() && waiting_of(&world, &front).await != 0 {}
    drop(front);
    if is_lossy {
        stop.lose_unsynced(world.share());
    }
    let before = world.handed_over();
    let ended = ended_among(&acknowledged, world.share()).await;

    let next = world.start().await;
    next.permit_turns(true);
    for id in UPDATES.into_iter().filter(|id| !acknowledged.contains(id)) {
        assert!(world.deliver(&next, id).await, "{id} at {at}");
    }
    while waiting_of(&world, &next).await != 0 {}
    world.openclaw.sees(UPDATES.len(), is_update).await;
    let all = world.handed_over();
    let again = &all[before.len()..];
    assert!(
        ended.iter().all(|id| before.contains(id) && !again.contains(id)),
        "{ended:?} {before:?} {again:?} at {at}"
    );
    let mut first_times = Vec::new();
    for id in &all {
        if !first_times.contains(id) {
            first_times.push(*id);
        }
    }
    assert_eq!(first_times, UPDATES, "{before:?} {again:?} at {at}");
    assert!(is_in_order(&before) && is_in_order(again), "{before:?} {again:?} at {at}");
    assert!(world.control_plane.seen().is_empty());
    stop.is_stopped()
}

fn is_in_order(ids: &[i64]) -> bool {
    let places: Vec<_> = ids.iter().map(|id| UPDATES.iter().position(|update| update == id)).collect();
    places.is_sorted()
}

async fn waiting_of(world: &World, front: &Front) -> u64 {
    let request = world.http.get(format!("http://{}/readyz", front.address));
    let answer = request.header("x-telegram-bot-api-secret-token", WEBHOOK_SECRET).send().await.expect("an answer");
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    body["waiting"].as_u64().expect("a number")
}

/// Which of these updates have a recorded end, as a copy of the share tells.
async fn ended_among(acknowledged: &[i64], share: &Path) -> Vec<i64> {
    let copy = tempfile::tempdir().expect("a folder");
    let journal_copy = copy.path().join("journal");
    std::fs::create_dir(&journal_copy).expect("a folder");
    for file in std::fs::read_dir(share.join("journal")).into_iter().flatten() {
        let file = file.expect("readable");
        std::fs::copy(file.path(), journal_copy.join(file.file_name())).expect("copied");
    }
    let folder = Folder::new(journal_copy, Effects::default());
    let journal = journal::spawn(folder, 1 << 20, nbhd::clock::Clock::System).expect("a thread");
    let waiting = journal.waiting().await.expect("readable");
    let is_waiting = |id: &i64| waiting.iter().any(|update| update.id == *id);
    acknowledged.iter().copied().filter(|id| !is_waiting(id)).collect()
}
