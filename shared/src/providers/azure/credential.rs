//! Our identity at Azure, for which nothing secret is stored: AWS vouches for the function's role, and Entra trusts it.
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

use super::super::Error;
use crate::aws::Service;
use crate::config::{ConfigError, Env};

crate::aws::impl_requests! {
    GetWebIdentityTokenInput: GetWebIdentityToken => GetWebIdentityTokenOutput, GetWebIdentityTokenError;
}

/// Whom an assertion is meant for: the audience that a federated credential at Entra expects.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Entra takes no other of the algorithms that STS offers.
const ALGORITHM: &str = "RS256";

/// An assertion is used at once; the function's policy allows no longer life.
const LIFETIME: Duration = Duration::from_secs(300);

/// STS says "too many requests" with a status of 400.
const THROTTLED: [&str; 2] = ["Throttling", "ThrottlingException"];

/// The identity of the settings `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`.
///
/// It is proven by the role this function runs as or, when `AZURE_CLIENT_SECRET` is set, by that, at
/// `AZURE_AUTHORITY_HOST` (Microsoft's public cloud unless set). Tokens are fetched on first use and kept until shortly
/// before they end.
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
    let invalid = |_| ConfigError::Invalid {
        name: "AZURE_TENANT_ID or AZURE_AUTHORITY_HOST".to_owned(),
        hint: "a directory id, and an https address",
    };
    if let Some(secret) = env.optional_secret("AZURE_CLIENT_SECRET") {
        let secret = Secret::new(secret.expose_secret().to_owned());
        let options = ClientSecretCredentialOptions { client_options };
        return Ok(ClientSecretCredential::new(&directory, client_id, secret, Some(options)).map_err(invalid)?);
    }
    let role = Role { service: Service::from_env(env, "sts")? };
    let options = ClientAssertionCredentialOptions { client_options };
    Ok(ClientAssertionCredential::new(directory, client_id, role, Some(options)).map_err(invalid)?)
}

/// The role this function runs as.
#[derive(Debug)]
struct Role {
    service: Service,
}

#[async_trait::async_trait]
impl ClientAssertion for Role {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.vouched().await.map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))
    }
}

impl Role {
    /// A signed statement of AWS that its bearer is this role.
    async fn vouched(&self) -> Result<String, Error> {
        let request = GetWebIdentityTokenInput::builder().audience(AUDIENCE).signing_algorithm(ALGORITHM);
        let request = request.duration_seconds(LIFETIME.as_secs() as i32);
        let answer = self.service.send(request.build()).await.map_err(|error| why(&error))?;
        answer.web_identity_token.ok_or_else(|| Error::Malformed { reason: "no web identity token".to_owned() })
    }
}

fn why(error: &SdkError<GetWebIdentityTokenError>) -> Error {
    let reason = crate::aws::error_code(error);
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match status {
        None => Error::Unreachable { timed_out: matches!(error, SdkError::TimeoutError(_)), reason },
        Some(status @ 500..) => Error::Failed { status },
        Some(429) => Error::RateLimited { retry_after: None },
        Some(_) if error.code().is_some_and(|code| THROTTLED.contains(&code)) => {
            Error::RateLimited { retry_after: None }
        }
        Some(status @ 400..) => Error::Refused { status, reason },
        Some(_) => Error::Malformed { reason },
    }
}
