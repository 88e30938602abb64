//! Calls to AWS's own services.
//!
//! The SDK serializes requests and deserializes responses; the transport between is written here: it signs a request,
//! sends it over the process's HTTP client, and does not retry. The SDK's clients are not used: each parses the table
//! of all AWS partitions when it is made (a tenth of a cold start), brings a second HTTP stack with HTTP/2 into every
//! function, and takes twice the CPU time for a call. The clients' other services are not needed here: retries (the
//! trigger retries), correction of a wrong clock (Lambda's is right), endpoints other than the region's own, and
//! Lambda's trace header on requests.
//!
//! The way back to the SDK's clients is short: hold a client of each crate in place of a [`Service`], send an input's
//! builder by its `send_with(&client)` in place of [`Service::send`], and delete this module and `impl_requests!`.
//! Inputs, outputs and errors are the SDK's already. `operation.rs` uses smithy's plugin types (`RuntimePlugin`,
//! `SharedRequestSerializer`), which are public but may change in a minor version: `Cargo.toml` pins that of
//! `aws-smithy-runtime-api`. Go back rather than adapt to a change of them, or write another operation's JSON by hand.

#[cfg(any(feature = "store", feature = "queue", feature = "azure"))]
mod operation;

use std::error::Error;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{self, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, Env};

#[cfg(any(feature = "store", feature = "queue", feature = "azure"))]
pub(crate) use operation::{Request, error_code, impl_requests};

type BoxError = Box<dyn Error + Send + Sync>;

/// A call is sent once, because the trigger retries; this bound keeps one hung call from using up the invocation.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The process's one TLS client for AWS: all services share its connections.
static HTTPS: OnceLock<reqwest::Client> = OnceLock::new();

/// The body of an error response in AWS's JSON protocols.
#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonError {
    #[serde(rename = "__type")]
    code: String,
}

/// An AWS service in the function's region: its endpoint and what signs requests to it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    http: reqwest::Client,
    endpoint: Url,
    /// The service's name in signatures, such as `sqs`.
    name: &'static str,
    region: String,
    identity: Identity,
}

impl Service {
    /// The service that signatures and addresses call `name`, such as `sqs`. The endpoint is the region's (in the
    /// partition `aws`), or the setting `AWS_ENDPOINT_URL_<NAME>`, which only tests and the local world set. Lambda
    /// sets the region and the credentials.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or unusable.
    pub(crate) fn from_env(env: &Env, name: &'static str) -> Result<Self, ConfigError> {
        const HINT: &str = "Lambda sets it; outside, export it as for any AWS tool";
        let region = env.required("AWS_REGION", HINT)?.to_owned();
        let setting = format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase());
        let endpoint = env.url(&setting, &format!("https://{name}.{region}.amazonaws.com"))?;
        let endpoint = Url::parse(&endpoint).map_err(|_| ConfigError::invalid(&setting, "an address"))?;
        let credentials = Credentials::new(
            env.required("AWS_ACCESS_KEY_ID", HINT)?,
            env.required("AWS_SECRET_ACCESS_KEY", HINT)?,
            env.optional("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "lambda-environment",
        );
        Ok(Self { http: http_client(&endpoint)?, endpoint, name, region, identity: credentials.into() })
    }

    /// Calls an operation once, with its JSON written by hand: for SSM, whose crate would slow every start.
    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    ///
    /// # Errors
    /// A short, loggable reason: the service's error code, or the stage that failed.
    pub(crate) async fn call_json<A: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<A, String> {
        let request = json_request(operation, input).and_then(|request| self.sign(request));
        let request = request.map_err(|_| "request not built".to_owned())?;
        let answer = self.execute(request).await;
        let answer = answer.map_err(|error| if is_timeout(&error) { "timeout" } else { "unreachable" })?;
        let body = answer.body().bytes().unwrap_or_default();
        if answer.status().is_success() {
            return serde_json::from_slice(body).map_err(|_| "unreadable answer".to_owned());
        }
        let error = serde_json::from_slice::<JsonError>(body).unwrap_or_default();
        // The code may follow a namespace, as in `com.amazonaws.ssm#InvalidKeyId`.
        let code = error.code.rsplit('#').next().filter(|code| !code.is_empty());
        Err(code.unwrap_or("refused").to_owned())
    }

