//! Random lives of people who pay, or do not, with everything going wrong that can: events dropped, repeated and
//! reordered, jobs lost, functions stopped or held at any request, vendors failing; then the faults stop and time
//! passes.
//!
//! A world plays twenty histories at once over one Stripe, one Azure and one table, so that they could get in each
//! other's way. A seed decides what happens. `observer` checks the promises at every step, `invariants` after every
//! invocation and at the end, and `mutants` proves that each check is able to fail.
//!
//! `make test` plays two thousand histories, others each day of the month; `make soak ARGS="20000 7"` as many as asked,
//! from that seed. A history that breaks a promise is printed as it can be played again, as short as it gets: put among
//! `recorded`, it is a test of its own that no later change of the model moves.

mod disruption;
mod faults;
mod google;
mod history;
mod invariants;
mod mail;
mod money;
mod mutants;
mod observer;
mod person;
mod proxy;
mod replay;
mod roll;
mod things;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::NonZero;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nbhd::clock::Timestamp;

use history::History;
use mutants::Mutant;
use observer::Violation;
use world::{MINUTE, PEOPLE, World};

const HISTORIES: usize = 2_000;
/// How often people act before the faults stop.
const SEASONS: usize = 3;
/// How often it is said how far the search is.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);
/// So many broken promises are told in full.
const REPORTED_IN_FULL: usize = 3;

/// What was played.
#[derive(Clone, Debug, Default)]
struct Counts {
    histories: usize,
    acts: usize,
    invocations: usize,
    requests: usize,
    looks: usize,
    crashes: usize,
    steps: usize,
    faults: BTreeMap<String, usize>,
    endings: BTreeMap<String, usize>,
    /// Removed tenants of whom something was found after the removal.
    late: usize,
    /// What was found then.
    found_late: BTreeMap<String, usize>,
}

/// A promise that was broken, and the history that led there.
#[derive(Debug)]
struct Found {
    violation: Violation,
    story: String,
    history: Option<History>,
}

#[test]
fn histories_keep_every_promise() {
    let (histories, first) = read_options();
    let (next, played) = (AtomicUsize::new(0), Mutex::new((Counts::default(), Vec::new())));
    let worlds = histories.div_ceil(PEOPLE);
    let began = Instant::now();
    let say = |line: &str| {
        // Past the test harness's capture: what was played is what this test shows.
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let last_word = Mutex::new(began);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, NonZero::get) {
            scope.spawn(|| {
                while let Some(world) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|world| *world < worlds) {
                    let seed = first + u64::try_from(world).expect("few");
                    let (counts, found) = play(seed, None);
                    let mut played = played.lock().expect("not poisoned");
                    played.0 += counts;
                    if let Some(found) = found {
                        say(&format!("seed {seed}: {}", found.violation.broke));
                        played.1.push((seed, found));
                    }
                    let mut last_word = last_word.lock().expect("not poisoned");
                    if last_word.elapsed() >= PROGRESS_EVERY {
                        *last_word = Instant::now();
                        say(&format!("{} of {histories} histories", played.0.histories));
                    }
                }
            });
        }
    });
    let (counts, violations) = played.into_inner().expect("not poisoned");
    say(&format!("histories from seed {first}: {counts:#?}"));
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = counts.histories as f64 / seconds;
    let faults: usize = counts.faults.values().sum::<usize>() + counts.crashes;
    let (played, broken) = (counts.histories, violations.len());
    say(&format!("{played} histories, {faults} faults, {seconds:.0} s, {rate:.1} a second, violations: {broken}"));
    for (seed, Found { violation, story, history }) in violations.iter().take(REPORTED_IN_FULL) {
        say(&format!("seed {seed}: {}: {}\n  {story}", violation.broke, violation.found));
        let Some(history) = history else { continue };
        say(&format!("the shortest history that breaks it:\n{}", replay::shrink(history).to_lines()));
    }
    assert!(violations.is_empty(), "{broken} broken; play one again: make soak ARGS=\"{PEOPLE} <seed>\"");
}

/// Plays one world to its end; what was played, and the promise that was broken.
fn play(seed: u64, mutant: Option<Mutant>) -> (Counts, Option<Found>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    runtime.block_on(async {
        let world = World::start(seed, None, mutant).await;
        for _ in 0..SEASONS {
            season(&world).await;
            if world.violation().is_some() {
                break;
            }
        }
        world.finish().await;
        let (requests, looks) = world.observer.counts();
        world.count(|counts| (counts.requests, counts.looks) = (requests, looks));
        world.tally_endings();
        let counts = world.counts.borrow().clone();
        let found = world.violation().map(|violation| {
            let (story, history) = world.history_of(&violation);
            Found { violation, story, history }
        });
        (counts, found)
    })
}

