//! What an observation of a tenant's resources found; what is not as the row says is forgotten, and so made again.

use crate::clock::Timestamp;
use crate::domain::resources::{ContainerApp, Identity};
use crate::domain::tenant::Tenant;

/// What was found of each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// When the observation began: what takes effect later is the next one's to find.
    pub began: Timestamp,
    /// The container's identity.
    pub identity: Option<Identity>,
    /// The principal whose role lets it read the secret.
    pub secret_reader: Option<String>,
    /// Whether the file share exists.
    pub share: bool,
    /// Whether the environment knows the share as it should.
    pub storage: bool,
    /// Whether the vault's latest secret is the one that the row names.
    pub secret_intact: bool,
    /// The model key of the newest generation.
    pub model_key: Option<ModelKeyState>,
    /// The model key of the generation before, while a rotation goes on.
    pub former_model_key: Option<ModelKeyState>,
    /// The container app.
    pub app: Option<ObservedApp>,
}

/// How the gateway has a model key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelKeyState {
    /// What it may cost a month, in USD cents; `None` without a limit.
    pub limit_cents: Option<u32>,
    /// Whether it is switched off.
    pub disabled: bool,
}

/// How Azure has a container app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedApp {
    /// Whether a request wakes it.
    pub running: bool,
    /// The host name under which it is reached.
    pub fqdn: Option<String>,
    /// Whether its definition differs from what was put.
    pub has_drifted: bool,
    /// Whether an operation changes it now.
    pub is_changing: bool,
}

impl Finding {
    pub(super) fn apply(&self, tenant: &mut Tenant, now: Timestamp) {
        self.apply_resources(tenant, now);
        let status = &mut tenant.reconcile;
        status.observed_at = Some(now);
        status.in_flight.take_if(|requests| requests.until <= self.began);
    }

    /// The resources that are not as `tenant` has them, by name.
    pub fn drift_from(&self, tenant: &Tenant) -> Vec<&'static str> {
        let mut after = tenant.clone();
        self.apply_resources(&mut after, self.began);
        let (old, new) = (&tenant.reconcile.resources, &after.reconcile.resources);
        let checks = [
            ("identity", old.identity != new.identity),
            ("role", old.secret_reader != new.secret_reader),
            ("share", old.share != new.share),
            ("storage", old.storage != new.storage),
            ("keys", old.keys != new.keys || old.former_keys != new.former_keys),
            ("app", old.app != new.app),
        ];
        checks.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    fn apply_resources(&self, tenant: &mut Tenant, now: Timestamp) {
        let mut lost_keys = false;
        let resources = &mut tenant.reconcile.resources;
        resources.identity.clone_from(&self.identity);
        resources.secret_reader.clone_from(&self.secret_reader);
        resources.share = self.share;
        resources.storage = self.storage;
        match (&mut resources.keys, self.model_key) {
            (Some(keys), Some(ModelKeyState { limit_cents, disabled })) if self.secret_intact => {
                keys.limit_cents = limit_cents.unwrap_or(u32::MAX);
                keys.disabled = disabled;
            }
            // Their model key may still exist: whoever makes keys anew deletes it, and otherwise the next observation.
            (keys, _) => lost_keys = keys.take().is_some(),
        }
        if let Some(former) = &mut resources.former_keys {
            // One that is gone pays for nothing either.
            let gone = ModelKeyState { limit_cents: Some(former.limit_cents), disabled: true };
            let found = self.former_model_key.unwrap_or(gone);
            (former.limit_cents, former.disabled) = (found.limit_cents.unwrap_or(u32::MAX), found.disabled);
        }
        resources.app = match (resources.app.take(), &self.app) {
            (_, None) => None,
            (Some(known), Some(seen)) => Some(ContainerApp {
                fingerprint: if seen.has_drifted { String::new() } else { known.fingerprint.clone() },
                healthy: known.healthy && seen.running == known.running && seen.fqdn == known.fqdn,
                drained: known.drained && !seen.running,
                running: seen.running,
                fqdn: seen.fqdn.clone(),
                ..known
            }),
            // Made by a call that was cut short: it is not known to be as intended.
            (None, Some(seen)) => Some(ContainerApp {
                fingerprint: String::new(),
                release: String::new(),
                fqdn: seen.fqdn.clone(),
                running: seen.running,
                drained: false,
                healthy: false,
                changed_at: tenant.reconcile.observed_at.unwrap_or_default(),
            }),
        };
        // Nobody here waits for that operation: what it leads to is observed when it is over.
        let is_changing = self.app.as_ref().is_some_and(|app| app.is_changing) && resources.operation.is_none();
        if lost_keys || is_changing {
            let since = tenant.reconcile.generation_since.filter(|_| lost_keys).unwrap_or(now);
            tenant.reconcile.note_in_flight(since, now);
        }
    }
}
