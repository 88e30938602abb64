//! Our identity at Azure.

use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use secrecy::ExposeSecret as _;

use crate::config::{ConfigError, Env};

/// The identity of the settings `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`, at
/// `AZURE_AUTHORITY_HOST` (Microsoft's public cloud unless set).
///
/// Tokens are fetched on first use and kept until shortly before they end.
///
/// # Errors
/// [`ConfigError`] when a setting is missing or cannot be used.
pub fn from_env(env: &Env, http: &reqwest::Client) -> Result<Arc<dyn TokenCredential>, ConfigError> {
    let directory = env.required("AZURE_TENANT_ID", "the directory (tenant) id of the application at Entra")?;
    let client_id = env.required("AZURE_CLIENT_ID", "the application (client) id at Entra")?;
    let secret = env.secret("AZURE_CLIENT_SECRET", "a client secret of the application at Entra")?;
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = env.url("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")?;
    let mut client_options = super::client_options(http);
    client_options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
    let credential = ClientSecretCredential::new(
        directory,
        client_id.to_owned(),
        Secret::new(secret.expose_secret().to_owned()),
        Some(ClientSecretCredentialOptions { client_options }),
    )
    .map_err(|_| ConfigError::Invalid {
        name: "AZURE_TENANT_ID or AZURE_AUTHORITY_HOST".to_owned(),
        hint: "a directory id, and an https address",
    })?;
    Ok(credential)
}
