//! One hostile runtime among others, as Lambda and API Gateway share themselves out: what `template.yaml` says of
//! throttles and concurrency, on a virtual clock, around the real functions.
//!
//! How long a call takes is our own assumption, chosen against us: the hostile tenant's mailbox answers as slowly as a
//! call may take, each first execution at once more starts cold, and its 200 connections ask again as soon as they can.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd_sim::google::Endpoint;

use crate::runtime::gmail::LIST;
use crate::runtime::world::{NOW, Runtime, World};
use crate::template::capacity::{CALLED_BY_RUNTIMES, unreserved_concurrency};
use crate::template::reading::Template;

const FREEBUSY: &str = "google-calendar/freebusy/";
const CONNECTIONS: usize = 200;
const NEIGHBOURS: usize = 10;
/// How long it goes on.
const SPAN: Duration = Duration::from_secs(1);

/// From an answer to the next request's arrival, and what a call takes in the function.
const ROUND_TRIP: Duration = Duration::from_millis(60);
const REFUSED: Duration = Duration::from_millis(20);
const SERVED: Duration = Duration::from_millis(150);
const SERVED_SLOWLY: Duration = Duration::from_secs(22);
const COLD_START: Duration = Duration::from_millis(300);

/// A request that arrives, or an execution that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends,
    Arrives { caller: Caller, number: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Hostile,
    Neighbour(usize),
}

/// The platform between callers and functions.
struct Platform {
    concurrency: u64,
    running: u64,
    /// How many sandboxes were started.
    warm: u64,
    /// A token bucket for each route: what is left of it, and since when.
    buckets: BTreeMap<&'static str, (f64, Timestamp)>,
    rate: f64,
}

impl Platform {
    fn of_template(template: &Template) -> Self {
        let settings = &template.resource("ApiStage")["Properties"]["RouteSettings"];
        let settings = settings.as_object().expect("settings of routes");
        let rates = settings.iter().filter(|(route, _)| route.contains("/runtime/") || route.contains("/relay/"));
        let rates: Vec<f64> = rates.filter_map(|(_, limits)| limits["ThrottlingRateLimit"].as_f64()).collect();
        assert_eq!(rates.len(), CALLED_BY_RUNTIMES.len());
        let rate = rates.into_iter().fold(f64::INFINITY, f64::min);
        Self { concurrency: unreserved_concurrency(template), running: 0, warm: 0, buckets: BTreeMap::new(), rate }
    }

    /// Whether the route's throttle and the concurrency let a request through; how much longer it takes, if so.
    fn admit(&mut self, route: &'static str, now: Timestamp) -> Option<Duration> {
        let (left, since) = self.buckets.entry(route).or_insert((self.rate, now));
        *left = (*left + now.since(*since).as_secs_f64() * self.rate).min(self.rate);
        *since = now;
        if *left < 1.0 || self.running == self.concurrency {
            return None;
        }
        *left -= 1.0;
        self.running += 1;
        let is_cold = self.running > self.warm;
        self.warm = self.warm.max(self.running);
        Some(if is_cold { COLD_START } else { Duration::ZERO })
    }
}

/// What became of the neighbours' calls, and of the hostile runtime's.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    neighbours_served: usize,
    neighbours_throttled: usize,
    neighbours_wait: Duration,
    hostile: usize,
    most_at_once: u64,
}

#[tokio::test]
async fn two_hundred_calls_at_once_of_one_runtime_cost_the_others_nothing() {
    let template = || Platform::of_template(&Template::read());
    let alone = play(0, template()).await;
    let beside = play(CONNECTIONS, template()).await;
    let expected = (alone.0.neighbours_served, 0, alone.0.neighbours_wait);
    let Counts { neighbours_served, neighbours_throttled, neighbours_wait, .. } = beside.0;
    assert_eq!((neighbours_served, neighbours_throttled, neighbours_wait), expected, "{beside:?}");
    assert!(beside.0.hostile > 5 * CONNECTIONS, "it does ask: {beside:?}");
    // The burst, and what a minute's 60 give in that time.
    assert!(beside.1 <= 30 + 2, "{beside:?}");
    assert!(beside.0.most_at_once > 200, "the model is not idle: {beside:?}");
}

