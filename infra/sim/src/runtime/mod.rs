//! A stand-in for a tenant's container: the front's durable acknowledgement and an assistant without a model.
//!
//! It answers as OpenClaw's webhook was observed to (see `front`), takes each update once, and works off its turns
//! one after the other, speaking to people through the relay and to Google through our runtime endpoints alone.

mod assistant;
mod front;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use nbhd::clock::{Clock, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::faults::Faults;
use crate::interruption::Interruption;

/// What a container is given: its own secrets and addresses, and nothing shared.
#[derive(Clone)]
pub struct Settings {
    /// The tenant it belongs to.
    pub tenant_id: String,
    /// What webhooks must carry.
    pub webhook_secret: String,
    /// OpenClaw's `channels.telegram.apiRoot`: the relay.
    pub api_root: String,
    /// OpenClaw's bot token, `<digits>:<secret>`: a capability for the relay.
    pub bot_token: String,
    /// Where the runtime endpoints are.
    pub api_base_url: String,
    /// The key that the runtime endpoints require.
    pub internal_key: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("tenant_id", &self.tenant_id).finish_non_exhaustive()
    }
}

/// How the next webhook goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection closes without an answer, and nothing was taken.
    ConnectionLost,
    /// The front's own answer with this status; nothing was taken.
    Status(u16),
    /// The same status from something in between, such as the platform's edge; nothing reached the front.
    EdgeStatus(u16),
    /// 429 with this `Retry-After`, in seconds; nothing was taken.
    Throttled(u32),
    /// No answer for as long as the caller waits; nothing was taken.
    Hang,
    /// 200 without the promise to keep the update; nothing was taken.
    NotDurable,
    /// The update is taken, and the answer is lost because the container stops right then.
    AnswerLost,
}

/// The running stand-in; clones are the same container. It stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// How webhooks with a good secret fail on demand, by update id.
    pub faults: Faults<i64, Failure>,
    inner: Arc<Inner>,
    _server: Arc<AbortOnDrop>,
}

struct Inner {
    settings: Settings,
    address: SocketAddr,
    clock: Clock,
    state: Mutex<State>,
    faults: Faults<i64, Failure>,
    /// How many turns are waiting or under way.
    busy: watch::Sender<usize>,
    assistant: assistant::Assistant,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// Whether the front answers and says that what it stands before is not up yet.
    starting: bool,
    /// When each update was first taken: repeats are dropped for 30 days.
    accepted: HashMap<i64, Timestamp>,
    log: Vec<Bytes>,
    interruption: Interruption,
    attempts: usize,
    unauthorised: Vec<Timestamp>,
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runtime {
    /// Starts a container that is up at once.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(settings: Settings, clock: &Clock) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a runtime found no port")?;
        let inner = Arc::new(Inner {
            address: listener.local_addr()?,
            clock: clock.clone(),
            state: Mutex::default(),
            faults: Faults::default(),
            busy: watch::Sender::new(0),
            assistant: assistant::Assistant::new(settings.clone())?,
            settings,
        });
        let server = Arc::new(AbortOnDrop(tokio::spawn(front::serve(listener, Arc::clone(&inner)))));
        Ok(Self { faults: inner.faults.clone(), inner, _server: server })
    }

    /// The address on the tenant's route.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The container stops: connections close without an answer, as when nothing listens.
    pub fn stops(&self) {
        self.inner.state().stopped = true;
    }

    /// The container is up again; it remembers what it has taken.
    pub fn starts(&self) {
        self.inner.state().stopped = false;
    }

    /// From now on the front says that it is starting, or that it is ready.
    pub fn is_starting(&self, starting: bool) {
        self.inner.state().starting = starting;
    }

    /// The updates taken, each once, in the order in which they came.
    pub fn accepted_updates(&self) -> Vec<Value> {
        self.accepted_bodies().iter().map(|body| serde_json::from_slice(body).unwrap_or_default()).collect()
    }

    /// The same, byte for byte.
    pub fn accepted_bodies(&self) -> Vec<Bytes> {
        self.inner.state().log.clone()
    }

    /// The ids of the same.
    pub fn update_ids(&self) -> Vec<i64> {
        self.accepted_updates().iter().filter_map(|update| update["update_id"].as_i64()).collect()
    }

    /// Stops a function at a delivery as well, see [`Interruption`].
    pub fn set_interruption(&self, interruption: &Interruption) {
        self.inner.state().interruption = interruption.clone();
    }

    /// How many webhooks reached the container, whatever became of them.
    pub fn attempts(&self) -> usize {
        self.inner.state().attempts
    }

    /// Waits until every turn has ended.
    pub async fn wait_until_idle(&self) {
        // The sender lives as long as this container, so waiting cannot fail.
        let _ = self.inner.busy.subscribe().wait_for(|turns| *turns == 0).await;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}
