//! The key that names things, comparing secrets, and the hash of one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::ids::{ChatId, TenantId};

/// The shortest key that is accepted, in bytes: the output of SHA-256.
pub const MIN_KEY_BYTES: usize = 32;
/// The most secrets of a list: the newest, and those that are on their way out.
pub(super) const MOST_IN_LIST: usize = 5;
/// The longest secret of Telegram's webhook, in characters. <https://core.telegram.org/bots/api#setwebhook>
const LONGEST_WEBHOOK_SECRET: usize = 256;

/// The key that tenants' ids and the names of their resources are derived from. It opens nothing, and never changes:
/// with another one, every tenant would be somebody else.
#[derive(Clone)]
pub struct IdentityKey(hmac::Key);

/// The key is shorter than [`MIN_KEY_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is shorter than 32 bytes")]
pub struct KeyTooShort;

impl IdentityKey {
    /// Uses the bytes of the key's text, which has to be generated from at least 256 random bits.
    ///
    /// # Errors
    /// [`KeyTooShort`] when the text has fewer than [`MIN_KEY_BYTES`].
    pub fn new(key: &SecretString) -> Result<Self, KeyTooShort> {
        hmac_key(key).map(Self)
    }

    /// The tenant of a chat. Concurrent checkouts of a chat get the same tenant, and its id cannot be guessed without
    /// the key.
    pub fn tenant_id(&self, chat: ChatId) -> TenantId {
        let bytes = self.bytes("tenant", &[&chat.0.to_be_bytes()]);
        TenantId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The first 128 bits of the tag over `purpose` and `parts`.
    pub(super) fn bytes(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (byte, derived) in bytes.iter_mut().zip(tag(&self.0, purpose, parts).as_ref()) {
            *byte = *derived;
        }
        bytes
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(…)")
    }
}

pub(super) fn hmac_key(text: &SecretString) -> Result<hmac::Key, KeyTooShort> {
    let bytes = text.expose_secret().as_bytes();
    if bytes.len() < MIN_KEY_BYTES {
        return Err(KeyTooShort);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
}

pub(super) fn tag(key: &hmac::Key, purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

/// The secrets with which Telegram may call the webhook, the newest first. Telegram does not say which of them it uses,
/// so each is compared.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<SecretString>);

impl WebhookSecrets {
    /// What a list of them ought to be.
    pub const HINT: &str = "1 to 5 secrets, the newest first, with commas between: 1 to 256 of `A-Za-z0-9_-` each";

    /// Reads a list, separated by commas; `None` when it is not as [`Self::HINT`] says.
    pub fn parse(list: &SecretString) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let secrets: Vec<&str> = list.expose_secret().split(',').map(str::trim).collect();
        let is_valid =
            |secret: &&str| (1..=LONGEST_WEBHOOK_SECRET).contains(&secret.len()) && secret.bytes().all(is_plain);
        let is_usable = secrets.len() <= MOST_IN_LIST && secrets.iter().all(is_valid);
        is_usable.then(|| Self(secrets.into_iter().map(SecretString::from).collect()))
    }

    /// Whether it is one of them; all are compared, each in constant time.
    pub fn accept(&self, given: &str) -> bool {
        self.0.iter().fold(false, |accepted, secret| accepted | is_same_secret(secret, given))
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecrets(…)")
    }
}

/// Whether two secrets are equal; compared in a time that depends on their lengths alone.
pub fn is_same_secret(ours: &SecretString, theirs: &str) -> bool {
    ours.expose_secret().as_bytes().ct_eq(theirs.as_bytes()).into()
}

/// The SHA-256 of a tenant's internal key; we never store the key itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// Hashes a key.
    pub fn from_key(key: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, key.as_bytes())))
    }

    /// Whether both are hashes of the same key; compared in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(letter: &str) -> IdentityKey {
        IdentityKey::new(&SecretString::from(letter.repeat(MIN_KEY_BYTES))).expect("long enough")
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(IdentityKey::new(&SecretString::from("short")).err(), Some(KeyTooShort));
    }

    #[test]
    fn a_chat_has_one_tenant_whose_id_parses() {
        let id = identity("k").tenant_id(ChatId(1001));
        assert_eq!(id, identity("k").tenant_id(ChatId(1001)));
        assert_ne!(id, identity("k").tenant_id(ChatId(1002)));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn telegram_may_use_any_listed_secret_and_no_other() {
        let parse = |list: &str| WebhookSecrets::parse(&SecretString::from(list));
        let secrets = parse("new_1, old-1").expect("a list");
        assert!(secrets.accept("new_1") && secrets.accept("old-1"));
        for given in ["", "new", "new_1,old-1", "new_1, old-1", "old-1 ", ","] {
            assert!(!secrets.accept(given), "{given}");
        }
        let long = "x".repeat(LONGEST_WEBHOOK_SECRET);
        assert!(parse(&long).is_some() && parse("a,b,c,d,e").is_some());
        for list in ["", ",", "a,", "a b", "a:b", "ssm:/nbhd/name", "é", &*format!("{long}x"), "a,b,c,d,e,f"] {
            assert!(parse(list).is_none(), "{list}");
        }
    }
}
