//! The whole system in one process: the functions as they are deployed, between simulated vendors.

use std::convert::Infallible;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use axum::Router;
use futures::future::BoxFuture;
use nbhd::clock::Clock;
use nbhd::config::Env;
use nbhd::domain::ids::ChatId;
use nbhd::queue::Queues;
use nbhd::store::Store;
use nbhd_sim::azure::Azure;
use nbhd_sim::gateway;
use nbhd_sim::google::Google;
use nbhd_sim::model_gateway::ModelGateway;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::sqs;
use nbhd_sim::stripe::Stripe;
use nbhd_sim::testbed::{Platform, Testbed};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::chat::Chat;
use crate::containers::Containers;
use crate::functions::{Api, Functions};
use crate::page;
use crate::story;
use crate::subscriber::Subscriber;
use crate::trace::{Trace, Trigger};
use crate::wiring;

/// The name under which requests to our own API stand in the journal.
pub const API: &str = "api";
/// The shared bot of the local world.
pub const BOT_USERNAME: &str = "nbhd_local_bot";

/// How often the schedules of `template.yaml` run.
const TICK: Duration = Duration::from_secs(5 * 60);
/// How often the schedules run while the clock is moved by hand.
const STRIDE: Duration = Duration::from_secs(6 * 3600);

/// A running invocation of a queue's function.
type Invoked<'w> = BoxFuture<'w, Result<SqsBatchResponse, Infallible>>;

/// What a world is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock of simulators and functions.
    pub clock: Clock,
    /// The port of the API and the page; 0 takes a free one.
    pub port: u16,
    /// The table's file; in memory without one.
    pub table: Option<PathBuf>,
    /// Whose chat the page at `/` shows (the next free one, where a kept table knows it), and their name in Telegram.
    pub person: (i64, &'static str),
    /// A file to write the settings to, for the command `nbhd` and other tools.
    pub settings: Option<PathBuf>,
}

impl Options {
    /// A world on any free port, in memory.
    pub fn with_clock(clock: Clock) -> Self {
        Self { clock, port: 0, table: None, person: (1001, "Ann"), settings: None }
    }
}

/// The functions and all they talk to; everything stops when it is dropped.
pub struct World {
    /// The simulators that every function needs; the journal holds the requests to our own API as well.
    testbed: Testbed,
    /// What each function did.
    pub trace: Trace,
    /// Google.
    pub google: Google,
    /// Entra and the vault.
    pub azure: Azure,
    /// Stripe.
    pub stripe: Stripe,
    /// The model gateway.
    pub gateway: ModelGateway,
    /// The chat that the page shows.
    pub chat: Chat,
    /// The settings that all functions share here; in Lambda each has only its own.
    pub env: Env,
    containers: Containers,
    functions: Functions,
    api: Api,
    settings_file: Option<PathBuf>,
    base_url: String,
    serving: JoinHandle<()>,
}

