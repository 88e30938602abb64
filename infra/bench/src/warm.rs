//! What one update and one mailbox list cost a warm function: time, CPU, requests and capacity units.
//!
//! The functions run as the processes they are deployed as, between simulators in this process; CPU is what the kernel
//! charges the function's own process. What an update costs is measured with all of them on one core: see
//! [`crate::cores`].

use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use nbhd::clock::Clock;
use nbhd::domain::ids::ChatId;
use nbhd::domain::route::Route;
use nbhd_local::{Browser, Options, Subscriber, World};
use nbhd_sim::google::Scopes;
use nbhd_sim::google::faults::Endpoint;
use nbhd_sim::server::Server;
use nbhd_sim::sqs::INBOUND;
use nbhd_sim::tls::TlsServer;
use serde_json::{Value, json};

use crate::artifact::Artifact;
use crate::cores::Cores;
use crate::instructions;
use crate::lambda::{Function, Invocation, http_event};
use crate::process::Setting;
use crate::report::Report;

/// Chats that write in turn, so that the rate limit sees each of them rested.
const CHATS: i64 = 40;
/// Updates that are measured, after as many as there are chats.
const UPDATES: i64 = 400;
const LISTS: usize = 100;
const FIRSTS: usize = 21;
/// How long Google takes for each answer where its distance is measured.
const GOOGLE_DISTANCE: Duration = Duration::from_millis(50);
const ACCOUNT: &str = "ann@example.com";

/// What a number of invocations cost, each on average but for the time, which is a median.
struct Cost {
    took: Duration,
    cpu: Duration,
    requests: f64,
    units: f64,
}

/// A Telegram update through the webhook and on to the runtime.
pub(crate) async fn measure_updates(
    report: &mut Report,
    webhook: &Artifact,
    forward: &Artifact,
    cores: Cores,
) -> anyhow::Result<()> {
    report.section(&format!("A Telegram update, warm, on one core, mean of {UPDATES} (time: median)"));
    let world = World::start(Options::with_clock(Clock::System)).await?;
    let runtime = Server::start(runtime()).await?;
    for chat in 0..CHATS {
        subscribe(&world, ChatId(chat_id(chat)), &runtime.base_url()).await?;
    }
    let settings = settings(&world);
    let secret = setting(&settings, "TELEGRAM_WEBHOOK_SECRETS");
    let written = || (0..CHATS + UPDATES).map(|number| webhook_event(chat_id(number % CHATS), number, secret));
    let taken = || (0..UPDATES).map(|number| inbound_event(chat_id(number % CHATS)));

    let mut warm = Function::start(webhook, &settings).await?;
    let refused = measure(&world, &mut warm, (0..UPDATES).map(|number| webhook_event(1, number, "wrong")), 403).await?;
    let strangers =
        measure(&world, &mut warm, (0..UPDATES).map(|number| webhook_event(1, number, secret)), 200).await?;
    let queued = measure(&world, &mut warm, written(), 200).await?;
    let waiting = world.sqs.messages(INBOUND).len();
    ensure!(waiting as i64 == CHATS + UPDATES, "{waiting} of the updates are on the queue");
    let webhook_memory = warm.peak_memory()?;

    let mut warm = Function::start(forward, &settings).await?;
    let unreadable = (0..UPDATES).map(|_| json!({ "Records": [{ "messageId": "1", "body": "{}" }] }));
    let unreadable = measure(&world, &mut warm, unreadable, 0).await?;
    let mut delivered = measure(&world, &mut warm, taken(), 0).await?;
    // The POST to the runtime, which no simulator of the world sees.
    delivered.requests += 1.0;

    report_cost(report, "webhook: verified, routed, queued", &queued);
    report_cost(report, "forward: routed, delivered", &delivered);
    let micros = |cpu: Duration| format!("{:.0} µs CPU", cpu.as_secs_f64() * 1e6);
    let call = |more: &Cost, less: &Cost| micros(more.cpu.saturating_sub(less.cpu));
    report.figure("  webhook: event in, answer out", &micros(refused.cpu));
    report.figure("  webhook: table write", &call(&strangers, &refused));
    report.figure("  webhook: queue send", &call(&queued, &strangers));
    report.figure("  forward: event in, answer out", &micros(unreadable.cpu));
    report.figure("  forward: table read, POST to the runtime", &call(&delivered, &unreadable));
    let both = |queued: &Cost, delivered: &Cost| (queued.cpu + delivered.cpu).as_secs_f64() * 1e3;
    report.figure("CPU per delivered update", &format!("{:.2} ms", both(&queued, &delivered)));
    let webhook_event = |number| webhook_event(chat_id(number % CHATS), number, secret);
    let receiving = instructions::count_per_event(webhook, &settings, webhook_event).await?;
    let inbound_event = |number| inbound_event(chat_id(number % CHATS));
    let forwarding = instructions::count_per_event(forward, &settings, inbound_event).await?;
    instructions::report(report, receiving, forwarding);
    report.at_most("table units per delivered update", queued.units + delivered.units, 2.0, "units");
    report.at_most("webhook peak memory after the load", webhook_memory, 10.0, "MiB");
    report.at_most("forward peak memory after the load", warm.peak_memory()?, 10.0, "MiB");

    let mut apart = cores.start_on_second(Function::start(webhook, &settings)).await??;
    let queued = measure(&world, &mut apart, written(), 200).await?;
    let mut apart = cores.start_on_second(Function::start(forward, &settings)).await??;
    let delivered = measure(&world, &mut apart, taken(), 0).await?;
    report.figure("CPU with every wake-up across cores", &format!("{:.2} ms", both(&queued, &delivered)));
    Ok(())
}

