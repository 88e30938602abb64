//! Azure's resource manager as a stateful server: what a tenant's container consists of, with long-running operations.
//!
//! It accepts Entra's tokens only, refuses what Azure refuses, is slow and fails on demand, and lets tests edit and
//! delete resources past its API. Deleting an identity leaves its role assignments, as in Azure.
//! See <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>.

mod api;
mod apps;
#[cfg(feature = "contracts")]
pub mod contract;
mod faults;
mod ingress;
mod rules;
mod state;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbhd::clock::Clock;
use nbhd::providers::azure::resource_manager::{Group, Tags};
use serde_json::Value;
use uuid::Uuid;

use crate::entra::Entra;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::key_vault::KeyVault;
use crate::tls::{Authority, TlsServer};

pub use apps::AppView;
pub use faults::{Failure, LockLevel, Operation};
use ingress::Ingresses;
use state::State;

/// The name under which requests stand in the journal.
pub const ARM: &str = "arm";
/// The region of everything.
pub const LOCATION: &str = "eastus";
/// The environment of container apps in each group.
pub const ENVIRONMENT: &str = "nbhd-env";
/// The storage account in each group.
pub const ACCOUNT: &str = "nbhdfiles";
/// The name of each group.
const GROUP: &str = "nbhd";

/// The simulator; clones are the same Azure.
#[derive(Clone, Debug)]
pub struct Arm {
    /// How it fails on demand.
    pub faults: Faults<Operation, Failure>,
    inner: Arc<Inner>,
    server: Arc<TlsServer>,
}

struct Inner {
    entra: Entra,
    clock: Clock,
    state: Mutex<State>,
    faults: Faults<Operation, Failure>,
    ingresses: Ingresses,
    containers: Mutex<Arc<ContainerHook>>,
    /// Locked while containers start and end, so that they do so in the order of the changes.
    changing: tokio::sync::Mutex<()>,
}

/// How long a change takes to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It is settled at once.
    Immediate,
    /// It is still unsettled for so many requests that ask about it.
    Polls(u32),
    /// It takes this long by the simulator's clock.
    After(Duration),
}

/// Which address of an operation in progress an answer carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationUrl {
    /// The documented one: in `Azure-AsyncOperation` for a PUT, in `Location` for the others.
    #[default]
    Documented,
    /// None: only the resource's own `provisioningState` shows the operation.
    Absent,
    /// One at another host, which must never be called with a token.
    OtherHost,
}

/// How answers spell the states of apps and operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateSpelling {
    /// As documented.
    #[default]
    Documented,
    /// In small letters, as some services do. <https://github.com/Azure/azure-sdk-for-java/issues/17195>
    LowerCase,
    /// An app that has succeeded has no `provisioningState` at all.
    /// <https://github.com/Azure/azure-sdk-for-ruby/issues/828>
    Absent,
}

/// What happened to an app's container, for the hook that runs containers.
#[derive(Clone, Debug)]
pub enum ContainerEvent {
    /// A replica of the app started: the app was deployed or started, or a request woke it.
    Started(AppView),
    /// The app's replica ended, and its process with it: it was stopped, idle, or replaced.
    Ended(AppView),
    /// The app was deleted.
    Deleted(AppView),
}

/// The future of a hook's answer: where the container's port answers, as `http://host:port`.
pub type ContainerStart = Pin<Box<dyn Future<Output = Option<String>> + Send>>;
type ContainerHook = dyn Fn(ContainerEvent, Secrets) -> ContainerStart + Send + Sync;
/// The values behind a starting app's secrets, by their names in the app: those that its own identity may read.
pub type Secrets = BTreeMap<String, String>;

/// A resource that exists at Azure, as tests compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its full name.
    pub id: String,
    /// Its type, such as `Microsoft.App/containerApps`.
    pub kind: &'static str,
    /// Its tags, or a share's metadata.
    pub tags: Tags,
}

