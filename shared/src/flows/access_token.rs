//! The credential broker: a connection's row in, a valid access token or the reason why not out.
//!
//! One refresh at a time per connection, whatever asks for it and wherever it runs: the lease on the row decides, and
//! whoever comes second waits and reads the outcome. Only Google's final word, spoken over the vault's latest tokens,
//! ends a connection; everything else passes.

mod cache;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::lease;
use super::stored_token::{Readable, StoredToken};
use crate::clock::{Clock, Waiter};
use crate::config::{ConfigError, Env};
use crate::domain::integration::{Integration, Status};
use crate::providers;
use crate::providers::azure::key_vault::{self, Vault};
use crate::providers::google::oauth;
use crate::store::{self, Store};
use crate::telemetry::metric;
use cache::Cache;

/// Why there is no token; each variant is an answer to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The service was never connected.
    #[error("never connected")]
    NotConnected,
    /// The connection ended, and only the person can renew it.
    #[error("connection ended")]
    Inactive {
        /// How it ended: never [`Status::Active`].
        status: Status,
    },
    /// The person connected without granting what reading needs.
    #[error("connected without the scope to read")]
    ScopeInsufficient,
    /// Our client at Google is not set up, or not accepted: an operator has to act.
    #[error("our Google client is not configured")]
    NotConfigured,
    /// Google's token endpoint failed for now, or another worker is still at it.
    #[error("the token could not be refreshed for now")]
    RefreshFailed {
        /// How long Google asks us to wait, when it says so.
        retry_after: Option<Duration>,
    },
    /// The table or the vault cannot serve now.
    #[error("the store of connections is unavailable")]
    StoreUnavailable {
        /// How long the vault asks us to wait, when it says so.
        retry_after: Option<Duration>,
    },
}

/// Hands out access tokens; never a refresh token.
pub struct Broker {
    store: Store,
    vault: Vault,
    google: Option<oauth::Client>,
    clock: Clock,
    waiter: Waiter,
    cache: Cache,
}

/// How a refresh under the lease ended, when no reason stands against a token.
enum Refreshed {
    Token(SecretString),
    /// The row is not ours any more: read it and decide again.
    Superseded,
}

/// What Google says to a refresh.
enum Answer {
    /// Fresh tokens, and what renews them from now on: Google's new refresh token or, as a rule, the old one.
    Tokens(oauth::Tokens, SecretString),
    /// The grant is gone, or there is no refresh token to ask with.
    GrantEnded,
}

