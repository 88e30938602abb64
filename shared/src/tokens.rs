//! Signed, short-lived tokens: connect and billing links, OAuth states and undo buttons.
//!
//! All are HS256 JWTs whose `aud` is the one purpose they serve, so that a token of one kind never opens another door.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::secrets::{KeyTooShort, MIN_KEY_BYTES};

/// Longer tokens are refused before they are looked at.
const MAX_BYTES: usize = 4096;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Opens the page that connects a Google account.
    Connect,
    /// Comes back from Google's consent.
    OauthState,
    /// Takes a fresh connection back.
    Undo,
    /// Opens the pages that lead to Stripe.
    Billing,
}

impl Purpose {
    const fn audience(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::OauthState => "oauth-state",
            Self::Undo => "undo",
            Self::Billing => "billing",
        }
    }
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a token of ours, or one for another purpose.
    #[error("not a valid token for this purpose")]
    Invalid,
    /// It was one, until its time ran out.
    #[error("the token has expired")]
    Expired,
}

/// A token's content: an identity, an end, and what its purpose needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims<T> {
    aud: String,
    /// The token's own identity; a state inherits its link's.
    pub jti: String,
    exp: i64,
    /// What the purpose needs.
    #[serde(flatten)]
    pub content: T,
}

impl<T> Claims<T> {
    /// When it ends.
    pub const fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    /// Whether it has ended at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at() <= now
    }
}

/// Signs tokens and checks them.
#[derive(Clone)]
pub struct Signer {
    sign: EncodingKey,
    check: DecodingKey,
}

impl Signer {
    /// Takes the key's text as it is; generate it from at least 256 random bits.
    ///
    /// # Errors
    /// [`KeyTooShort`] under 32 bytes.
    pub fn new(key: &SecretString) -> Result<Self, KeyTooShort> {
        let bytes = key.expose_secret().as_bytes();
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyTooShort);
        }
        Ok(Self { sign: EncodingKey::from_secret(bytes), check: DecodingKey::from_secret(bytes) })
    }

    /// A new token identity: 122 random bits.
    pub fn new_jti() -> String {
        Uuid::new_v4().simple().to_string()
    }

    /// Signs a token that serves `purpose` for `lifetime` from `now` (whole seconds).
    pub fn sign<T: Serialize>(
        &self,
        purpose: Purpose,
        jti: &str,
        content: &T,
        now: Timestamp,
        lifetime: Duration,
    ) -> String {
        let claims = Claims {
            aud: purpose.audience().to_owned(),
            jti: jti.to_owned(),
            exp: (now + lifetime).seconds(),
            content,
        };
        // Plain data under an HMAC key can always be encoded; an empty token opens nothing.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign).unwrap_or_default()
    }

    /// Checks a token's signature, purpose and end.
    ///
    /// # Errors
    /// [`Error::Expired`] for a genuine token after its end, [`Error::Invalid`] for everything else.
    pub fn verify<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        token: &str,
        now: Timestamp,
    ) -> Result<Claims<T>, Error> {
        let claims = self.verify_signature(purpose, token)?;
        if claims.is_expired(now) { Err(Error::Expired) } else { Ok(claims) }
    }

    /// Checks a token's signature and purpose; the caller judges its end.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn verify_signature<T: DeserializeOwned>(&self, purpose: Purpose, token: &str) -> Result<Claims<T>, Error> {
        if token.len() > MAX_BYTES {
            return Err(Error::Invalid);
        }
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[purpose.audience()]);
        rules.set_required_spec_claims(&["aud", "exp"]);
        // The library would read the machine's clock.
        rules.validate_exp = false;
        jsonwebtoken::decode::<Claims<T>>(token, &self.check, &rules)
            .map(|token| token.claims)
            .map_err(|_| Error::Invalid)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Content {
        name: String,
    }

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn signer(letter: &str) -> Signer {
        Signer::new(&SecretString::from(letter.repeat(MIN_KEY_BYTES))).expect("long enough")
    }

    fn token() -> String {
        signer("a").sign(Purpose::Connect, "jti", &Content { name: "Ann".to_owned() }, NOW, TEN_MINUTES)
    }

    #[test]
    fn a_token_opens_its_own_door_until_its_end() {
        let verify = |purpose, now| signer("a").verify::<Content>(purpose, &token(), now);
        assert_eq!(verify(Purpose::Connect, NOW).expect("valid").content.name, "Ann");
        assert_eq!(verify(Purpose::OauthState, NOW).err(), Some(Error::Invalid));
        assert_eq!(verify(Purpose::Connect, NOW + TEN_MINUTES).err(), Some(Error::Expired));
    }

    #[test]
    fn another_key_or_algorithm_opens_nothing() {
        assert_eq!(signer("b").verify::<Content>(Purpose::Connect, &token(), NOW).err(), Some(Error::Invalid));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJjb25uZWN0IiwiZXhwIjo5OTk5OTk5OTk5LCJqdGkiOiJ4In0.";
        assert_eq!(signer("a").verify::<Content>(Purpose::Connect, unsigned, NOW).err(), Some(Error::Invalid));
    }
}
