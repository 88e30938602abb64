//! Renewing a connection's token under its lease: one at a time per connection, whatever asks for it and wherever it
//! runs.
//!
//! Whoever comes second finds the lease taken, or the row changed. A worker that dies leaves a lease that runs out;
//! who takes it over begins with the vault's latest version, which may be one that no row names yet. What each failure
//! means is in [`domain::refresh`](crate::domain::refresh).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::lease;
use super::stored_token::{Readable, StoredToken};
use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, Env};
use crate::domain::integration::{Integration, Status};
use crate::domain::refresh::{self, Class, Failure};
use crate::providers;
use crate::providers::azure::key_vault::{self, Vault};
use crate::providers::azure::vaults::Vaults;
use crate::providers::google::oauth;
use crate::store::{self, Store};
use crate::telemetry::metric;

/// Renews tokens.
pub struct Refresher {
    store: Store,
    vaults: Vaults,
    google: Option<oauth::Client>,
    clock: Clock,
}

/// Who wants a fresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A runtime that waits for it.
    Caller,
    /// The clock: the connection is due.
    Schedule,
}

/// How a renewal ended that did not fail.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// There is a fresh access token.
    Token {
        /// The row as it is now.
        row: Box<Integration>,
        /// The credential for Google's APIs.
        token: SecretString,
        /// When it ends.
        ends: Timestamp,
    },
    /// Another worker is at it, or the row is not as it was read: read it and decide again.
    Elsewhere,
}

/// Why there is no fresh token. The row says so too, unless the table is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What happened.
    pub failure: Failure,
    /// How long the provider asks us to wait, when it says so.
    pub retry_after: Option<Duration>,
}

/// What Google gave for a refresh token.
struct Answer {
    tokens: oauth::Tokens,
    /// What renews from now on: Google's new refresh token or, as a rule, the one that was used.
    refresh_token: SecretString,
}

/// What is read of the vault at the start.
struct Start {
    stored: Readable,
    /// A version that a worker wrote which died before the row named it.
    orphan: Option<String>,
}

impl Refresher {
    /// A refresher over the vaults and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used; a missing Google client is a [`Failure`] instead.
    pub fn new(env: &Env, http: &reqwest::Client, store: Store, clock: Clock) -> Result<Self, ConfigError> {
        let (vaults, google) = (Vaults::new(env, http, &clock)?, oauth::Client::from_env(env, http.clone())?);
        Ok(Self { store, vaults, google, clock })
    }

    /// Whether there is a client to ask Google with.
    pub fn is_configured(&self) -> bool {
        self.google.is_some()
    }

    /// The vaults that tokens are kept in.
    pub fn vaults(&self) -> &Vaults {
        &self.vaults
    }

    /// Our client at Google, if it is configured.
    pub fn google(&self) -> Option<&oauth::Client> {
        self.google.as_ref()
    }

    /// The tokens of the version the row names; none when that version cannot be read any more.
    ///
    /// # Errors
    /// [`Failed`] when the vault does not serve; the row does not say so.
    pub async fn stored(&self, row: &Integration) -> Result<Readable, Failed> {
        match self.vault(row)?.version(&row.secret_name, &row.secret_version).await {
            Ok(secret) => Ok(Readable::read(&secret.value)),
            // Superseded since the row was read, or gone: what follows reads the row or the latest version anew.
            Err(error) if key_vault::is_unreadable(&error) => Ok(Readable::default()),
            Err(error) => Err(of_vault(&error)),
        }
    }

    /// Renews the token of an Active connection, as its row was read; `stored` is what was read of the vault for it,
    /// if anything was.
    ///
    /// # Errors
    /// [`Failed`]; the row has been written accordingly, and its lease is over.
    pub async fn refresh(&self, row: &Integration, stored: Option<&Readable>, by: By) -> Result<Refreshed, Failed> {
        let now = self.clock.now();
        let Some(leased) = lease::try_take(&self.store, row, now).await.map_err(of_table)? else {
            return Ok(Refreshed::Elsewhere);
        };
        // Its holder died somewhere between Google, vault and row.
        let is_taken_over = row.lease_until.is_some();
        match self.under_lease(&leased, is_taken_over, stored, by).await {
            Ok(refreshed) => Ok(refreshed),
            Err(failed) => self.note_failure(&leased, failed).await,
        }
    }

    async fn under_lease(
        &self,
        leased: &Integration,
        is_taken_over: bool,
        stored: Option<&Readable>,
        by: By,
    ) -> Result<Refreshed, Failed> {
        let start = match stored {
            Some(stored) if !is_taken_over => Start { stored: stored.clone(), orphan: None },
            Some(_) | None if is_taken_over => self.latest(leased).await?,
            Some(_) | None => Start { stored: self.stored(leased).await?, orphan: None },
        };
        let (answer, is_new) = self.ask_google(leased, &start).await?;
        let is_renewed = is_new || start.orphan.is_some();
        if by == By::Schedule && !is_renewed && !refresh::is_in_use(leased, self.clock.now()) {
            return self.keep_alive(leased, answer).await;
        }
        self.keep(leased, &start, answer, by).await
    }

