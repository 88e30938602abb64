//! A vault, which alone holds tokens. <https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups>
//!
//! [`Error::NotFound`] is the vault's own word that there is no such secret; every other error says nothing about the
//! secret, only that the vault cannot serve now.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::Response;
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientGetSecretOptions, SecretClientUpdateSecretPropertiesOptions, SetSecretParameters,
    UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions, models};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use tokio::sync::Semaphore;

use super::super::Error;
use crate::clock::{Clock, Timestamp, Waiter};
use crate::config::ConfigError;
use crate::domain::ids::TenantId;

const API_VERSION: &str = "7.6";

/// The tag that says whose a secret is, as on every resource of a tenant.
const TENANT_TAG: &str = "nbhd_tenant";

/// The longest one operation takes, sign-in and the wait for its turn included.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A deletion or recovery takes the vault a few seconds, in which the name cannot be written.
const SETTLING_POLL: Duration = Duration::from_secs(1);
const SETTLING_POLLS: u32 = 8;

/// <https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview>
const IS_DELETED: &str = "ObjectIsDeletedButRecoverable";
const IS_DISABLED: &str = "SecretDisabled";

/// Operations of one process at a time. A vault takes 30 new versions and 400 other calls a second from all of them.
/// <https://learn.microsoft.com/azure/key-vault/general/service-limits>
const AT_ONCE: usize = 8;

/// How long a vault that throttles is left alone: what it asks for within these bounds.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A vault.
pub struct Vault {
    address: String,
    secrets: SecretClient,
    clock: Clock,
    waiter: Waiter,
    permits: Semaphore,
    /// Until when it asked not to be called, in milliseconds since the epoch.
    rests_until: AtomicI64,
}

/// One version of a secret.
#[derive(Clone, Debug)]
pub struct Secret {
    /// What it holds.
    pub value: SecretString,
    /// Which version it is.
    pub version: String,
}

impl Vault {
    /// The vault at `address`, opened as `credential`.
    pub(super) fn new(
        address: &str,
        credential: Arc<dyn TokenCredential>,
        http: &reqwest::Client,
        clock: Clock,
    ) -> Result<Self, ConfigError> {
        let url = Url::parse(address).map_err(|_| super::vaults::invalid())?;
        let options = SecretClientOptions {
            api_version: API_VERSION.to_owned(),
            client_options: super::client_options(http),
            // The challenge names a suffix of the vault's host, which a vault on this machine does not have.
            verify_challenge_resource: Some(!is_loopback(&url)),
        };
        let secrets = SecretClient::new(address, credential, Some(options)).map_err(|_| super::vaults::invalid())?;
        Ok(Self {
            address: address.to_owned(),
            secrets,
            clock,
            waiter: Waiter::default(),
            permits: Semaphore::new(AT_ONCE),
            rests_until: AtomicI64::new(0),
        })
    }