impl Broker {
    /// A broker over the vault and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used; a missing Google client is a [`Denied`] instead.
    pub fn new(env: &Env, http: &reqwest::Client, store: Store, clock: Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            store,
            vault: Vault::new(env, http)?,
            google: oauth::Client::from_env(env, http.clone())?,
            clock,
            waiter: Waiter::default(),
            cache: Cache::default(),
        })
    }

    /// The same broker, waiting for other workers as `waiter` does.
    #[must_use]
    pub fn waiting_by(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// An access token that lasts two more minutes at least.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn access_token(&self, row: Option<&Integration>) -> Result<SecretString, Denied> {
        self.token(row, None).await
    }

    /// Another access token than `refused`, which Google answered with 401.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn renewed(&self, row: Option<&Integration>, refused: &SecretString) -> Result<SecretString, Denied> {
        if let Some(row) = row {
            self.cache.remove(row.tenant_id, row.provider);
        }
        self.token(row, Some(refused)).await
    }

    async fn token(&self, row: Option<&Integration>, refused: Option<&SecretString>) -> Result<SecretString, Denied> {
        let mut row = self.entitled(row)?;
        let mut known: Option<(String, Readable)> = None;
        for _ in 0..lease::POLLS {
            let now = self.clock.now();
            if let Some(token) = self.cache.get(&row, now) {
                return Ok(token);
            }
            let stored = match known.take().filter(|(version, _)| *version == row.secret_version) {
                Some((_, stored)) => stored,
                None => self.stored(&row).await?,
            };
            if let Some((token, ends)) = stored.usable(now).filter(|(token, _)| !is(refused, token)) {
                self.cache.put(&row, token.clone(), ends, now);
                return Ok(token.clone());
            }
            if row.is_leased(now) {
                self.waiter.wait(lease::POLL).await;
            } else if let Some(leased) = lease::try_take(&self.store, &row, now).await?
                && let Refreshed::Token(token) = self.refresh(&leased, &stored).await?
            {
                return Ok(token);
            }
            known = Some((row.secret_version.clone(), stored));
            row = self.entitled(self.store.integration(row.tenant_id, row.provider).await?.as_ref())?;
        }
        Err(Denied::RefreshFailed { retry_after: None })
    }

    /// The row, if a token may be had for it at all.
    fn entitled(&self, row: Option<&Integration>) -> Result<Integration, Denied> {
        let row = row.ok_or(Denied::NotConnected)?;
        match row.status {
            Status::Expired | Status::Revoked => Err(Denied::Inactive { status: row.status }),
            Status::Active if !row.provider.readable_with(&row.granted) => Err(Denied::ScopeInsufficient),
            Status::Active if self.google.is_none() => Err(Denied::NotConfigured),
            Status::Active => Ok(row.clone()),
        }
    }

    /// The tokens of the version the row names; none when that version cannot be read any more.
    async fn stored(&self, row: &Integration) -> Result<Readable, Denied> {
        match self.vault.version(&row.secret_name, &row.secret_version).await {
            Ok(secret) => Ok(Readable::read(&secret.value)),
            // Superseded since the row was read, or gone: what follows reads the row or the latest version anew.
            Err(error) if key_vault::is_unreadable(&error) => Ok(Readable::default()),
            Err(error) => Err(vault_unavailable(&error)),
        }
    }

    /// Refreshes the connection whose lease we hold. The lease ends with it, whatever comes of it.
    async fn refresh(&self, leased: &Integration, stored: &Readable) -> Result<Refreshed, Denied> {
        match self.ask_google(leased, stored).await {
            Ok(Answer::Tokens(tokens, refresh_token)) => self.keep(leased, stored, tokens, refresh_token).await,
            Ok(Answer::GrantEnded) => self.expire(leased).await,
            Err(denied) => {
                let failed_at_google = matches!(denied, Denied::RefreshFailed { .. } | Denied::NotConfigured);
                let failures = leased.failures.saturating_add(u32::from(failed_at_google));
                self.release(&Integration { failures, ..leased.clone() }).await;
                Err(denied)
            }
        }
    }

    /// Asks with the row's refresh token and, before its refusal is believed, with the vault's latest: a worker may
    /// have died between vault and row.
    async fn ask_google(&self, leased: &Integration, stored: &Readable) -> Result<Answer, Denied> {
        if let answer @ Answer::Tokens(..) = self.ask_with(stored).await? {
            return Ok(answer);
        }
        let latest = match self.vault.latest(&leased.secret_name).await {
            Ok(latest) => latest,
            Err(providers::Error::NotFound) => return Err(secret_missing(leased)),
            Err(error) => return Err(vault_unavailable(&error)),
        };
        if latest.version == leased.secret_version {
            return Ok(Answer::GrantEnded);
        }
        self.ask_with(&Readable::read(&latest.value)).await
    }

    async fn ask_with(&self, stored: &Readable) -> Result<Answer, Denied> {
        let google = self.google.as_ref().ok_or(Denied::NotConfigured)?;
        let Some(refresh_token) = &stored.refresh_token else { return Ok(Answer::GrantEnded) };
        match google.refresh(refresh_token).await {
            Ok(tokens) => {
                let renewing = tokens.refresh_token.clone().unwrap_or_else(|| refresh_token.clone());
                Ok(Answer::Tokens(tokens, renewing))
            }
            Err(oauth::Error::InvalidGrant) => Ok(Answer::GrantEnded),
            Err(oauth::Error::Configuration { code }) => {
                tracing::error!(code, "Google refuses our client");
                metric("GoogleClientRefused", 1);
                Err(Denied::NotConfigured)
            }
            Err(oauth::Error::Transient(error)) => {
                tracing::warn!(error = %error, "the token endpoint failed");
                metric("TokenRefreshesFailed", 1);
                Err(Denied::RefreshFailed { retry_after: retry_after(&error) })
            }
        }
    }

    /// Stores fresh tokens, vault first: a row never names what the vault does not have.
    ///
    /// Where storing fails the token is handed out all the same: it is valid, and Google honours the stored refresh
    /// token until a newer one is used.
    async fn keep(
        &self,
        leased: &Integration,
        stored: &Readable,
        tokens: oauth::Tokens,
        refresh_token: SecretString,
    ) -> Result<Refreshed, Denied> {
        let now = self.clock.now();
        let ends = now + tokens.lifetime;
        let granted = tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let fresh = StoredToken {
            access_token: tokens.access_token.clone(),
            expires_at: ends,
            refresh_token,
            granted: granted.clone(),
            account: stored.account.clone().or_else(|| leased.account.clone()),
        };
        let secret_version = match self.vault.set(&leased.secret_name, &fresh.to_secret()).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(tenant_id = %leased.tenant_id, error = %error, "fresh tokens could not be stored");
                metric("TokensNotStored", 1);
                self.release(leased).await;
                self.cache.put(leased, tokens.access_token.clone(), ends, now);
                return Ok(Refreshed::Token(tokens.access_token));
            }
        };
        let row = Integration {
            secret_version,
            expires_at: Some(ends),
            granted,
            failures: 0,
            lease_until: None,
            ..leased.clone()
        };
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(row) => {
                metric("TokensRefreshed", 1);
                self.cache.put(&row, tokens.access_token.clone(), ends, now);
                self.retire(leased).await;
                Ok(Refreshed::Token(tokens.access_token))
            }
            Err(store::Error::Conflict) => Ok(Refreshed::Superseded),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the version that `row` named unreadable. Left undone, it is one more dead version, so failing is no
    /// matter.
    async fn retire(&self, row: &Integration) {
        if let Err(error) = self.vault.disable(&row.secret_name, &row.secret_version).await {
            tracing::warn!(tenant_id = %row.tenant_id, error = %error, "a superseded version stays readable");
        }
    }

    /// Writes Google's final word.
    async fn expire(&self, leased: &Integration) -> Result<Refreshed, Denied> {
        let row = Integration { status: Status::Expired, lease_until: None, ..leased.clone() };
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(row) => {
                tracing::warn!(tenant_id = %row.tenant_id, provider = %row.provider, "the grant ended");
                metric("ConnectionsExpired", 1);
                Err(Denied::Inactive { status: Status::Expired })
            }
            Err(store::Error::Conflict) => Ok(Refreshed::Superseded),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the lease early. Left undone, it ends by itself.
    async fn release(&self, leased: &Integration) {
        let row = Integration { lease_until: None, ..leased.clone() };
        if let Err(error) = self.store.save_integration(&row, Some(leased.version)).await {
            tracing::warn!(tenant_id = %leased.tenant_id, error = %error, "a lease is left to run out");
        }
    }
}

