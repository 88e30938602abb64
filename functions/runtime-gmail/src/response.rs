//! The response bodies of this function: part of the stable contract with runtimes.

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::providers::google::gmail::Message;
use serde::Serialize;

use crate::body::Body;
use crate::header::{self, Line};
use crate::html;

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
    /// Whether something that a person cannot see and a program could read was left out of the texts.
    hidden_text_removed: bool,
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
        let mut hidden_text_removed = false;
        let mut show = |Line { text, removed_hidden }: Line| {
            hidden_text_removed |= removed_hidden;
            text
        };
        let mut header = |name| headers.get(name).map(header::decode).map(&mut show);
        let (subject, from, date) = (header("Subject"), header("From"), header("Date"));
        let snippet = show(Line::from_text(&html::decode_entities(&message.snippet)));
        Self {
            id: message.id.clone(),
            thread_id: message.thread_id.clone(),
            snippet,
            subject,
            from,
            date,
            internal_date: message.internal_date.clone(),
            hidden_text_removed,
        }
    }
}

impl MessageDetail {
    pub(crate) fn from_message(
        tenant_id: TenantId,
        message: &Message,
        body: Body,
        thread: &[Message],
        thread_limit: usize,
    ) -> Self {
        let others: Vec<_> = thread.iter().filter(|other| other.id != message.id).collect();
        let newest = others.len().saturating_sub(thread_limit);
        let mut summary = MessageSummary::from_message(message);
        let to = message.headers().get("To").map(header::decode);
        summary.hidden_text_removed |= body.hidden_text_removed || to.as_ref().is_some_and(|to| to.removed_hidden);
        Self {
            provider: Provider::Gmail,
            tenant_id,
            summary,
            to: to.map(|to| to.text),
            label_ids: message.label_ids.clone(),
            body,
            thread_context: others[newest..].iter().map(|other| MessageSummary::from_message(other)).collect(),
        }
    }
}
