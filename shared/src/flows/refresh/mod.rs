//! Refreshes an integration's token under the lease on its row, so that one worker at a time does it.
//!
//! A second worker finds the lease taken, or the row changed. A worker that dies leaves a lease that ends by itself.
//! The next holder reads the vault's latest version, because the dead worker may have written one that no row names
//! yet. [`domain::refresh`](crate::domain::refresh) says what each failure means.

mod failure;
mod persist;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::lease;
use super::stored_token::StoredFields;
use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, Env};
use crate::domain::integration::Integration;
use crate::domain::refresh;
use crate::domain::refresh_failure::{Class, Failure};
use crate::providers;
use crate::providers::azure::key_vault::{self, Vault};
use crate::providers::azure::vaults::Vaults;
use crate::providers::google::oauth;
use crate::store::{self, Store};
use crate::telemetry::metric;
use failure::{count_failure, map_google_error, map_table_error, map_vault_error};

/// Refreshes tokens with Google and keeps them in the vault.
pub struct Refresher {
    store: Store,
    vaults: Vaults,
    google: Option<oauth::Client>,
    clock: Clock,
}

/// What a token is refreshed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A runtime's call that waits for the token.
    Runtime,
    /// The schedule: the integration is due.
    Schedule,
}

/// The outcome of a refresh that did not fail.
#[derive(Clone, Debug)]
pub enum RefreshOutcome {
    /// Google gave a fresh access token.
    Token {
        /// The row as it was saved.
        row: Box<Integration>,
        /// The credential for Google's APIs.
        token: SecretString,
        /// When the token ends.
        expires_at: Timestamp,
    },
    /// Another worker holds the lease, or the row has changed: the caller reads the row and decides again.
    Superseded,
}

/// Why there is no fresh token. The row records it too, unless the table is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshError {
    /// The failure, which decides when the refresh is retried.
    pub failure: Failure,
    /// How long Google or the vault asks us to wait, if it does.
    pub retry_after: Option<Duration>,
}

/// Google's response to a refresh token.
struct TokenResponse {
    tokens: oauth::Tokens,
    /// The refresh token for the next time: Google's new one or, as a rule, the one that was used.
    refresh_token: SecretString,
}

/// A version of the secret, as it was read under the lease.
struct VaultSnapshot {
    stored: StoredFields,
    /// The version's id if the row does not name it, because a worker wrote it and died before it saved the row.
    orphan_version: Option<String>,
}

impl Refresher {
    /// Builds a refresher with the vaults and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used; a missing Google client is a [`Failure`] instead.
    pub fn from_env(env: &Env, http: &reqwest::Client, store: Store, clock: Clock) -> Result<Self, ConfigError> {
        let (vaults, google) = (Vaults::new(env, http, &clock)?, oauth::Client::from_env(env, http.clone())?);
        Ok(Self { store, vaults, google, clock })
    }

    /// Whether the settings name a client at Google.
    pub fn is_configured(&self) -> bool {
        self.google.is_some()
    }

    /// The vaults that hold the tokens.
    pub fn vaults(&self) -> &Vaults {
        &self.vaults
    }

    /// Our client at Google; `None` when it is not configured.
    pub fn google(&self) -> Option<&oauth::Client> {
        self.google.as_ref()
    }

    /// Reads the version that the row names; its fields are empty when that version can no longer be read.
    ///
    /// # Errors
    /// [`RefreshError`] when the vault is unavailable. Nothing is written to the row.
    pub async fn read_stored(&self, row: &Integration) -> Result<StoredFields, RefreshError> {
        match self.find_vault(row)?.get_version(&row.secret_name, &row.secret_version).await {
            Ok(secret) => Ok(StoredFields::parse(&secret.value)),
            // It was superseded or deleted since the row was read: the caller reads the row or the latest version next.
            Err(error) if key_vault::is_unreadable(&error) => Ok(StoredFields::default()),
            Err(error) => Err(map_vault_error(&error)),
        }
    }

