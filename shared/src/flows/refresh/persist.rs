//! Persists what Google gave: first in the vault, then on the row.

use std::time::Duration;

use secrecy::SecretString;

use super::failure::{map_table_error, map_vault_error};
use super::{RefreshError, RefreshOutcome, Refresher, TokenResponse, Trigger, VaultSnapshot};
use crate::clock::Timestamp;
use crate::domain::integration::{Integration, Status};
use crate::domain::refresh;
use crate::flows::lease;
use crate::flows::stored_token::StoredToken;
use crate::providers::azure::key_vault::Vault;
use crate::providers::{Error, NetworkFailure};
use crate::store;
use crate::telemetry::metric;

/// After a deletion the vault may take a while to accept a new version; the lease must outlive that wait.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Disabling superseded versions must not use up the lease either.
const DISABLE_TIMEOUT: Duration = Duration::from_secs(8);

/// How often a withdrawn version is saved on a row that other workers change meanwhile.
const ATTEMPTS: usize = 3;

impl Refresher {
    /// Saves that Google confirmed the grant of an idle integration. Its new access token is not stored, because no
    /// runtime needs it.
    pub(super) async fn save_confirmed(
        &self,
        leased: &Integration,
        response: TokenResponse,
    ) -> Result<RefreshOutcome, RefreshError> {
        let now = self.clock.now();
        let superseded = self.disable_versions(self.find_vault(leased)?, leased, leased.superseded.clone()).await;
        let granted = response.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let row = Integration { granted, ..cleared(leased) }.with_superseded(superseded);
        self.save_row(leased, refresh::with_next_renewal(row, now), response, now).await
    }

    /// Stores fresh tokens in the vault and then names their version on the row, so that a row never names a version
    /// that the vault does not have. The superseded version is disabled first; if that fails, the row keeps its id.
    ///
    /// If the vault does not accept the tokens, a runtime gets the access token all the same: it is valid, and Google
    /// accepts the stored refresh token until a newer one is used.
    pub(super) async fn store_tokens(
        &self,
        leased: &Integration,
        snapshot: VaultSnapshot,
        response: TokenResponse,
        trigger: Trigger,
    ) -> Result<RefreshOutcome, RefreshError> {
        let (now, vault) = (self.clock.now(), self.find_vault(leased)?);
        let expires_at = now + response.tokens.lifetime;
        let granted = response.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let account = snapshot.stored.account.or_else(|| leased.account.clone());
        let subject = snapshot.stored.subject.or_else(|| leased.subject.clone());
        let fresh = StoredToken {
            access_token: response.tokens.access_token.clone(),
            expires_at,
            refresh_token: response.refresh_token.clone(),
            granted: granted.clone(),
            account: account.clone(),
            subject: subject.clone(),
        };
        let used_at = if trigger == Trigger::Runtime { Some(now) } else { leased.used_at };
        let secret_version = match self.write_secret(vault, leased, &fresh.to_secret()).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(
                    code = "tokens_not_stored", tenant_id = %leased.tenant_id, provider = %leased.provider,
                    error = %error, "Fresh tokens could not be stored in the vault; the former version stays in use"
                );
                metric("TokensNotStored", 1);
                let failed = map_vault_error(&error);
                if trigger == Trigger::Schedule {
                    return Err(failed);
                }
                let row = Box::new(self.save_back_off(&Integration { used_at, ..leased.clone() }, true, failed).await);
                return Ok(RefreshOutcome::Token { row, token: response.tokens.access_token, expires_at });
            }
        };
        let mut stale = leased.superseded.clone();
        stale.push(leased.secret_version.clone());
        let superseded = self.disable_versions(vault, leased, stale).await;
        let written = secret_version.clone();
        let row = Integration {
            secret_version,
            expires_at: Some(expires_at),
            granted,
            account,
            subject,
            used_at,
            ..cleared(leased)
        };
        let saved = self
            .save_row(leased, refresh::with_next_renewal(row.with_superseded(superseded), now), response, now)
            .await?;
        if matches!(saved, RefreshOutcome::Superseded) {
            self.withdraw_version(vault, leased, &written).await;
        }
        Ok(saved)
    }

    /// Writes a new version of the secret, unless too little is left of the lease: the next holder might not see it.
    async fn write_secret(&self, vault: &Vault, leased: &Integration, value: &SecretString) -> Result<String, Error> {
        let timed_out = || Err(Error::Unreachable { cause: NetworkFailure::TimedOut });
        if !lease::has_time_to_write(leased, self.clock.now()) {
            return timed_out();
        }
        let set = vault.set(&leased.secret_name, leased.tenant_id, value);
        tokio::time::timeout(WRITE_TIMEOUT, set).await.unwrap_or_else(|_| timed_out())
    }

    async fn save_row(
        &self,
        leased: &Integration,
        row: Integration,
        response: TokenResponse,
        now: Timestamp,
    ) -> Result<RefreshOutcome, RefreshError> {
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(row) => {
                metric("TokensRefreshed", 1);
                let (token, expires_at) = (response.tokens.access_token, now + response.tokens.lifetime);
                Ok(RefreshOutcome::Token { row: Box::new(row), token, expires_at })
            }
            Err(store::Error::Conflict) => Ok(RefreshOutcome::Superseded),
            Err(error) => Err(map_table_error(error)),
        }
    }

    /// Withdraws a version that was written after a reconnect had taken the lease over. If the reconnect has saved its
    /// own version, this one is disabled. Until then the row names the version that this one superseded; this one stays
    /// readable, in case the reconnect dies, and is added to the row's superseded versions. A Revoked integration keeps
    /// it, because its token ends the grant.
    async fn withdraw_version(&self, vault: &Vault, leased: &Integration, written: &str) {
        for _ in 0..ATTEMPTS {
            let row = match self.store.load_integration(leased.tenant_id, leased.provider).await {
                Ok(Some(row)) if row.status == Status::Active && row.secret_version != written => row,
                Ok(_) | Err(_) => return,
            };
            if row.secret_version != leased.secret_version {
                self.disable_versions(vault, leased, vec![written.to_owned()]).await;
                return;
            }
            let superseded = row.superseded.iter().cloned().chain([written.to_owned()]).collect();
            let (row, read_version) = (row.clone().with_superseded(superseded), row.version);
            match self.store.save_integration(&row, Some(read_version)).await {
                Err(store::Error::Conflict) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Disables versions of the secret; returns those that may still be readable.
    async fn disable_versions(&self, vault: &Vault, row: &Integration, versions: Vec<String>) -> Vec<String> {
        let mut left = versions;
        let disable_all = async {
            let mut index = 0;
            while let Some(version) = left.get(index) {
                match vault.disable(&row.secret_name, version).await {
                    Ok(()) | Err(Error::NotFound) => {
                        left.remove(index);
                    }
                    Err(error) => {
                        tracing::warn!(
                            code = "version_not_disabled", tenant_id = %row.tenant_id, provider = %row.provider,
                            error = %error,
                            "Superseded secret version could not be disabled; the next refresh tries again"
                        );
                        index += 1;
                    }
                }
            }
        };
        // On a timeout the versions that were not reached are left too.
        let _ = tokio::time::timeout(DISABLE_TIMEOUT, disable_all).await;
        left
    }
}

/// The row after a refresh that did not fail: without failures and without a lease.
fn cleared(leased: &Integration) -> Integration {
    Integration { failures: 0, failure: None, lease_until: None, ..leased.clone() }
}
