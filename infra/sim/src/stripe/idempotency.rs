//! The answers Stripe keeps by `Idempotency-Key`. <https://docs.stripe.com/api/idempotent_requests>

use std::collections::HashMap;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use serde_json::Value;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers by key.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<String, Kept>);

#[derive(Debug)]
struct Kept {
    request: String,
    status: StatusCode,
    answer: Value,
    until: Timestamp,
}

/// What a key stands for.
pub(super) enum Known {
    /// The key was not used yet.
    No,
    /// This answer, which may be a failure.
    Answer(StatusCode, Value),
    /// Another request.
    Mismatch,
}

impl Answers {
    pub(super) fn find(&self, key: &str, request: &str, now: Timestamp) -> Known {
        match self.0.get(key).filter(|kept| now < kept.until) {
            None => Known::No,
            Some(kept) if kept.request == request => Known::Answer(kept.status, kept.answer.clone()),
            Some(_) => Known::Mismatch,
        }
    }

    /// Keeps the first answer to a key, whatever it was.
    pub(super) fn store(&mut self, key: &str, request: String, (status, answer): (StatusCode, &Value), now: Timestamp) {
        self.0.insert(key.to_owned(), Kept { request, status, answer: answer.clone(), until: now + KEPT });
    }
}