    /// Refreshes the token of an Active integration whose row was read as `row`. `stored` is what the caller has read
    /// of the vault, if anything.
    ///
    /// # Errors
    /// [`RefreshError`], after it was recorded on the row and the lease was released.
    pub async fn refresh(
        &self,
        row: &Integration,
        stored: Option<&StoredFields>,
        trigger: Trigger,
    ) -> Result<RefreshOutcome, RefreshError> {
        let now = self.clock.now();
        let Some(mut leased) = lease::try_acquire(&self.store, row, now).await.map_err(map_table_error)? else {
            return Ok(RefreshOutcome::Superseded);
        };
        // The last holder died between Google, the vault and the row.
        let is_lease_taken_over = row.lease_until.is_some();
        match self.refresh_leased(&mut leased, is_lease_taken_over, stored, trigger).await {
            Ok(refreshed) => Ok(refreshed),
            Err(error) => self.record_failure(&leased, is_lease_taken_over, error).await,
        }
    }

    async fn refresh_leased(
        &self,
        leased: &mut Integration,
        is_lease_taken_over: bool,
        stored: Option<&StoredFields>,
        trigger: Trigger,
    ) -> Result<RefreshOutcome, RefreshError> {
        let snapshot = match stored {
            Some(stored) if !is_lease_taken_over => Some(VaultSnapshot::from(stored.clone())),
            Some(_) | None if is_lease_taken_over => self.read_latest(leased).await?,
            Some(_) | None => Some(VaultSnapshot::from(self.read_stored(leased).await?)),
        };
        let Some(snapshot) = snapshot else { return Ok(RefreshOutcome::Superseded) };
        let Some((response, snapshot, is_new)) = self.request_tokens(leased, snapshot).await? else {
            return Ok(RefreshOutcome::Superseded);
        };
        // A row without `expires_at` learns it when the tokens are stored.
        let is_renewed = is_new || snapshot.orphan_version.is_some() || leased.expires_at.is_none();
        if trigger == Trigger::Schedule && !is_renewed && !refresh::is_in_use(leased, self.clock.now()) {
            return self.save_confirmed(leased, response).await;
        }
        self.store_tokens(leased, snapshot, response, trigger).await
    }

    fn find_vault(&self, row: &Integration) -> Result<&Vault, RefreshError> {
        self.vaults.find(row.vault.as_deref()).ok_or_else(|| {
            tracing::error!(
                code = "vault_unknown", tenant_id = %row.tenant_id, provider = %row.provider,
                "Vault of an integration is not among the settings; its tokens cannot be read"
            );
            RefreshError { failure: Failure::VaultUnknown, retry_after: None }
        })
    }

    /// Reads the vault's latest version. If the row does not name it, it is first added to the row's superseded
    /// versions, so that it is disabled even if this worker is killed. Returns `None` when the row cannot be saved
    /// because the lease was taken over: the version may be the new holder's.
    async fn read_latest(&self, leased: &mut Integration) -> Result<Option<VaultSnapshot>, RefreshError> {
        let latest = match self.find_vault(leased)?.get_latest(&leased.secret_name).await {
            Ok(latest) => latest,
            // Its writer disabled it because its lease had ended: the version that the row names is valid.
            Err(error) if key_vault::is_disabled(&error) => return Ok(Some(self.read_stored(leased).await?.into())),
            Err(providers::Error::NotFound) => {
                return Err(RefreshError { failure: Failure::SecretMissing, retry_after: None });
            }
            Err(error) => return Err(map_vault_error(&error)),
        };
        let stored = StoredFields::parse(&latest.value);
        if latest.version == leased.secret_version {
            return Ok(Some(stored.into()));
        }
        let known = leased.superseded.iter().chain([&latest.version]).cloned().collect();
        let noted = leased.clone().with_superseded(known);
        match self.store.save_integration(&noted, Some(leased.version)).await {
            Ok(row) => *leased = row,
            Err(store::Error::Conflict) => return Ok(None),
            Err(error) => return Err(map_table_error(error)),
        }
        Ok(Some(VaultSnapshot { stored, orphan_version: Some(latest.version) }))
    }

    /// Requests tokens with the refresh token of `snapshot` and, if Google refuses that one, with the vault's latest.
    /// Returns the response, the snapshot that was used, and whether the refresh token to keep differs from the one in
    /// the version that the row names. Returns `None` as [`Self::read_latest`] does.
    async fn request_tokens(
        &self,
        leased: &mut Integration,
        snapshot: VaultSnapshot,
    ) -> Result<Option<(TokenResponse, VaultSnapshot, bool)>, RefreshError> {
        let refused = match self.call_token_endpoint(&snapshot.stored).await {
            Err(error) if error.failure.class() == Class::Final => error,
            Err(error) => return Err(error),
            Ok(response) => {
                let used = snapshot.stored.refresh_token.as_ref();
                let is_new = used.is_none_or(|used| !is_same_token(used, &response.refresh_token));
                return Ok(Some((response, snapshot, is_new)));
            }
        };
        let Some(latest) = self.read_latest(leased).await? else { return Ok(None) };
        // The version that the row names may have been unreadable a moment ago.
        let is_other = (latest.orphan_version.is_some() && latest.orphan_version != snapshot.orphan_version)
            || (snapshot.stored.refresh_token.is_none() && latest.stored.refresh_token.is_some());
        if is_other { Ok(Some((self.call_token_endpoint(&latest.stored).await?, latest, true))) } else { Err(refused) }
    }

