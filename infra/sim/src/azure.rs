//! What a function that keeps tokens needs of Azure: Entra and a Key Vault under one certificate authority, and the STS
//! whose word Entra takes.

use nbhd::clock::Clock;

use crate::entra::Entra;
use crate::journal::Journal;
use crate::key_vault::KeyVault;
use crate::sts::Sts;
use crate::tls::Authority;

/// The part of Azure that functions call.
#[derive(Debug)]
pub struct Azure {
    /// Whose certificates the servers carry.
    pub authority: Authority,
    /// Who vouches for functions at Entra.
    pub sts: Sts,
    /// The identity provider.
    pub entra: Entra,
    /// The vault, which accepts Entra's tokens.
    pub vault: KeyVault,
}

impl Azure {
    /// Starts Entra and an empty vault.
    ///
    /// # Errors
    /// When no key can be made or no loopback port be bound.
    pub async fn start(clock: Clock, journal: Journal) -> anyhow::Result<Self> {
        let authority = Authority::generate()?;
        let sts = Sts::start(clock.clone(), &journal).await?;
        let entra = Entra::start(&authority, &sts, clock.clone(), journal.clone()).await?;
        let vault = KeyVault::start(&authority, &entra, clock, journal).await?;
        Ok(Self { authority, sts, entra, vault })
    }

    /// What a function needs to reach all of it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.sts.settings();
        settings.extend(self.entra.settings());
        settings.push(("KEY_VAULT_URL", self.vault.base_url()));
        settings.push(("CA_BUNDLE", self.authority.bundle().display().to_string()));
        settings
    }
}
