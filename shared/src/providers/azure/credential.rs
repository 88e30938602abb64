//! Our identity at Azure. No secret is stored for it: AWS signs a token for the function's role, and Entra trusts AWS.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html>,
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::get_web_identity_token::{
    GetWebIdentityToken, GetWebIdentityTokenError, GetWebIdentityTokenInput, GetWebIdentityTokenOutput,
};
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use secrecy::ExposeSecret as _;

use super::super::{Error, NetworkFailure};
use crate::aws::Service;
use crate::config::{ConfigError, Env};

crate::aws::impl_requests! {
    GetWebIdentityTokenInput: GetWebIdentityToken => GetWebIdentityTokenOutput, GetWebIdentityTokenError;
}

/// The audience of the token, which a federated credential at Entra expects.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The only algorithm of STS that Entra accepts.
const ALGORITHM: &str = "RS256";

/// How long the token is valid. It is used at once, and the function's policy allows no more.
const LIFETIME: Duration = Duration::from_secs(300);

/// The codes with which STS throttles; their status is 400.
const THROTTLING_CODES: [&str; 2] = ["Throttling", "ThrottlingException"];

/// The identity of the settings `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`.
///
/// It signs in at `AZURE_AUTHORITY_HOST` (Microsoft's public cloud unless set) with a token for the role that this
/// function runs as or, when it is set, with `AZURE_CLIENT_SECRET`. Azure's tokens are fetched on first use and cached
/// until shortly before they expire.
///
/// # Errors
/// [`ConfigError`] when a setting is missing or cannot be used.
pub fn from_env(env: &Env, http: &reqwest::Client) -> Result<Arc<dyn TokenCredential>, ConfigError> {
    let directory =
        env.required("AZURE_TENANT_ID", "the directory (tenant) id of the application at Entra")?.to_owned();
    let client_id = env.required("AZURE_CLIENT_ID", "the application (client) id at Entra")?.to_owned();
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = env.url("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")?;
    let mut client_options = super::client_options(http);
    client_options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
    let invalid =
        |_| ConfigError::invalid("AZURE_TENANT_ID or AZURE_AUTHORITY_HOST", "a directory id, and an https address");
    if let Some(secret) = env.optional_secret("AZURE_CLIENT_SECRET") {
        let secret = Secret::new(secret.expose_secret().to_owned());
        let options = ClientSecretCredentialOptions { client_options };
        return Ok(ClientSecretCredential::new(&directory, client_id, secret, Some(options)).map_err(invalid)?);
    }
    let role = Role { service: Service::from_env(env, "sts")? };
    let options = ClientAssertionCredentialOptions { client_options };
    Ok(ClientAssertionCredential::new(directory, client_id, role, Some(options)).map_err(invalid)?)
}

/// The role that this function runs as.
#[derive(Debug)]
struct Role {
    service: Service,
}

#[async_trait::async_trait]
impl ClientAssertion for Role {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.web_identity_token().await.map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))
    }
}

impl Role {
    /// Asks STS for a token that says that its bearer is this role.
    async fn web_identity_token(&self) -> Result<String, Error> {
        let request = GetWebIdentityTokenInput::builder().audience(AUDIENCE).signing_algorithm(ALGORITHM);
        let request = request.duration_seconds(LIFETIME.as_secs() as i32);
        let answer = self.service.send(request.build()).await.map_err(|error| map_sts_error(&error))?;
        answer.web_identity_token.ok_or_else(|| Error::malformed("no web identity token"))
    }
}

/// The error of STS as ours.
fn map_sts_error(error: &SdkError<GetWebIdentityTokenError>) -> Error {
    let reason = crate::aws::error_code(error);
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match status {
        None if matches!(error, SdkError::TimeoutError(_)) => Error::Unreachable { cause: NetworkFailure::TimedOut },
        // The SDK does not say whether the connection was made.
        None => Error::Unreachable { cause: NetworkFailure::ConnectionLost },
        Some(status @ 500..) => Error::Failed { status },
        Some(429) => Error::RateLimited { retry_after: None },
        Some(_) if error.code().is_some_and(|code| THROTTLING_CODES.contains(&code)) => {
            Error::RateLimited { retry_after: None }
        }
        Some(status @ 400..) => Error::Refused { status, reason },
        Some(_) => Error::Malformed { reason },
    }
}
