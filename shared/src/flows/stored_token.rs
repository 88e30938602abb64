//! What the vault holds for a connection: the only place where Google's tokens are kept.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::domain::scope::Granted;

/// A connection's tokens and what they open.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The credential for Google's APIs.
    pub access_token: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What renews it.
    pub refresh_token: SecretString,
    /// What Google granted.
    pub granted: Granted,
    /// The Google account's address, when Google told us.
    pub account: Option<String>,
}

/// The JSON of the secret; `expires_at` is in milliseconds since the epoch, `scope` separated by spaces.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    access_token: &'a str,
    expires_at: Timestamp,
    refresh_token: &'a str,
    scope: String,
    account: Option<String>,
}

impl StoredToken {
    /// The secret's value.
    pub fn to_secret(&self) -> SecretString {
        let json = Json {
            access_token: self.access_token.expose_secret(),
            expires_at: self.expires_at,
            refresh_token: self.refresh_token.expose_secret(),
            scope: self.granted.to_string(),
            account: self.account.clone(),
        };
        serde_json::to_string(&json).expect("strings and a number are always JSON").into()
    }

    /// Reads a secret's value; `None` when it is not of the form above.
    pub fn from_secret(value: &SecretString) -> Option<Self> {
        // The parser's message would quote the tokens.
        let json: Json<'_> = serde_json::from_str(value.expose_secret()).ok()?;
        Some(Self {
            access_token: json.access_token.into(),
            expires_at: json.expires_at,
            refresh_token: json.refresh_token.into(),
            granted: Granted::parse(&json.scope),
            account: json.account,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_token_survives_the_vault_and_shows_nothing() {
        let token = StoredToken {
            access_token: "ya29.access".into(),
            expires_at: Timestamp::from_seconds(1_800_000_000),
            refresh_token: "1//refresh".into(),
            granted: Granted::parse("openid email"),
            account: Some("ada@example.com".to_owned()),
        };
        let read = StoredToken::from_secret(&token.to_secret()).expect("of the form");
        assert_eq!(read.refresh_token.expose_secret(), "1//refresh");
        assert_eq!(
            (read.expires_at, read.granted, read.account),
            (token.expires_at, token.granted.clone(), token.account.clone())
        );
        assert!(!format!("{token:?}").contains("1//") && !format!("{token:?}").contains("ya29"));
        assert!(StoredToken::from_secret(&SecretString::from("{}")).is_none());
    }
}
