//! What one tenant costs in a month: the deployed code between simulators that count, at list prices.
//!
//! Counts of requests, units, log bytes and calls are measured; so is the time that the code itself takes. How long a
//! vendor takes to answer is a parameter ([`prices::CALL_MS`]), as are the prices. A model's tokens and the container
//! are other bills.

use std::collections::BTreeMap;
use std::ops::{Add, Sub};
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::refresh;
use nbhd_local::{Options, Subscriber, Trigger, World};
use serde_json::json;

use crate::prices;
use crate::report::Report;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How many days are passed to learn what one costs: an idle connection is kept alive once a week.
const DAYS: u32 = 7;
const STEP: Duration = Duration::from_secs(30 * 60);
const DAYS_A_MONTH: f64 = 30.0;
const MESSAGES_A_DAY: u32 = 30;
/// How many of these make the assistant read mail: two calls each.
const READING_MAIL: u32 = 10;
const MEMORY_GB: f64 = 0.25;
/// Sweeps, ticks and inventories that the clock begins in a month.
const SWEEPS: f64 = 30.0 * 24.0 * 60.0;
const TICKS: f64 = SWEEPS / 5.0;
const INVENTORIES: f64 = 30.0 * 24.0;
/// Lambda's five pollers of each of three queues, each waiting at most 20 seconds for messages.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const EMPTY_RECEIVES: f64 = 3.0 * 5.0 * 3.0 * SWEEPS;
const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ACCOUNT: &str = "someone@example.com";

/// What was used, of everything that has a price.
#[derive(Clone, Debug, Default)]
struct Usage {
    invocations: f64,
    seconds: f64,
    api: f64,
    fifo: f64,
    queue: f64,
    reads: f64,
    writes: f64,
    log_bytes: f64,
    out_bytes: f64,
    vault: f64,
    arm: f64,
}

impl Usage {
    fn each(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            invocations: combine(self.invocations, other.invocations),
            seconds: combine(self.seconds, other.seconds),
            api: combine(self.api, other.api),
            fifo: combine(self.fifo, other.fifo),
            queue: combine(self.queue, other.queue),
            reads: combine(self.reads, other.reads),
            writes: combine(self.writes, other.writes),
            log_bytes: combine(self.log_bytes, other.log_bytes),
            out_bytes: combine(self.out_bytes, other.out_bytes),
            vault: combine(self.vault, other.vault),
            arm: combine(self.arm, other.arm),
        }
    }

    fn times(&self, factor: f64) -> Self {
        self.each(self, |own, _| own * factor)
    }

    /// What it costs, by service.
    fn dollars(&self) -> [(&'static str, f64); 7] {
        let millions = |count: f64, price: f64| count / 1e6 * price;
        [
            (
                "functions",
                millions(self.invocations, prices::LAMBDA_REQUESTS)
                    + self.seconds * MEMORY_GB * prices::LAMBDA_GB_SECOND,
            ),
            ("API", millions(self.api, prices::API_REQUESTS)),
            ("queues", millions(self.fifo, prices::SQS_FIFO_REQUESTS) + millions(self.queue, prices::SQS_REQUESTS)),
            ("table", millions(self.reads, prices::TABLE_READS) + millions(self.writes, prices::TABLE_WRITES)),
            ("logs", self.log_bytes / 1e9 * prices::LOGS_GB),
            ("data out", self.out_bytes / 1e9 * prices::OUT_GB),
            ("vault", self.vault / 1e4 * prices::VAULT_OPERATIONS),
        ]
    }

    fn sum(&self) -> f64 {
        self.dollars().iter().map(|(_, dollars)| dollars).sum()
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(&other, |one, two| one + two)
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What is more; a measurement that is lower by chance counts as none.
    fn sub(self, other: Self) -> Self {
        self.each(&other, |one, two| (one - two).max(0.0))
    }
}

/// What one month costs, in Usage, by part.
struct Month {
    messages: Usage,
    refresh_idle: Usage,
    refresh_active: Usage,
    reconcile: Usage,
    inventory: Usage,
    /// Of the whole system, however many tenants there are.
    fixed: Usage,
}

pub(crate) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let month = Box::pin(measure_month()).await?;
    report.section("A tenant's month at list prices, in US dollars (prices.rs has sources, dates and parameters)");
    for unknown in prices::UNKNOWN {
        report.figure(unknown, "unknown, counted as 0");
    }
    let alarms = standing_charges();
    let parts = [
        ("30 messages a day, a third of them about mail", &month.messages),
        ("refresh, both services, idle", &month.refresh_idle),
        ("refresh, both services, in use", &month.refresh_active),
        ("reconciler: observed hourly, Stripe daily", &month.reconcile),
        ("inventory by lists", &month.inventory),
    ];
    for (name, usage) in parts {
        report.figure(name, &format!("{:.6}", usage.sum()));
        for (service, dollars) in usage.dollars() {
            report.figure(&format!("    {service}"), &format!("{dollars:.6}"));
        }
    }
    let calls = |usage: &Usage| format!("{:.0} of Azure, {:.1} of vaults", usage.arm, usage.vault);
    report.figure("calls a tenant-month, observed one by one", &calls(&month.reconcile));
    report.figure("calls a tenant-month, by lists", &calls(&month.inventory));
    report.figure("of the whole system: schedules and polling", &format!("{:.2}", month.fixed.sum()));
    report.figure("of the whole system: alarms and metrics", &format!("{alarms:.2}"));
    for tenants in [1e4, 1e6] {
        let shared = (month.fixed.sum() + alarms) / tenants;
        let idle = month.refresh_idle.sum() + month.reconcile.sum() + month.inventory.sum() + shared;
        let active = idle - month.refresh_idle.sum() + month.refresh_active.sum() + month.messages.sum();
        report.at_most(&format!("idle, {tenants:.0} tenants, cents"), idle * 100.0, 5.0, "¢");
        report.at_most(&format!("active, {tenants:.0} tenants, cents"), active * 100.0, 15.0, "¢");
    }
    Ok(())
}

