//! Operations that outlast their call: saved, and asked about later.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ResourceId;
use crate::providers::Error;

const ASYNC_OPERATION: &str = "azure-asyncoperation";
/// How long to wait where Azure does not say.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);
/// A longer wait than this is not believed: asking once in between costs nothing.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What became of a call that changes a container app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It is in effect: observe the app.
    Done,
    /// It goes on: save the operation and [`poll`](super::Client::poll) it later.
    Pending(Operation),
    /// Another operation on the same app is under way (409), and this one was not begun: observe and try later.
    Busy,
}

/// What one look at an operation said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// It ended well: observe the resource.
    Done,
    /// It goes on: save this one in place of the former, and ask again after its [`Operation::retry_after`].
    Pending(Operation),
    /// It ended badly, by Azure's own word: observe the resource, and begin anew.
    Failed {
        /// Azure's code, such as `ContainerAppOperationError`; empty when it gave none.
        code: String,
    },
    /// Azure no longer knows it: only the resource itself can say what became of it.
    Unknown,
}

/// An operation under way, to be saved until it is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    via: Via,
    /// Below our base URL, wherever that is: a token goes nowhere else.
    path: Path,
    retry_after_seconds: u64,
}

/// Which of Azure's ways the operation is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Via {
    /// A body with a status.
    AsyncOperation,
    /// 202 until it has ended.
    Location,
    /// The resource's own state, where Azure names no address or one that is not its own.
    Resource,
    /// The same, where it is being deleted.
    Deletion,
}

/// A path with its query, beginning with a slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Path(String);

impl Operation {
    /// How long Azure asks to wait before the next look: 1 s to 10 min.
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(self.retry_after_seconds).clamp(Duration::from_secs(1), MAX_RETRY_AFTER)
    }

    pub(super) fn path(&self) -> &str {
        &self.path.0
    }
}

impl Path {
    /// The part of `url` below `base_url`; `None` when it leads elsewhere.
    pub(super) fn below(base_url: &str, url: &str) -> Option<Self> {
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

/// The answer to a call that may begin an operation.
pub(super) struct Begun<'a> {
    pub(super) base_url: &'a str,
    pub(super) resource: &'a ResourceId,
    pub(super) api_version: &'a str,
    pub(super) deletes: bool,
}

impl Begun<'_> {
    /// What a 2xx answer means.
    pub(super) fn read(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Started {
        if status == StatusCode::NO_CONTENT {
            return Started::Done;
        }
        let retry_after_seconds = retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER).as_secs();
        let named = |header: &str, via| header_text(headers, header).map(|url| (via, Path::below(self.base_url, url)));
        let named = named(ASYNC_OPERATION, Via::AsyncOperation).or_else(|| named(LOCATION.as_str(), Via::Location));
        match named {
            Some((via, Some(path))) => return Started::Pending(Operation { via, path, retry_after_seconds }),
            Some((_, None)) => {}
            None if status != StatusCode::ACCEPTED && !is_in_progress(&parsed(body)) => return Started::Done,
            None => {}
        }
        let via = if self.deletes { Via::Deletion } else { Via::Resource };
        let path = Path(format!("{}?api-version={}", self.resource, self.api_version));
        Started::Pending(Operation { via, path, retry_after_seconds })
    }
}

/// What an answer about `operation` means; errors that are no word on the operation stay errors.
pub(super) fn polled(
    operation: &Operation,
    base_url: &str,
    answer: Result<(StatusCode, HeaderMap, impl AsRef<[u8]>), Error>,
) -> Result<Polled, Error> {
    let (status, headers, body) = match answer {
        Ok(answer) => answer,
        Err(Error::NotFound) => {
            return Ok(if operation.via == Via::Deletion { Polled::Done } else { Polled::Unknown });
        }
        // A location says with the operation's own status how it ended; the others say that with a body. That we may
        // not look (403) is no word on the operation.
        Err(Error::Refused { status, reason }) if operation.via == Via::Location && status != 403 => {
            return Ok(Polled::Failed { code: reason });
        }
        Err(error) => return Err(error),
    };
    let body = parsed(body.as_ref());
    let pending = || {
        let moved = header_text(&headers, LOCATION.as_str()).filter(|_| operation.via == Via::Location);
        let path = moved.and_then(|url| Path::below(base_url, url)).unwrap_or_else(|| operation.path.clone());
        let retry_after_seconds = retry_after(&headers).map_or(operation.retry_after_seconds, |wait| wait.as_secs());
        Polled::Pending(Operation { via: operation.via, path, retry_after_seconds })
    };
    let state = match operation.via {
        Via::Location if status == StatusCode::ACCEPTED => return Ok(pending()),
        Via::Location => return Ok(Polled::Done),
        Via::Deletion => return Ok(pending()),
        Via::AsyncOperation => body["status"].as_str(),
        Via::Resource => body["properties"]["provisioningState"].as_str(),
    };
    match state {
        Some("Succeeded") => Ok(Polled::Done),
        Some("Failed" | "Canceled") => Ok(Polled::Failed { code: super::code_of(&body["error"]) }),
        // Any other value means that it goes on, as the documentation says.
        Some(_) => Ok(pending()),
        None => Err(Error::Malformed { reason: "no state of the operation".to_owned() }),
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = header_text(headers, RETRY_AFTER.as_str())?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn is_in_progress(body: &Value) -> bool {
    let state = body["properties"]["provisioningState"].as_str();
    state.is_some_and(|state| !matches!(state, "Succeeded" | "Failed" | "Canceled"))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://arm.test";

    #[test]
    fn only_an_address_below_ours_is_followed() {
        let below = |url| Path::below(BASE, url).map(String::from);
        assert_eq!(below("https://ARM.test/a?b=c").as_deref(), Some("/a?b=c"));
        for url in
            ["https://arm.test.evil/a", "https://arm.test@evil/a", "http://arm.test/a", "/a", "https://arm.test", ""]
        {
            assert_eq!(below(url), None, "{url}");
        }
    }

    #[test]
    fn a_foreign_address_makes_the_resource_itself_be_watched() {
        let id = ResourceId("/subscriptions/s".to_owned());
        let begun = |deletes| Begun { base_url: BASE, resource: &id, api_version: "v", deletes };
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, "https://evil.test/x".parse().expect("a value"));
        for (deletes, via) in [(false, Via::Resource), (true, Via::Deletion)] {
            let started = begun(deletes).read(StatusCode::ACCEPTED, &headers, b"");
            let Started::Pending(operation) = started else { panic!("it goes on: {started:?}") };
            assert_eq!((operation.via, operation.path()), (via, "/subscriptions/s?api-version=v"));
        }
    }

    #[test]
    fn a_saved_operation_comes_back_and_one_that_leads_elsewhere_does_not() {
        let path = Path("/a".to_owned());
        let operation = Operation { via: Via::Location, path, retry_after_seconds: 5 };
        let saved = serde_json::to_string(&operation).expect("text");
        assert_eq!(serde_json::from_str::<Operation>(&saved).expect("the same"), operation);
        assert!(serde_json::from_str::<Operation>(&saved.replace("/a", ".evil.test/a")).is_err());
    }
}
