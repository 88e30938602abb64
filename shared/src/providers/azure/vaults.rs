//! The vaults among which tenants are spread: one vault takes 30 new versions of secrets a second, and no more.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use ring::digest::{SHA256, digest};

use super::credential;
use super::key_vault::Vault;
use crate::clock::{Clock, Waiter};
use crate::config::{ConfigError, Env};
use crate::domain::ids::TenantId;

const SETTING: &str = "KEY_VAULT_URLS";
const HINT: &str = "the addresses of the vaults, separated by commas, such as https://name.vault.azure.net";

/// Every vault of the settings, at least one.
///
/// A tenant's vault is chosen when it connects, and recorded with the connection: adding a vault moves nobody.
pub struct Vaults {
    first: Vault,
    others: Vec<Vault>,
}

impl Vaults {
    /// The vaults at `KEY_VAULT_URLS`, opened as the identity of the `AZURE_…` settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn new(env: &Env, http: &reqwest::Client, clock: &Clock) -> Result<Self, ConfigError> {
        Self::opened_as(&credential::from_env(env, http)?, env, http, clock)
    }

    /// [`Vaults::new`] with an identity that is there already.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn opened_as(
        identity: &Arc<dyn TokenCredential>,
        env: &Env,
        http: &reqwest::Client,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        let mut addresses = env.urls(SETTING, HINT)?.into_iter();
        let first = addresses.next().ok_or_else(invalid)?;
        let open = |address: String| Vault::new(&address, identity.clone(), http, clock.clone());
        Ok(Self { first: open(first)?, others: addresses.map(open).collect::<Result<_, _>>()? })
    }

    /// The same vaults, passing time as `waiter` does.
    #[must_use]
    pub fn waiting_by(self, waiter: &Waiter) -> Self {
        Self {
            first: self.first.waiting_by(waiter.clone()),
            others: self.others.into_iter().map(|vault| vault.waiting_by(waiter.clone())).collect(),
        }
    }

    /// The vault in which a row says its secret is; rows from before there were several say nothing and mean the
    /// first. `None` when the settings do not have it (any more): an operator has to act.
    pub fn recorded(&self, address: Option<&str>) -> Option<&Vault> {
        match address {
            None => Some(&self.first),
            Some(address) => self.iter().find(|vault| vault.address() == address),
        }
    }

    /// The vault for a new connection of `tenant`, by rendezvous hashing: every process chooses alike, and of a new
    /// vault's tenants each would else have gone to any of the others.
    pub fn choose(&self, tenant: TenantId) -> &Vault {
        self.iter().max_by_key(|vault| score(vault, tenant)).unwrap_or(&self.first)
    }

    /// The first vault alone.
    #[must_use]
    pub fn into_first(self) -> Vault {
        self.first
    }

    fn iter(&self) -> impl Iterator<Item = &Vault> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

pub(super) fn invalid() -> ConfigError {
    ConfigError::Invalid { name: SETTING.to_owned(), hint: HINT }
}

fn score(vault: &Vault, tenant: TenantId) -> [u8; 32] {
    let mut score = [0; 32];
    score.copy_from_slice(digest(&SHA256, &[vault.address().as_bytes(), tenant.as_bytes()].concat()).as_ref());
    score
}
