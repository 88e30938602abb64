//! A thousand updates over fifty chats, while their runtimes fail in every way there is and invocations are stopped.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use nbhd_sim::pump::{Limits, Pump, Report};
use nbhd_sim::runtime::{Failure, Runtime};
use nbhd_sim::sqs::INBOUND;

use crate::telegram::forward_world::{World, update};

const SEED: u64 = 7;
const CHATS: i64 = 50;
const UPDATES: i64 = 1_000;
/// A hang is noticed after this long. A delivery that a busy machine slows is one more that lost its answer.
const HANG: Duration = Duration::from_millis(300);

/// How often each thing went wrong.
type Faults = Arc<Mutex<BTreeMap<String, usize>>>;

struct Chat {
    id: i64,
    runtime: Runtime,
    is_down: Cell<bool>,
    sent: Vec<i64>,
}

#[tokio::test]
async fn a_thousand_updates_over_fifty_chats_each_arrive_once_and_in_order() {
    let (world, faults) = (World::with_delivery_timeout(HANG).await, Faults::default());
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut chats = Vec::new();
    for id in 1..=CHATS {
        let runtime = world.add_chat(id).await;
        fail_at_random(&runtime, random.fork(), &faults);
        chats.push(Chat { id, runtime, is_down: Cell::new(false), sent: Vec::new() });
    }
    for update_id in 1..=UPDATES {
        let chat = random.choice(&mut chats).expect("fifty chats");
        chat.sent.push(update_id);
        world.says(chat.id, update_id).await;
        if random.u8(..) < 25 {
            note(&faults, "sent again by Telegram at once");
            world.says(chat.id, update_id).await;
        }
    }

    let first = run_with_faults(&world, &chats, &mut random, &faults).await;
    // After the queue's five minutes only the runtime knows a repeat.
    world.clock.advance(Duration::from_secs(6 * 60));
    for chat in &chats {
        world.says(chat.id, chat.sent[0]).await;
        note(&faults, "sent again by Telegram after 6 min");
    }
    let second = run_with_faults(&world, &chats, &mut random, &faults).await;

    for Chat { id, runtime, sent, .. } in &chats {
        assert_eq!(&runtime.update_ids(), sent, "chat {id}: each once and in order");
        let bodies: Vec<_> = sent.iter().map(|update_id| bytes::Bytes::from(update(*id, *update_id))).collect();
        assert_eq!(runtime.accepted_bodies(), bodies, "chat {id}: byte for byte");
    }
    assert_eq!((world.dead_letters().len(), world.waiting().len()), (0, 0));
    print_counts(&chats, &faults, [first, second]);
}

/// Handles everything, while runtimes go down and come up and one invocation in twenty is stopped.
async fn run_with_faults(world: &World, chats: &[Chat], random: &mut fastrand::Rng, faults: &Faults) -> Report {
    let stops = Mutex::new(random.fork());
    let handler = |event| {
        let mut random = stops.lock().expect("not poisoned");
        let polls = if random.u8(..20) == 0 { random.usize(1..8) } else { usize::MAX };
        StoppedAfter { polls, work: Box::pin(world.handle(event)) }
    };
    let pump = Pump::new(&world.sqs, INBOUND, &world.clock, Limits::default(), handler);
    let mut report = Report::default();
    loop {
        report.add(pump.drain().await);
        let Some(next) =
            world.waiting().iter().map(|message| message.visible_at).filter(|at| *at > world.clock.now()).min()
        else {
            return report;
        };
        world.clock.set(next);
        for chat in chats {
            if chat.is_down.get() && random.u8(..2) == 0 {
                chat.runtime.starts();
                chat.is_down.set(false);
            } else if random.u8(..50) == 0 {
                note(faults, "restarted");
                chat.runtime.stops();
                chat.is_down.set(true);
            }
        }
    }
}

fn fail_at_random(runtime: &Runtime, mut random: fastrand::Rng, faults: &Faults) {
    let faults = Arc::clone(faults);
    runtime.faults.fail_with(move |_| {
        let failure = match random.u8(..40) {
            0..3 => Failure::ConnectionLost,
            3..5 => Failure::Status(500),
            5 => Failure::Status(503),
            6 => Failure::Status(404),
            7 => Failure::Throttled(random.u32(0..100)),
            8 => Failure::Hang,
            9..11 => Failure::NotDurable,
            11..13 => Failure::AnswerLost,
            _ => return None,
        };
        let limited = matches!(failure, Failure::Throttled(_));
        note(&faults, &if limited { "TooManyRequests".to_owned() } else { format!("{failure:?}") });
        Some(failure)
    });
}

fn note(faults: &Faults, what: &str) {
    *faults.lock().expect("not poisoned").entry(what.to_owned()).or_default() += 1;
}

fn print_counts(chats: &[Chat], faults: &Faults, [first, second]: [Report; 2]) {
    let attempts: usize = chats.iter().map(|chat| chat.runtime.attempts()).sum();
    let kept: usize = chats.iter().map(|chat| chat.runtime.update_ids().len()).sum();
    let faults = faults.lock().expect("not poisoned");
    // Past the test harness's capture: the counts are what this test shows.
    let _ = writeln!(
        std::io::stderr(),
        "load (seed {SEED}): {UPDATES} updates over {CHATS} chats; {} invocations ({} stopped), {attempts} deliveries \
         tried, {kept} updates kept once each and in order, none lost\n{faults:#?}",
        first.invocations() + second.invocations(),
        first.crashed + second.crashed,
    );
}

/// Work that the platform stops, for good, after so many polls.
struct StoppedAfter<F> {
    polls: usize,
    work: Pin<Box<F>>,
}

#[derive(Debug)]
struct Stopped;

impl<F: Future<Output = Result<T, E>>, T, E> Future for StoppedAfter<F> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(Err(Stopped));
        }
        self.polls -= 1;
        self.work.as_mut().poll(context).map_err(|_| Stopped)
    }
}
