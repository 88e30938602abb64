//! Operations that go on after their call has returned: they are saved, and polled later.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ResourceId;
use super::container_app::ProvisioningState;
use super::refusal::parse_operation_error;
use crate::providers::Error;
use crate::providers::http::{self, Answer};

const ASYNC_OPERATION: &str = "azure-asyncoperation";
/// How long to wait for the next poll when Azure does not say.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The outcome of a call that changes a container app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// The change is in effect: fetch the app.
    Done,
    /// The operation goes on: save it and [`poll`](super::Client::poll) it later.
    Pending(Operation),
    /// The app is in a state that rules the change out (409): another operation is under way, or it already is as it
    /// would be. Nothing was started: fetch the app, and retry later.
    Busy,
}

/// The outcome of one poll of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollOutcome {
    /// It succeeded: fetch the resource.
    Done,
    /// It goes on: save this operation in place of the former, and poll it after its [`Operation::retry_after`].
    Pending(Operation),
    /// Azure says that it failed: fetch the resource, and start a new operation.
    Failed {
        /// Azure's code, such as `ContainerAppOperationError`; empty when it gave none.
        code: String,
    },
    /// Azure no longer knows it: only the resource itself shows whether it succeeded.
    Unknown,
}

/// An operation under way, to be saved until it is polled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    tracking: Tracking,
    /// Relative to our base URL: our token is sent nowhere else.
    path: Path,
    retry_after_seconds: u64,
}

/// How an operation is polled, which depends on the headers of Azure's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tracking {
    /// By `Azure-AsyncOperation`: the body has a status.
    AsyncOperation,
    /// By `Location`: the status is 202 until the operation has ended.
    Location,
    /// By the resource's own state, when Azure names no address, or one at another host.
    Resource,
    /// The same for a resource that is being deleted: it ends with a 404.
    Deletion,
}

/// A path with its query, beginning with a slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Path(String);

impl Operation {
    /// How long Azure asks to wait before the next poll: 1 s to 5 min.
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(self.retry_after_seconds.max(1))
    }

    pub(super) fn path(&self) -> &str {
        &self.path.0
    }
}

impl Path {
    /// The path of `url`; `None` when it is not at `base_url`.
    pub(super) fn at(base_url: &str, url: &str) -> Option<Self> {
        let (scheme, rest) = base_url.split_once("://").map(|(scheme, host)| (scheme.len(), host.len()))?;
        let end = scheme + "://".len() + rest;
        let (given, path) = (url.get(..end)?, url.get(end..)?);
        given.eq_ignore_ascii_case(base_url).then(|| Self::try_from(path.to_owned()).ok())?
    }
}

impl TryFrom<String> for Path {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        if path.starts_with('/') { Ok(Self(path)) } else { Err("not a path") }
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

/// The request that may start an operation, as far as its answer depends on it.
pub(super) struct StartRequest<'a> {
    pub(super) base_url: &'a str,
    pub(super) resource: &'a ResourceId,
    pub(super) api_version: &'a str,
    pub(super) is_delete: bool,
}

impl StartRequest<'_> {
    /// What a 2xx answer to it means.
    pub(super) fn interpret(&self, Answer { status, headers, body }: &Answer) -> StartOutcome {
        if *status == StatusCode::NO_CONTENT {
            return StartOutcome::Done;
        }
        let retry_after_seconds = http::retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER).as_secs();
        let named =
            |header: &str, tracking| header_text(headers, header).map(|url| (tracking, Path::at(self.base_url, url)));
        let named =
            named(ASYNC_OPERATION, Tracking::AsyncOperation).or_else(|| named(LOCATION.as_str(), Tracking::Location));
        match named {
            Some((tracking, Some(path))) => {
                return StartOutcome::Pending(Operation { tracking, path, retry_after_seconds });
            }
            Some((_, None)) => {}
            None if *status != StatusCode::ACCEPTED && !is_in_progress(&parse_body(body)) => return StartOutcome::Done,
            None => {}
        }
        let tracking = if self.is_delete { Tracking::Deletion } else { Tracking::Resource };
        let path = Path(format!("{}?api-version={}", self.resource, self.api_version));
        StartOutcome::Pending(Operation { tracking, path, retry_after_seconds })
    }
}