    /// Signs the headers and the body of a request, and makes it one for the HTTP client.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>
    fn sign(&self, request: HttpRequest) -> Result<reqwest::Request, BoxError> {
        let body = Bytes::copy_from_slice(request.body().bytes().ok_or("a request with a stream")?);
        let url = self.endpoint.join(request.uri())?;
        let now = Clock::System.now().since(Timestamp::from_millis(0));
        let settings = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(self.name)
            .time(SystemTime::UNIX_EPOCH + now)
            .settings(SigningSettings::default())
            .build()?;
        let signable =
            SignableRequest::new(request.method(), url.as_str(), request.headers().iter(), SignableBody::Bytes(&body))?;
        let (signature, _) = http_request::sign(signable, &settings.into())?.into_parts();
        // The header map is reused: copying each name and value takes a twentieth of a call's instructions.
        let mut request = request.try_into_http1x()?;
        signature.apply_to_request_http1x(&mut request);
        let (parts, _) = request.into_parts();
        let mut signed = reqwest::Request::new(parts.method, url);
        *signed.timeout_mut() = Some(CALL_TIMEOUT);
        *signed.headers_mut() = parts.headers;
        *signed.body_mut() = Some(body.into());
        Ok(signed)
    }

    async fn execute(&self, request: reqwest::Request) -> Result<HttpResponse, BoxError> {
        let mut answer = self.http.execute(request).await?;
        let mut response = http::Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let body = SdkBody::from(answer.bytes().await?);
        Ok(response.map(|()| body).try_into()?)
    }
}

fn http_client(endpoint: &Url) -> Result<reqwest::Client, ConfigError> {
    if endpoint.scheme() == "http" {
        // Tests get a client each: a shared one would keep connections of another test's async runtime.
        return crate::http::amazon_client();
    }
    if let Some(client) = HTTPS.get() {
        return Ok(client.clone());
    }
    let client = crate::http::amazon_client()?;
    Ok(HTTPS.get_or_init(|| client).clone())
}

fn json_request(operation: &str, input: &impl Serialize) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(serde_json::to_vec(input)?));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", "application/x-amz-json-1.1")?;
    request.headers_mut().try_insert("x-amz-target", operation.to_owned())?;
    Ok(request)
}

fn is_timeout(error: &BoxError) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
}

#[cfg(test)]
mod tests {
    use ring::{digest, hmac};

    use super::*;

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computes the signature from the request that is sent, by the steps of AWS's documentation.
    fn expected_signature(request: &reqwest::Request, names: &str, date: &str) -> String {
        let host = request.url().host_str().expect("an absolute address");
        let header = |name| match request.headers().get(name) {
            Some(value) => value.to_str().expect("text"),
            None => host,
        };
        let headers: String = names.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
        let body = request.body().and_then(reqwest::Body::as_bytes).expect("a body in memory");
        let body = hex(digest::digest(&digest::SHA256, body));
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{body}");
        let scope = format!("{}/eu-central-1/sqs/aws4_request", &date[..8]);
        let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
        let mac = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
        let key = scope.split('/').fold(b"AWS4the-secret".to_vec(), |key, part| mac(&key, part).as_ref().to_vec());
        hex(mac(&key, &text))
    }

    #[test]
    fn the_request_that_is_sent_is_the_one_that_was_signed() {
        let env = Env::from_pairs([
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "the-id"),
            ("AWS_SECRET_ACCESS_KEY", "the-secret"),
            ("AWS_SESSION_TOKEN", "the-token"),
        ]);
        let service = Service::from_env(&env, "sqs").expect("complete settings");
        let mut request = HttpRequest::new(SdkBody::from("{\"QueueUrl\":\"q\"}"));
        request.set_method("POST").expect("a method");
        request.set_uri("/").expect("a path");
        for (name, value) in [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.SendMessage")]
        {
            request.headers_mut().insert(name, value);
        }

        let signed = service.sign(request).expect("signed");

        assert_eq!(signed.url().as_str(), "https://sqs.eu-central-1.amazonaws.com/");
        let header = |name: &str| signed.headers().get(name).and_then(|value| value.to_str().ok()).expect("a header");
        assert_eq!(header("x-amz-security-token"), "the-token");
        let (before, signature) = header("authorization").split_once(", Signature=").expect("a signature");
        let (_, names) = before.split_once("SignedHeaders=").expect("signed headers");
        assert_eq!(names, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        assert_eq!(signature, expected_signature(&signed, names, header("x-amz-date")));
    }
}