/// Alarms and metrics are charged by the month, whatever happens.
fn standing_charges() -> f64 {
    let template = include_str!("../../../template.yaml");
    let (watched, own) = (template.matches("MetricName: ").count(), template.matches("Namespace: NBHD").count());
    watched as f64 * prices::ALARM_METRIC + own as f64 * prices::OWN_METRIC
}

async fn measure_month() -> anyhow::Result<Month> {
    let empty = start().await?;
    let schedules = measure_days(&empty, 1).await?;

    let world = start().await?;
    let chat = ChatId(world.chat.id());
    let subscriber = world.subscribes(chat).await?;
    let plain = measure_days(&world, DAYS).await?.times(1.0 / f64::from(DAYS));
    let one = measure_inventory(&world).await?;
    connect(&world, &subscriber).await?;
    let connected = measure_days(&world, DAYS).await?.times(1.0 / f64::from(DAYS));

    let (messages, in_use) = measure_messages(&world).await?;
    let other = ChatId(chat.0 + 1);
    world.telegram.knows(other.0, "Bo");
    world.subscribes(other).await?;
    let two = measure_inventory(&world).await?;
    Ok(Month {
        messages: messages.times(DAYS_A_MONTH),
        refresh_idle: (connected.clone() - plain.clone()).times(DAYS_A_MONTH),
        refresh_active: (in_use - plain.clone()).times(DAYS_A_MONTH),
        reconcile: (plain - schedules.clone()).times(DAYS_A_MONTH),
        inventory: (two - one.clone()).times(INVENTORIES) + share_of_pages().times(INVENTORIES),
        fixed: fixed_month(schedules, &one),
    })
}

/// A tenant's share of the pages of one inventory's lists, of which the first ones were measured.
fn share_of_pages() -> Usage {
    let [azure, vault, gateway] = prices::PAGE;
    let arm = 5.0 / azure;
    let millis = arm * call_ms("arm") + call_ms("key-vault") / vault + call_ms("model-gateway") / gateway;
    Usage { arm, vault: 1.0 / vault, seconds: millis / 1e3, ..Usage::default() }
}

/// The clock's own month: a day of the local clock has a sweep and a tick every so often, each with as many queries.
fn fixed_month(day: Usage, inventory: &Usage) -> Usage {
    let queries_a_sweep = 16.0;
    let unit = Usage {
        invocations: SWEEPS + TICKS,
        seconds: (SWEEPS + TICKS) * queries_a_sweep * call_ms("table") / 1e3,
        reads: (SWEEPS + TICKS) * queries_a_sweep * 0.5,
        log_bytes: (SWEEPS + TICKS) * (prices::PLATFORM_LOG_BYTES + 250.0),
        queue: EMPTY_RECEIVES,
        ..Usage::default()
    };
    // Whatever a day without tenants used beside that, such as a renewed sign-in.
    let more = Usage { reads: 0.0, log_bytes: 0.0, seconds: 0.0, invocations: 0.0, ..day };
    unit + more.times(DAYS_A_MONTH) + inventory.times(INVENTORIES)
}

async fn start() -> anyhow::Result<World> {
    World::start(Options::with_clock(Clock::manual(START))).await
}

/// Lets time pass in steps that are short beside every period of the schedules' work.
async fn pass_time(world: &World, time: Duration) {
    let end = world.clock.now() + time;
    while world.clock.now() < end {
        world.pass_time(STEP.min(end.since(world.clock.now()))).await;
    }
}

async fn measure_days(world: &World, days: u32) -> anyhow::Result<Usage> {
    let meter = Meter::begin(world);
    pass_time(world, DAY * days).await;
    Ok(meter.end())
}

