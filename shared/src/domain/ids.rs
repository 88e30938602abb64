//! The ids that rows are keyed by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a tenant: a UUID, derived from the chat for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(Uuid);

impl TenantId {
    /// A new id of 122 random bits. It cannot be guessed, but it is never accepted as a proof of anything.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id's 16 bytes, from which keys and names are derived.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for TenantId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    /// Reads the hyphenated lower-case form only, so that one tenant has one spelling.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = Self(Uuid::try_parse(text).map_err(|_| InvalidId)?);
        if id.to_string() == text { Ok(id) } else { Err(InvalidId) }
    }
}

/// The text is not an id of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the expected form")]
pub struct InvalidId;

/// The id of a Telegram chat. A private chat's is positive and equals the person's user id.
/// <https://core.telegram.org/bots/api#chat>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatId(pub i64);

impl From<ChatId> for i64 {
    fn from(chat: ChatId) -> Self {
        chat.0
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ChatId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self).map_err(|_| InvalidId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_spelling() {
        let id = TenantId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            id.to_string().to_uppercase().parse::<TenantId>().is_err(),
            id.to_string() != id.to_string().to_uppercase()
        );
        assert!(id.to_string().replace('-', "").parse::<TenantId>().is_err());
        assert!("..".parse::<TenantId>().is_err());
    }
}
