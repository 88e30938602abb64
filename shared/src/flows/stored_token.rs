//! The secret of an integration in the vault, which is the only place where Google's tokens are kept.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::domain::integration::SubjectHash;
use crate::domain::scope::GrantedScopes;

/// A token is not handed out in this last part of its life, because a call made with it may take longer.
const MARGIN: Duration = Duration::from_secs(120);

/// An integration's tokens with what they grant, ready to be written.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The credential for Google's APIs.
    pub access_token: SecretString,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// The credential for new access tokens.
    pub refresh_token: SecretString,
    /// The scopes that Google granted.
    pub granted: GrantedScopes,
    /// The Google account's email address, if Google gave it.
    pub account: Option<String>,
    /// Which Google account it is, if Google told it.
    pub subject: Option<SubjectHash>,
}

/// The fields of a stored secret that could be read. The others count as absent; Google gives most of them again.
#[derive(Clone, Debug, Default)]
pub struct StoredFields {
    /// The credential for Google's APIs.
    pub access_token: Option<SecretString>,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
    /// The credential for new access tokens.
    pub refresh_token: Option<SecretString>,
    /// The Google account's email address.
    pub account: Option<String>,
    /// Which Google account it is.
    pub subject: Option<SubjectHash>,
}

impl StoredToken {
    /// The secret's value: JSON with `expires_at` in milliseconds since the epoch and `scope` separated by spaces.
    pub fn to_secret(&self) -> SecretString {
        let value = json!({
            "access_token": self.access_token.expose_secret(),
            "expires_at": self.expires_at,
            "refresh_token": self.refresh_token.expose_secret(),
            "scope": self.granted.to_string(),
            "account": self.account,
            "subject": self.subject,
        });
        value.to_string().into()
    }
}

impl StoredFields {
    /// Parses a secret's value. A field that is missing or malformed is `None`.
    pub fn parse(value: &SecretString) -> Self {
        let value: Value = serde_json::from_str(value.expose_secret()).unwrap_or_default();
        let token = |field: &str| value[field].as_str().filter(|text| is_bearer_token(text)).map(SecretString::from);
        Self {
            access_token: token("access_token"),
            expires_at: value["expires_at"].as_i64().map(Timestamp::from_millis),
            refresh_token: token("refresh_token"),
            account: value["account"].as_str().map(str::to_owned),
            subject: value["subject"].as_str().map(SubjectHash::from_kept),
        }
    }

    /// The access token and its end, if it may still be handed out at `now`.
    pub fn usable_token(&self, now: Timestamp) -> Option<(&SecretString, Timestamp)> {
        let expires_at = self.expires_at.filter(|expires_at| may_hand_out(*expires_at, now))?;
        self.access_token.as_ref().map(|token| (token, expires_at))
    }
}

/// Whether a token that ends at `expires_at` may be handed out at `now`.
pub fn may_hand_out(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at > now + MARGIN
}

/// Whether a text can be sent in an `Authorization` header (RFC 6750, section 2.1).
fn is_bearer_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_stored_token_survives_the_vault_and_shows_nothing() {
        let token = StoredToken {
            access_token: "ya29.access".into(),
            expires_at: NOW,
            refresh_token: "1//refresh".into(),
            granted: GrantedScopes::parse("openid email"),
            account: Some("ada@example.com".to_owned()),
            subject: Some(SubjectHash::from_subject("1098")),
        };
        let read = StoredFields::parse(&token.to_secret());
        assert_eq!((read.expires_at, read.account.clone()), (Some(NOW), token.account.clone()));
        assert_eq!(read.subject, token.subject);
        for shown in [format!("{token:?}"), format!("{read:?}")] {
            assert!(!shown.contains("1//") && !shown.contains("ya29"));
        }
        assert_eq!(read.access_token.expect("kept").expose_secret(), "ya29.access");
        assert_eq!(read.refresh_token.expect("kept").expose_secret(), "1//refresh");
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        for value in ["", "null", "[]", "not json", r#"{"access_token":7,"expires_at":"soon","refresh_token":""}"#] {
            let read = StoredFields::parse(&value.into());
            assert!(read.access_token.is_none() && read.refresh_token.is_none() && read.expires_at.is_none());
        }
        let half = StoredFields::parse(&r#"{"access_token":"line\nbreak","refresh_token":"1//r"}"#.into());
        assert!(half.access_token.is_none() && half.refresh_token.is_some());
    }

    #[test]
    fn a_token_is_usable_until_two_minutes_before_its_end() {
        let is_usable = |value: String| StoredFields::parse(&value.into()).usable_token(NOW).is_some();
        let ending = |seconds: i64| {
            let at = NOW.millis() + seconds * 1000;
            is_usable(format!(r#"{{"access_token":"a","expires_at":{at}}}"#))
        };
        assert!(ending(121));
        assert!(!ending(120) && !ending(-1));
        assert!(!is_usable(r#"{"access_token":"a"}"#.to_owned()));
    }
}
