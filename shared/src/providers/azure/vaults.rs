//! The vaults over which tenants are distributed: one vault takes at most 30 new versions of secrets a second.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use ring::digest::{SHA256, digest};

use super::credential;
use super::key_vault::{VAULT_HINT, VAULT_SETTING, Vault, invalid_address};
use crate::clock::{Clock, Waiter};
use crate::config::{ConfigError, Env};
use crate::domain::ids::TenantId;

/// The vaults of the settings; there is at least one.
///
/// A vault is chosen for an integration when it is connected, and its address is stored on the row: a new vault moves
/// no secret.
pub struct Vaults {
    first: Vault,
    others: Vec<Vault>,
}

impl Vaults {
    /// The vaults at `KEY_VAULT_URLS`, with the identity of the `AZURE_…` settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn new(env: &Env, http: &reqwest::Client, clock: &Clock) -> Result<Self, ConfigError> {
        Self::with_identity(&credential::from_env(env, http)?, env, http, clock)
    }

    /// [`Vaults::new`] with a given identity, which other clients share.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn with_identity(
        identity: &Arc<dyn TokenCredential>,
        env: &Env,
        http: &reqwest::Client,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        let mut addresses = env.urls(VAULT_SETTING, VAULT_HINT)?.into_iter();
        let first = addresses.next().ok_or_else(invalid_address)?;
        let open = |address: String| Vault::new(&address, identity.clone(), http, clock.clone());
        Ok(Self { first: open(first)?, others: addresses.map(open).collect::<Result<_, _>>()? })
    }

    /// The same vaults, which wait by `waiter`.
    #[must_use]
    pub fn with_waiter(self, waiter: &Waiter) -> Self {
        Self {
            first: self.first.with_waiter(waiter.clone()),
            others: self.others.into_iter().map(|vault| vault.with_waiter(waiter.clone())).collect(),
        }
    }

    /// Finds the vault whose address is on a row; a row without one means the first. `None` when the settings have no
    /// such vault: an operator has to add it.
    pub fn find(&self, address: Option<&str>) -> Option<&Vault> {
        match address {
            None => Some(&self.first),
            Some(address) => self.iter().find(|vault| vault.address() == address),
        }
    }

    /// Chooses the vault for a new integration of `tenant` by rendezvous hashing: every process chooses the same one,
    /// and a vault that is added takes tenants from all others alike.
    pub fn choose(&self, tenant: TenantId) -> &Vault {
        self.iter().max_by_key(|vault| score(vault, tenant)).unwrap_or(&self.first)
    }

    fn iter(&self) -> impl Iterator<Item = &Vault> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

fn score(vault: &Vault, tenant: TenantId) -> [u8; 32] {
    let mut score = [0; 32];
    score.copy_from_slice(digest(&SHA256, &[vault.address().as_bytes(), tenant.as_bytes()].concat()).as_ref());
    score
}
