use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::share::{Effect, Effects, Fault};

const LIMIT: u64 = 8 << 20;

/// The effect that fails, and how.
type Failing = Arc<Mutex<Option<(Effect, Fault)>>>;

fn journal(root: &Path) -> Journal {
    limited(root, LIMIT, Effects::default())
}

fn limited(root: &Path, limit: u64, effects: Effects) -> Journal {
    Journal::new(Folder::new(root.join("journal"), effects), limit)
}

fn ids(journal: &mut Journal) -> Vec<i64> {
    let waiting = journal.waiting(1000, usize::MAX).expect("readable");
    assert_eq!(waiting.len(), journal.count_waiting());
    for update in &waiting {
        assert_eq!(update.body.as_deref(), Some(body(update.id).as_slice()));
    }
    waiting.iter().map(|update| update.id).collect()
}

fn body(id: i64) -> Vec<u8> {
    format!("{{\"update_id\":{id}}}").into_bytes()
}

fn keep(journal: &mut Journal, ids: impl IntoIterator<Item = i64>) {
    for id in ids {
        assert_eq!(journal.append(id, &body(id)).expect("kept"), Appended::New);
    }
}

fn end(journal: &mut Journal, ids: &[i64]) {
    let ends: Vec<_> = ids.iter().map(|id| (*id, End::HandedOver)).collect();
    journal.record_ends(&ends).expect("recorded");
}

