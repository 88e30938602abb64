//! Calls to AWS's own services.
//!
//! The SDK knows how a request is written and an answer read; the way between is ours: signature, HTTP, no retries.
//! The SDK's clients are not used, because each parses the table of all AWS partitions when it is made (a tenth of a
//! cold start), carries a second HTTP stack with HTTP/2 into every function, and takes twice the CPU time for a call.
//! What they also do is not wanted here: retries (they live with the trigger), correction of a wrong clock (Lambda's is
//! right), endpoints other than the region's own, and Lambda's trace header on what is sent.

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
pub(crate) use operation::{Request, code, requests};

type BoxError = Box<dyn Error + Send + Sync>;

/// A call is tried once, because retries live with the trigger; this bound keeps one hung call from eating the
/// invocation.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// One TLS client a process: all services share its connections.
static HTTPS: OnceLock<reqwest::Client> = OnceLock::new();

/// How a service refuses, in the protocols with JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
}

/// A service of the region.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    http: reqwest::Client,
    endpoint: Url,
    /// As signatures name it.
    name: &'static str,
    region: String,
    identity: Identity,
}

impl Service {
    /// The service that signatures and addresses call `name`, such as `sqs`. Its endpoint is the region's (of the
    /// partition `aws`), or the setting `AWS_ENDPOINT_URL_<NAME>`, which only tests and the local world set; all else
    /// comes as Lambda sets it.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or unusable.
    pub(crate) fn new(env: &Env, name: &'static str) -> Result<Self, ConfigError> {
        const HINT: &str = "Lambda sets it; outside, export it as for any AWS tool";
        let region = env.required("AWS_REGION", HINT)?.to_owned();
        let setting = format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase());
        let endpoint = env.url(&setting, &format!("https://{name}.{region}.amazonaws.com"))?;
        let endpoint = Url::parse(&endpoint).map_err(|_| ConfigError::Invalid { name: setting, hint: "an address" })?;
        let credentials = Credentials::new(
            env.required("AWS_ACCESS_KEY_ID", HINT)?,
            env.required("AWS_SECRET_ACCESS_KEY", HINT)?,
            env.optional("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "lambda-environment",
        );
        Ok(Self { http: client(&endpoint)?, endpoint, name, region, identity: credentials.into() })
    }

    /// Calls an operation by its JSON, once: for a service whose crate would cost every start more than it is worth.
    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    ///
    /// # Errors
    /// Why, in a word or two that can be logged: the service's error code, or the stage that failed.
    pub(crate) async fn call<A: DeserializeOwned>(&self, operation: &str, input: &impl Serialize) -> Result<A, String> {
        let request = said(operation, input).and_then(|request| self.signed(request));
        let request = request.map_err(|_| "request not built".to_owned())?;
        let answer = self.exchange(request).await;
        let answer = answer.map_err(|error| if timed_out(&error) { "timeout" } else { "unreachable" })?;
        let body = answer.body().bytes().unwrap_or_default();
        if answer.status().is_success() {
            return serde_json::from_slice(body).map_err(|_| "unreadable answer".to_owned());
        }
        let refusal = serde_json::from_slice::<Refusal>(body).unwrap_or_default();
        // It may come with the name of its shape's home before it.
        let code = refusal.code.rsplit('#').next().filter(|code| !code.is_empty());
        Err(code.unwrap_or("refused").to_owned())
    }

    /// Signs a request by its headers and its body.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>
    fn signed(&self, request: HttpRequest) -> Result<reqwest::Request, BoxError> {
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
        // The header map goes on as it is: writing each name and value anew is a twentieth of a call's instructions.
        let mut request = request.try_into_http1x()?;
        signature.apply_to_request_http1x(&mut request);
        let (parts, _) = request.into_parts();
        let mut signed = reqwest::Request::new(parts.method, url);
        *signed.timeout_mut() = Some(CALL_TIMEOUT);
        *signed.headers_mut() = parts.headers;
        *signed.body_mut() = Some(body.into());
        Ok(signed)
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<HttpResponse, BoxError> {
        let mut answer = self.http.execute(request).await?;
        let mut response = http::Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let body = SdkBody::from(answer.bytes().await?);
        Ok(response.map(|()| body).try_into()?)
    }
}

fn client(endpoint: &Url) -> Result<reqwest::Client, ConfigError> {
    if endpoint.scheme() == "http" {
        // One of its own: a shared one would keep connections of another test's runtime.
        return crate::http::amazon_client();
    }
    if let Some(client) = HTTPS.get() {
        return Ok(client.clone());
    }
    let client = crate::http::amazon_client()?;
    Ok(HTTPS.get_or_init(|| client).clone())
}

fn said(operation: &str, input: &impl Serialize) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(serde_json::to_vec(input)?));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", "application/x-amz-json-1.1")?;
    request.headers_mut().try_insert("x-amz-target", operation.to_owned())?;
    Ok(request)
}

fn timed_out(error: &BoxError) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
}

#[cfg(test)]
mod tests {
    use ring::{digest, hmac};

    use super::*;

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The signature worked out anew from what goes over the wire, by the steps of AWS's documentation.
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
    fn what_goes_over_the_wire_is_what_was_signed() {
        let env = Env::from_pairs([
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "the-id"),
            ("AWS_SECRET_ACCESS_KEY", "the-secret"),
            ("AWS_SESSION_TOKEN", "the-token"),
        ]);
        let service = Service::new(&env, "sqs").expect("complete settings");
        let mut request = HttpRequest::new(SdkBody::from("{\"QueueUrl\":\"q\"}"));
        request.set_method("POST").expect("a method");
        request.set_uri("/").expect("a path");
        for (name, value) in [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.SendMessage")]
        {
            request.headers_mut().insert(name, value);
        }

        let signed = service.signed(request).expect("signed");

        assert_eq!(signed.url().as_str(), "https://sqs.eu-central-1.amazonaws.com/");
        let header = |name: &str| signed.headers().get(name).and_then(|value| value.to_str().ok()).expect("a header");
        assert_eq!(header("x-amz-security-token"), "the-token");
        let (said, signature) = header("authorization").split_once(", Signature=").expect("a signature");
        let (_, names) = said.split_once("SignedHeaders=").expect("signed headers");
        assert_eq!(names, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        assert_eq!(signature, expected_signature(&signed, names, header("x-amz-date")));
    }
}
