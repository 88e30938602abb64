//! Delivery of updates to the webhook: one at a time per chat, retried until a 2xx, dropped after a day.
//!
//! See <https://core.telegram.org/bots/api#setwebhook>.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use super::params::Params;
use super::state::{Pending, Webhook};
use super::{Telegram, WEBHOOK, methods};
use crate::outgoing;

const SECRET_HEADER: HeaderName = HeaderName::from_static("x-telegram-bot-api-secret-token");
/// After this an update that no webhook accepts is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long [`Telegram::keep_delivering`] waits before it retries updates that were not accepted.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One attempt at delivering one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The update's identifier.
    pub update_id: i64,
    /// The webhook's status; `None` when it did not answer.
    pub status: Option<u16>,
    /// The body of its answer.
    pub answer: Bytes,
    /// The method that its answer named, if it was performed.
    pub method: Option<String>,
}

impl Delivery {
    /// Whether Telegram takes the update as delivered.
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Telegram {
    /// Delivers what is pending, chats side by side, each in order until one of its updates is not accepted; that one
    /// and those behind it stay for the next call. Returns the attempts.
    pub async fn deliver(&self) -> Vec<Delivery> {
        let (webhook, chats) = self.load_pending();
        if webhook.url.is_empty() {
            return Vec::new();
        }
        let most = usize::try_from(webhook.max_connections).unwrap_or(1).max(1);
        let attempts = chats.into_iter().map(|updates| self.deliver_in_order(&webhook, updates));
        futures::stream::iter(attempts).buffer_unordered(most).concat().await
    }

    /// Delivers updates as they are queued, until the returned task is aborted.
    pub fn keep_delivering(&self) -> tokio::task::JoinHandle<()> {
        let telegram = self.clone();
        tokio::spawn(async move {
            loop {
                telegram.deliver().await;
                if telegram.pending() == 0 {
                    telegram.inner.something_pending.notified().await;
                } else {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        })
    }

    /// The webhook, and the pending updates by chat; updates older than a day are dropped.
    fn load_pending(&self) -> (Webhook, Vec<Vec<Pending>>) {
        let now = self.inner.clock.now();
        let mut state = self.inner.state();
        state.pending.retain(|pending| now.since(pending.since) < GIVE_UP_AFTER);
        let mut by_chat: BTreeMap<Option<i64>, Vec<Pending>> = BTreeMap::new();
        for pending in &state.pending {
            by_chat.entry(pending.chat).or_default().push(pending.clone());
        }
        (state.webhook.clone(), by_chat.into_values().collect())
    }

    async fn deliver_in_order(&self, webhook: &Webhook, updates: Vec<Pending>) -> Vec<Delivery> {
        let mut attempts = Vec::new();
        for update in updates {
            let attempt = self.attempt(webhook, &update).await;
            let accepted = attempt.is_accepted();
            attempts.push(attempt);
            if !accepted {
                break;
            }
        }
        attempts
    }

    async fn attempt(&self, webhook: &Webhook, update: &Pending) -> Delivery {
        let answered = self.post(webhook, update.body.clone()).await;
        let Some((status, answer)) = answered else {
            self.note_error("Connection timed out or was refused");
            return Delivery { update_id: update.update_id, status: None, answer: Bytes::new(), method: None };
        };
        let mut method = None;
        if status.is_success() {
            self.inner.state().pending.retain(|pending| pending.update_id != update.update_id);
            method = self.perform_answer(&answer);
        } else {
            self.note_error(&format!("Wrong response from the webhook: {status}"));
        }
        Delivery { update_id: update.update_id, status: Some(status.as_u16()), answer, method }
    }

    /// Performs the method a webhook's answer names; Telegram does not say how it went.
    /// See <https://core.telegram.org/bots/api#making-requests-when-getting-updates>.
    fn perform_answer(&self, answer: &Bytes) -> Option<String> {
        let Ok(Value::Object(mut call)) = serde_json::from_slice(answer) else { return None };
        let Some(Value::String(method)) = call.remove("method") else { return None };
        methods::perform(&self.inner, &method, Params::from_object(call)).ok().map(|_| method)
    }

    async fn post(&self, webhook: &Webhook, body: Bytes) -> Option<(StatusCode, Bytes)> {
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(secret) = webhook.secret.as_deref().and_then(|secret| HeaderValue::from_str(secret).ok()) {
            headers.insert(SECRET_HEADER, secret);
        }
        outgoing::post(&self.inner.journal, WEBHOOK, &webhook.url, headers, body).await
    }

    fn note_error(&self, what: &str) {
        self.inner.state().webhook.last_error = Some((self.inner.clock.now(), what.to_owned()));
    }
}