impl From<store::Error> for Denied {
    fn from(error: store::Error) -> Self {
        tracing::error!(error = %error, "the table failed the broker");
        Self::StoreUnavailable { retry_after: None }
    }
}

fn vault_unavailable(error: &providers::Error) -> Denied {
    tracing::error!(error = %error, "the vault failed the broker");
    metric("VaultUnavailable", 1);
    Denied::StoreUnavailable { retry_after: retry_after(error) }
}

/// The vault says that it has no such secret. The person has to connect again; but the row stays, because a wrong vault
/// address says the same, and must not disconnect everyone.
fn secret_missing(row: &Integration) -> Denied {
    tracing::error!(tenant_id = %row.tenant_id, provider = %row.provider, "a connection has no secret in the vault");
    metric("SecretsMissing", 1);
    Denied::Inactive { status: Status::Expired }
}

fn retry_after(error: &providers::Error) -> Option<Duration> {
    match error {
        providers::Error::RateLimited { retry_after } => *retry_after,
        providers::Error::Unreachable { .. }
        | providers::Error::Unauthorized
        | providers::Error::NotFound
        | providers::Error::Refused { .. }
        | providers::Error::Failed { .. }
        | providers::Error::Malformed { .. } => None,
    }
}

fn is(refused: Option<&SecretString>, token: &SecretString) -> bool {
    refused.is_some_and(|refused| refused.expose_secret() == token.expose_secret())
}
