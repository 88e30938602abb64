//! The journal: every request a simulator saw and every answer it gave, byte for byte.
//!
//! Tests hold the entries to the vendors' contracts and search them for what must never be there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::faults::{broken_answer, broken_body};
use crate::interruption::{Interruption, request_name};

/// What one simulator, or several, saw; clones share their entries.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    interruption: Interruption,
}

/// One request and, once there is one, its answer.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The simulator's name, such as `telegram`.
    pub simulator: &'static str,
    /// The request's method, in capitals.
    pub method: String,
    /// The request's path with its query.
    pub path: String,
    /// The request's headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub request: Bytes,
    /// The answer's status; `None` while there is none: the request hangs, or its caller went away.
    pub status: Option<u16>,
    /// The answer's headers, names in lower case.
    pub answer_headers: Vec<(String, String)>,
    /// The answer's body.
    pub answer: Bytes,
}

impl Journal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `entry` and returns its index, for [`Journal::record_answer`].
    pub fn record(&self, entry: Entry) -> usize {
        let mut entries = self.lock();
        entries.push(entry);
        entries.len() - 1
    }

    /// Records the answer to the entry at `index`.
    pub fn record_answer(&self, index: usize, status: StatusCode, headers: &HeaderMap, body: Bytes) {
        if let Some(entry) = self.lock().get_mut(index) {
            entry.status = Some(status.as_u16());
            entry.answer_headers = to_text(headers);
            entry.answer = body;
        }
    }

    /// Every entry so far, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The entries of the simulator of this name, oldest first.
    pub fn entries_of(&self, simulator: &str) -> Vec<Entry> {
        self.lock().iter().filter(|entry| entry.simulator == simulator).cloned().collect()
    }

    /// The entries that carry `needle` anywhere: path, headers or bodies, of the request or of the answer.
    pub fn search(&self, needle: &str) -> Vec<Entry> {
        self.lock().iter().filter(|entry| entry.contains_text(needle)).cloned().collect()
    }

    /// Removes and returns every entry so far, oldest first.
    pub fn drain(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.lock())
    }

    /// Removes every entry so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Stops, holds or delays one of the requests to the simulators that write this journal.
    pub fn interruption(&self) -> &Interruption {
        &self.interruption
    }

    /// Wraps `router` so that every request to it and every answer of it is recorded under `simulator`.
    pub fn wrap(&self, simulator: &'static str, router: Router) -> Router {
        router.layer(from_fn_with_state((self.clone(), simulator), record_exchange))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The entry of a request that has no answer yet.
    pub fn new(simulator: &'static str, method: &str, path: &str, headers: &HeaderMap, body: Bytes) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { simulator, method, path, headers: to_text(headers), request: body, ..Self::default() }
    }

    /// The request's header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The request's path without its query.
    pub fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Whether `needle` is anywhere in the request or in the answer.
    pub fn contains_text(&self, needle: &str) -> bool {
        let in_headers = |headers: &[(String, String)]| {
            headers.iter().any(|(name, value)| name.contains(needle) || value.contains(needle))
        };
        self.path.contains(needle)
            || in_headers(&self.headers)
            || in_headers(&self.answer_headers)
            || contains(&self.request, needle.as_bytes())
            || contains(&self.answer, needle.as_bytes())
    }
}

async fn record_exchange(
    State((journal, simulator)): State<(Journal, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let entry = Entry::new(simulator, head.method.as_str(), &head.uri.to_string(), &head.headers, body.clone());
    let name = request_name(simulator, head.method.as_str(), &head.uri.to_string());
    let index = journal.record(entry);

    let effect = next.run(Request::from_parts(head, Body::from(body)));
    let Some(effect) = journal.interruption.on_request(&name, effect).await else { return broken_answer() };
    let (head, body) = effect.await.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        // An answer that a simulator cuts short stays cut short, and is none.
        Err(cut) => return Response::from_parts(head, broken_body(cut)),
    };
    journal.record_answer(index, head.status, &head.headers, body.clone());
    journal.interruption.on_effect(&name).await;
    Response::from_parts(head, Body::from(body))
}

fn to_text(headers: &HeaderMap) -> Vec<(String, String)> {
    let lossy = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), lossy(value.as_bytes()))).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_and_its_answer_are_kept_byte_for_byte() {
        let journal = Journal::new();
        let echo = Router::new().route("/echo", axum::routing::post(|body: Bytes| async { body }));
        let server = crate::server::Server::start(journal.wrap("echo", echo)).await.expect("a free port");
        let request =
            "POST /echo?a=b HTTP/1.1\r\nhost: h\r\nx-key: k\r\ncontent-length: 3\r\nconnection: close\r\n\r\nhi!";
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.expect("it listens");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.expect("it answers");

        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"hi!"));
        let entry = journal.entries_of("echo").pop().expect("one entry");
        assert_eq!((entry.method.as_str(), entry.path.as_str(), entry.path_only()), ("POST", "/echo?a=b", "/echo"));
        assert_eq!((entry.header("x-key"), entry.status), (Some("k"), Some(200)));
        assert_eq!((&entry.request[..], &entry.answer[..]), (&b"hi!"[..], &b"hi!"[..]));
        assert_eq!((journal.search("hi!").len(), journal.search("absent").len()), (1, 0));
    }
}