/// Invokes a warm function with each event; answers other than `status` (0: a queue function's) are errors.
async fn measure(
    world: &World,
    function: &mut Function,
    events: impl Iterator<Item = Value>,
    status: u16,
) -> anyhow::Result<Cost> {
    let mut invocations = Vec::new();
    let mut warmed = false;
    for event in events {
        if !std::mem::replace(&mut warmed, true) {
            function.invoke(&event).await?;
            world.table.clear_calls();
            world.journal.clear();
            continue;
        }
        let invocation = function.invoke(&event).await?;
        let answered = invocation.answer["statusCode"].as_u64().unwrap_or_default();
        ensure!(answered == u64::from(status), "an unexpected answer: {}", invocation.answer);
        invocations.push(invocation);
    }
    Ok(Cost::of(world, invocations))
}

impl Cost {
    fn of(world: &World, mut invocations: Vec<Invocation>) -> Self {
        let count = invocations.len();
        invocations.sort_by_key(|invocation| invocation.took);
        let cpu: Duration = invocations.iter().map(|invocation| invocation.cpu).sum();
        let requests = world.table.calls().len() + world.journal.entries().len();
        Self {
            took: invocations[count / 2].took,
            cpu: cpu / u32::try_from(count).unwrap_or(u32::MAX),
            requests: requests as f64 / count as f64,
            units: world.table.units() / count as f64,
        }
    }
}

fn report_cost(report: &mut Report, name: &str, cost: &Cost) {
    let (took, cpu) = (cost.took.as_secs_f64() * 1e3, cost.cpu.as_secs_f64() * 1e3);
    let (requests, units) = (cost.requests, cost.units);
    report.figure(name, &format!("{took:.2} ms, {cpu:.2} ms CPU, {requests:.1} requests, {units:.1} units"));
}

/// A subscriber whose runtime does nothing but acknowledge.
async fn subscribe(world: &World, chat: ChatId, runtime_url: &str) -> anyhow::Result<()> {
    world.subscribes(chat).await?;
    let store = world.store()?;
    let route = store.load_route(chat).await?.context("a subscriber without a route")?;
    store.put_route(&Route { runtime_url: Some(runtime_url.to_owned()), ..route }).await?;
    Ok(())
}

/// The container's front, as far as an update sees it.
fn runtime() -> Router {
    Router::new().fallback(|| async { [("x-openclaw-delivery-accepted", "durable")] })
}

/// The first request over TLS of a process: an update for a runtime behind HTTPS, right after a cold start.
pub(crate) async fn measure_first_tls_request(report: &mut Report, forward: &Artifact) -> anyhow::Result<()> {
    report.section(&format!("The first invocation of a process, with its first TLS request: median of {FIRSTS}"));
    let world = World::start(Options::with_clock(Clock::System)).await?;
    let (secure, plain) = (TlsServer::start(&world.azure.authority, runtime()).await?, Server::start(runtime()).await?);
    let settings = settings(&world);
    let mut cpu = Vec::new();
    for (chat, url) in [(1, secure.base_url()), (2, plain.base_url())] {
        subscribe(&world, ChatId(chat), &url).await?;
        let event = inbound_event(chat);
        let mut firsts = Vec::new();
        for _ in 0..FIRSTS {
            let invocation = Function::start(forward, &settings).await?.invoke(&event).await?;
            ensure!(invocation.answer["batchItemFailures"] == json!([]), "not delivered: {}", invocation.answer);
            firsts.push(invocation.cpu);
        }
        firsts.sort();
        cpu.push(firsts[FIRSTS / 2].as_secs_f64() * 1e3);
    }
    report.figure("first invocation without TLS", &format!("{:.2} ms CPU", cpu[1]));
    report.at_most("first invocation with TLS to the runtime", cpu[0], 3.0, "ms of CPU");
    Ok(())
}

