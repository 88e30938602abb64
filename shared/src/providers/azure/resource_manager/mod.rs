//! Azure's resource manager: what a tenant's container consists of.
//!
//! REST over our one HTTPS client, since there is no maintained SDK. Nothing waits here: a call that goes on is handed
//! back as an [`Operation`], to be saved and asked about later. A 404 is [`Error::NotFound`] only where it is Azure's
//! word on the resource itself; that a subscription, a group or a parent is unknown says that our settings are wrong.
//! <https://learn.microsoft.com/rest/api/resources/>

pub mod container_app;
mod drift;
mod ids;
mod operation;
mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use container_app::{App, ContainerApp};
pub use ids::{Group, KEY_VAULT_SECRETS_USER, ResourceId};
pub use operation::{Operation, Polled, Started};
pub use parts::{Granted, Identity, Resource, RoleAssignment, Share, Storage};

use super::super::Error;
use crate::config::{ConfigError, Env};
use operation::{Begun, Path};

/// Names and values that a resource carries.
pub type Tags = BTreeMap<String, String>;

const SCOPE: &str = "https://management.azure.com/.default";

/// The longest one call takes, sign-in included.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Larger answers are not read; a page of a list is far below it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// No list of ours is this long: a subscription's 4,000 role assignments are 40 pages at the least.
const MAX_PAGES: usize = 400;

/// Codes of a 404 that say nothing of the resource itself.
const NOT_THE_RESOURCE: [&str; 7] = [
    "SubscriptionNotFound",
    "ResourceGroupNotFound",
    "ParentResourceNotFound",
    "ManagedEnvironmentNotFound",
    "InvalidResourceType",
    "InvalidResourceNamespace",
    "",
];

/// The resource manager.
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    credential: Arc<dyn TokenCredential>,
}

