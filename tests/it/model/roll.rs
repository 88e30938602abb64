//! An operator replaces the runtime key: a newer one comes first, and everybody is to be rotated; later the older one
//! goes, too early for some.

use std::cell::{Cell, OnceCell};

use nbhd::clock::Clock;
use nbhd::config::Env;
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd_sim::rights::env_of;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tenant_reconcile::App;

use super::history::EventKind;
use super::invariants::ensure;
use super::observer::Record;
use super::person::Person;
use super::things::Broken;
use super::world::{PEOPLE, World};

/// How many lists of keys are in force, one after the other.
const LISTS: usize = 9;

/// The reconciler as it is deployed with each list of runtime keys, in two sandboxes; made when first needed.
pub(super) struct Deployments {
    env: Env,
    clock: Clock,
    /// The place of the list that is in force.
    place: Cell<usize>,
    apps: [OnceCell<(App, App)>; LISTS],
}

impl Deployments {
    pub(super) fn new(env: Env, clock: Clock) -> Self {
        Self { env, clock, place: Cell::new(0), apps: Default::default() }
    }

    /// The one that jobs come to.
    pub(super) fn first(&self) -> &App {
        &self.apps().0
    }

    /// The one where others work while an invocation is held.
    pub(super) fn second(&self) -> &App {
        &self.apps().1
    }

    /// The runtime keys that are listed now.
    pub(super) fn keys(&self) -> SecretKeys {
        SecretKeys::parse(&SecretString::from(list(self.place.get()))).expect("a list")
    }

    fn apps(&self) -> &(App, App) {
        let place = self.place.get();
        let start = || {
            let env = env_of("tenant-reconcile", &self.env).with("RUNTIME_KEYS", list(place));
            App::new(&env, self.clock.clone()).expect("complete settings")
        };
        self.apps[place].get_or_init(|| (start(), start()))
    }
}

/// `k1`; then `k2` and `k1`; then `k2`; then `k3` and `k2`; and so on.
fn list(place: usize) -> String {
    let newest = 1 + place.div_ceil(2);
    let key = |number: usize| format!("k{number}:runtime-key-{number}-of-the-model-test-0123456789abcdef");
    if place.is_multiple_of(2) { key(newest) } else { format!("{},{}", key(newest), key(newest - 1)) }
}

impl World {
    /// With a chance of some in a hundred, the next list is in force.
    pub(super) async fn maybe_roll_keys(&self, percent: u8) {
        let is_last = self.deployments.place.get() + 1 == LISTS;
        if is_last || self.is_fault_free.get() || !self.chance.percent(percent) {
            return;
        }
        self.count(|counts| counts.fault("another list of runtime keys"));
        for number in 0..PEOPLE {
            self.record_event(number, EventKind::KeysAreRolled);
        }
        self.roll_keys().await;
    }

    /// The next list is in force; with a newer key, everybody is to be rotated who has another one.
    pub(super) async fn roll_keys(&self) {
        let place = self.deployments.place.get() + 1;
        self.deployments.place.set(place);
        let newest = self.deployments.keys().newest().id();
        for number in 0..PEOPLE {
            self.note(number, format!("runtime keys: {:?}", self.deployments.keys()));
            self.mutant.forget_key(self, number).await;
            let tenant = self.with(number, |person| person.tenant);
            let Record::Live(row) = self.observer.record(tenant) else { continue };
            let is_outdated = row.newest_generation().key.is_some_and(|key| key != newest);
            if !place.is_multiple_of(2) && is_outdated && row.lifecycle != Lifecycle::Deprovisioning {
                self.operate_on(number, true).await;
            }
        }
    }

    /// What an active tenant's container holds is what others derive for it.
    pub(super) fn check_derived(&self, person: &Person, row: &Tenant) -> Result<(), Broken> {
        let bundle = self.azure.vault.value(&person.names.secret).unwrap_or_default();
        let bundle: Value = serde_json::from_str(&bundle).unwrap_or_default();
        let (keys, generation) = (self.deployments.keys(), row.generation);
        let secret = keys.webhook_secret(person.tenant, generation);
        let capability = keys.relay_capability(person.tenant, generation);
        let is_same = |derived: Option<&SecretString>, held: Option<&str>| {
            derived.map(|derived| derived.expose_secret()).is_some_and(|derived| Some(derived) == held)
        };
        let held = bundle["relay_token"].as_str().and_then(|token| token.split_once(':')).map(|(_, held)| held);
        let is_derived =
            is_same(secret.as_ref(), bundle["webhook_secret"].as_str()) && is_same(capability.as_ref(), held);
        ensure(is_derived, "its container holds other secrets than those that are derived for it", || {
            format!("{generation}, and {} in the vault", bundle["generation"])
        })
    }
}
