//! Renewing a connection's token under its lease: one at a time per connection, whatever asks for it and wherever it
//! runs.
//!
//! Whoever comes second finds the lease taken, or the row changed. A worker that dies leaves a lease that runs out;
//! who takes it over begins with the vault's latest version, which may be one that no row names yet. What each failure
//! means is in [`domain::refresh`](crate::domain::refresh).

mod failure;
mod keep;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::lease;
use super::stored_token::Readable;
use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, Env};
use crate::domain::integration::Integration;
use crate::domain::refresh::{self, Class, Failure};
use crate::providers;
use crate::providers::azure::key_vault::{self, Vault};
use crate::providers::azure::vaults::Vaults;
use crate::providers::google::oauth;
use crate::store::{self, Store};
use crate::telemetry::metric;
use failure::{count, of_google, of_table, of_vault};

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
    /// The version it was read from, where a worker wrote that and died before the row named it.
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
        let Some(mut leased) = lease::try_take(&self.store, row, now).await.map_err(of_table)? else {
            return Ok(Refreshed::Elsewhere);
        };
        // Its holder died somewhere between Google, vault and row.
        let is_taken_over = row.lease_until.is_some();
        match self.under_lease(&mut leased, is_taken_over, stored, by).await {
            Ok(refreshed) => Ok(refreshed),
            Err(failed) => self.note_failure(&leased, is_taken_over, failed).await,
        }
    }

    async fn under_lease(
        &self,
        leased: &mut Integration,
        is_taken_over: bool,
        stored: Option<&Readable>,
        by: By,
    ) -> Result<Refreshed, Failed> {
        let start = match stored {
            Some(stored) if !is_taken_over => Some(Start::from(stored.clone())),
            Some(_) | None if is_taken_over => self.latest(leased).await?,
            Some(_) | None => Some(Start::from(self.stored(leased).await?)),
        };
        let Some(start) = start else { return Ok(Refreshed::Elsewhere) };
        let Some((answer, start, is_new)) = self.ask_google(leased, start).await? else {
            return Ok(Refreshed::Elsewhere);
        };
        // An end that is not known is learned by keeping what Google gave.
        let is_renewed = is_new || start.orphan.is_some() || leased.expires_at.is_none();
        if by == By::Schedule && !is_renewed && !refresh::is_in_use(leased, self.clock.now()) {
            return self.keep_alive(leased, answer).await;
        }
        self.keep(leased, start, answer, by).await
    }

    fn vault(&self, row: &Integration) -> Result<&Vault, Failed> {
        self.vaults.recorded(row.vault.as_deref()).ok_or_else(|| {
            tracing::error!(tenant_id = %row.tenant_id, "a connection's vault is not among the settings");
            Failed { failure: Failure::VaultUnknown, retry_after: None }
        })
    }

    /// The vault's latest version. One that the row does not name is noted on it first, so that a kill leaves none
    /// readable; `None` when that fails, because the lease was taken over: it may be its new holder's.
    async fn latest(&self, leased: &mut Integration) -> Result<Option<Start>, Failed> {
        let latest = match self.vault(leased)?.latest(&leased.secret_name).await {
            Ok(latest) => latest,
            // It was taken back by whoever wrote it too late: the row's own is the latest that counts.
            Err(error) if key_vault::is_disabled(&error) => return Ok(Some(self.stored(leased).await?.into())),
            Err(providers::Error::NotFound) => {
                return Err(Failed { failure: Failure::SecretMissing, retry_after: None });
            }
            Err(error) => return Err(of_vault(&error)),
        };
        let stored = Readable::read(&latest.value);
        if latest.version == leased.secret_version {
            return Ok(Some(stored.into()));
        }
        let known = leased.superseded.iter().chain([&latest.version]).cloned().collect();
        let noted = leased.clone().superseding(known);
        match self.store.save_integration(&noted, Some(leased.version)).await {
            Ok(row) => *leased = row,
            Err(store::Error::Conflict) => return Ok(None),
            Err(error) => return Err(of_table(error)),
        }
        Ok(Some(Start { stored, orphan: Some(latest.version) }))
    }

    /// Asks with the refresh token that was read and, before Google's refusal is believed, with the vault's latest.
    /// Also says what was asked with, and whether the token to keep is another than the row's own; `None` as
    /// [`Self::latest`].
    async fn ask_google(
        &self,
        leased: &mut Integration,
        start: Start,
    ) -> Result<Option<(Answer, Start, bool)>, Failed> {
        let refused = match self.ask_with(&start.stored).await {
            Err(failed) if failed.failure.class() == Class::Final => failed,
            Err(failed) => return Err(failed),
            Ok(answer) => {
                let is_new = start.stored.refresh_token.as_ref().is_none_or(|used| !is_same(used, &answer));
                return Ok(Some((answer, start, is_new)));
            }
        };
        let Some(latest) = self.latest(leased).await? else { return Ok(None) };
        // The row's own version may have been unreadable a moment ago.
        let is_other = (latest.orphan.is_some() && latest.orphan != start.orphan)
            || (start.stored.refresh_token.is_none() && latest.stored.refresh_token.is_some());
        if is_other { Ok(Some((self.ask_with(&latest.stored).await?, latest, true))) } else { Err(refused) }
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

    /// Ends the lease with what happened.
    async fn note_failure(
        &self,
        leased: &Integration,
        was_in_doubt: bool,
        failed: Failed,
    ) -> Result<Refreshed, Failed> {
        let (tenant_id, provider) = (leased.tenant_id, leased.provider);
        if failed.failure.class() != Class::Final {
            self.write_failure(leased, was_in_doubt, failed).await;
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

    /// Left undone, the lease runs out and the connection is as due as before. After vault or table failed nobody knows
    /// what the vault holds: the lease is over, but stays on the row, and who takes the next one begins with the latest
    /// version. So it is until a renewal succeeds.
    async fn write_failure(&self, leased: &Integration, was_in_doubt: bool, failed: Failed) -> Integration {
        count(failed.failure);
        let now = self.clock.now();
        let is_in_doubt =
            was_in_doubt || matches!(failed.failure, Failure::VaultThrottled | Failure::VaultDown | Failure::TableDown);
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

fn is_same(used: &SecretString, answer: &Answer) -> bool {
    used.expose_secret() == answer.refresh_token.expose_secret()
}

impl From<Readable> for Start {
    fn from(stored: Readable) -> Self {
        Self { stored, orphan: None }
    }
}
