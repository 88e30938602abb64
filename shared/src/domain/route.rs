//! Where a chat's messages go: the one small item a Telegram update touches.

use serde::{Deserialize, Serialize};

use super::ids::{ChatId, TenantId};
use crate::clock::Timestamp;

/// Whether a chat's messages are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteStatus {
    /// The assistant is being made ready; messages wait in the queue.
    Provisioning,
    /// Messages are delivered.
    Active,
    /// Messages are refused with the way to resume.
    Suspended,
}

impl RouteStatus {
    /// The name in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// A chat's way to its tenant's runtime, with the state that a message needs (at most 1 KB in all).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The chat.
    pub chat_id: ChatId,
    /// The tenant its messages belong to.
    pub tenant_id: TenantId,
    /// Whether they are delivered.
    pub status: RouteStatus,
    /// The runtime's address, without a trailing slash; `None` until there is a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_url: Option<String>,
    /// The generation of the runtime's derived secrets.
    pub generation: u32,
    /// A second generation that is valid too, while a rotation is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_generation: Option<u32>,
    /// When the route last became active: a message's 45 minutes do not begin before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// The rate limit's theoretical arrival time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Timestamp>,
    /// The update last admitted: Telegram's retry of it is never held against the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<i64>,
    /// When the person was last told to slow down, and for which update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_down: Option<SlowDown>,
    /// Set once the person was told that the assistant is waking up; the next delivery clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waking_told_at: Option<Timestamp>,
}

/// A polite message's once-a-window mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowDown {
    /// When it was said.
    pub at: Timestamp,
    /// To which update; its retry is answered again.
    pub update_id: i64,
}

impl Route {
    /// A route that delivers, once it has a runtime's address.
    pub const fn new(chat_id: ChatId, tenant_id: TenantId) -> Self {
        Self {
            chat_id,
            tenant_id,
            status: RouteStatus::Active,
            runtime_url: None,
            generation: 1,
            other_generation: None,
            activated_at: None,
            arrival: None,
            last_update: None,
            slow_down: None,
            waking_told_at: None,
        }
    }

    /// The generations whose secrets are valid, the current one first.
    pub fn generations(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.generation).chain(self.other_generation)
    }
}
