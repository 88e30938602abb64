//! Keeping what Google gave: the vault, then the row.

use std::time::Duration;

use secrecy::SecretString;

use super::failure::{of_table, of_vault};
use super::{Answer, By, Failed, Refreshed, Refresher, Start};
use crate::clock::Timestamp;
use crate::domain::integration::{Integration, Status};
use crate::domain::refresh;
use crate::flows::lease;
use crate::flows::stored_token::StoredToken;
use crate::providers::Error;
use crate::providers::azure::key_vault::Vault;
use crate::store;
use crate::telemetry::metric;

/// A name may have to settle before the vault takes a new version of it: not longer than the lease lasts.
const SET_PATIENCE: Duration = Duration::from_secs(10);

/// Tidying up must not use up the lease either.
const RETIRE_PATIENCE: Duration = Duration::from_secs(8);

/// A row that a late version has to be noted on may change meanwhile, but not this often.
const ATTEMPTS: usize = 3;

impl Refresher {
    /// Nobody uses the connection and it still stands: that is all the vault and the row need to know.
    pub(super) async fn keep_alive(&self, leased: &Integration, answer: Answer) -> Result<Refreshed, Failed> {
        let now = self.clock.now();
        let superseded = self.retire(self.vault(leased)?, leased, leased.superseded.clone()).await;
        let granted = answer.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let row = Integration { granted, ..well(leased) }.superseding(superseded);
        self.save(leased, refresh::scheduled(row, now), answer, now).await
    }

    /// Stores fresh tokens, vault first: a row never names what the vault does not have. The version they supersede is
    /// disabled before the row moves on, or else the row remembers it; a reader that is late finds the new one.
    ///
    /// Where the vault does not take them, the token is handed out all the same: it is valid, and Google honours the
    /// stored refresh token until a newer one is used.
    pub(super) async fn keep(
        &self,
        leased: &Integration,
        start: Start,
        answer: Answer,
        by: By,
    ) -> Result<Refreshed, Failed> {
        let (now, vault) = (self.clock.now(), self.vault(leased)?);
        let ends = now + answer.tokens.lifetime;
        let granted = answer.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let account = start.stored.account.or_else(|| leased.account.clone());
        let fresh = StoredToken {
            access_token: answer.tokens.access_token.clone(),
            expires_at: ends,
            refresh_token: answer.refresh_token.clone(),
            granted: granted.clone(),
            account: account.clone(),
        };
        let used_at = if by == By::Caller { Some(now) } else { leased.used_at };
        let secret_version = match self.put(vault, leased, &fresh.to_secret()).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(tenant_id = %leased.tenant_id, error = %error, "fresh tokens could not be stored");
                metric("TokensNotStored", 1);
                let failed = of_vault(&error);
                if by == By::Schedule {
                    return Err(failed);
                }
                let row = Box::new(self.write_failure(&Integration { used_at, ..leased.clone() }, true, failed).await);
                return Ok(Refreshed::Token { row, token: answer.tokens.access_token, ends });
            }
        };
        let mut stale = leased.superseded.clone();
        stale.push(leased.secret_version.clone());
        let superseded = self.retire(vault, leased, stale).await;
        let written = secret_version.clone();
        let row = Integration { secret_version, expires_at: Some(ends), granted, account, used_at, ..well(leased) };
        let saved = self.save(leased, refresh::scheduled(row.superseding(superseded), now), answer, now).await?;
        if matches!(saved, Refreshed::Elsewhere) {
            self.take_back(vault, leased, &written).await;
        }
        Ok(saved)
    }

    /// Writes a new version, unless too little is left of the lease: whoever takes it over would not know of it.
    async fn put(&self, vault: &Vault, leased: &Integration, value: &SecretString) -> Result<String, Error> {
        let too_slow = |reason: &str| Error::Unreachable { timed_out: true, reason: reason.to_owned() };
        if !lease::is_enough(leased, self.clock.now()) {
            return Err(too_slow("the lease is about to run out"));
        }
        let set = vault.set(&leased.secret_name, leased.tenant_id, value);
        tokio::time::timeout(SET_PATIENCE, set).await.unwrap_or_else(|_| Err(too_slow("the name did not settle")))
    }

    async fn save(
        &self,
        leased: &Integration,
        row: Integration,
        answer: Answer,
        now: Timestamp,
    ) -> Result<Refreshed, Failed> {
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(row) => {
                metric("TokensRefreshed", 1);
                let (token, ends) = (answer.tokens.access_token, now + answer.tokens.lifetime);
                Ok(Refreshed::Token { row: Box::new(row), token, ends })
            }
            Err(store::Error::Conflict) => Ok(Refreshed::Elsewhere),
            Err(error) => Err(of_table(error)),
        }
    }

    /// Makes a version unreadable that came too late: the connection is being made anew. Until that is done the row
    /// names what this version superseded, so it stays readable, should the other one die, and the row remembers it.
    /// A disconnected connection keeps it, to end the grant with.
    async fn take_back(&self, vault: &Vault, leased: &Integration, written: &str) {
        for _ in 0..ATTEMPTS {
            let row = match self.store.integration(leased.tenant_id, leased.provider).await {
                Ok(Some(row)) if row.status == Status::Active && row.secret_version != written => row,
                Ok(_) | Err(_) => return,
            };
            if row.secret_version != leased.secret_version {
                self.retire(vault, leased, vec![written.to_owned()]).await;
                return;
            }
            let superseded = row.superseded.iter().cloned().chain([written.to_owned()]).collect();
            let (row, read_version) = (row.clone().superseding(superseded), row.version);
            match self.store.save_integration(&row, Some(read_version)).await {
                Err(store::Error::Conflict) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Makes versions unreadable; returns those that may have stayed readable.
    async fn retire(&self, vault: &Vault, row: &Integration, versions: Vec<String>) -> Vec<String> {
        let mut left = versions;
        let retire_all = async {
            let mut place = 0;
            while let Some(version) = left.get(place) {
                match vault.disable(&row.secret_name, version).await {
                    Ok(()) | Err(Error::NotFound) => {
                        left.remove(place);
                    }
                    Err(error) => {
                        tracing::warn!(tenant_id = %row.tenant_id, error = %error, "a superseded version is readable");
                        place += 1;
                    }
                }
            }
        };
        // What there was no time for is left as well.
        let _ = tokio::time::timeout(RETIRE_PATIENCE, retire_all).await;
        left
    }
}

/// The row without a lease, after a renewal that did not fail.
fn well(leased: &Integration) -> Integration {
    Integration { failures: 0, failure: None, lease_until: None, ..leased.clone() }
}
