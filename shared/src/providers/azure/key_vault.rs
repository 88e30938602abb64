//! A vault; tokens are stored nowhere else. <https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups>
//!
//! [`Error::NotFound`] means that the vault has no such secret. Every other error means that the vault cannot serve
//! now, and says nothing about the secret.

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
use futures::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use tokio::sync::Semaphore;

use super::super::{Error, NetworkFailure};
use crate::clock::{Clock, Timestamp, Waiter};
use crate::config::ConfigError;
use crate::domain::ids::TenantId;

/// The setting with the vaults' addresses, and what it should hold.
pub(super) const VAULT_SETTING: &str = "KEY_VAULT_URLS";
pub(super) const VAULT_HINT: &str =
    "the addresses of the vaults, separated by commas, such as https://name.vault.azure.net";

const API_VERSION: &str = "7.6";

/// The tag with the tenant's id, as on every resource of a tenant.
const TENANT_TAG: &str = "nbhd_tenant";

/// The limit of one operation, including the sign-in and the wait for a permit.
const TIMEOUT: Duration = Duration::from_secs(8);

/// How long to wait before a name is written again that is being deleted or recovered, which takes seconds.
const SETTLING_POLL: Duration = Duration::from_secs(1);
const SETTLING_POLLS: u32 = 8;

/// <https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview>
const IS_DELETED: &str = "ObjectIsDeletedButRecoverable";
const IS_DISABLED: &str = "SecretDisabled";

/// Concurrent operations of one process. A vault takes 30 new versions and 400 other calls a second from all processes.
/// <https://learn.microsoft.com/azure/key-vault/general/service-limits>
const MAX_CONCURRENT: usize = 8;

/// Bounds of the time for which a vault that throttles is not called.
const MIN_THROTTLE: Duration = Duration::from_secs(1);
const MAX_THROTTLE: Duration = Duration::from_secs(60);

/// The client of one vault.
pub struct Vault {
    address: String,
    secrets: SecretClient,
    clock: Clock,
    waiter: Waiter,
    permits: Semaphore,
    /// When the vault may be called again, in milliseconds since the epoch.
    throttled_until: AtomicI64,
}

/// A version of a secret, with its value.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The value of this version.
    pub value: SecretString,
    /// The vault's id of the version.
    pub version: String,
    /// When the version was written; `None` when the vault does not say.
    pub created_at: Option<Timestamp>,
}

impl Vault {
    /// The vault at `address`, called with `credential`.
    pub(super) fn new(
        address: &str,
        credential: Arc<dyn TokenCredential>,
        http: &reqwest::Client,
        clock: Clock,
    ) -> Result<Self, ConfigError> {
        let url = Url::parse(address).map_err(|_| invalid_address())?;
        let options = SecretClientOptions {
            api_version: API_VERSION.to_owned(),
            client_options: super::client_options(http),
            // The challenge names a suffix of the vault's host, which a vault on this machine does not have.
            verify_challenge_resource: Some(!is_loopback(&url)),
        };
        let secrets = SecretClient::new(address, credential, Some(options)).map_err(|_| invalid_address())?;
        Ok(Self {
            address: address.to_owned(),
            secrets,
            clock,
            waiter: Waiter::default(),
            permits: Semaphore::new(MAX_CONCURRENT),
            throttled_until: AtomicI64::new(0),
        })
    }

