//! The route from a chat to its tenant's runtime: the one small item that a Telegram update reads and writes.

use serde::{Deserialize, Serialize};

use super::generation::Generation;
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
    /// Messages are refused; the person is told how to resume.
    Suspended,
}

impl RouteStatus {
    /// The status's name in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// A chat's route to its tenant's runtime, with the state that processing a message needs (at most 1 KB in all).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The chat.
    pub chat_id: ChatId,
    /// The tenant that the chat's messages belong to.
    pub tenant_id: TenantId,
    /// Whether messages are delivered.
    pub status: RouteStatus,
    /// The runtime's address, without a trailing slash; `None` until there is a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_url: Option<String>,
    /// The generation of the runtime's derived secrets.
    pub generation: Generation,
    /// The second generation that is valid during a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_generation: Option<Generation>,
    /// The time at which the route last became active: a message's 45 minutes begin no earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// The rate limit's theoretical arrival time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Timestamp>,
    /// The id of the update last admitted; Telegram's retry of it is not charged against the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<i64>,
    /// The last notice to slow down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_notice: Option<ThrottleNotice>,
    /// The time of the notice that the assistant is waking up; the next delivery clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waking_notice_at: Option<Timestamp>,
    /// The update on which the runtime, which is up, fails each time; any other outcome of its delivery clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingUpdate>,
    /// When the tenant was last counted among those whose messages were given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_counted_at: Option<Timestamp>,
    /// When the tenant was last counted among those whose runtime refuses our secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal_counted_at: Option<Timestamp>,
}

/// What a runtime can do to an alarm. A tenant counts once an hour, however often its runtime does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not take a message, so that the message is given up.
    Loss,
    /// It refuses our secret.
    Refusal,
}

/// An update on which a runtime that is up fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingUpdate {
    /// Telegram's number of it.
    pub update_id: i64,
    /// When it first did.
    pub since: Timestamp,
}

/// The mark of a notice to slow down, by which it is sent once a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleNotice {
    /// The time at which the notice was sent.
    pub at: Timestamp,
    /// The update that it answered; Telegram's retry of that update is answered again.
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
            generation: Generation::unkeyed(1),
            other_generation: None,
            activated_at: None,
            arrival: None,
            last_update: None,
            throttle_notice: None,
            waking_notice_at: None,
            failing: None,
            loss_counted_at: None,
            refusal_counted_at: None,
        }
    }

    /// When the tenant was last counted for this trouble.
    pub const fn last_count(&self, trouble: Trouble) -> Option<Timestamp> {
        match trouble {
            Trouble::Loss => self.loss_counted_at,
            Trouble::Refusal => self.refusal_counted_at,
        }
    }

    /// The generations whose secrets are valid, the current one first.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        std::iter::once(self.generation).chain(self.other_generation)
    }
}
