//! What hanging runtimes cost the other chats: time from the queue to the runtime, through the pump with its cap.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nbhd::clock::Clock;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::route::Route;
use nbhd::queue::{Queues, Updates};
use nbhd::store::Store;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::rights::env_of;
use nbhd_sim::runtime::{Failure, Runtime};
use nbhd_sim::sqs::INBOUND;
use nbhd_sim::testbed::{self, Testbed};
use serde_json::json;
use telegram_forward::App;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::report::Report;

/// How many runtimes hang in each of the worlds that are compared.
const HANGING: [i64; 4] = [0, 1, 2, 20];
/// The other chats of each world.
const HEALTHY: i64 = 25;
/// Messages measured in each world.
const MESSAGES: i64 = 300;
/// Deliveries before the measured ones, so that every connection is open.
const WARM_UP: i64 = 2 * HEALTHY;
const LIMITS: Limits = Limits { concurrency: 50, timeout: Duration::from_secs(90) };

/// Reports the other chats' time to delivery with no runtime hanging, and with some.
///
/// The worlds are measured in turns, so that a busy machine slows all of them alike.
pub(crate) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut worlds = Vec::new();
    for hanging in HANGING {
        worlds.push(World::start(hanging).await?);
    }
    let mut times = HANGING.map(|_| Vec::new());
    for message in 0..WARM_UP + MESSAGES {
        for (world, times) in worlds.iter_mut().zip(&mut times) {
            let time = world.deliver(message).await?;
            if message >= WARM_UP {
                times.push(time);
            }
        }
    }
    for world in &worlds {
        anyhow::ensure!(world.has_tried_all(), "a runtime that should hang was never tried");
    }
    report.section("Other chats' time from queue to runtime while runtimes hang (cap of 50 invocations)");
    let [alone, ..] = times.each_mut().map(|times| quantile(times, 0.5));
    for (hanging, mut times) in HANGING.into_iter().zip(times) {
        let (median, slow) = (quantile(&mut times, 0.5), quantile(&mut times, 0.95));
        report.figure(&format!("{hanging} hanging: median, 95 %"), &format!("{median:.2} ms, {slow:.2} ms"));
        if hanging > 0 {
            report.at_most(&format!("{hanging} hanging, against none"), median / alone, 1.1, "×");
        }
    }
    Ok(())
}

fn quantile(times: &mut [f64], quantile: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * quantile) as usize]
}

/// The whole way from the queue to the runtimes, on the machine's clock.
struct World {
    inbound: Updates,
    arrivals: UnboundedReceiver<(i64, Instant)>,
    hanging: Vec<Runtime>,
    pump: JoinHandle<()>,
    healthy: Vec<Runtime>,
    testbed: Testbed,
}

impl Drop for World {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl World {
    async fn start(hanging: i64) -> anyhow::Result<Self> {
        let testbed = Testbed::start(Clock::System).await?;
        let env = testbed.env();
        let store = Store::from_env(&env)?;
        let inbound = Queues::new(&env)?.updates(&testbed.sqs.url(INBOUND));
        let app = App::new(&env_of("telegram-forward", &env), testbed.clock.clone())?;
        let pump = Pump::new(&testbed.sqs, INBOUND, &testbed.clock, LIMITS, move |event| {
            let app = app.clone();
            async move { Ok::<_, Infallible>(telegram_forward::handle(&app, event, "bench").await) }
        });
        let (arrived, arrivals) = unbounded_channel();
        let mut world = Self {
            inbound,
            arrivals,
            hanging: Vec::new(),
            pump: tokio::spawn(async move { match pump.run().await {} }),
            healthy: Vec::new(),
            testbed,
        };
        for chat in 1..=HEALTHY {
            let (runtime, arrived) = (start_chat(&world.testbed, &store, chat).await?, arrived.clone());
            runtime.faults.fail_with(move |update_id| {
                // The receiver is gone only once the measurement has ended.
                let _ = arrived.send((update_id, Instant::now()));
                None
            });
            world.healthy.push(runtime);
        }
        for chat in HEALTHY + 1..=HEALTHY + hanging {
            let runtime = start_chat(&world.testbed, &store, chat).await?;
            runtime.faults.fail_with(|_| Some(Failure::Hang));
            world.send(chat, -chat).await?;
            world.hanging.push(runtime);
        }
        Ok(world)
    }

    /// Sends a message of a healthy chat and returns how long it took to its runtime, in milliseconds.
    async fn deliver(&mut self, message: i64) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.send(1 + message % HEALTHY, message).await?;
        let (arrived, at) = self.arrivals.recv().await.context("the runtimes are gone")?;
        anyhow::ensure!(arrived == message, "a message overtook another");
        Ok(at.duration_since(started).as_secs_f64() * 1e3)
    }

    async fn send(&self, chat: i64, update_id: i64) -> anyhow::Result<()> {
        let update = json!({ "update_id": update_id, "message": { "message_id": 1, "chat": { "id": chat } } });
        Ok(self.inbound.send(ChatId(chat), update_id, update.to_string().as_bytes()).await?)
    }

    /// Whether every hanging runtime was tried. One that has hung for 25 s is tried again, to hang again.
    fn has_tried_all(&self) -> bool {
        self.hanging.iter().all(|runtime| runtime.attempts() > 0)
    }
}

/// A chat with a runtime of its own.
async fn start_chat(testbed: &Testbed, store: &Store, chat: i64) -> anyhow::Result<Runtime> {
    let (tenant_id, generation) = (TenantId::random(), testbed::generation(1));
    let runtime = testbed.start_runtime(tenant_id, generation).await?;
    let route = Route { runtime_url: Some(runtime.base_url()), generation, ..Route::new(ChatId(chat), tenant_id) };
    store.put_route(&route).await?;
    Ok(runtime)
}