    /// The same vault, passing time as `waiter` does.
    pub(super) fn waiting_by(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// Its address, without a trailing slash: what a row records.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// For how long yet it asked not to be called; calls are refused until then, here and not there.
    pub fn rest(&self, now: Timestamp) -> Option<Duration> {
        let until = Timestamp::from_millis(self.rests_until.load(Ordering::Relaxed));
        (until > now).then(|| until.since(now))
    }

    /// The latest version of a secret.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none (a deleted one is none); any other: the vault cannot serve now.
    pub async fn latest(&self, name: &str) -> Result<Secret, Error> {
        self.get(name, None).await
    }

    /// One version of a secret.
    ///
    /// # Errors
    /// As [`Self::latest`]; also [`Error::Refused`] with status 403 when the version was disabled.
    pub async fn version(&self, name: &str, version: &str) -> Result<Secret, Error> {
        named(version)?;
        self.get(name, Some(version.to_owned())).await
    }

    /// Writes a new version of a secret of `tenant`, and returns which; a name that is softly deleted is recovered.
    ///
    /// # Errors
    /// The vault cannot serve now; whether the version was written is then unknown.
    pub async fn set(&self, name: &str, tenant: TenantId, value: &SecretString) -> Result<String, Error> {
        for _ in 0..SETTLING_POLLS {
            match self.put(name, tenant, value).await {
                Err(Error::Refused { status: 409, reason }) if reason == IS_DELETED => {
                    self.call(self.secrets.recover_deleted_secret(name, None)).await?;
                }
                Err(Error::Refused { status: 409, .. }) => self.waiter.wait(SETTLING_POLL).await,
                written => return written,
            }
        }
        Err(Error::Refused { status: 409, reason: "the name did not settle".to_owned() })
    }

    /// Makes a superseded version unreadable: single versions cannot be deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such version; any other: the vault cannot serve now.
    pub async fn disable(&self, name: &str, version: &str) -> Result<(), Error> {
        named(version)?;
        let attributes = SecretAttributes { enabled: Some(false), ..SecretAttributes::default() };
        let parameters = UpdateSecretPropertiesParameters { secret_attributes: Some(attributes), ..Default::default() };
        let body = parameters.try_into().map_err(|error| super::error(&error))?;
        let options = SecretClientUpdateSecretPropertiesOptions {
            secret_version: Some(version.to_owned()),
            ..SecretClientUpdateSecretPropertiesOptions::default()
        };
        let answer = self.call(self.secrets.update_secret_properties(name, body, Some(options))).await?;
        // Only the vault's own word counts: whoever disables a version forgets it.
        let changed = answer.into_model().ok().and_then(|secret| secret.attributes);
        match changed.and_then(|attributes| attributes.enabled) {
            Some(false) => Ok(()),
            Some(true) | None => Err(Error::Malformed { reason: "not a disabled secret".to_owned() }),
        }
    }

    /// Deletes a secret with all its versions, softly; whether there was one.
    ///
    /// # Errors
    /// The vault cannot serve now.
    pub async fn delete(&self, name: &str) -> Result<bool, Error> {
        was_there(self.call(self.secrets.delete_secret(name, None)).await.map(|_| ()))
    }

    /// Deletes for good what is softly deleted; whether something was.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 409 while the deletion is still in progress; any other: the vault cannot serve
    /// now.
    pub async fn purge(&self, name: &str) -> Result<bool, Error> {
        was_there(self.call(self.secrets.purge_deleted_secret(name, None)).await.map(|_| ()))
    }

    /// Awaits one operation of the SDK, within [`TIMEOUT`], unless the vault asked to be left alone.
    async fn call<T>(&self, operation: impl Future<Output = azure_core::Result<T>>) -> Result<T, Error> {
        // Boxed: the SDK's futures are kilobytes, and callers hold several.
        let operation = Box::pin(operation);
        let in_turn = async {
            // Never closed, so there always is a permit in the end.
            let _permit = self.permits.acquire().await;
            if let Some(rest) = self.rest(self.clock.now()) {
                return Err(Error::RateLimited { retry_after: Some(rest) });
            }
            let answer = operation.await.map_err(|error| super::error(&error));
            if let Err(Error::RateLimited { retry_after }) = &answer {
                let rest = retry_after.unwrap_or(SHORTEST_REST).clamp(SHORTEST_REST, LONGEST_REST);
                // Of several answers at once the longest rest counts.
                self.rests_until.fetch_max((self.clock.now() + rest).millis(), Ordering::Relaxed);
            }
            answer
        };
        let too_slow = || Err(Error::Unreachable { timed_out: true, reason: "too slow".to_owned() });
        tokio::time::timeout(TIMEOUT, in_turn).await.unwrap_or_else(|_| too_slow())
    }

    /// When the vault destroys what is softly deleted; `None` when nothing is.
    ///
    /// # Errors
    /// The vault cannot serve now.
    pub async fn scheduled_purge(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        let answer = match self.call(self.secrets.get_deleted_secret(name, None)).await {
            Ok(answer) => answer,
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The parser's own message would quote the answer.
        let deleted =
            answer.into_model().map_err(|_| Error::Malformed { reason: "not a deleted secret".to_owned() })?;
        Ok(deleted.scheduled_purge_date.map(|date| Timestamp::from_seconds(date.unix_timestamp())))
    }

    async fn get(&self, name: &str, version: Option<String>) -> Result<Secret, Error> {
        let options =
            SecretClientGetSecretOptions { secret_version: version, ..SecretClientGetSecretOptions::default() };
        read(self.call(self.secrets.get_secret(name, Some(options))).await?)
    }

    async fn put(&self, name: &str, tenant: TenantId, value: &SecretString) -> Result<String, Error> {
        let parameters = SetSecretParameters {
            value: Some(value.expose_secret().to_owned()),
            content_type: Some("application/json".to_owned()),
            tags: Some(HashMap::from([(TENANT_TAG.to_owned(), tenant.to_string())])),
            ..SetSecretParameters::default()
        };
        let body = parameters.try_into().map_err(|error| super::error(&error))?;
        read(self.call(self.secrets.set_secret(name, body, None)).await?).map(|secret| secret.version)
    }
}

/// Whether the vault's word is that a version holds nothing to read: there is none, or it was disabled.
pub fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::NotFound) || is_disabled(error)
}

/// Whether the vault's word is that a version was disabled.
pub fn is_disabled(error: &Error) -> bool {
    match error {
        Error::Refused { status: 403, reason } => reason == IS_DISABLED,
        Error::NotFound
        | Error::Refused { .. }
        | Error::Unreachable { .. }
        | Error::RateLimited { .. }
        | Error::Unauthorized
        | Error::Failed { .. }
        | Error::Malformed { .. } => false,
    }
}

/// To the vault an empty version means the latest, and never what a caller means who names one.
fn named(version: &str) -> Result<(), Error> {
    if version.is_empty() { Err(Error::NotFound) } else { Ok(()) }
}

fn was_there(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(answer: Response<models::Secret>) -> Result<Secret, Error> {
    let malformed = || Error::Malformed { reason: "not a secret".to_owned() };
    // The parser's own message would quote the value.
    let secret = answer.into_model().map_err(|_| malformed())?;
    let version = secret.resource_id().ok().and_then(|id| id.version).ok_or_else(malformed)?;
    let value = secret.value.map(SecretString::from).ok_or_else(malformed)?;
    Ok(Secret { value, version })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