    fn vault(&self, row: &Integration) -> Result<&Vault, Failed> {
        self.vaults.recorded(row.vault.as_deref()).ok_or_else(|| {
            tracing::error!(tenant_id = %row.tenant_id, "a connection's vault is not among the settings");
            Failed { failure: Failure::VaultUnknown, retry_after: None }
        })
    }

    async fn latest(&self, leased: &Integration) -> Result<Start, Failed> {
        match self.vault(leased)?.latest(&leased.secret_name).await {
            Ok(latest) => {
                let orphan = (latest.version != leased.secret_version).then_some(latest.version);
                Ok(Start { stored: Readable::read(&latest.value), orphan })
            }
            Err(providers::Error::NotFound) => Err(Failed { failure: Failure::SecretMissing, retry_after: None }),
            Err(error) => Err(of_vault(&error)),
        }
    }

    /// Asks with the refresh token that was read and, before Google's refusal is believed, with the vault's latest.
    /// Also says whether the token to keep is another than the row's own.
    async fn ask_google(&self, leased: &Integration, start: &Start) -> Result<(Answer, bool), Failed> {
        let refused = match self.ask_with(&start.stored).await {
            Err(failed) if failed.failure.class() == Class::Final => failed,
            Err(failed) => return Err(failed),
            Ok(answer) => {
                let is_new = start.stored.refresh_token.as_ref().is_none_or(|used| !is_same(used, &answer));
                return Ok((answer, is_new));
            }
        };
        let latest = self.latest(leased).await?;
        match latest.orphan {
            Some(version) if start.orphan.as_ref() != Some(&version) => {
                Ok((self.ask_with(&latest.stored).await?, true))
            }
            Some(_) | None => Err(refused),
        }
    }

    async fn ask_with(&self, stored: &Readable) -> Result<Answer, Failed> {
        let failed = |failure| Failed { failure, retry_after: None };
        let google = self.google.as_ref().ok_or_else(|| failed(Failure::NotConfigured))?;
        let used = stored.refresh_token.as_ref().ok_or_else(|| failed(Failure::NoRefreshToken))?;
        match google.refresh(used).await {
            Ok(tokens) => {
                let refresh_token = tokens.refresh_token.clone().unwrap_or_else(|| used.clone());
                Ok(Answer { tokens, refresh_token })
            }
            Err(oauth::Error::InvalidGrant) => Err(failed(Failure::GrantEnded)),
            Err(oauth::Error::Configuration { code }) => {
                tracing::error!(code, "Google refuses our client");
                Err(failed(Failure::ClientRefused))
            }
            Err(oauth::Error::Transient(error)) => {
                tracing::warn!(error = %error, "the token endpoint failed");
                Err(of_google(&error))
            }
        }
    }

    /// Nobody uses the connection and it still stands: that is all the vault and the row need to know.
    async fn keep_alive(&self, leased: &Integration, answer: Answer) -> Result<Refreshed, Failed> {
        let now = self.clock.now();
        let granted = answer.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let row = Integration { granted, ..well(leased) };
        self.save(leased, refresh::scheduled(row, now), answer, now).await
    }