/// A list of ten messages out of Gmail, at once and with Google 50 ms away.
pub(crate) async fn measure_mailbox_list(report: &mut Report, gmail: &Artifact) -> anyhow::Result<()> {
    report.section(&format!("A list of ten messages, warm: median of {LISTS}"));
    let world = World::start(Options::with_clock(Clock::System)).await?;
    let subscriber = world.subscribes(ChatId(world.chat.id())).await?;
    connect_google(&world).await?;
    let mut gmail = Function::start(gmail, &settings(&world)).await?;
    let event = list_event(&subscriber);

    let near = measure(&world, &mut gmail, std::iter::repeat_n(event.clone(), LISTS), 200).await?;
    report_cost(report, "Google at no distance", &near);
    report.at_most("table units per list", near.units, 1.0, "units");
    for endpoint in [Endpoint::MessagesList, Endpoint::MessagesGet] {
        world.google.faults.delay(endpoint, GOOGLE_DISTANCE);
    }
    let far = measure(&world, &mut gmail, std::iter::repeat_n(event, LISTS), 200).await?;
    report_cost(report, "Google answering in 50 ms", &far);
    let trips = far.took.as_secs_f64() / GOOGLE_DISTANCE.as_secs_f64();
    report.at_most("time, in round trips to Google", trips, 2.5, "×");
    report.at_most("gmail peak memory after the load", gmail.peak_memory()?, 10.0, "MiB");
    Ok(())
}

/// The person connects Google as `/connect` says, through the pages.
async fn connect_google(world: &World) -> anyhow::Result<()> {
    world.google.has_account(ACCOUNT, "Ann Example", "Europe/Lisbon");
    for number in 0..20 {
        let mail =
            format!("From: Bea <bea@example.com>\r\nSubject: Garden plan {number}\r\n\r\nSee you on Sunday.\r\n");
        world.google.delivers(ACCOUNT, mail.as_bytes());
    }
    world.chat.says("/connect");
    world.run_until_idle().await;
    let mut links = world.chat.answers().into_iter().flat_map(|answer| answer.buttons).map(|button| button.url);
    let link = links.find(|url| url.contains("/oauth/google/authorize")).context("the bot sent no link")?;
    let mut browser = Browser::new()?;
    let page = browser.open(&link).await?;
    let consent = browser.submit(&link, &page.form_fields()).await?.location.context("no way on to Google")?;
    let back = world.google.consents(&consent, ACCOUNT, &Scopes::All);
    let back = back.map_err(|refusal| anyhow::anyhow!("Google refused the consent: {refusal:?}"))?;
    world.confirms(&browser.open(&back).await?).await?;
    let result = browser.open(&back).await?;
    ensure!(result.status == 200, "the page after the confirmation answered {}", result.status);
    Ok(())
}

fn list_event(subscriber: &Subscriber) -> Value {
    let tenant = &subscriber.secrets.tenant_id;
    let headers = [("x-nbhd-internal-key", subscriber.secrets.internal_key.as_str()), ("x-nbhd-tenant-id", tenant)];
    let path = format!("/api/v1/integrations/runtime/{tenant}/gmail/messages/");
    http_event("GET", &path, "max_results=10", &headers, "")
}

/// An update of a chat as the queue hands it over.
fn inbound_event(chat: i64) -> Value {
    let update = webhook_event(chat, 1, "")["body"].clone();
    json!({ "Records": [{
        "messageId": "1", "receiptHandle": "bench", "body": update, "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:1:inbound.fifo", "awsRegion": "us-east-1", "messageAttributes": {},
        "attributes": {
            "MessageGroupId": chat.to_string(), "MessageDeduplicationId": "900001", "ApproximateReceiveCount": "1",
            "SentTimestamp": Clock::System.now().millis().to_string(),
        },
    }] })
}

fn chat_id(number: i64) -> i64 {
    5_000 + number
}

fn webhook_event(chat: i64, number: i64, secret: &str) -> Value {
    let person = json!({ "id": chat, "is_bot": false, "first_name": "Ann" });
    let message = json!({
        "message_id": number, "from": person, "chat": { "id": chat, "type": "private", "first_name": "Ann" },
        "date": 1_767_225_600, "text": "What is on today, and did the school write back about Thursday?",
    });
    let update = json!({ "update_id": 900_000 + number, "message": message }).to_string();
    let headers = [("content-type", "application/json"), ("x-telegram-bot-api-secret-token", secret)];
    http_event("POST", "/telegram/webhook", "", &headers, &update)
}

pub(crate) fn settings(world: &World) -> Vec<Setting> {
    let mut settings: Vec<Setting> = world.settings().clone().into_iter().collect();
    settings.push(("RATE_LIMIT_PER_MINUTE", "6000".to_owned()));
    settings
}

fn setting<'s>(settings: &'s [Setting], name: &str) -> &'s str {
    settings.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}
