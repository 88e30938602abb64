//! The credential broker: a connection's row in, a valid access token or the reason why not out.
//!
//! A token that lasts is handed out without Google; one that does not is renewed under the connection's lease
//! ([`refresh`](super::refresh)), and whoever comes second waits and reads the outcome.

mod cache;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::lease;
use super::refresh::{By, Failed, Refreshed, Refresher};
use super::stored_token::Readable;
use crate::clock::{Clock, Timestamp, Waiter};
use crate::config::{ConfigError, Env};
use crate::domain::integration::{Integration, Status};
use crate::domain::refresh::{self, Failure};
use crate::store::{self, Store};
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
    refresher: Refresher,
    clock: Clock,
    waiter: Waiter,
    cache: Cache,
}

impl Broker {
    /// A broker over the vaults and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used; a missing Google client is a [`Denied`] instead.
    pub fn new(env: &Env, http: &reqwest::Client, store: Store, clock: Clock) -> Result<Self, ConfigError> {
        let refresher = Refresher::new(env, http, store.clone(), clock.clone())?;
        Ok(Self { store, refresher, clock, waiter: Waiter::default(), cache: Cache::default() })
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
                self.note_use(&row, now).await;
                return Ok(token);
            }
            let stored = match known.take().filter(|(version, _)| *version == row.secret_version) {
                Some((_, stored)) => stored,
                None => self.refresher.stored(&row).await?,
            };
            if let Some((token, ends)) = stored.usable(now).filter(|(token, _)| !is(refused, token)) {
                self.cache.put(&row, token.clone(), ends, now);
                self.note_use(&row, now).await;
                return Ok(token.clone());
            }
            if row.is_leased(now) {
                self.waiter.wait(lease::POLL).await;
            } else if let Refreshed::Token { row, token, ends } =
                Box::pin(self.refresher.refresh(&row, Some(&stored), By::Caller)).await?
            {
                self.cache.put(&row, token.clone(), ends, self.clock.now());
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
            Status::Active if !self.refresher.is_configured() => Err(Denied::NotConfigured),
            Status::Active => Ok(row.clone()),
        }
    }

    /// Notes, every few hours, that the connection is in use: the clock then keeps its token fresh. A note that is lost
    /// costs a refresh while somebody waits, so it is not worth failing a call for.
    async fn note_use(&self, row: &Integration, now: Timestamp) {
        if row.is_leased(now) || !refresh::is_worth_noting(row, now) {
            return;
        }
        if let Err(error) = self.store.save_integration(&refresh::used(row, now), Some(row.version)).await {
            tracing::info!(tenant_id = %row.tenant_id, error = %error, "use was not noted");
        }
    }
}

impl From<store::Error> for Denied {
    fn from(error: store::Error) -> Self {
        tracing::error!(error = %error, "the table failed the broker");
        Self::StoreUnavailable { retry_after: None }
    }
}

impl From<Failed> for Denied {
    fn from(Failed { failure, retry_after }: Failed) -> Self {
        match failure {
            // Without its secret a connection is of no use, whoever's fault that is: connecting anew mends it.
            Failure::GrantEnded | Failure::NoRefreshToken | Failure::SecretMissing => {
                Self::Inactive { status: Status::Expired }
            }
            Failure::ClientRefused | Failure::NotConfigured => Self::NotConfigured,
            Failure::Unreachable | Failure::RateLimited | Failure::ProviderDown | Failure::Unreadable => {
                Self::RefreshFailed { retry_after }
            }
            Failure::VaultUnknown | Failure::VaultThrottled | Failure::VaultDown | Failure::TableDown => {
                Self::StoreUnavailable { retry_after }
            }
        }
    }
}

fn is(refused: Option<&SecretString>, token: &SecretString) -> bool {
    refused.is_some_and(|refused| refused.expose_secret() == token.expose_secret())
}