    async fn call_token_endpoint(&self, stored: &StoredFields) -> Result<TokenResponse, RefreshError> {
        let failed = |failure| RefreshError { failure, retry_after: None };
        let google = self.google.as_ref().ok_or_else(|| failed(Failure::NotConfigured))?;
        let used = stored.refresh_token.as_ref().ok_or_else(|| failed(Failure::NoRefreshToken))?;
        match google.refresh_access_token(used).await {
            Ok(tokens) => {
                let refresh_token = tokens.refresh_token.clone().unwrap_or_else(|| used.clone());
                Ok(TokenResponse { tokens, refresh_token })
            }
            Err(oauth::Error::InvalidGrant { .. }) => Err(failed(Failure::GrantEnded)),
            Err(oauth::Error::Configuration { code }) => {
                tracing::error!(
                    code = "google_client_refused",
                    google_code = code,
                    "Google refused our OAuth client; no token can be refreshed until an operator corrects it"
                );
                Err(failed(Failure::ClientRefused))
            }
            Err(oauth::Error::Transient(error)) => {
                tracing::warn!(
                    code = "token_endpoint_failed", error = %error,
                    "Token endpoint of Google failed; the refresh is retried after a back-off"
                );
                Err(map_google_error(&error))
            }
        }
    }

    /// Records a failure on the row and releases its lease; a permanent one makes the integration Expired.
    async fn record_failure(
        &self,
        leased: &Integration,
        was_vault_uncertain: bool,
        error: RefreshError,
    ) -> Result<RefreshOutcome, RefreshError> {
        let (tenant_id, provider) = (leased.tenant_id, leased.provider);
        if error.failure.class() != Class::Final {
            self.save_back_off(leased, was_vault_uncertain, error).await;
            return Err(error);
        }
        let row = refresh::with_failure(leased, error.failure, None, self.clock.now());
        match self.store.save_integration(&row, Some(leased.version)).await {
            Ok(_) => {
                tracing::warn!(
                    code = "integration_expired", tenant_id = %tenant_id, provider = %provider,
                    failure = error.failure.as_str(),
                    "Refresh failed permanently; the integration is Expired and its person will be notified"
                );
                metric("IntegrationsExpired", 1);
                Err(error)
            }
            Err(store::Error::Conflict) => Ok(RefreshOutcome::Superseded),
            Err(error) => Err(map_table_error(error)),
        }
    }

    /// Saves a failure that is retried, with its back-off. If the row cannot be saved, the lease ends by itself and the
    /// integration stays due. After a failure of the vault or the table nobody knows which version the vault holds: the
    /// row then keeps an ended lease, so that the next holder reads the latest version, until a refresh succeeds.
    async fn save_back_off(&self, leased: &Integration, was_vault_uncertain: bool, error: RefreshError) -> Integration {
        count_failure(error.failure);
        let now = self.clock.now();
        let is_vault_uncertain = was_vault_uncertain
            || matches!(error.failure, Failure::VaultThrottled | Failure::VaultDown | Failure::TableDown);
        let row = Integration {
            lease_until: is_vault_uncertain.then_some(now),
            ..refresh::with_failure(leased, error.failure, error.retry_after, now)
        };
        self.store.save_integration(&row, Some(leased.version)).await.unwrap_or_else(|error| {
            tracing::warn!(
                code = "lease_not_released", tenant_id = %leased.tenant_id, provider = %leased.provider,
                error = %error, "Failed refresh could not be saved; the integration stays leased until the lease ends"
            );
            row
        })
    }
}

pub(super) fn is_same_token(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

impl From<StoredFields> for VaultSnapshot {
    fn from(stored: StoredFields) -> Self {
        Self { stored, orphan_version: None }
    }
}