    /// Stores fresh tokens, vault first: a row never names what the vault does not have. The version they supersede is
    /// disabled before the row moves on, so that none is forgotten; a reader that is late finds the new one.
    ///
    /// Where the vault does not take them, the token is handed out all the same: it is valid, and Google honours the
    /// stored refresh token until a newer one is used.
    async fn keep(&self, leased: &Integration, start: &Start, answer: Answer, by: By) -> Result<Refreshed, Failed> {
        let (now, vault) = (self.clock.now(), self.vault(leased)?);
        let ends = now + answer.tokens.lifetime;
        let granted = answer.tokens.granted.clone().unwrap_or_else(|| leased.granted.clone());
        let fresh = StoredToken {
            access_token: answer.tokens.access_token.clone(),
            expires_at: ends,
            refresh_token: answer.refresh_token.clone(),
            granted: granted.clone(),
            account: start.stored.account.clone().or_else(|| leased.account.clone()),
        };
        let used_at = if by == By::Caller { Some(now) } else { leased.used_at };
        let secret_version = match vault.set(&leased.secret_name, leased.tenant_id, &fresh.to_secret()).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(tenant_id = %leased.tenant_id, error = %error, "fresh tokens could not be stored");
                metric("TokensNotStored", 1);
                let failed = of_vault(&error);
                if by == By::Schedule {
                    return Err(failed);
                }
                let row = Box::new(self.write_failure(&Integration { used_at, ..leased.clone() }, failed).await);
                return Ok(Refreshed::Token { row, token: answer.tokens.access_token, ends });
            }
        };
        self.retire(vault, leased, &leased.secret_version).await;
        if let Some(orphan) = &start.orphan {
            self.retire(vault, leased, orphan).await;
        }
        let written = secret_version.clone();
        let row = Integration { secret_version, expires_at: Some(ends), granted, used_at, ..well(leased) };
        let saved = self.save(leased, refresh::scheduled(row, now), answer, now).await?;
        if matches!(saved, Refreshed::Elsewhere) {
            self.take_back(vault, leased, &written).await;
        }
        Ok(saved)
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

    /// Makes a version unreadable that came too late: the connection was made anew meanwhile. A disconnected one keeps
    /// it, to end the grant with.
    async fn take_back(&self, vault: &Vault, leased: &Integration, written: &str) {
        let row = self.store.integration(leased.tenant_id, leased.provider).await.ok().flatten();
        if row.is_some_and(|row| row.status == Status::Active && row.secret_version != written) {
            self.retire(vault, leased, written).await;
        }
    }

    /// Makes a version unreadable. Left undone, it is one more dead version, so failing is no matter.
    async fn retire(&self, vault: &Vault, row: &Integration, version: &str) {
        if let Err(error) = vault.disable(&row.secret_name, version).await {
            tracing::warn!(tenant_id = %row.tenant_id, error = %error, "a superseded version stays readable");
        }
    }

    /// Ends the lease with what happened.
    async fn note_failure(&self, leased: &Integration, failed: Failed) -> Result<Refreshed, Failed> {
        let (tenant_id, provider) = (leased.tenant_id, leased.provider);
        if failed.failure.class() != Class::Final {
            self.write_failure(leased, failed).await;
            return Err(failed);
        }
        let row = refresh::failed(leased, failed.failure, None, self.clock.now());
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(_) => {
                tracing::warn!(tenant_id = %tenant_id, provider = %provider, code = failed.failure.as_str(), "expired");
                metric("ConnectionsExpired", 1);
                Err(failed)
            }
            Err(store::Error::Conflict) => Ok(Refreshed::Elsewhere),
            Err(error) => Err(of_table(error)),
        }
    }

    /// Left undone, the lease runs out and the connection is as due as before. After the vault failed nobody knows what
    /// it holds: the lease is over, but stays on the row, and who takes the next one begins with the latest version.
    async fn write_failure(&self, leased: &Integration, failed: Failed) -> Integration {
        count(failed.failure);
        let now = self.clock.now();
        let is_in_doubt = matches!(failed.failure, Failure::VaultThrottled | Failure::VaultDown);
        let row = Integration {
            lease_until: is_in_doubt.then_some(now),
            ..refresh::failed(leased, failed.failure, failed.retry_after, now)
        };
        self.store.save_integration(&row, Some(leased.version)).await.unwrap_or_else(|error| {
            tracing::warn!(tenant_id = %leased.tenant_id, error = %error, "a lease is left to run out");
            row
        })
    }
}

/// The row without a lease, after a renewal that did not fail.
fn well(leased: &Integration) -> Integration {
    Integration { failures: 0, failure: None, lease_until: None, ..leased.clone() }
}

fn is_same(used: &SecretString, answer: &Answer) -> bool {
    used.expose_secret() == answer.refresh_token.expose_secret()
}

/// Every failure that is not final counts towards the share of failures; some concern an operator at once.
fn count(failure: Failure) {
    metric("TokenRefreshesFailed", 1);
    match failure {
        Failure::ClientRefused | Failure::NotConfigured => metric("GoogleClientRefused", 1),
        Failure::SecretMissing | Failure::VaultUnknown => metric("SecretsMissing", 1),
        Failure::GrantEnded
        | Failure::NoRefreshToken
        | Failure::Unreachable
        | Failure::RateLimited
        | Failure::ProviderDown
        | Failure::Unreadable
        | Failure::VaultThrottled
        | Failure::VaultDown
        | Failure::TableDown => {}
    }
}

fn of_google(error: &providers::Error) -> Failed {
    use providers::Error;
    match error {
        Error::Unreachable { .. } => Failed { failure: Failure::Unreachable, retry_after: None },
        Error::RateLimited { retry_after } => Failed { failure: Failure::RateLimited, retry_after: *retry_after },
        Error::Failed { .. } => Failed { failure: Failure::ProviderDown, retry_after: None },
        Error::Unauthorized | Error::NotFound | Error::Refused { .. } | Error::Malformed { .. } => {
            Failed { failure: Failure::Unreadable, retry_after: None }
        }
    }
}

/// The vault's 404 is read where it means something; everywhere else it is no word about the secret.
fn of_vault(error: &providers::Error) -> Failed {
    use providers::Error;
    tracing::error!(error = %error, "the vault failed");
    metric("VaultUnavailable", 1);
    match error {
        Error::RateLimited { retry_after } => Failed { failure: Failure::VaultThrottled, retry_after: *retry_after },
        Error::Unreachable { .. }
        | Error::Failed { .. }
        | Error::Unauthorized
        | Error::NotFound
        | Error::Refused { .. }
        | Error::Malformed { .. } => Failed { failure: Failure::VaultDown, retry_after: None },
    }
}

/// Nothing could be written about it, so the lease runs out and the connection stays due.
fn of_table(error: store::Error) -> Failed {
    tracing::error!(error = %error, "the table failed a refresh");
    Failed { failure: Failure::TableDown, retry_after: None }
}
