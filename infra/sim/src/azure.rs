//! What functions need of Azure: Entra, a Key Vault and the resource manager under one certificate authority, and the
//! STS whose word Entra takes.

use std::sync::Arc;

use nbhd::clock::Clock;

use crate::arm::Arm;
use crate::entra::Entra;
use crate::journal::Journal;
use crate::key_vault::KeyVault;
use crate::sts::Sts;
use crate::tls::Authority;

/// The part of Azure that functions call.
#[derive(Debug)]
pub struct Azure {
    /// Whose certificates the servers carry.
    pub authority: Arc<Authority>,
    /// Who vouches for functions at Entra.
    pub sts: Sts,
    /// The identity provider.
    pub entra: Entra,
    /// The vault, which accepts Entra's tokens.
    pub vault: KeyVault,
    /// The resource manager, which accepts Entra's tokens and knows the vault as [`VAULT`].
    pub arm: Arm,
}

/// The vault's name in the scopes of roles.
pub const VAULT: &str = "vault";

impl Azure {
    /// Starts Entra, an empty vault and an empty group of resources.
    ///
    /// # Errors
    /// When no key can be made or no loopback port be bound.
    pub async fn start(clock: Clock, journal: Journal) -> anyhow::Result<Self> {
        let authority = Arc::new(Authority::generate()?);
        let sts = Sts::start(clock.clone(), &journal).await?;
        let entra = Entra::start(&authority, &sts, clock.clone(), journal.clone()).await?;
        let vault = KeyVault::start(&authority, &entra, clock.clone(), journal.clone()).await?;
        let arm = Arm::start(&authority, &entra, clock, journal).await?;
        arm.knows_vault(VAULT, &vault);
        Ok(Self { authority, sts, entra, vault, arm })
    }

    /// What a function needs to reach all of it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.sts.settings();
        settings.extend(self.entra.settings());
        settings.push(("KEY_VAULT_URL", self.vault.base_url()));
        settings.extend(self.arm.settings());
        settings.push(("CA_BUNDLE", self.authority.bundle().display().to_string()));
        settings
    }
}