impl Arm {
    /// Starts a resource manager with one subscription, a group in it, and in that an environment and a storage
    /// account.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(
        authority: &Arc<Authority>,
        entra: &Entra,
        clock: Clock,
        journal: Journal,
    ) -> anyhow::Result<Self> {
        let group = Group { subscription_id: Uuid::new_v4().to_string(), name: GROUP.to_owned() };
        let inner = Arc::new_cyclic(|inner| Inner {
            entra: entra.clone(),
            clock,
            state: Mutex::new(State::new(group)),
            faults: Faults::default(),
            ingresses: Ingresses::new(Arc::clone(authority), inner.clone()),
            containers: Mutex::new(Arc::new(|_, _| Box::pin(async { None }))),
            changing: tokio::sync::Mutex::default(),
        });
        let server = TlsServer::start(authority, journal.wrap(ARM, api::router(Arc::clone(&inner)))).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// What a function needs to reach it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("AZURE_RESOURCE_MANAGER_URL", self.base_url())]
    }

    /// Its URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The group in the first subscription.
    pub fn group(&self) -> Group {
        self.inner.lock().groups[0].clone()
    }

    /// Another subscription with a group, an environment and an account of the same names.
    pub fn adds_subscription(&self) -> Group {
        let group = Group { subscription_id: Uuid::new_v4().to_string(), name: GROUP.to_owned() };
        self.inner.lock().groups.push(group.clone());
        group
    }

    /// Sets the hook that runs containers; without one an app has an ingress with nothing behind it but an
    /// answer to `GET /healthz`.
    pub fn runs_containers(
        &self,
        containers: impl Fn(ContainerEvent, Secrets) -> ContainerStart + Send + Sync + 'static,
    ) {
        *self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(containers);
    }

    /// The vault's secrets become readable to who has the role: `name` is its name in role scopes.
    pub fn knows_vault(&self, name: &str, vault: &KeyVault) {
        self.inner.lock().vaults.push((name.to_owned(), vault.clone()));
    }

    /// Sets how long changes of container apps take; by default one poll.
    pub fn delays_operations(&self, pace: Pace) {
        self.inner.lock().operations_pace = pace;
    }

    /// Sets what `Retry-After` says, in seconds; by default 1.
    pub fn sends_retry_after(&self, seconds: u32) {
        self.inner.lock().retry_after = seconds;
    }

    /// Sets which address of an operation in progress answers carry.
    pub fn sends_operation_url(&self, operation_url: OperationUrl) {
        self.inner.lock().operation_url = operation_url;
    }

    /// Sets how answers spell states.
    pub fn spells_states(&self, spelling: StateSpelling) {
        self.inner.lock().state_spelling = spelling;
    }

    /// Sets how long a new principal stays unknown to role assignments; by default no time.
    pub fn delays_principals(&self, pace: Pace) {
        self.inner.lock().principals_pace = pace;
    }

    /// Sets how long a new role has no effect for apps yet ([`Pace::Polls`] counts none); by default no time.
    pub fn delays_roles(&self, pace: Pace) {
        self.inner.lock().roles_pace = pace;
    }

    /// Somebody locks a scope and all below it; [`Self::unlocks`] ends it.
    pub fn locks(&self, scope: &str, level: LockLevel) {
        self.inner.lock().locks.push((scope.to_owned(), level));
    }

    /// Every lock is removed.
    pub fn unlocks(&self) {
        self.inner.lock().locks.clear();
    }

    /// Sets how many role assignments a subscription allows; by default 4,000.
    pub fn allows_role_assignments(&self, most: usize) {
        self.inner.lock().most_assignments = most;
    }

    /// Ends the operations and the idle replicas that are due by the clock, without a request.
    pub async fn settles(&self) {
        self.inner.settles().await;
    }

    /// Every resource that was created since the start.
    pub fn resources(&self) -> Vec<Resource> {
        self.inner.lock().list_resources()
    }

    /// The body of one resource as Azure would show it.
    pub fn resource(&self, id: &str) -> Option<Value> {
        self.inner.lock().get(id)
    }

    /// Edits a resource past the API, as an operator would.
    pub fn edits(&self, id: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.inner.lock();
        if let Some(body) = state.body_mut(id) {
            edit(body);
        }
    }

    /// Deletes a resource past the API, at once.
    pub async fn deletes(&self, id: &str) {
        self.inner.lock().remove(id);
        self.inner.settles().await;
    }

    /// Creates a resource past the API and its rules, such as one more role assignment.
    pub fn creates(&self, id: &str, body: Value) {
        let now = self.inner.clock.now();
        self.inner.lock().insert(id, body, now);
    }

    /// From now on a DELETE finds nothing (204) and has no effect, or no longer: as one that reaches a replica of the
    /// manager that does not know the resource. No document of Azure's is known to us that says so or
    /// rules it out: it is our own, harsher than what was seen.
    pub fn ignores_deletes(&self, ignores: bool) {
        self.inner.lock().ignores_deletes = ignores;
    }

    /// The container apps there are.
    pub fn apps(&self) -> Vec<AppView> {
        self.inner.lock().app_views()
    }

    /// The container app of this name, in any group.
    pub fn app(&self, name: &str) -> Option<AppView> {
        self.apps().into_iter().find(|app| app.name == name)
    }

    /// How often an app got a replica while its former one was still there: two containers on one share.
    pub fn overlaps(&self) -> u32 {
        self.inner.lock().apps.overlaps
    }

    /// Whether the roles of `principal_id` let it read a secret of the vault of this name.
    pub fn may_read(&self, principal_id: &str, vault: &str, secret: &str) -> bool {
        self.readers(vault, secret).iter().any(|reader| reader == principal_id)
    }

    /// The principals that may read a secret of the vault of this name.
    pub fn readers(&self, vault: &str, secret: &str) -> Vec<String> {
        self.inner.lock().readers(vault, secret)
    }

    /// The value behind an app's secret, as its container would get it: read with the app's own identity, or not.
    pub fn secret_value(&self, app: &AppView, secret: &str) -> Option<String> {
        self.inner.lock().secret_values(&app.body).remove(secret)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is due, and starts and ends containers accordingly.
    ///
    /// Boxed, since a request to an ingress awaits it, and it makes ingresses.
    fn settles(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let _order = self.changing.lock().await;
            self.lock().apply_due_changes(self.clock.now());
            let apps = self.lock().apps.names();
            for (app, address) in self.ingresses.update(&apps).await {
                self.lock().apps.set_ingress(&app, address);
            }
            loop {
                let Some(change) = self.lock().apps.changes.pop_front() else { return };
                let containers = Arc::clone(&self.containers.lock().unwrap_or_else(PoisonError::into_inner));
                let (starting, secrets) = match &change {
                    ContainerEvent::Started(app) => (Some(app.id.clone()), self.lock().secret_values(&app.body)),
                    ContainerEvent::Ended(_) | ContainerEvent::Deleted(_) => (None, Secrets::new()),
                };
                let url = containers(change, secrets).await;
                if let Some(id) = starting {
                    self.lock().apps.set_container(&id, url);
                }
            }
        })
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("state", &self.state).finish_non_exhaustive()
    }
}
