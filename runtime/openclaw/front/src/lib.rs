//! The front of a tenant's container: its first process, and the only one that holds the tenant's real secrets.
//!
//! - *In*: updates come in on one port and are kept on the share before they are acknowledged (`webhook`, `journal`),
//!   from the time on that this release's configuration was validated (`readiness`).
//! - *Over*: they are handed to `OpenClaw` on loopback, in order (`handover`).
//! - *Out*: `OpenClaw` speaks to three doors on loopback, with secrets good for nothing else (`doors`).
//! - *One of them*: a lease on the share (`lease`) says which replica's `OpenClaw` is run (`supervisor`); who starts
//!   the front joins the two.

pub mod doors;
pub mod handover;
pub mod journal;
pub mod lease;
pub mod notice;
pub mod readiness;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod share;
pub mod supervisor;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nbhd::clock::{Clock, Waiter};
use nbhd::config::Env;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::doors::Doors;
use crate::handover::HandOver;
use crate::notice::Notice;
use crate::readiness::Readiness;
use crate::secrets::LocalSecrets;
use crate::settings::Settings;
use crate::share::{Effects, Folder};
use crate::webhook::Webhook;

/// How long the front waits before it reads the share again at its start.
const SHARE_PAUSE: Duration = Duration::from_secs(1);

/// What the front does everything with; tests replace the time and what may go wrong.
#[derive(Clone, Debug)]
pub struct Means {
    /// The client of this process, which follows no redirect.
    pub http: reqwest::Client,
    /// The time.
    pub clock: Clock,
    /// How it waits.
    pub waiter: Waiter,
    /// What becomes of its effects.
    pub effects: Effects,
}

/// A running front; it stops when it is dropped, between any two effects.
#[derive(Debug)]
pub struct Front {
    /// Where updates come in.
    pub address: SocketAddr,
    /// Where `OpenClaw` goes out.
    pub doors: SocketAddr,
    /// What `OpenClaw` is given in place of the real secrets.
    pub local: LocalSecrets,
    /// Whether updates and turns are taken.
    pub readiness: Arc<Readiness>,
    permit: watch::Sender<bool>,
    handover: JoinHandle<()>,
    tasks: JoinSet<()>,
}

impl Front {
    /// Starts the front; updates are answered as soon as this returns.
    ///
    /// # Errors
    /// When a port is taken, or the system lacks what the front needs.
    pub async fn start(settings: &Settings, means: Means) -> anyhow::Result<Self> {
        let Means { http, clock, waiter, effects } = means;
        let share = Folder::new(settings.share.clone(), effects.clone());
        let local = LocalSecrets::random(&settings.secrets)?;
        let journal = journal::spawn(share.join("journal"), u64::from(settings.journal_mib) << 20, clock.clone())
            .context("the journal's thread did not start")?;
        let addresses = [settings.openclaw_gateway.clone(), settings.openclaw_webhook.clone()];
        let release = (settings.release.as_str(), settings.config.as_str());
        let readiness = Arc::new(Readiness::new(share, release, http.clone(), addresses));
        let incoming = bind(settings.front).await?;
        let outgoing = bind(settings.doors).await?;
        let (address, doors_address) = (incoming.local_addr()?, outgoing.local_addr()?);

        let webhook =
            Webhook::new(settings.secrets.clone(), journal.clone(), Arc::clone(&readiness), clock, effects.clone());
        let webhook = Arc::new(webhook);
        let doors = Arc::new(Doors::new(settings, local.clone(), http.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(read_stamp(Arc::clone(&readiness), waiter.clone()));
        tasks.spawn(server::serve(incoming, move |request| Arc::clone(&webhook).answer(request)));
        tasks.spawn(server::serve(outgoing, move |request| Arc::clone(&doors).answer(request)));

        let relay = format!("{}/telegram/relay/{}", settings.api_base_url, settings.tenant);
        let handover = HandOver {
            journal,
            readiness: Arc::clone(&readiness),
            notice: Notice::new(http.clone(), relay, settings.secrets.relay_token.clone()),
            http,
            webhook: settings.openclaw_webhook.clone(),
            secret: local.webhook_secret.clone(),
            waiter,
            effects,
        };
        let permit = watch::Sender::new(false);
        let handover = tokio::spawn(handover.run(permit.subscribe()));
        Ok(Self { address, doors: doors_address, local, readiness, permit, handover, tasks })
    }

    /// Says whether updates are handed over from now on.
    pub fn permit_turns(&self, permitted: bool) {
        self.permit.send_replace(permitted);
    }

    /// Ends the hand-over after the update that is under way. Others are taken all the while: they are for the next
    /// boot.
    pub async fn drain(&mut self) {
        self.permit_turns(false);
        // Its receiver sees that nobody will ever permit anything again.
        self.permit = watch::Sender::new(false);
        if (&mut self.handover).await.is_err() {
            tracing::error!(code = "handover_stopped", "the hand-over had stopped before; the next boot hands over");
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.handover.abort();
        self.tasks.abort_all();
    }
}

/// Runs the front until the platform stops the container.
///
/// # Errors
/// A setting that is missing or invalid, or as of [`Front::start`].
pub async fn run(env: &Env) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate()).context("the system has no signals")?;
    let settings = Settings::new(env)?;
    let means = Means {
        http: nbhd::http::client(env)?,
        clock: Clock::System,
        waiter: Waiter::Timer,
        effects: Effects::default(),
    };
    let mut front = Front::start(&settings, means).await?;
    front.permit_turns(true);
    tracing::info!(release = settings.release, "the front takes updates as soon as its configuration is validated");
    stop.recv().await;
    front.drain().await;
    tracing::info!("the front has ended its hand-over and stops");
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("the port of {address} cannot be used"))
}

/// Reads whether this configuration was validated by an earlier boot, as soon as the share can be read.
async fn read_stamp(readiness: Arc<Readiness>, waiter: Waiter) {
    loop {
        let readiness = Arc::clone(&readiness);
        match tokio::task::spawn_blocking(move || readiness.read_stamp()).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => {
                tracing::error!(code = "stamp_unreadable", %error, "the share cannot be read; updates wait outside");
                waiter.wait(SHARE_PAUSE).await;
            }
            Err(_) => return,
        }
    }
}
