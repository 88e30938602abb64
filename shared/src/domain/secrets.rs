//! Deriving secrets instead of storing them, and comparing secrets.
//!
//! A runtime's webhook secret and its relay capability are `HMAC-SHA256(platform key, purpose ‖ tenant ‖ generation)`:
//! forward and relay need no vault for them, and a rotation is a new generation.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::ids::{ChatId, TenantId};
use crate::clock::Timestamp;

/// The shortest key that is accepted, in bytes: the output of SHA-256.
pub const MIN_KEY_BYTES: usize = 32;

/// The key that all other keys and secrets are derived from.
#[derive(Clone)]
pub struct MasterKey(hmac::Key);

/// The key is shorter than [`MIN_KEY_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is shorter than 32 bytes")]
pub struct KeyTooShort;

impl MasterKey {
    /// Uses the bytes of the key's text, which has to be generated from at least 256 random bits.
    ///
    /// # Errors
    /// [`KeyTooShort`] when the text has fewer than [`MIN_KEY_BYTES`].
    pub fn new(key: &SecretString) -> Result<Self, KeyTooShort> {
        let bytes = key.expose_secret().as_bytes();
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyTooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The secret that a tenant's runtime expects in `X-Telegram-Bot-Api-Secret-Token`: 43 characters of `A-Za-z0-9_-`.
    pub fn webhook_secret(&self, tenant: TenantId, generation: u32) -> SecretString {
        self.derive("runtime-webhook", &[tenant.as_bytes(), &generation.to_be_bytes()])
    }

    /// The credential of a tenant's runtime at the relay: the part after `:` of its "bot token".
    pub fn relay_capability(&self, tenant: TenantId, generation: u32) -> SecretString {
        self.derive("relay", &[tenant.as_bytes(), &generation.to_be_bytes()])
    }

    /// The signature of a file path that `tenant` alone may download, until `until`.
    pub fn file_signature(&self, tenant: TenantId, path: &str, until: Timestamp) -> SecretString {
        self.derive("relay-file", &[tenant.as_bytes(), &until.millis().to_be_bytes(), path.as_bytes()])
    }

    /// The tenant of a chat. Concurrent checkouts of a chat get the same tenant, and its id cannot be guessed without
    /// the key.
    pub fn tenant_id(&self, chat: ChatId) -> TenantId {
        let bytes = self.bytes("tenant", &[&chat.0.to_be_bytes()]);
        TenantId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The first 128 bits of the tag that [`Self::derive`] encodes.
    pub(super) fn bytes(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (byte, derived) in bytes.iter_mut().zip(self.tag(purpose, parts).as_ref()) {
            *byte = *derived;
        }
        bytes
    }

    /// `HMAC-SHA256(key, purpose ‖ parts)` as unpadded base64url; every part is preceded by its length, so that no two
    /// lists of parts derive the same secret by chance of concatenation.
    pub fn derive(&self, purpose: &str, parts: &[&[u8]]) -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode(self.tag(purpose, parts)))
    }

    fn tag(&self, purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
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

    fn key() -> MasterKey {
        MasterKey::new(&SecretString::from("k".repeat(MIN_KEY_BYTES))).expect("long enough")
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(MasterKey::new(&SecretString::from("short")).err(), Some(KeyTooShort));
    }

    #[test]
    fn purpose_tenant_and_generation_each_change_the_secret() {
        let (tenant, other) = (TenantId::random(), TenantId::random());
        let secrets = [
            key().webhook_secret(tenant, 1),
            key().webhook_secret(tenant, 2),
            key().webhook_secret(other, 1),
            key().relay_capability(tenant, 1),
        ];
        let distinct: std::collections::BTreeSet<_> = secrets.iter().map(|s| s.expose_secret()).collect();
        assert_eq!(distinct.len(), secrets.len());
        assert!(secrets.iter().all(|s| s.expose_secret().len() == 43));
        assert!(is_same_secret(&secrets[0], key().webhook_secret(tenant, 1).expose_secret()));
    }

    #[test]
    fn a_chat_has_one_tenant_whose_id_parses() {
        let id = key().tenant_id(ChatId(1001));
        assert_eq!(id, key().tenant_id(ChatId(1001)));
        assert_ne!(id, key().tenant_id(ChatId(1002)));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn lists_of_parts_that_concatenate_alike_derive_different_secrets() {
        let ab = key().derive("p", &[b"ab", b"c"]);
        assert!(!is_same_secret(&ab, key().derive("p", &[b"a", b"bc"]).expose_secret()));
    }
}