#[tokio::test]
async fn with_a_tighter_throttle_or_fewer_executions_the_others_would_pay() {
    for (rate, concurrency) in [(200.0, 594), (3_000.0, 150)] {
        let mut platform = Platform::of_template(&Template::read());
        (platform.rate, platform.concurrency) = (rate, concurrency);
        let (counts, _) = play(CONNECTIONS, platform).await;
        assert!(counts.neighbours_throttled > 0, "{counts:?}");
    }
}

/// Ten neighbours read their mail at their own pace beside so many connections of Ana's runtime. Also: how many of its
/// calls reached Google.
async fn play(connections: usize, mut platform: Platform) -> (Counts, usize) {
    let world = World::start().await;
    let mut neighbours = Vec::new();
    for number in 0..NEIGHBOURS {
        let runtime = Runtime { tenant: TenantId::random(), key: "key-of-a-neighbour", account: world.bob.account };
        world.add_tenant(&runtime, 100 + i64::try_from(number).expect("few")).await;
        world.connects(&runtime, Provider::Gmail, &[Provider::Gmail.scope()]).await;
        neighbours.push(runtime);
    }
    let (mut events, mut counts) = (BinaryHeap::new(), Counts::default());
    for number in 0..connections {
        events.push(Reverse((NOW, Event::Arrives { caller: Caller::Hostile, number })));
    }
    for (number, _) in neighbours.iter().enumerate() {
        let at = NOW + Duration::from_millis(7 * (number as u64 + 1));
        events.push(Reverse((at, Event::Arrives { caller: Caller::Neighbour(number), number: 0 })));
    }
    let google = |world: &World| [Endpoint::MessagesList, Endpoint::FreeBusy].map(|at| world.google.calls(at));
    while let Some(Reverse((now, event))) = events.pop() {
        let Event::Arrives { caller, number } = event else {
            platform.running -= 1;
            continue;
        };
        if now.since(NOW) > SPAN {
            continue;
        }
        let (runtime, path) = match caller {
            Caller::Hostile if number % 2 == 0 => (&world.ana, LIST),
            Caller::Hostile => (&world.ana, FREEBUSY),
            Caller::Neighbour(place) => (&neighbours[place], LIST),
        };
        let admitted = platform.admit(path, now);
        counts.most_at_once = counts.most_at_once.max(platform.running);
        let took = match admitted {
            None => Duration::ZERO,
            Some(start) => {
                world.clock.set(now);
                let status = world.get_as(runtime, path).await.status;
                start
                    + match (caller, status) {
                        (Caller::Hostile, 200) => SERVED_SLOWLY,
                        (Caller::Neighbour(_), 200) => SERVED,
                        (_, 429) => REFUSED,
                        (_, status) => panic!("{status}"),
                    }
            }
        };
        if admitted.is_some() {
            events.push(Reverse((now + took, Event::Ends)));
        }
        match caller {
            Caller::Hostile => counts.hostile += 1,
            Caller::Neighbour(_) => {
                counts.neighbours_served += usize::from(admitted.is_some());
                counts.neighbours_throttled += usize::from(admitted.is_none());
                // A cold start is everybody's own, hostile or not.
                counts.neighbours_wait += took.saturating_sub(admitted.unwrap_or_default());
            }
        }
        let pause = if caller == Caller::Hostile { ROUND_TRIP } else { Duration::from_millis(50) };
        events.push(Reverse((now + took + pause, Event::Arrives { caller, number: number + 2 })));
    }
    let reached: usize = google(&world).iter().sum();
    let by_hostile = reached - counts.neighbours_served;
    (counts, by_hostile)
}
