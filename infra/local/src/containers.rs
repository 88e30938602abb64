//! Runs the runtime's stand-in for every container app of the local world, with the settings that the app gives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nbhd::clock::Clock;
use nbhd_sim::arm::{AppView, Arm, ContainerEvent, Secrets};
use nbhd_sim::runtime::{Runtime, Settings};
use serde_json::Value;

/// The containers that have started and whose app still exists, by the app's name; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Containers {
    running: Arc<Mutex<BTreeMap<String, (String, Runtime)>>>,
}

impl Containers {
    /// Starts and stops containers as `arm` says.
    pub(crate) fn attach(&self, arm: &Arm, clock: &Clock) {
        let (containers, clock) = (self.clone(), clock.clone());
        arm.runs_containers(move |replica, secrets| {
            let (containers, clock) = (containers.clone(), clock.clone());
            Box::pin(async move { containers.apply_change(replica, &secrets, &clock).await })
        });
    }

    /// Finds the container of a tenant.
    pub(crate) fn find(&self, tenant_id: &str) -> Option<Runtime> {
        let running = self.lock();
        running
            .values()
            .find(|(_, runtime)| runtime.settings().tenant_id == tenant_id)
            .map(|(_, runtime)| runtime.clone())
    }

    /// Every container, also those that are stopped.
    pub(crate) fn all(&self) -> Vec<Runtime> {
        self.lock().values().map(|(_, runtime)| runtime.clone()).collect()
    }

    /// Applies a change of an app; returns the address of a container that has started.
    async fn apply_change(&self, replica: ContainerEvent, secrets: &Secrets, clock: &Clock) -> Option<String> {
        match replica {
            ContainerEvent::Started(app) => return self.start(&app, secrets, clock).await,
            ContainerEvent::Ended(app) => {
                if let Some((_, runtime)) = self.lock().get(&app.name) {
                    runtime.stops();
                }
            }
            ContainerEvent::Deleted(app) => {
                self.lock().remove(&app.name);
            }
        }
        None
    }

    /// Starts a container, or starts a stopped one again if its keys are the same, since it then has its state.
    async fn start(&self, app: &AppView, secrets: &Secrets, clock: &Clock) -> Option<String> {
        let bundle = secrets.get(app.secret_of("NBHD_RUNTIME_SECRET")?)?;
        if let Some((known, runtime)) = self.lock().get(&app.name)
            && known == bundle
        {
            runtime.starts();
            return Some(runtime.base_url());
        }
        let runtime = Runtime::start(read_settings(app, bundle)?, clock).await.ok()?;
        let url = runtime.base_url();
        self.lock().insert(app.name.clone(), (bundle.clone(), runtime));
        Some(url)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (String, Runtime)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the container's settings as its entrypoint does, from the configuration and the one secret.
fn read_settings(app: &AppView, bundle: &str) -> Option<Settings> {
    let bundle: Value = serde_json::from_str(bundle).ok()?;
    let config: Value = serde_json::from_str(app.env("NBHD_OPENCLAW_CONFIG")?).ok()?;
    let secret = |name: &str| bundle[name].as_str().map(str::to_owned);
    Some(Settings {
        tenant_id: app.env("NBHD_TENANT_ID")?.to_owned(),
        webhook_secret: secret("webhook_secret")?,
        api_root: config["channels"]["telegram"]["apiRoot"].as_str()?.to_owned(),
        bot_token: secret("relay_token")?,
        api_base_url: app.env("NBHD_API_BASE_URL")?.to_owned(),
        internal_key: secret("internal_key")?,
    })
}
