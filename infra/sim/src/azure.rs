//! What functions need of Azure: Entra, Key Vaults and the resource manager under one certificate authority, and the
//! STS whose tokens Entra accepts.

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
    /// The authority that signed the servers' certificates.
    pub authority: Arc<Authority>,
    /// The STS whose tokens functions exchange at Entra.
    pub sts: Sts,
    /// The identity provider.
    pub entra: Entra,
    /// The vault, which accepts Entra's tokens.
    pub vault: KeyVault,
    /// The resource manager, which accepts Entra's tokens and knows the vault as [`VAULT`].
    pub arm: Arm,
    /// Further vaults; see [`Azure::adds_vault`].
    pub others: Vec<KeyVault>,
    clock: Clock,
    journal: Journal,
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
        let arm = Arm::start(&authority, &entra, clock.clone(), journal.clone()).await?;
        arm.knows_vault(VAULT, &vault);
        Ok(Self { authority, sts, entra, vault, arm, others: Vec::new(), clock, journal })
    }

    /// Starts another empty vault; from now on it is among [`Self::settings`].
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn adds_vault(&mut self) -> anyhow::Result<()> {
        let vault = KeyVault::start(&self.authority, &self.entra, self.clock.clone(), self.journal.clone()).await?;
        self.others.push(vault);
        Ok(())
    }

    /// What a function needs to reach all of it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.sts.settings();
        settings.extend(self.entra.settings());
        let vaults = std::iter::once(&self.vault).chain(&self.others);
        settings.push(("KEY_VAULT_URLS", vaults.map(KeyVault::base_url).collect::<Vec<_>>().join(",")));
        settings.extend(self.arm.settings());
        settings.push(("CA_BUNDLE", self.authority.bundle().display().to_string()));
        settings
    }
}
