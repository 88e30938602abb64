//! A sign-in at Google that waits for its confirmation in Telegram.
//!
//! Whoever has a link can be led through Google's consent by it, also somebody to whom it was passed on. So the page
//! after the consent shows a one-time *start token*, and the person sends it from their own Telegram by `/start`. Only
//! the chat that the link was made for confirms.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use crate::clock::Timestamp;

/// How long a sign-in waits, from its browser's first arrival on: well below the ten minutes or so for which Google
/// accepts a code.
pub const CONFIRMATION_LIFETIME: Duration = Duration::from_secs(300);

/// How long the item of a sign-in is kept, so that who answers late is told so.
pub const SIGN_IN_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long the nonce of a link is kept: longer than a link and the state that inherits its `jti` are valid.
pub const NONCE_RETENTION: Duration = Duration::from_secs(9 * 24 * 3600);

/// Characters of a start token: 32 bytes as unpadded base64url, which a `start` parameter may hold.
/// <https://core.telegram.org/bots/features#deep-linking>
const TOKEN_CHARACTERS: usize = 43;

/// The SHA-256 of a start token, under which the sign-in is kept. The token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignInId(String);

impl SignInId {
    /// The sign-in of a start token.
    pub fn of_token(token: &SecretString) -> Self {
        Self::hash(token.expose_secret())
    }

    /// The sign-in that a `/start` names; `None` when its parameter has not the form of a start token.
    pub fn from_parameter(parameter: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_token = parameter.len() == TOKEN_CHARACTERS && parameter.bytes().all(is_allowed);
        is_token.then(|| Self::hash(parameter))
    }

    fn hash(token: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes())))
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sign-in, from its browser's first arrival after Google's consent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// The link that it began with.
    pub jti: String,
    /// The tenant that the link connects.
    pub tenant_id: TenantId,
    /// The hash of the browser's secret.
    pub browser: String,
    /// When it can no longer be confirmed, nor completed.
    pub ends_at: Timestamp,
    /// When the link's own chat confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// The update by which another chat sent the start token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<i64>,
    /// When the table may delete it, in seconds since the epoch.
    pub ttl: i64,
}

/// What a start token means that a chat sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartVerdict {
    /// The link's chat may confirm now.
    Confirm,
    /// The link's chat confirmed before.
    Confirmed,
    /// The link's chat comes too late.
    TooLate,
    /// Another chat sent the token before: nothing is connected by this link any more.
    Refused,
    /// Another chat sends it: the link is spent, and the chat is told.
    OtherChat,
    /// Another chat sent it before and was told.
    Repeated,
}

impl SignIn {
    /// A sign-in whose browser arrives at `now`.
    pub fn new(jti: &str, tenant_id: TenantId, browser: &str, now: Timestamp) -> Self {
        let (jti, browser) = (jti.to_owned(), browser.to_owned());
        let (ends_at, ttl) = (now + CONFIRMATION_LIFETIME, (now + SIGN_IN_RETENTION).seconds());
        Self { jti, tenant_id, browser, ends_at, confirmed_at: None, refused_by: None, ttl }
    }

    /// Whether its time is over at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// What it means that the chat of `tenant` (`None`: of nobody's assistant) sends the start token in `update`.
    pub fn judge(&self, tenant: Option<TenantId>, update: i64, now: Timestamp) -> StartVerdict {
        match (tenant == Some(self.tenant_id), self.refused_by) {
            // Telegram sends an update again whose answer it did not get; so is the answer.
            (false, Some(told)) if told != update => StartVerdict::Repeated,
            (false, _) => StartVerdict::OtherChat,
            (true, Some(_)) => StartVerdict::Refused,
            (true, None) if self.confirmed_at.is_some() => StartVerdict::Confirmed,
            (true, None) if self.is_over(now) => StartVerdict::TooLate,
            (true, None) => StartVerdict::Confirm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn only_the_links_own_chat_confirms_and_only_in_time() {
        let tenant = TenantId::random();
        let waiting = SignIn::new("jti", tenant, "browser", NOW);
        let confirmed = SignIn { confirmed_at: Some(NOW), ..waiting.clone() };
        let refused = SignIn { refused_by: Some(7), ..confirmed.clone() };
        let late = NOW + CONFIRMATION_LIFETIME;
        let (own, other) = (Some(tenant), Some(TenantId::random()));
        for (sign_in, from, update, now, expected) in [
            (&waiting, own, 1, NOW, StartVerdict::Confirm),
            (&waiting, own, 1, late, StartVerdict::TooLate),
            (&confirmed, own, 2, late, StartVerdict::Confirmed),
            (&refused, own, 7, NOW, StartVerdict::Refused),
            (&waiting, other, 1, NOW, StartVerdict::OtherChat),
            (&waiting, None, 1, late, StartVerdict::OtherChat),
            (&confirmed, other, 1, NOW, StartVerdict::OtherChat),
            (&refused, other, 7, NOW, StartVerdict::OtherChat),
            (&refused, None, 8, NOW, StartVerdict::Repeated),
        ] {
            assert_eq!(sign_in.judge(from, update, now), expected, "{sign_in:?}");
        }
    }

    #[test]
    fn a_start_token_has_one_form_and_is_kept_as_its_hash() {
        let token = "a".repeat(TOKEN_CHARACTERS);
        let id = SignInId::from_parameter(&token).expect("of that form");
        assert_eq!(id, SignInId::of_token(&token.clone().into()));
        assert_ne!(id.as_str(), token);
        for parameter in ["", "abc-123", &token[1..], &format!("{token}a"), &format!("{}=", &token[1..])] {
            assert_eq!(SignInId::from_parameter(parameter), None, "{parameter}");
        }
    }
}
