//! Random lives of people who pay, or do not, with everything going wrong that can: events dropped, repeated and
//! reordered, jobs lost, functions stopped or held at any request, vendors failing; then the faults stop and time
//! passes.
//!
//! A world plays twenty histories at once over one Stripe, one Azure and one table, so that they could get in each
//! other's way. What happens is decided by a seed. `watch` holds the promises at every step, `checks` after every
//! invocation and at the end, `plants` proves that each of them is able to fail.
//!
//! `make test` plays two thousand histories. `make soak ARGS="20000 7"` plays as many as asked, from that seed.

mod checks;
mod mail;
mod person;
mod plants;
mod proxy;
mod watch;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use plants::Plant;
use world::{MINUTE, PEOPLE, World};

const HISTORIES: usize = 2_000;
const SEED: u64 = 1;
/// How often people act before the faults stop.
const SEASONS: usize = 3;
/// Worlds that are played at the same time.
const THREADS: usize = 2;

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
}

#[test]
fn histories_keep_every_promise() {
    let (histories, seed) = asked_for();
    let (next, played) = (AtomicUsize::new(0), Mutex::new((Counts::default(), None)));
    let worlds = histories.div_ceil(PEOPLE);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(world) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|world| *world < worlds) {
                    let seed = seed + u64::try_from(world).expect("few");
                    let (counts, violation) = play(seed, None);
                    let mut played = played.lock().expect("not poisoned");
                    played.0 += counts;
                    if let Some(violation) = violation {
                        played.1.get_or_insert_with(|| format!("seed {seed}: {violation}"));
                        next.store(worlds, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let (counts, violation) = played.into_inner().expect("not poisoned");
    // Past the test harness's capture: the counts are what this test shows.
    let verdict = if violation.is_some() { "a promise broken" } else { "violations: 0" };
    let _ = writeln!(std::io::stderr(), "model (seed {seed}): {counts:#?}\n{verdict}");
    if let Some(violation) = violation {
        panic!("{violation}\nplay it again: NBHD_MODEL=\"{PEOPLE} <seed>\"");
    }
}

/// Plays one world to its end; what was played, and the promise that was broken.
fn play(seed: u64, plant: Option<Plant>) -> (Counts, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    runtime.block_on(async {
        let world = World::start(seed, plant).await;
        for _ in 0..SEASONS {
            season(&world).await;
            if world.violation().is_some() {
                break;
            }
        }
        if world.violation().is_none() {
            world.heals().await;
        }
        if world.violation().is_none() {
            world.ended();
        }
        let (requests, looks) = world.watch.counts();
        world.count(|counts| (counts.requests, counts.looks) = (requests, looks));
        world.tallies();
        (world.counts.borrow().clone(), world.violation())
    })
}

/// Everybody may act, what is due arrives, and time passes.
async fn season(world: &World) {
    let mut order: Vec<usize> = (0..PEOPLE).collect();
    world.chance.shuffle(&mut order);
    for number in order {
        if world.chance.percent(70) {
            world.count(|counts| counts.acts += 1);
            world.acts(number).await;
        }
        if world.chance.percent(30) {
            world.delivers().await;
        }
        if world.chance.percent(20) {
            world.works_off(2 * MINUTE).await;
        }
        if world.violation().is_some() {
            return;
        }
    }
    world.delivers().await;
    world.works_off(10 * MINUTE).await;
    world.clock.advance(world.a_while());
    if world.chance.percent(45) && world.planted.sweeps() {
        tenant_reconcile::sweep(&world.reconciler).await;
    }
    world.delivers().await;
    world.works_off(10 * MINUTE).await;
}

/// How many histories, from which seed: `NBHD_MODEL="2000 1"`.
#[expect(clippy::disallowed_methods, reason = "says how long to test; no function reads it")]
fn asked_for() -> (usize, u64) {
    let asked = std::env::var("NBHD_MODEL").unwrap_or_default();
    let mut words = asked.split_whitespace();
    let histories = words.next().and_then(|word| word.parse().ok()).unwrap_or(HISTORIES);
    (histories, words.next().and_then(|word| word.parse().ok()).unwrap_or(SEED))
}

impl World {
    /// Counts how the histories ended.
    fn tallies(&self) {
        use watch::Record;
        let people = self.people.borrow();
        let ending = |tenant| match self.watch.record(tenant) {
            Record::Live(row) => row.lifecycle.as_str(),
            Record::Gone(_) => "removed, with a receipt",
            Record::Nothing => "never came",
        };
        let endings: Vec<_> = people.iter().map(|person| ending(person.tenant)).collect();
        let items = self.table.items().expect("a table");
        let steps = items.iter().filter(|item| item["sk"]["S"].as_str().is_some_and(|sort| sort.starts_with("STEP#")));
        let steps = steps.count();
        self.count(|counts| {
            counts.histories += people.len();
            counts.steps += steps;
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
        for (name, times) in other.endings {
            *self.endings.entry(name).or_default() += times;
        }
    }
}