impl World {
    /// Starts everything.
    ///
    /// # Errors
    /// When a port cannot be bound, or a setting is missing.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        // Boxed: the future of everything starting is kilobytes.
        Box::pin(Self::build(options)).await
    }

    async fn build(options: Options) -> anyhow::Result<Self> {
        let Options { clock, port, table, person: (chat, name), settings: settings_file } = options;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("port {port} of 127.0.0.1 cannot be used; `--port` chooses another"))?;
        let base_url = format!("http://{}", listener.local_addr()?);

        let (platform, trace) = (Platform::random(BOT_USERNAME), Trace::default());
        let mut testbed = Testbed::start_for(&platform, clock.clone(), table.as_deref()).await?;
        testbed.set("PUBLIC_BASE_URL", &base_url);
        testbed.set("TELEGRAM_LINK_URL", format!("{base_url}/local/telegram"));
        let google = testbed.start_google().await?;
        let azure = testbed.start_azure().await?;
        let stripe = testbed.start_stripe().await?;
        let gateway = testbed.start_model_gateway().await?;

        let env = testbed.env();
        let api = Api::new(Self::router(&testbed, &env, &trace)?);
        for services in ["gmail", "google-calendar", "google"] {
            google.allows_redirect_to(&format!("{base_url}/oauth/{services}/callback"));
        }
        testbed.telegram.deliver_to(&format!("{base_url}/telegram/webhook"), &platform.webhook_secret);
        stripe.deliver_to(&format!("{base_url}/stripe/webhook"));

        let functions = Functions::start(&env, &clock)?;
        let containers = Containers::default();
        containers.attach(&azure.arm, &clock);
        let chat = Chat::open(&testbed.telegram, find_unused_chat(&Store::from_env(&env)?, chat).await?, name);
        let served = api.clone();
        let all = page::router(chat.clone(), trace.clone()).fallback(move |request| served.respond(request));
        let serving = tokio::spawn(async move {
            // `axum::serve` ends only with the task.
            let _ = axum::serve(listener, all).await;
        });
        let world = Self {
            testbed,
            trace,
            google,
            azure,
            stripe,
            gateway,
            chat,
            env,
            containers,
            functions,
            api,
            settings_file,
            base_url,
            serving,
        };
        world.write_settings()?;
        Ok(world)
    }

    /// Starts every function anew with some settings changed, as a deployment does; containers and vendors stay.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn restart(&mut self, changes: &[(&'static str, &str)]) -> anyhow::Result<()> {
        for (name, value) in changes {
            self.testbed.set(name, *value);
        }
        self.env = self.testbed.env();
        self.functions = Functions::start(&self.env, &self.testbed.clock)?;
        self.api.replace(Self::router(&self.testbed, &self.env, &self.trace)?);
        self.write_settings()
    }

    fn router(testbed: &Testbed, env: &Env, trace: &Trace) -> anyhow::Result<Router> {
        let functions = wiring::functions(env, &testbed.clock, trace)?;
        Ok(testbed.journal.wrap(API, gateway::wrap(functions, &testbed.clock)))
    }

    fn write_settings(&self) -> anyhow::Result<()> {
        let Some(file) = &self.settings_file else { return Ok(()) };
        let lines = self.testbed.settings().iter().map(|(name, value)| format!("{name}={value}\n"));
        std::fs::write(file, lines.collect::<String>()).with_context(|| format!("`{}`", file.display()))
    }

    /// Where the API is reached: the functions' `PUBLIC_BASE_URL`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The shared bot's public identity, the digits of its token.
    pub fn bot_id(&self) -> &str {
        self.env.optional("TELEGRAM_BOT_TOKEN").and_then(|token| token.split(':').next()).unwrap_or_default()
    }

    /// The table, as functions see it.
    ///
    /// # Errors
    /// When a setting is missing.
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::from_env(&self.env)?)
    }

    /// The queues, as functions see them.
    ///
    /// # Errors
    /// When a setting is missing.
    pub fn queues(&self) -> anyhow::Result<Queues> {
        Ok(Queues::new(&self.env)?)
    }

    /// A new subscription for `chat`, all the way from the bot's link to an assistant that is up.
    ///
    /// # Errors
    /// The first step that does not end as it should.
    pub async fn subscribes(&self, chat: ChatId) -> anyhow::Result<Subscriber> {
        Box::pin(story::subscribe(self, chat)).await
    }

    /// The tenant of a chat and its container, if it has one.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub async fn subscriber(&self, chat: ChatId) -> anyhow::Result<Option<Subscriber>> {
        let Some(route) = self.store()?.load_route(chat).await? else { return Ok(None) };
        Ok(self.containers.find(&route.tenant_id.to_string()).map(|runtime| Subscriber {
            tenant_id: route.tenant_id,
            chat_id: chat,
            secrets: runtime.settings().clone(),
            runtime,
        }))
    }

    /// What of the tenants is there at Azure, in the vault and at the model gateway.
    pub fn inventory(&self) -> Vec<String> {
        let short = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        let resources = self.azure.arm.resources().into_iter().map(|held| format!("{} {}", held.kind, short(&held.id)));
        let secrets = self.azure.vault.names().into_iter().map(|name| format!("secret {name}"));
        let keys = self.gateway.keys().into_iter().map(|key| format!("model key {}", key.name));
        resources.chain(secrets).chain(keys).collect()
    }

    /// How many requests Azure's resource manager and vault have had.
    pub fn azure_calls(&self) -> usize {
        let names = [nbhd_sim::arm::ARM, nbhd_sim::key_vault::KEY_VAULT];
        names.into_iter().map(|name| self.journal.entries_of(name).len()).sum()
    }

    /// Runs everything until nothing left to do: Telegram and Stripe deliver to the webhooks, the queues to their
    /// is functions, and the assistants answer. Moves a clock that can be moved to when the next message is visible.
    pub async fn run_until_idle(&self) {
        let (inbound, refreshes, lifecycles) = (self.inbound(), self.refreshes(), self.lifecycles());
        loop {
            let delivered = self.telegram.deliver().await.len() + self.stripe.deliver().await.len();
            let forwarded = inbound.drain().await.invocations();
            let worked = refreshes.drain().await.invocations() + lifecycles.drain().await.invocations();
            for runtime in self.containers.all() {
                runtime.wait_until_idle().await;
            }
            if delivered + forwarded + worked > 0 {
                continue;
            }
            let queues = [sqs::INBOUND, sqs::REFRESH, sqs::LIFECYCLE];
            match queues.into_iter().filter_map(|queue| self.sqs.next_visible(queue)).min() {
                Some(at) => self.clock.sleep_until(at).await,
                None => return,
            }
        }
    }

    /// Lets `time` pass, and runs meanwhile what the clock drives: Stripe, Azure and the scheduled functions.
    pub async fn pass_time(&self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.clock.advance(STRIDE.min(end.since(self.clock.now())));
            self.run_schedules().await;
            self.run_until_idle().await;
        }
    }

    /// Moves the clock on until a condition holds.
    ///
    /// # Errors
    /// When it does not hold within `time`.
    pub async fn pass_time_until(&self, time: Duration, condition: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = self.clock.now() + time;
        while !condition() {
            ensure!(self.clock.now() < end, "{} days passed in vain", time.as_secs() / 86_400);
            self.pass_time(STRIDE).await;
        }
        Ok(())
    }

    /// Runs once what the clock drives: Stripe, Azure and the scheduled functions.
    async fn run_schedules(&self) {
        self.stripe.catch_up();
        self.azure.arm.settles().await;
        self.tick_refresh().await;
        let started = Instant::now();
        let swept = reconcile_sweep::queue_due(&self.functions.sweep, &Uuid::new_v4().to_string()).await;
        if swept.due > 0 {
            let outcome = "queued what is due".to_owned();
            self.trace.record("reconcile-sweep", Trigger::Schedule("sweep"), outcome, started.elapsed());
        }
    }

    /// Runs the scheduled tick, which queues what is due for a refresh; [`Self::run_until_idle`] works it off.
    pub async fn tick_refresh(&self) -> scheduled_refresh::Report {
        let started = Instant::now();
        let report = scheduled_refresh::enqueue_due(&self.functions.refresh, &Uuid::new_v4().to_string()).await;
        if report.due > 0 {
            let outcome = "queued what is due".to_owned();
            self.trace.record("scheduled-refresh", Trigger::Schedule("tick"), outcome, started.elapsed());
        }
        report
    }

    /// Delivers Telegram's updates to the webhook, and tries each message of the inbound queue once.
    pub async fn attempt(&self) {
        self.telegram.deliver().await;
        self.inbound().drain().await;
    }

    /// Does the same as [`Self::run_until_idle`] for as long as it is polled, as things happen.
    pub async fn run(&self) -> Infallible {
        let _delivering = (self.telegram.keep_delivering(), self.stripe.keep_delivering());
        let (inbound, refreshes, lifecycles) = (self.inbound(), self.refreshes(), self.lifecycles());
        futures::future::join4(inbound.run(), refreshes.run(), lifecycles.run(), self.keep_running_schedules()).await.0
    }

    async fn keep_running_schedules(&self) -> Infallible {
        loop {
            tokio::time::sleep(TICK).await;
            self.run_schedules().await;
        }
    }

    fn inbound<'w>(&'w self) -> Pump<impl Fn(SqsEvent) -> Invoked<'w>> {
        self.pump("telegram-forward", sqs::INBOUND, move |event, id| {
            Box::pin(async move { telegram_forward::handle(&self.functions.forward, event, &id).await })
        })
    }

    fn refreshes<'w>(&'w self) -> Pump<impl Fn(SqsEvent) -> Invoked<'w>> {
        self.pump("scheduled-refresh", sqs::REFRESH, move |event, id| {
            Box::pin(async move { scheduled_refresh::process_batch(&self.functions.refresh, event, &id).await.1 })
        })
    }

    fn lifecycles<'w>(&'w self) -> Pump<impl Fn(SqsEvent) -> Invoked<'w>> {
        self.pump("tenant-reconcile", sqs::LIFECYCLE, move |event, id| {
            Box::pin(async move { tenant_reconcile::handle(&self.functions.reconcile, event, &id).await.1 })
        })
    }

    /// Feeds `queue` to a function, and records what it did.
    fn pump<'w>(
        &'w self,
        function: &'static str,
        queue: &'static str,
        handle: impl Fn(SqsEvent, String) -> BoxFuture<'w, SqsBatchResponse> + 'w,
    ) -> Pump<impl Fn(SqsEvent) -> Invoked<'w>> {
        Pump::new(&self.sqs, queue, &self.clock, Limits::default(), move |event: SqsEvent| -> Invoked<'w> {
            let started = Instant::now();
            let invocation = handle(event, Uuid::new_v4().to_string());
            Box::pin(async move {
                let response = invocation.await;
                let outcome = if response.batch_item_failures.is_empty() { "done" } else { "to be redelivered" };
                self.trace.record(function, Trigger::Queue(queue), outcome.to_owned(), started.elapsed());
                Ok(response)
            })
        })
    }
}

/// The first chat from `chat` on that has no route from an earlier run.
async fn find_unused_chat(store: &Store, mut chat: i64) -> anyhow::Result<i64> {
    while store.load_route(ChatId(chat)).await?.is_some() {
        chat += 1;
    }
    Ok(chat)
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
