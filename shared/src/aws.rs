//! What every AWS client of this crate is built from, by hand and cheaply: credentials and region from the Lambda
//! environment, ring, and Amazon's own roots instead of the machine's certificate store.

use std::sync::LazyLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_types::SdkConfig;

use crate::config::{ConfigError, Env};

/// The roots behind every AWS endpoint (Amazon Root CA 1–4, Starfield G2). <https://www.amazontrust.com/repository/>
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// A call is tried once, because retries live with the trigger; these bounds keep one hung call from eating the
/// invocation.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// One TLS client a process: its trust store is parsed once and its connections are shared by all services.
static HTTPS: LazyLock<SharedHttpClient> = LazyLock::new(|| {
    let roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    let tls = TlsContext::builder().with_trust_store(roots).build();
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match tls {
        Ok(tls) => builder.tls_context(tls).build_https(),
        Err(_) => builder.build_https(),
    }
});

/// What a service's client is built from; `service` is the suffix of the endpoint's setting, `AWS_ENDPOINT_URL_…`,
/// which only tests and the local world set. Everything else comes as Lambda sets it.
pub(crate) fn sdk_config(env: &Env, service: &str) -> Result<SdkConfig, ConfigError> {
    const HINT: &str = "Lambda sets it; outside, export it as for any AWS tool";
    let endpoint = env.optional(&format!("AWS_ENDPOINT_URL_{service}")).map(str::to_owned);
    let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    let credentials = Credentials::new(
        env.required("AWS_ACCESS_KEY_ID", HINT)?,
        env.required("AWS_SECRET_ACCESS_KEY", HINT)?,
        env.optional("AWS_SESSION_TOKEN").map(str::to_owned),
        None,
        "lambda-environment",
    );
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(env.required("AWS_REGION", HINT)?.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(if plain { Builder::new().build_http() } else { HTTPS.clone() })
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled());
    config.set_endpoint_url(endpoint);
    Ok(config.build())
}

/// A short, loggable reason for a failed call: the service's error code, or the stage that failed.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let stage = match error {
        SdkError::ConstructionFailure(_) => "request not built",
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "unreachable",
        SdkError::ResponseError(_) => "unreadable answer",
        SdkError::ServiceError(_) => "refused",
        _ => "failed",
    };
    error.code().map_or_else(|| stage.to_owned(), str::to_owned)
}
