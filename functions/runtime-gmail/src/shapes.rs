//! The answers of this function: part of the stable contract with runtimes.

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::providers::google::gmail::Message;
use serde::Serialize;

use crate::body::{self, Body};
use crate::{charset, html};

/// A page of messages.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    pub(crate) provider: Provider,
    pub(crate) tenant_id: TenantId,
    pub(crate) messages: Vec<Summary>,
    pub(crate) result_size_estimate: u64,
}

/// A message as a list shows it; a header that is missing is null.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    id: String,
    thread_id: String,
    snippet: String,
    subject: Option<String>,
    from: Option<String>,
    date: Option<String>,
    /// Milliseconds since the epoch in decimal digits, as Gmail writes it.
    internal_date: Option<String>,
}

/// A message in full.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    provider: Provider,
    tenant_id: TenantId,
    #[serde(flatten)]
    summary: Summary,
    to: Option<String>,
    label_ids: Vec<String>,
    #[serde(flatten)]
    body: Body,
    /// The other messages of the conversation, oldest first.
    thread_context: Vec<Summary>,
}

impl Summary {
    pub(crate) fn of(message: &Message) -> Self {
        let headers = message.headers();
        let header = |name| headers.get(name).map(charset::header);
        Self {
            id: message.id.clone(),
            thread_id: message.thread_id.clone(),
            snippet: html::to_text(&message.snippet),
            subject: header("Subject"),
            from: header("From"),
            date: header("Date"),
            internal_date: message.internal_date.clone(),
        }
    }
}

impl Detail {
    pub(crate) fn of(tenant_id: TenantId, message: &Message, thread: &[Message], thread_limit: usize) -> Self {
        let others: Vec<_> = thread.iter().filter(|other| other.id != message.id).collect();
        let newest = others.len().saturating_sub(thread_limit);
        Self {
            provider: Provider::Gmail,
            tenant_id,
            summary: Summary::of(message),
            to: message.headers().get("To").map(charset::header),
            label_ids: message.label_ids.clone(),
            body: message.payload.as_deref().map(body::read).unwrap_or_default(),
            thread_context: others[newest..].iter().map(|other| Summary::of(other)).collect(),
        }
    }
}