async fn measure_inventory(world: &World) -> anyhow::Result<Usage> {
    let meter = Meter::begin(world);
    let sweep = reconcile_sweep::App::from_env(&world.env, world.clock.clone())?;
    reconcile_sweep::queue_inventory(&sweep, "bench").await;
    world.run_until_idle().await;
    Ok(meter.end() + Usage { invocations: 1.0, ..Usage::default() })
}

/// A day in use: what the messages took, and what the clock did between them.
async fn measure_messages(world: &World) -> anyhow::Result<(Usage, Usage)> {
    let (mut messages, mut between) = (Usage::default(), Usage::default());
    for message in 0..MESSAGES_A_DAY {
        let before = world.chat.answers().len();
        let meter = Meter::begin(world);
        let is_about_mail = message % (MESSAGES_A_DAY / READING_MAIL) == 0;
        world.chat.says(if is_about_mail { "What is in my inbox?" } else { "How are you today?" });
        world.run_until_idle().await;
        messages = messages + meter.end();
        anyhow::ensure!(world.chat.answers().len() > before, "message {message} was not answered");
        let meter = Meter::begin(world);
        pass_time(world, DAY / MESSAGES_A_DAY).await;
        between = between + meter.end();
    }
    Ok((messages, between))
}

/// Both services, as a consent leaves them.
async fn connect(world: &World, subscriber: &Subscriber) -> anyhow::Result<()> {
    let (store, now) = (world.store()?, world.clock.now());
    world.google.has_account(ACCOUNT, "Someone", "Europe/Zurich");
    for provider in Provider::ALL {
        let (access, refresh_token) = world.google.has_consented(ACCOUNT, &[provider.scope()]);
        let name = Integration::secret_name(subscriber.tenant_id, provider);
        let secret = json!({ "access_token": access, "refresh_token": refresh_token, "expires_at": now });
        let row = Integration {
            secret_version: world.azure.vault.put(&name, &secret.to_string()),
            expires_at: Some(now),
            account: Some(ACCOUNT.to_owned()),
            ..Integration::new(subscriber.tenant_id, provider, now)
        };
        let due = Some(refresh::due_entry(&row, now));
        store.save_integration(&Integration { due, ..row }, None).await?;
    }
    world.tick_refresh().await;
    world.run_until_idle().await;
    Ok(())
}

/// Counts from when it is made.
struct Meter<'a> {
    world: &'a World,
    invocations: usize,
    log_bytes: usize,
}

impl<'a> Meter<'a> {
    fn begin(world: &'a World) -> Self {
        world.journal.clear();
        world.table.clear_calls();
        Self { world, invocations: world.trace.len(), log_bytes: nbhd::telemetry::capture().len() }
    }

    fn end(self) -> Usage {
        let mut usage = Usage::default();
        for done in self.world.trace.folded(self.invocations) {
            let count = done.count as f64;
            usage.invocations += count;
            usage.seconds += done.millis as f64 / 1e3;
            match done.trigger {
                Trigger::Request(..) => usage.api += count,
                // Received and deleted by Lambda: none of these queues' messages comes in batches when it is quiet.
                Trigger::Queue(name) if name.ends_with(".fifo") => usage.fifo += 2.0 * count,
                Trigger::Queue(_) => usage.queue += 2.0 * count,
                Trigger::Schedule(_) => {}
            }
        }
        let mut calls: BTreeMap<&str, f64> = BTreeMap::new();
        for entry in self.world.journal.entries() {
            // The assistant calls a model by itself.
            if entry.path.contains("/chat/completions") || entry.simulator == "telegram-updates" {
                continue;
            }
            *calls.entry(entry.simulator).or_default() += 1.0;
            if entry.simulator == "sqs" {
                *(if entry.contains_text(".fifo") { &mut usage.fifo } else { &mut usage.queue }) += 1.0;
                continue;
            }
            let headers: usize = entry.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            usage.out_bytes += (entry.request.len() + entry.path.len() + headers) as f64;
        }
        for call in self.world.table.calls() {
            *calls.entry("table").or_default() += 1.0;
            let is_read = ["GetItem", "Query", "Scan"].contains(&call.operation.as_str());
            *(if is_read { &mut usage.reads } else { &mut usage.writes }) += call.units;
        }
        usage.seconds += calls.iter().map(|(name, count)| count * call_ms(name) / 1e3).sum::<f64>();
        usage.vault = calls.get("key-vault").copied().unwrap_or_default();
        usage.arm = calls.get("arm").copied().unwrap_or_default();
        let lines = nbhd::telemetry::capture().len().saturating_sub(self.log_bytes) as f64;
        usage.log_bytes = lines + (usage.invocations + usage.api) * prices::PLATFORM_LOG_BYTES;
        usage
    }
}

fn call_ms(name: &str) -> f64 {
    prices::CALL_MS.iter().find(|(known, _)| *known == name).map_or(100.0, |(_, millis)| *millis)
}