fn files(root: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(root.join("journal")).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Effects that fail as told, and the telling.
fn faults() -> (Effects, Failing) {
    let told = Failing::default();
    let hook = Arc::clone(&told);
    let effects = Effects::hook(move |effect| match *hook.lock().expect("whole") {
        Some((faulty, fault)) if faulty == effect => fault,
        Some(_) | None => Fault::None,
    });
    (effects, told)
}

#[test]
fn what_has_no_end_waits_in_order_over_every_boot() {
    let root = tempfile::tempdir().expect("a folder");
    let mut first = journal(root.path());
    keep(&mut first, [30, 10, 20]);
    end(&mut first, &[30]);
    let mut second = journal(root.path());
    keep(&mut second, [5]);
    assert_eq!(ids(&mut second), [10, 20, 5]);
    end(&mut second, &[10]);
    let mut third = journal(root.path());
    assert_eq!(ids(&mut third), [20, 5]);
    end(&mut third, &[20, 5]);
    assert_eq!(ids(&mut journal(root.path())), [0_i64; 0]);
}

#[test]
fn an_update_is_kept_once_even_after_its_part_is_gone() {
    let root = tempfile::tempdir().expect("a folder");
    let mut first = journal(root.path());
    keep(&mut first, [1]);
    assert_eq!(first.append(1, &body(1)).expect("kept"), Appended::Repeat);
    end(&mut first, &[1]);
    assert_eq!(first.append(1, &body(1)).expect("kept"), Appended::Repeat);
    for boot in 2..6 {
        let mut next = journal(root.path());
        assert_eq!(next.append(1, &body(1)).expect("kept"), Appended::Repeat);
        keep(&mut next, [boot]);
        end(&mut next, &[boot]);
        assert_eq!(files(root.path()).len(), 1, "ended parts are removed");
    }
}

#[test]
fn a_journal_that_is_full_of_what_waits_takes_no_more_and_takes_again_when_some_has_ended() {
    let root = tempfile::tempdir().expect("a folder");
    let mut journal = limited(root.path(), 3 << 20, Effects::default());
    let large = vec![b' '; 500_000];
    let kept = (1..20).take_while(|id| journal.append(*id, &large).is_ok()).count();
    assert_eq!(kept, 6);
    assert!(journal.append(99, b"{}").is_ok(), "a small one still fits");
    assert!(matches!(journal.append(100, &large), Err(Error::Full)));
    end(&mut journal, &[1, 2, 3]);
    assert!(matches!(journal.append(100, &large), Ok(Appended::New)));
    end(&mut journal, &[4, 5, 6, 99, 100]);
    keep(&mut journal, 200..300);
    assert!(files(root.path()).len() <= 2);
}

#[test]
fn a_busy_journal_does_not_grow() {
    let root = tempfile::tempdir().expect("a folder");
    let mut journal = journal(root.path());
    let large = vec![b' '; 300_000];
    for id in 1..60 {
        journal.append(id, &large).expect("kept");
        end(&mut journal, &[id]);
        let sizes: u64 = files(root.path()).iter().map(|file| file.metadata().expect("a file").len()).sum();
        assert!(sizes < 2 * PART_BYTES, "{sizes} bytes after {id}");
    }
}

#[test]
fn after_every_kind_of_failure_nothing_is_promised_and_the_next_try_is_kept() {
    let failing = [
        (Effect::Write, Fault::Fails(io::ErrorKind::StorageFull)),
        (Effect::Write, Fault::Fails(io::ErrorKind::ReadOnlyFilesystem)),
        (Effect::Write, Fault::Torn(0)),
        (Effect::Write, Fault::Torn(20)),
        (Effect::Write, Fault::Torn(47)),
        (Effect::Sync, Fault::Fails(io::ErrorKind::TimedOut)),
    ];
    for (effect, fault) in failing {
        let root = tempfile::tempdir().expect("a folder");
        let (effects, told) = faults();
        let mut journal = limited(root.path(), LIMIT, effects);
        keep(&mut journal, [1]);
        *told.lock().expect("whole") = Some((effect, fault));
        assert!(journal.append(2, &body(2)).is_err() && journal.record_ends(&[(1, End::Skipped)]).is_err());
        assert!(journal.probe().is_err(), "{effect:?}");
        *told.lock().expect("whole") = None;
        assert!(journal.probe().is_ok());
        assert_eq!(journal.append(2, &body(2)).expect("kept"), Appended::New, "{effect:?} {fault:?}");
        keep(&mut journal, [3]);
        assert_eq!(ids(&mut journal), [1, 2, 3]);
        // What failed may be there all the same.
        let is_there = effect == Effect::Sync || fault == Fault::Torn(47);
        let mut next = self::journal(root.path());
        assert_eq!(ids(&mut next), if is_there { vec![2, 3] } else { vec![1, 2, 3] }, "{fault:?}");
    }
}

#[test]
fn a_share_without_the_folder_and_one_that_is_gone_are_errors() {
    let root = tempfile::tempdir().expect("a folder");
    for effect in [Effect::Create, Effect::SyncFolder, Effect::Read] {
        let (effects, told) = faults();
        *told.lock().expect("whole") = Some((effect, Fault::Fails(io::ErrorKind::NotConnected)));
        let mut journal = limited(&root.path().join(format!("{effect:?}")), LIMIT, effects);
        assert!(journal.append(1, &body(1)).is_err(), "{effect:?}");
        *told.lock().expect("whole") = None;
        keep(&mut journal, [1]);
    }
    let mut journal = journal(root.path());
    keep(&mut journal, [1]);
    std::fs::remove_dir_all(root.path().join("journal")).expect("removed");
    assert!(journal.append(2, &body(2)).is_err(), "a file that nobody finds again keeps nothing");
    keep(&mut journal, [2]);
}

#[test]
fn zeros_garbage_and_a_torn_end_of_a_former_part_are_passed_over() {
    let root = tempfile::tempdir().expect("a folder");
    let mut first = journal(root.path());
    keep(&mut first, [1, 2]);
    let part = files(root.path()).remove(0);
    let whole = std::fs::read(&part).expect("a part");
    for tail in [vec![0; 4096], vec![0xFF; 100], whole[..30].to_vec(), b"{\"update_id\":9}".to_vec()] {
        std::fs::write(&part, [whole.clone(), tail].concat()).expect("written");
        assert_eq!(ids(&mut journal(root.path())), [1, 2]);
    }
    let zeroed = [&whole[..whole.len() - 20], &[0; 20][..]].concat();
    std::fs::write(&part, zeroed).expect("written");
    let mut next = journal(root.path());
    assert_eq!(ids(&mut next), [1]);
    keep(&mut next, [3]);
    assert_eq!(ids(&mut journal(root.path())), [1, 3]);
}

#[test]
fn an_update_that_the_share_loses_under_us_is_named_and_can_end() {
    let root = tempfile::tempdir().expect("a folder");
    let mut journal = journal(root.path());
    keep(&mut journal, [1, 2]);
    let part = files(root.path()).remove(0);
    let mut bytes = std::fs::read(&part).expect("a part");
    let (first, length) = (30, bytes.len());
    bytes[first] ^= 1;
    std::fs::write(&part, &bytes).expect("written");
    let waiting = journal.waiting(9, usize::MAX).expect("readable");
    assert_eq!((waiting[0].body.clone(), waiting[1].body.clone()), (None, Some(body(2))));
    std::fs::write(&part, &bytes[..length - 1]).expect("written");
    assert_eq!(journal.waiting(9, usize::MAX).expect("readable")[1].body, None);
    assert!(journal.record_ends(&[(1, End::Skipped)]).is_err(), "the part is not as it was left");
    end(&mut journal, &[1, 2]);
    assert_eq!(journal.count_waiting(), 0);
}

#[test]
fn two_fronts_on_one_share_lose_nothing_and_bring_nothing_back() {
    let root = tempfile::tempdir().expect("a folder");
    let (mut old, mut new) = (journal(root.path()), journal(root.path()));
    keep(&mut old, [1]);
    keep(&mut new, [2]);
    keep(&mut old, [3]);
    end(&mut old, &[1]);
    // The new one takes the work over while the old one still acknowledges.
    new.adopt().expect("readable");
    assert_eq!(ids(&mut new), [3, 2]);
    end(&mut new, &[3, 2]);
    let late = old.append(4, &body(4)).is_ok() || old.append(4, &body(4)).is_ok();
    assert!(late, "its part was removed; it begins another one");
    new.adopt().expect("readable");
    assert_eq!(ids(&mut new), [4]);
    end(&mut new, &[4]);
    assert_eq!(ids(&mut journal(root.path())), [0_i64; 0]);
    keep(&mut new, [5]);
    assert_eq!(ids(&mut journal(root.path())), [5]);
}
