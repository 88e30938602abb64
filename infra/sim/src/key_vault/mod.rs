//! Azure Key Vault's secrets as a stateful server: versions, soft delete, recovery, purge.
//!
//! It accepts Entra's tokens only, refuses what the vault refuses, and fails on demand.
//! See <https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups>.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use nbhd::clock::Clock;

use crate::entra::Entra;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::tls::{Authority, TlsServer};

mod api;
#[cfg(feature = "contracts")]
pub mod contract;
mod state;

use state::Secrets;

/// The name under which requests stand in the journal.
pub const KEY_VAULT: &str = "key-vault";

/// The simulator; clones are the same vault.
#[derive(Clone, Debug)]
pub struct KeyVault {
    /// How it fails on demand.
    pub faults: Faults<Operation, Failure>,
    inner: Arc<Inner>,
    server: Arc<TlsServer>,
}

#[derive(Debug)]
struct Inner {
    entra: Entra,
    clock: Clock,
    state: Mutex<State>,
    faults: Faults<Operation, Failure>,
}

#[derive(Debug, Default)]
struct State {
    secrets: Secrets,
}

/// A kind of request to the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read a version's value.
    Get,
    /// Write a new version.
    Set,
    /// Change a version's attributes.
    Update,
    /// Delete softly.
    Delete,
    /// Delete for good what is softly deleted.
    Purge,
    /// Undo a soft deletion.
    Recover,
    /// Any of the lists, and reading a deleted secret.
    List,
}

/// How a request fails.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// 429 with `Retry-After`, in seconds.
    Throttled(u32),
    /// This status, without an effect.
    Status(StatusCode),
    /// The operation has its effect, and its answer is lost.
    AnswerLost,
    /// 200 with a body that is no JSON, without an effect.
    NotJson,
    /// 204 without an effect. No vault answers so, but a function that forgot the request would leave the same state.
    FalseSuccess,
}

impl KeyVault {
    /// Starts an empty vault that accepts the tokens of `entra`.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(authority: &Authority, entra: &Entra, clock: Clock, journal: Journal) -> anyhow::Result<Self> {
        let inner = Arc::new(Inner { entra: entra.clone(), clock, state: Mutex::default(), faults: Faults::default() });
        let server = TlsServer::start(authority, journal.wrap(KEY_VAULT, api::router(Arc::clone(&inner)))).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// The vault's URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// From now on a deletion or a recovery stays in progress for the next `requests` that name the secret.
    pub fn delays_changes(&self, requests: u32) {
        self.inner.lock().secrets.settling_requests = requests;
    }

    /// From now on nothing is purged before its retention ends.
    pub fn protects_from_purge(&self) {
        self.inner.lock().secrets.is_protected = true;
    }

    /// The tags of the latest version of a secret that is not deleted.
    pub fn tags(&self, name: &str) -> BTreeMap<String, String> {
        let state = self.inner.lock();
        state
            .secrets
            .find_active(name)
            .and_then(|secret| secret.versions.last())
            .map(state::Version::tags)
            .unwrap_or_default()
    }

    /// The latest value of a secret that is not deleted, as its owner would see it in the portal.
    pub fn value(&self, name: &str) -> Option<String> {
        self.inner.lock().secrets.find_active(name)?.versions.last().map(|version| version.value.clone())
    }

    /// The value of one version of a secret that is not deleted, enabled or not.
    pub fn version_value(&self, name: &str, version: &str) -> Option<String> {
        let state = self.inner.lock();
        let versions = &state.secrets.find_active(name)?.versions;
        versions.iter().find(|known| known.id == version).map(|known| known.value.clone())
    }

    /// Writes a new version past the API, as an operator would; returns its identifier.
    pub fn put(&self, name: &str, value: &str) -> String {
        let now = self.inner.clock.now();
        self.inner.lock().secrets.put(name, value, now)
    }

    /// Disables a version past the API, as an operator would.
    pub fn disables(&self, name: &str, version: &str) {
        self.inner.lock().secrets.disable(name, version);
    }

    /// The versions of a secret that is not deleted, oldest first, with whether each is enabled.
    pub fn versions(&self, name: &str) -> Vec<(String, bool)> {
        let state = self.inner.lock();
        let versions = state.secrets.find_active(name).map(|secret| secret.versions.as_slice()).unwrap_or_default();
        versions.iter().map(|version| (version.id.clone(), version.enabled)).collect()
    }

    /// Whether the name is softly deleted: not readable, and not free either.
    pub fn is_soft_deleted(&self, name: &str) -> bool {
        self.inner.lock().secrets.find_deleted(name).is_some()
    }

    /// The names of all secrets that are not purged.
    pub fn names(&self) -> Vec<String> {
        self.inner.lock().secrets.names()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
