//! Azure's resource manager: the resources around a tenant's container.
//!
//! We call its REST API over our one HTTPS client, since there is no maintained SDK. No call waits for an operation:
//! one that is under way is returned as an [`Operation`], to be saved and polled later. A 404 is [`Error::NotFound`]
//! only when the resource itself does not exist; an unknown Azure subscription, group or parent means that our settings
//! are wrong.
//! <https://learn.microsoft.com/rest/api/resources/>

pub mod container_app;
mod drift;
mod identity;
mod ids;
mod operation;
mod refusal;
mod role;
mod share;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use container_app::{ContainerApp, ContainerAppSpec};
pub use identity::Identity;
pub use ids::{Group, KEY_VAULT_SECRETS_USER, ResourceId};
pub use operation::{Operation, PollOutcome, StartOutcome};
pub use refusal::Obstacle;
pub use role::{GrantOutcome, RoleAssignment};
pub use share::{Share, Storage};

use super::super::http::{self, Answer};
use super::super::{Error, NetworkFailure};
use crate::config::{ConfigError, Env};
use operation::{Path, StartRequest};

/// The tags of a resource, by name.
pub type Tags = BTreeMap<String, String>;

const SCOPE: &str = "https://management.azure.com/.default";

/// The limit of one call, sign-in included.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Larger answers are refused; a page of a list is far below it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// No list of ours has more pages: the 4,000 role assignments of an Azure subscription are 40.
const MAX_PAGES: usize = 400;

/// Codes of a 404 that do not mean that the resource itself is absent.
const NOT_THE_RESOURCE: [&str; 7] = [
    "SubscriptionNotFound",
    "ResourceGroupNotFound",
    "ParentResourceNotFound",
    "ManagedEnvironmentNotFound",
    "InvalidResourceType",
    "InvalidResourceNamespace",
    "",
];

/// The client of the resource manager.
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    credential: Arc<dyn TokenCredential>,
}

impl Client {
    /// A client for `AZURE_RESOURCE_MANAGER_URL` (Microsoft's public cloud unless set) that signs in as `identity`.
    ///
    /// # Errors
    /// [`ConfigError`] when that setting is not an address.
    pub fn new(env: &Env, http: &reqwest::Client, identity: &Arc<dyn TokenCredential>) -> Result<Self, ConfigError> {
        let base_url = env.url("AZURE_RESOURCE_MANAGER_URL", "https://management.azure.com")?;
        Ok(Self { http: http.clone(), base_url, credential: identity.clone() })
    }

    /// Polls an operation once.
    ///
    /// # Errors
    /// The poll failed; the operation may still go on.
    pub async fn poll(&self, operation: &Operation) -> Result<PollOutcome, Error> {
        operation::interpret_poll(operation, &self.base_url, self.send(Method::GET, operation.path(), None).await)
    }

    async fn get<T: DeserializeOwned>(&self, id: &ResourceId, api_version: &str) -> Result<T, Error> {
        parse(&self.send(Method::GET, &resource_path(id, api_version)?, None).await?.body)
    }

    async fn put<T: DeserializeOwned>(&self, id: &ResourceId, api_version: &str, body: &Value) -> Result<T, Error> {
        match self.send(Method::PUT, &resource_path(id, api_version)?, Some(body)).await {
            Ok(answer) => parse(&answer.body),
            // Such as `ShareAlreadyExists`: it is there, and an observation finds how it differs.
            Err(Error::Refused { status: 409, reason }) if reason.ends_with("AlreadyExists") => {
                self.get(id, api_version).await
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a resource without an operation to follow, and returns whether there was one. Azure answers 204 when
    /// there was none.
    async fn delete(&self, id: &ResourceId, api_version: &str) -> Result<bool, Error> {
        match self.send(Method::DELETE, &resource_path(id, api_version)?, None).await {
            Ok(answer) => Ok(answer.status != StatusCode::NO_CONTENT),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that may start an operation on `resource`, to the path below it; empty for the resource itself.
    async fn start(
        &self,
        (method, resource, below): (Method, &ResourceId, &str),
        api_version: &str,
        body: Option<&Value>,
    ) -> Result<StartOutcome, Error> {
        let is_delete = method == Method::DELETE;
        let target = ResourceId(format!("{resource}{below}"));
        let answer = match self.send(method, &resource_path(&target, api_version)?, body).await {
            Ok(answer) => answer,
            Err(Error::NotFound) if is_delete => return Ok(StartOutcome::Done),
            Err(error) if matches!(Obstacle::of(&error), Some(Obstacle::Locked { .. })) => return Err(error),
            Err(Error::Refused { status: 409, .. }) => return Ok(StartOutcome::Busy),
            Err(error) => return Err(error),
        };
        let request = StartRequest { base_url: &self.base_url, resource, api_version, is_delete };
        Ok(request.interpret(&answer))
    }

    /// Every item of the list `id`, page by page. `query` is an API version, and what comes after it.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list<T: DeserializeOwned>(&self, id: &ResourceId, query: &str) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        #[serde(bound = "T: DeserializeOwned", rename_all = "camelCase")]
        struct Page<T> {
            value: Vec<T>,
            next_link: Option<String>,
        }
        let mut path = resource_path(id, query)?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = parse(&self.send(Method::GET, &path, None).await?.body)?;
            all.extend(page.value);
            let Some(next) = page.next_link.filter(|next| !next.is_empty()) else { return Ok(all) };
            let next = Path::at(&self.base_url, &next);
            path = next.ok_or_else(|| Error::malformed("a list whose next page is at another host"))?.into();
        }
        Err(Error::malformed("a list without an end"))
    }

    /// Sends one request and returns a 2xx answer; any other is an error that names the caller's next move.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base_url));
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|_| Error::malformed("a body that is not JSON"))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        // Boxed: the SDK's futures are kilobytes, and callers hold several.
        match tokio::time::timeout(TIMEOUT, Box::pin(self.send_signed_in(request))).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable { cause: NetworkFailure::TimedOut }),
        }
    }

    async fn send_signed_in(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let token = self.credential.get_token(&[SCOPE], None).await.map_err(|error| super::map_sdk_error(&error))?;
        let answer = http::receive(request.bearer_auth(token.token.secret()), MAX_ANSWER_BYTES).await?;
        accept(answer)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// The path of a resource with its query: an API version, and what comes after it.
fn resource_path(id: &ResourceId, query: &str) -> Result<String, Error> {
    if id.is_plain() {
        Ok(format!("{id}?api-version={query}"))
    } else {
        Err(Error::Refused { status: 400, reason: "InvalidName".to_owned() })
    }
}

/// Accepts a 2xx answer; any other is an error that names the caller's next move.
/// <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/>
fn accept(answer: Answer) -> Result<Answer, Error> {
    match answer.status {
        // 408: Azure was too slow, and the call may take effect yet.
        StatusCode::REQUEST_TIMEOUT => Err(Error::Failed { status: 408 }),
        StatusCode::NOT_FOUND => {
            let reason = super::parse_code(&answer.body);
            let is_resource_absent = !NOT_THE_RESOURCE.contains(&reason.as_str());
            Err(if is_resource_absent { Error::NotFound } else { Error::Refused { status: 404, reason } })
        }
        _ => answer.into_success(refusal::parse_reason),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::malformed(format!("not of the documented form: {:?}", error.classify())))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() };
        accept(answer).err().expect("a refusal")
    }

    #[test]
    fn not_found_means_that_the_resource_itself_is_absent() {
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