/// What the answer to a poll of `operation` means. An error that says nothing about the operation stays one.
pub(super) fn interpret_poll(
    operation: &Operation,
    base_url: &str,
    answer: Result<Answer, Error>,
) -> Result<PollOutcome, Error> {
    let Answer { status, headers, body } = match answer {
        Ok(answer) => answer,
        Err(Error::NotFound) => {
            return Ok(if operation.tracking == Tracking::Deletion { PollOutcome::Done } else { PollOutcome::Unknown });
        }
        // At a `Location`, the status of a failed operation is the status of the poll; elsewhere it is in the body. A
        // 403 is about our permission to poll, not about the operation.
        Err(Error::Refused { status, reason }) if operation.tracking == Tracking::Location && status != 403 => {
            return Ok(PollOutcome::Failed { code: reason });
        }
        Err(error) => return Err(error),
    };
    let body = parse_body(&body);
    let pending = || {
        let moved = header_text(&headers, LOCATION.as_str()).filter(|_| operation.tracking == Tracking::Location);
        let path = moved.and_then(|url| Path::at(base_url, url)).unwrap_or_else(|| operation.path.clone());
        let retry_after_seconds =
            http::retry_after(&headers).map_or(operation.retry_after_seconds, |wait| wait.as_secs());
        PollOutcome::Pending(Operation { tracking: operation.tracking, path, retry_after_seconds })
    };
    let state = match operation.tracking {
        Tracking::Location if status == StatusCode::ACCEPTED => return Ok(pending()),
        Tracking::Location => return Ok(PollOutcome::Done),
        Tracking::Deletion => return Ok(pending()),
        Tracking::AsyncOperation => body["status"].as_str().map(ProvisioningState::parse),
        Tracking::Resource => body.is_object().then(|| ProvisioningState::of(&body)),
    };
    match state {
        Some(ProvisioningState::Succeeded) => Ok(PollOutcome::Done),
        Some(ProvisioningState::Failed) => Ok(PollOutcome::Failed { code: parse_operation_error(&body["error"]) }),
        // The documentation says that any other value means that the operation goes on.
        Some(ProvisioningState::InProgress | ProvisioningState::Deleting) => Ok(pending()),
        None => Err(Error::malformed("no state of the operation")),
    }
}

fn is_in_progress(body: &Value) -> bool {
    matches!(ProvisioningState::of(body), ProvisioningState::InProgress | ProvisioningState::Deleting)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parse_body(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://arm.test";

    #[test]
    fn only_an_address_at_our_base_url_is_followed() {
        let path = |url| Path::at(BASE, url).map(String::from);
        assert_eq!(path("https://ARM.test/a?b=c").as_deref(), Some("/a?b=c"));
        for url in
            ["https://arm.test.evil/a", "https://arm.test@evil/a", "http://arm.test/a", "/a", "https://arm.test", ""]
        {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn an_address_at_another_host_makes_the_resource_itself_be_polled() {
        let id = ResourceId("/subscriptions/s".to_owned());
        let request = |is_delete| StartRequest { base_url: BASE, resource: &id, api_version: "v", is_delete };
        let headers = HeaderMap::from_iter([(LOCATION, "https://evil.test/x".parse().expect("a value"))]);
        let accepted = Answer { status: StatusCode::ACCEPTED, headers, body: Default::default() };
        for (is_delete, tracking) in [(false, Tracking::Resource), (true, Tracking::Deletion)] {
            let started = request(is_delete).interpret(&accepted);
            let StartOutcome::Pending(operation) = started else { panic!("it goes on: {started:?}") };
            assert_eq!((operation.tracking, operation.path()), (tracking, "/subscriptions/s?api-version=v"));
        }
    }

    #[test]
    fn a_state_is_read_in_any_letter_case_and_none_is_a_success() {
        let poll = |tracking, body: &str| {
            let operation = Operation { tracking, path: Path("/a".to_owned()), retry_after_seconds: 5 };
            let (status, headers) = (StatusCode::OK, HeaderMap::new());
            let polled = interpret_poll(&operation, BASE, Ok(Answer { status, headers, body: body.to_owned().into() }));
            match polled {
                Ok(PollOutcome::Done) => "done",
                Ok(PollOutcome::Failed { .. }) => "failed",
                Ok(PollOutcome::Pending(_)) => "pending",
                Ok(PollOutcome::Unknown) => "unknown",
                Err(_) => "unreadable",
            }
        };
        for (state, outcome) in [
            ("Succeeded", "done"),
            ("succeeded", "done"),
            ("SUCCEEDED", "done"),
            ("Failed", "failed"),
            ("failed", "failed"),
            ("canceled", "failed"),
            ("Canceled", "failed"),
            ("Cancelled", "failed"),
            ("InProgress", "pending"),
            ("updating", "pending"),
            ("Deleting", "pending"),
            ("Succeeded-ish", "pending"),
            ("", "pending"),
        ] {
            let by_status = format!(r#"{{"status":"{state}"}}"#);
            assert_eq!(poll(Tracking::AsyncOperation, &by_status), outcome, "{state}");
            let of_resource = format!(r#"{{"properties":{{"provisioningState":"{state}"}}}}"#);
            assert_eq!(poll(Tracking::Resource, &of_resource), outcome, "{state}");
        }
        for body in [r#"{"id":"/a","properties":{}}"#, r#"{"properties":{"provisioningState":null}}"#] {
            assert_eq!(poll(Tracking::Resource, body), "done", "{body}");
        }
        assert_eq!(poll(Tracking::AsyncOperation, "{}"), "unreadable", "an operation has a status");
        for body in ["", "<html>", "[]"] {
            assert_eq!(poll(Tracking::Resource, body), "unreadable", "{body}");
        }
    }

    #[test]
    fn a_saved_operation_is_read_back_and_one_at_another_host_is_not() {
        let path = Path("/a".to_owned());
        let operation = Operation { tracking: Tracking::Location, path, retry_after_seconds: 5 };
        let saved = serde_json::to_string(&operation).expect("text");
        assert_eq!(serde_json::from_str::<Operation>(&saved).expect("the same"), operation);
        assert!(serde_json::from_str::<Operation>(&saved.replace("/a", ".evil.test/a")).is_err());
    }
}