/// Everybody may act, what is due arrives, and time passes.
async fn season(world: &World) {
    let mut order: Vec<usize> = (0..PEOPLE).collect();
    world.chance.shuffle(&mut order);
    for number in order {
        if world.chance.percent(70) {
            world.count(|counts| counts.acts += 1);
            world.act(number).await;
        }
        world.maybe_roll_keys(6).await;
        if world.chance.percent(30) {
            world.deliver_mail().await;
        }
        if world.chance.percent(20) {
            world.drain_jobs(2 * MINUTE).await;
        }
        if world.violation().is_some() {
            return;
        }
    }
    world.deliver_mail().await;
    world.drain_jobs(10 * MINUTE).await;
    world.advance_to(world.clock.now() + world.draw_pause()).await;
    if world.chance.percent(45) && world.mutant.allows_sweep() {
        reconcile_sweep::queue_due(&world.sweep, "sweep").await;
    }
    world.deliver_mail().await;
    world.drain_jobs(10 * MINUTE).await;
}

/// How many histories, from which seed: `NBHD_MODEL="2000 1"`. Each day of a month plays others unless a seed is given.
#[expect(clippy::disallowed_methods, reason = "says how long to test, and from where; no function reads it")]
fn read_options() -> (usize, u64) {
    let asked = std::env::var("NBHD_MODEL").unwrap_or_default();
    let mut words = asked.split_whitespace();
    let histories = words.next().and_then(|word| word.parse().ok()).unwrap_or(HISTORIES);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let today = Timestamp::from_seconds(i64::try_from(seconds).expect("before the end of time")).rfc3339();
    let day: u64 = today.get(8..10).and_then(|day| day.parse().ok()).expect("a date");
    (histories, words.next().and_then(|word| word.parse().ok()).unwrap_or(day * 1_000))
}

impl World {
    /// Lets the faults stop and time pass, and looks what is left, unless a promise was broken before.
    async fn finish(&self) {
        if self.violation().is_none() {
            self.recover().await;
        }
        if self.violation().is_none() {
            self.check_end();
            self.check_left_grants().await;
        }
    }

    /// Counts how the histories ended.
    fn tally_endings(&self) {
        use observer::Record;
        let people = self.people.borrow();
        let ending = |tenant| match self.observer.record(tenant) {
            Record::Live(row) => row.lifecycle.as_str(),
            Record::Deleted(_) => "removed, with a receipt",
            Record::Nothing => "never came",
        };
        let endings: Vec<_> = people.iter().map(|person| ending(person.tenant)).collect();
        let items = self.table.items().expect("a table");
        let steps = items.iter().filter(|item| item["sk"]["S"].as_str().is_some_and(|sort| sort.starts_with("STEP#")));
        let steps = steps.count();
        let found_late: Vec<Vec<String>> = people
            .iter()
            .filter_map(|person| match self.observer.record(person.tenant) {
                Record::Deleted(left) => Some(left.receipt),
                Record::Live(_) | Record::Nothing => None,
            })
            .map(|lines| {
                lines.into_iter().filter(|line| line.late).map(|line| line.part.description().to_owned()).collect()
            })
            .collect();
        self.count(|counts| {
            counts.histories += people.len();
            counts.steps += steps;
            counts.late += found_late.iter().filter(|found| !found.is_empty()).count();
            for what in found_late.into_iter().flatten() {
                *counts.found_late.entry(what).or_default() += 1;
            }
            for ending in endings {
                *counts.endings.entry(ending.to_owned()).or_default() += 1;
            }
        });
    }
}

impl Counts {
    fn fault(&mut self, name: &str) {
        self.faults(name, 1);
    }

    fn faults(&mut self, name: &str, times: usize) {
        if times > 0 {
            *self.faults.entry(name.to_owned()).or_default() += times;
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.acts += other.acts;
        self.invocations += other.invocations;
        self.requests += other.requests;
        self.looks += other.looks;
        self.crashes += other.crashes;
        self.steps += other.steps;
        for (name, times) in other.faults {
            self.faults(&name, times);
        }
        self.late += other.late;
        for (what, times) in other.found_late {
            *self.found_late.entry(what).or_default() += times;
        }
        for (name, times) in other.endings {
            *self.endings.entry(name).or_default() += times;
        }
    }
}
