//! Signed, short-lived tokens: connect and billing links, OAuth states and undo buttons.
//!
//! All are HS256 JWTs whose `aud` is the one purpose they serve, so that a token of one kind never opens another door,
//! and whose `kid` is the key that signed them, so that those that are under way outlive the roll to a newer key.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::generation::KeyId;
use crate::domain::key_list::{SecretKey, SecretKeys};

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

/// Signs tokens with the newest of its keys, and checks those of each.
#[derive(Clone, Debug)]
pub struct Signer {
    keys: SecretKeys,
}

impl Signer {
    /// One with these keys.
    pub const fn new(keys: SecretKeys) -> Self {
        Self { keys }
    }

    /// A new token identity: `<id of the newest key>-<122 random bits>`, of `a-z0-9-`.
    pub fn new_jti(&self) -> String {
        format!("{}-{}", self.keys.newest().id(), Uuid::new_v4().simple())
    }

    /// A value that follows from a token's identity and `parts`, and from nothing else, under the key that the identity
    /// names. So every token of this identity leads to the same value, also one that a newer key has signed.
    pub fn derive(&self, purpose: &str, jti: &str, parts: &[&[u8]]) -> SecretString {
        let id = jti.split_once('-').and_then(|(id, _)| id.parse().ok());
        // Under a key that was removed meanwhile, what was derived once is not found again.
        let key = id.and_then(|id| self.keys.find(id)).unwrap_or_else(|| self.keys.newest());
        key.derive(purpose, &[&[jti.as_bytes()], parts].concat())
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
        let key = self.keys.newest();
        let header = Header { kid: Some(key.id().to_string()), ..Header::new(Algorithm::HS256) };
        // Plain data under an HMAC key can always be encoded; an empty token opens nothing.
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key.bytes())).unwrap_or_default()
    }

    /// Checks a token's signature by the key that it names, its purpose and its end.
    ///
    /// # Errors
    /// [`Error::Expired`] for a genuine token after its end, [`Error::Invalid`] for everything else, and so for one
    /// whose key is not listed.
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
        let key = self.key_of(token).ok_or(Error::Invalid)?;
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[purpose.audience()]);
        rules.set_required_spec_claims(&["aud", "exp"]);
        // The library would read the machine's clock.
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(key.bytes());
        jsonwebtoken::decode::<Claims<T>>(token, &key, &rules).map(|token| token.claims).map_err(|_| Error::Invalid)
    }

    /// The key that a token's header names.
    fn key_of(&self, token: &str) -> Option<&SecretKey> {
        let id: KeyId = jsonwebtoken::decode_header(token).ok()?.kid?.parse().ok()?;
        self.keys.find(id)
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

    /// With a key of each letter, whose id is the letter.
    fn signer(letters: &str) -> Signer {
        let entry = |letter: char| format!("{letter}:{}", String::from(letter).repeat(32));
        let list = letters.chars().map(entry).collect::<Vec<_>>().join(",");
        Signer::new(SecretKeys::parse(&SecretString::from(list)).expect("a list"))
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
        let named = SecretKeys::parse(&SecretString::from(format!("a:{}", "b".repeat(32)))).expect("a list");
        let read = Signer::new(named).verify::<Content>(Purpose::Connect, &token(), NOW);
        assert_eq!(read.err(), Some(Error::Invalid), "another key under the same id");
        let unsigned = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJjb25uZWN0IiwiZXhwIjo5OTk5OTk5OTk5LCJqdGkiOiJ4In0.";
        assert_eq!(signer("a").verify::<Content>(Purpose::Connect, unsigned, NOW).err(), Some(Error::Invalid));
    }

    #[test]
    fn a_token_outlives_the_roll_to_a_newer_key_until_its_own_is_removed() {
        let verify = |letters, token: &str| signer(letters).verify::<Content>(Purpose::Connect, token, NOW).is_ok();
        assert!(verify("ba", &token()) && !verify("b", &token()), "of the older key");
        let newer = signer("ba").sign(Purpose::Connect, "jti", &Content { name: "Ann".to_owned() }, NOW, TEN_MINUTES);
        assert!(verify("b", &newer) && verify("ab", &newer) && !verify("a", &newer), "signed with the newest");
    }

    #[test]
    fn a_token_that_names_no_key_is_tried_with_none() {
        let claims = Claims {
            aud: Purpose::Connect.audience().to_owned(),
            jti: "jti".to_owned(),
            exp: (NOW + TEN_MINUTES).seconds(),
            content: Content { name: "Ann".to_owned() },
        };
        let sign = |kid: Option<&str>| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&[b'a'; 32])).expect("encoded")
        };
        let verify = |kid| signer("ab").verify::<Content>(Purpose::Connect, &sign(kid), NOW).is_ok();
        assert!(verify(Some("a")));
        for kid in [None, Some(""), Some("b"), Some("c"), Some("A"), Some("a,b")] {
            assert!(!verify(kid), "{kid:?}");
        }
    }

    #[test]
    fn what_follows_from_an_identity_is_the_same_after_a_roll() {
        let (old, rolled, removed) = (signer("a"), signer("ba"), signer("b"));
        let jti = old.new_jti();
        assert!(jti.starts_with("a-") && rolled.new_jti().starts_with("b-"));
        let derive = |signer: &Signer| {
            secrecy::ExposeSecret::expose_secret(&signer.derive("pkce", &jti, &[b"browser"])).to_owned()
        };
        assert_eq!(derive(&old), derive(&rolled));
        assert_ne!(derive(&old), derive(&removed));
    }
}
