//! The model gateway, OpenRouter, as a stateful server: keys with limits, and a model that answers from a script.
//!
//! `tests/e2e` holds its answers to OpenRouter's own client. A management key opens `/api/v1/keys` alone, a key made
//! there opens `/api/v1/chat/completions` alone. Absent on purpose: accounts' credits, models' list, workspaces.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use uuid::Uuid;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;

mod api;
mod chat;
mod keys;

use keys::Keys;

/// The name under which requests stand in the journal.
pub const MODEL_GATEWAY: &str = "model-gateway";

/// The simulator; clones are the same gateway.
#[derive(Clone, Debug)]
pub struct ModelGateway {
    /// How it fails on demand.
    pub faults: Faults<Operation, Failure>,
    inner: Arc<Inner>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Inner {
    management_key: String,
    clock: Clock,
    state: Mutex<State>,
    faults: Faults<Operation, Failure>,
}

#[derive(Debug, Default)]
struct State {
    keys: Keys,
    replies: VecDeque<Reply>,
    /// How many of the youngest keys are deleted after the next page of the list.
    lost_after_page: usize,
    /// Keys younger than this are not seen yet.
    lag: Option<Duration>,
}

/// The model's answer to the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The text of the answer.
    pub text: String,
    /// What the request costs, in millionths of a USD.
    pub cost_micros: u64,
}

/// A key as the account's owner sees it on the gateway's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySummary {
    /// Its identifier.
    pub hash: String,
    /// The name that its maker chose.
    pub name: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What it may cost in a period, in millionths of a USD.
    pub limit_micros: Option<u64>,
    /// What it cost in all, in millionths of a USD.
    pub used_micros: u64,
}

/// A kind of request to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A page of keys.
    List,
    /// Make a key.
    Create,
    /// Read one key.
    Get,
    /// Change a key.
    Update,
    /// End a key.
    Delete,
    /// Call a model.
    Chat,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429, with `Retry-After` in seconds if given.
    Throttled(Option<u32>),
    /// This status, without an effect.
    Status(u16),
    /// The operation has its effect, and the connection breaks before its answer arrives.
    AnswerLost,
    /// The connection breaks, without an effect.
    ConnectionLost,
    /// 200 with a body that is no JSON, without an effect.
    NotJson,
    /// 400 that repeats the request and its credential, as careless services do.
    Echo,
}

impl ModelGateway {
    /// Starts a gateway without keys that writes into `journal`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(clock: Clock, journal: &Journal) -> std::io::Result<Self> {
        let management_key = keys::credential();
        let inner = Arc::new(Inner { management_key, clock, state: Mutex::default(), faults: Faults::default() });
        let server = Server::start(journal.wrap(MODEL_GATEWAY, api::router(Arc::clone(&inner)))).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// The root of its API, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("{}/api/v1", self.server.base_url())
    }

    /// What a function needs to manage keys here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MODEL_GATEWAY_URL", self.base_url()),
            ("MODEL_GATEWAY_MANAGEMENT_KEY", self.inner.management_key.clone()),
        ]
    }

    /// Every key there is, oldest first: what an account is left with.
    pub fn keys(&self) -> Vec<KeySummary> {
        self.inner.lock().keys.iter().map(keys::Key::summary).collect()
    }

    /// Every credential ever issued, for tests that search for them where they must not be.
    pub fn issued(&self) -> Vec<String> {
        self.inner.lock().keys.issued.clone()
    }

    /// Makes a key past the API, as an operator on the gateway's page would; returns its hash.
    pub fn has_key(&self, name: &str) -> String {
        let now = self.inner.now();
        self.inner.lock().keys.create(keys::Parameters::named(name), now).0
    }

    /// Ends a key past the API; whether there was one.
    pub fn loses_key(&self, hash: &str) -> bool {
        self.inner.lock().keys.delete(hash)
    }

    /// Somebody ends the `count` youngest keys between the next page of the list and the one after it.
    pub fn loses_keys_after_next_page(&self, count: usize) {
        self.inner.lock().lost_after_page = count;
    }

    /// Books a cost on a key, as calls to models would.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn spends(&self, hash: &str, micros: u64) {
        let now = self.inner.now();
        self.inner.lock().keys.get_mut(hash).expect("a key of this gateway").spend(micros, now);
    }

    /// The model's answer to the next request; several wait in line. Without one it says a line of its own.
    pub fn replies_next(&self, reply: Reply) {
        self.inner.lock().replies.push_back(reply);
    }

    /// From now on keys younger than `lag` are in no list and cannot be ended (404), as where a list or a replica is
    /// behind; `None`: no longer. No document of OpenRouter's that we know says so or rules it out: it is our own.
    pub fn lags(&self, lag: Option<Duration>) {
        self.inner.lock().lag = lag;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}
