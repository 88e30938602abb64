//! The response bodies of this function: part of the stable contract with runtimes.

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::providers::google::gmail::Message;
use serde::Serialize;

use crate::body::{self, Body};
use crate::{charset, html};

/// A page of messages.
#[derive(Debug, Serialize)]
pub(crate) struct MessageList {
    pub(crate) provider: Provider,
    pub(crate) tenant_id: TenantId,
    pub(crate) messages: Vec<MessageSummary>,
    pub(crate) result_size_estimate: u64,
}

/// A message as a list shows it. A missing header is null.
#[derive(Debug, Serialize)]
pub(crate) struct MessageSummary {
    id: String,
    thread_id: String,
    snippet: String,
    subject: Option<String>,
    from: Option<String>,
    date: Option<String>,
    /// When Gmail received the message: milliseconds since the epoch in decimal digits, as Gmail gives it.
    internal_date: Option<String>,
}

/// A message in full.
#[derive(Debug, Serialize)]
pub(crate) struct MessageDetail {
    provider: Provider,
    tenant_id: TenantId,
    #[serde(flatten)]
    summary: MessageSummary,
    to: Option<String>,
    label_ids: Vec<String>,
    #[serde(flatten)]
    body: Body,
    /// The other messages of the conversation, oldest first.
    thread_context: Vec<MessageSummary>,
}

impl MessageSummary {
    pub(crate) fn from_message(message: &Message) -> Self {
        let headers = message.headers();
        let header = |name| headers.get(name).map(charset::decode_header);
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

impl MessageDetail {
    pub(crate) fn from_message(
        tenant_id: TenantId,
        message: &Message,
        thread: &[Message],
        thread_limit: usize,
    ) -> Self {
        let others: Vec<_> = thread.iter().filter(|other| other.id != message.id).collect();
        let newest = others.len().saturating_sub(thread_limit);
        Self {
            provider: Provider::Gmail,
            tenant_id,
            summary: MessageSummary::from_message(message),
            to: message.headers().get("To").map(charset::decode_header),
            label_ids: message.label_ids.clone(),
            body: message.payload.as_deref().map(body::parse).unwrap_or_default(),
            thread_context: others[newest..].iter().map(|other| MessageSummary::from_message(other)).collect(),
        }
    }
}