/// A 2xx answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    /// The resource manager at `AZURE_RESOURCE_MANAGER_URL` (Microsoft's public cloud unless set), as `identity`.
    ///
    /// # Errors
    /// [`ConfigError`] when that setting is no address.
    pub fn new(env: &Env, http: &reqwest::Client, identity: &Arc<dyn TokenCredential>) -> Result<Self, ConfigError> {
        let base_url = env.url("AZURE_RESOURCE_MANAGER_URL", "https://management.azure.com")?;
        Ok(Self { http: http.clone(), base_url, credential: identity.clone() })
    }

    /// Asks once what became of an operation.
    ///
    /// # Errors
    /// As any call: an error says nothing of the operation.
    pub async fn poll(&self, operation: &Operation) -> Result<Polled, Error> {
        let answer = self.send(Method::GET, operation.path(), None).await;
        let answer = answer.map(|answer| (answer.status, answer.headers, answer.body));
        operation::polled(operation, &self.base_url, answer)
    }

    async fn get<T: DeserializeOwned>(&self, id: &ResourceId, api_version: &str) -> Result<T, Error> {
        read(&self.send(Method::GET, &address(id, api_version)?, None).await?.body)
    }

    async fn put<T: DeserializeOwned>(&self, id: &ResourceId, api_version: &str, body: &Value) -> Result<T, Error> {
        read(&self.send(Method::PUT, &address(id, api_version)?, Some(body)).await?.body)
    }

    /// Deletes what is not worth waiting for; whether there was one. Azure answers 204 when there was none.
    async fn delete(&self, id: &ResourceId, api_version: &str) -> Result<bool, Error> {
        match self.send(Method::DELETE, &address(id, api_version)?, None).await {
            Ok(answer) => Ok(answer.status != StatusCode::NO_CONTENT),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A call that may begin an operation on `resource`, by a request to the path below it (empty: itself).
    async fn start(
        &self,
        (method, resource, below): (Method, &ResourceId, &str),
        api_version: &str,
        body: Option<&Value>,
    ) -> Result<Started, Error> {
        let deletes = method == Method::DELETE;
        let target = ResourceId(format!("{resource}{below}"));
        let answer = match self.send(method, &address(&target, api_version)?, body).await {
            Ok(answer) => answer,
            Err(Error::NotFound) if deletes => return Ok(Started::Done),
            Err(Error::Refused { status: 409, .. }) => return Ok(Started::Busy),
            Err(error) => return Err(error),
        };
        let begun = Begun { base_url: &self.base_url, resource, api_version, deletes };
        Ok(begun.read(answer.status, &answer.headers, &answer.body))
    }

    /// Every item of a list, page by page.
    async fn list<T: DeserializeOwned>(&self, id: &ResourceId, query: &str) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        #[serde(bound = "T: DeserializeOwned", rename_all = "camelCase")]
        struct Page<T> {
            value: Vec<T>,
            next_link: Option<String>,
        }
        let mut path = address(id, query)?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = read(&self.send(Method::GET, &path, None).await?.body)?;
            all.extend(page.value);
            let Some(next) = page.next_link.filter(|next| !next.is_empty()) else { return Ok(all) };
            let below = Path::below(&self.base_url, &next);
            path = below.ok_or_else(|| malformed("a list that goes on elsewhere"))?.into();
        }
        Err(malformed("a list without an end"))
    }

    /// Sends one request and returns a 2xx answer; any other becomes the caller's next move.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base_url));
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|_| malformed("a body that is not JSON"))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        // Boxed: the SDK's futures are kilobytes, and callers hold several.
        match tokio::time::timeout(TIMEOUT, Box::pin(self.signed_in(request))).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable { timed_out: true, reason: "too slow".to_owned() }),
        }
    }

    async fn signed_in(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let token = self.credential.get_token(&[SCOPE], None).await.map_err(|error| super::error(&error))?;
        let mut response = request.bearer_auth(token.token.secret()).send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(malformed("larger than any answer"));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            Ok(Answer { status, headers, body: body.freeze() })
        } else {
            Err(refusal(status, &headers, &body))
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// The path of a resource with its query: an API version, and what comes after it.
fn address(id: &ResourceId, query: &str) -> Result<String, Error> {
    if id.is_plain() {
        Ok(format!("{id}?api-version={query}"))
    } else {
        Err(Error::Refused { status: 400, reason: "InvalidName".to_owned() })
    }
}

/// What an answer other than 2xx means. <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/>
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let reason = Some(super::code(body)).filter(|code| is_a_code(code)).unwrap_or_default();
    match status {
        StatusCode::TOO_MANY_REQUESTS => Error::RateLimited { retry_after: operation::retry_after(headers) },
        StatusCode::UNAUTHORIZED => Error::Unauthorized,
        // Too slow (408), which says nothing of the effect.
        StatusCode::REQUEST_TIMEOUT => Error::Failed { status: status.as_u16() },
        status if status.is_server_error() => Error::Failed { status: status.as_u16() },
        StatusCode::NOT_FOUND if !NOT_THE_RESOURCE.contains(&reason.as_str()) => Error::NotFound,
        status => Error::Refused { status: status.as_u16(), reason },
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Malformed { reason: format!("not of the documented form: {:?}", error.classify()) })
}

fn malformed(reason: &str) -> Error {
    Error::Malformed { reason: reason.to_owned() }
}

fn unreachable(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "connection lost" };
    Error::Unreachable { timed_out: error.is_timeout(), reason: reason.to_owned() }
}

/// The code within an error object, when it is one that is safe to log.
fn code_of(error: &Value) -> String {
    error["code"].as_str().filter(|code| is_a_code(code)).unwrap_or_default().to_owned()
}

/// Whether a text is a short identifier, rather than a sentence that may quote what we sent.
fn is_a_code(text: &str) -> bool {
    text.len() <= 80 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        refusal(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn not_found_is_said_of_the_resource_itself_only() {
        let coded = |code: &str| refused(404, &format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#));
        assert!(matches!(coded("ResourceNotFound"), Error::NotFound));
        assert!(matches!(coded("ShareNotFound"), Error::NotFound));
        for code in NOT_THE_RESOURCE {
            assert!(matches!(coded(code), Error::Refused { status: 404, reason } if reason == code));
        }
        assert!(matches!(refused(404, "<html>"), Error::Refused { status: 404, .. }));
    }

    #[test]
    fn a_sentence_is_no_code() {
        let error = refused(400, r#"{"error":{"code":"The secret abc is bad"}}"#);
        assert!(matches!(error, Error::Refused { status: 400, reason } if reason.is_empty()));
    }
}