    /// The same vault, which waits by `waiter`.
    pub(super) fn with_waiter(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// Its address without a trailing slash, as it is stored on a row.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long the vault still asks not to be called; until then every call fails here, without a request.
    pub fn throttled_for(&self, now: Timestamp) -> Option<Duration> {
        let until = Timestamp::from_millis(self.throttled_until.load(Ordering::Relaxed));
        (until > now).then(|| until.since(now))
    }

    /// Reads the latest version of a secret.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or it is deleted; any other: the vault cannot serve now.
    pub async fn get_latest(&self, name: &str) -> Result<Secret, Error> {
        self.get(name, None).await
    }

    /// Reads one version of a secret.
    ///
    /// # Errors
    /// As [`Self::get_latest`]; also [`Error::Refused`] with status 403 when the version was disabled.
    pub async fn get_version(&self, name: &str, version: &str) -> Result<Secret, Error> {
        require_version(version)?;
        self.get(name, Some(version.to_owned())).await
    }

    /// Writes a new version of a secret of `tenant`, and returns the version's id. A secret that is soft-deleted is
    /// recovered first.
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
                result => return result,
            }
        }
        Err(Error::Refused { status: 409, reason: "name_stays_in_transition".to_owned() })
    }

    /// Disables a version, which makes it unreadable; a single version cannot be deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such version; any other: the vault cannot serve now.
    pub async fn disable(&self, name: &str, version: &str) -> Result<(), Error> {
        require_version(version)?;
        let attributes = SecretAttributes { enabled: Some(false), ..SecretAttributes::default() };
        let parameters = UpdateSecretPropertiesParameters { secret_attributes: Some(attributes), ..Default::default() };
        let body = parameters.try_into().map_err(|error| super::map_sdk_error(&error))?;
        let options = SecretClientUpdateSecretPropertiesOptions {
            secret_version: Some(version.to_owned()),
            ..SecretClientUpdateSecretPropertiesOptions::default()
        };
        let answer = self.call(self.secrets.update_secret_properties(name, body, Some(options))).await?;
        // The answer has to say so: the caller drops the version from its row.
        let changed = answer.into_model().ok().and_then(|secret| secret.attributes);
        match changed.and_then(|attributes| attributes.enabled) {
            Some(false) => Ok(()),
            Some(true) | None => Err(Error::malformed("not a disabled secret")),
        }
    }

    /// Disables every version of a secret that can be read; nothing to do when there is no such secret.
    ///
    /// # Errors
    /// The vault cannot serve now; some versions may be disabled.
    pub async fn disable_all(&self, name: &str) -> Result<(), Error> {
        for version in self.list_enabled(name).await? {
            match self.disable(name, &version).await {
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The versions of a secret that can be read, page by page.
    async fn list_enabled(&self, name: &str) -> Result<Vec<String>, Error> {
        let pager = self.secrets.list_secret_properties_versions(name, None);
        let mut pages = pager.map_err(|error| super::map_sdk_error(&error))?.into_pages();
        let mut versions = Vec::new();
        loop {
            let page = match self.call(async { pages.try_next().await }).await {
                Ok(Some(page)) => page.into_model().map_err(|_| Error::malformed("not a list of versions"))?,
                Ok(None) | Err(Error::NotFound) => return Ok(versions),
                Err(error) => return Err(error),
            };
            for secret in page.value {
                let is_enabled = secret.attributes.as_ref().and_then(|attributes| attributes.enabled) == Some(true);
                let version = secret.resource_id().ok().and_then(|id| id.version);
                versions.extend(version.filter(|_| is_enabled));
            }
        }
    }

    /// Lists the names of all secrets and the tenants on their tags, 25 a page.
    /// <https://learn.microsoft.com/rest/api/keyvault/secrets/get-secrets/get-secrets>
    ///
    /// # Errors
    /// The vault cannot serve now.
    pub async fn list_secrets(&self) -> Result<Vec<(String, Option<TenantId>)>, Error> {
        let pager = self.secrets.list_secret_properties(None);
        let mut pages = pager.map_err(|error| super::map_sdk_error(&error))?.into_pages();
        let mut secrets = Vec::new();
        while let Some(page) = self.call(async { pages.try_next().await }).await? {
            let page = page.into_model().map_err(|_| Error::malformed("not a list of secrets"))?;
            for secret in page.value {
                let tenant = secret.tags.as_ref().and_then(|tags| tags.get(TENANT_TAG)?.parse().ok());
                secrets.extend(secret.resource_id().ok().map(|id| (id.name, tenant)));
            }
        }
        Ok(secrets)
    }

    /// Soft-deletes a secret with all its versions, and returns whether there was one.
    ///
    /// # Errors
    /// The vault cannot serve now.
    pub async fn delete(&self, name: &str) -> Result<bool, Error> {
        ok_unless_not_found(self.call(self.secrets.delete_secret(name, None)).await.map(|_| ()))
    }

    /// Purges a soft-deleted secret, and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 409 while the deletion is still in progress; any other: the vault cannot serve
    /// now.
    pub async fn purge(&self, name: &str) -> Result<bool, Error> {
        ok_unless_not_found(self.call(self.secrets.purge_deleted_secret(name, None)).await.map(|_| ()))
    }

    /// Awaits one operation of the SDK, within [`TIMEOUT`]; fails at once while the vault throttles.
    async fn call<T>(&self, operation: impl Future<Output = azure_core::Result<T>>) -> Result<T, Error> {
        // Boxed: the SDK's futures are kilobytes, and callers hold several.
        let operation = Box::pin(operation);
        let with_permit = async {
            // The semaphore is never closed, so this cannot fail.
            let _permit = self.permits.acquire().await;
            if let Some(wait) = self.throttled_for(self.clock.now()) {
                return Err(Error::RateLimited { retry_after: Some(wait) });
            }
            let answer = operation.await.map_err(|error| super::map_sdk_error(&error));
            if let Err(Error::RateLimited { retry_after }) = &answer {
                let wait = retry_after.unwrap_or(MIN_THROTTLE).clamp(MIN_THROTTLE, MAX_THROTTLE);
                // Of several concurrent answers the longest wait counts.
                self.throttled_until.fetch_max((self.clock.now() + wait).millis(), Ordering::Relaxed);
            }
            answer
        };
        let timed_out = Err(Error::Unreachable { cause: NetworkFailure::TimedOut });
        tokio::time::timeout(TIMEOUT, with_permit).await.unwrap_or(timed_out)
    }

    /// When the vault will purge a soft-deleted secret; `None` when there is none.
    ///
    /// # Errors
    /// The vault cannot serve now.
    pub async fn get_scheduled_purge(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        let answer = match self.call(self.secrets.get_deleted_secret(name, None)).await {
            Ok(answer) => answer,
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The parser's own message would quote the answer.
        let deleted = answer.into_model().map_err(|_| Error::malformed("not a deleted secret"))?;
        Ok(deleted.scheduled_purge_date.map(|date| Timestamp::from_seconds(date.unix_timestamp())))
    }

    async fn get(&self, name: &str, version: Option<String>) -> Result<Secret, Error> {
        let options =
            SecretClientGetSecretOptions { secret_version: version, ..SecretClientGetSecretOptions::default() };
        parse_secret(self.call(self.secrets.get_secret(name, Some(options))).await?)
    }

    async fn put(&self, name: &str, tenant: TenantId, value: &SecretString) -> Result<String, Error> {
        let parameters = SetSecretParameters {
            value: Some(value.expose_secret().to_owned()),
            content_type: Some("application/json".to_owned()),
            tags: Some(HashMap::from([(TENANT_TAG.to_owned(), tenant.to_string())])),
            ..SetSecretParameters::default()
        };
        let body = parameters.try_into().map_err(|error| super::map_sdk_error(&error))?;
        parse_secret(self.call(self.secrets.set_secret(name, body, None)).await?).map(|secret| secret.version)
    }
}

/// Whether the vault says that a version cannot be read: there is none, or it is disabled.
pub fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::NotFound) || is_disabled(error)
}

/// Whether the vault says that a version is disabled.
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

/// Refuses an empty version: to the vault it means the latest, which is not the one that the caller asked for.
fn require_version(version: &str) -> Result<(), Error> {
    if version.is_empty() { Err(Error::NotFound) } else { Ok(()) }
}

/// Whether there was something to delete.
fn ok_unless_not_found(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse_secret(answer: Response<models::Secret>) -> Result<Secret, Error> {
    let malformed = || Error::malformed("not a secret");
    // The parser's own message would quote the value.
    let secret = answer.into_model().map_err(|_| malformed())?;
    let version = secret.resource_id().ok().and_then(|id| id.version).ok_or_else(malformed)?;
    let created = secret.attributes.as_ref().and_then(|attributes| attributes.created);
    let created_at = created.map(|date| Timestamp::from_seconds(date.unix_timestamp()));
    let value = secret.value.map(SecretString::from).ok_or_else(malformed)?;
    Ok(Secret { value, version, created_at })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// That the setting holds something that is not the address of a vault.
pub(super) fn invalid_address() -> ConfigError {
    ConfigError::invalid(VAULT_SETTING, VAULT_HINT)
}
