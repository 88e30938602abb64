//! Keys that can be replaced, and what is derived from them instead of being stored.
//!
//! A runtime's webhook secret and its relay capability are `HMAC-SHA256(runtime key, purpose ‖ tenant ‖ number)`, where
//! the key and the number are those of a [`Generation`]: forward and relay need no vault for them, a rotation is a new
//! generation, and a key that leaked is replaced by one rotation of every tenant.
//!
//! What only names things is derived from a key of another type, [`super::secrets::IdentityKey`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use super::generation::{Generation, KeyId};
use super::ids::TenantId;
use super::secrets::{KeyTooShort, MOST_IN_LIST, hmac_key, is_same_secret, tag};
use crate::clock::Timestamp;

/// A key that can be replaced, and its id. What is made with it names the id, so that it is checked with the same key.
#[derive(Clone)]
pub struct SecretKey {
    id: KeyId,
    text: SecretString,
    hmac: hmac::Key,
}

impl SecretKey {
    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself, for a library that signs with it.
    #[cfg(feature = "tokens")]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.expose_secret().as_bytes()
    }

    /// `HMAC-SHA256(key, purpose ‖ parts)` as unpadded base64url; every part is preceded by its length, so that no two
    /// lists of parts derive the same secret by chance of concatenation.
    pub fn derive(&self, purpose: &str, parts: &[&[u8]]) -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode(tag(&self.hmac, purpose, parts)))
    }

    /// The signature of a file path that `tenant` alone may download, until `until`.
    pub fn file_signature(&self, tenant: TenantId, path: &str, until: Timestamp) -> SecretString {
        self.derive("relay-file", &[tenant.as_bytes(), &until.millis().to_be_bytes(), path.as_bytes()])
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, …)", self.id)
    }
}

/// The keys of one purpose: the first makes what is new, each opens what was made with it.
#[derive(Clone, Debug)]
pub struct SecretKeys {
    newest: SecretKey,
    older: Vec<SecretKey>,
}

/// Why a list of keys cannot be used; no message holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyListError {
    /// Not of the form.
    #[error("{}", self.hint())]
    Form,
    /// More than five.
    #[error("{}", self.hint())]
    TooMany,
    /// A key has fewer than [`MIN_KEY_BYTES`](super::secrets::MIN_KEY_BYTES).
    #[error("{}", self.hint())]
    TooShort,
    /// An id or a key comes twice.
    #[error("{}", self.hint())]
    Repeated,
}

impl KeyListError {
    /// What the list ought to be.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Form => "`id:key,id:key`, the newest first; an id is 1 to 16 of `a-z0-9`, and not `ssm`",
            Self::TooMany => "at most 5 keys, as `id:key,id:key`, the newest first",
            Self::TooShort => "each key of at least 32 bytes, made from random bits, as `id:key,id:key`",
            Self::Repeated => "each id and each key once, as `id:key,id:key`, the newest first",
        }
    }
}

impl SecretKeys {
    /// Reads `id:key,id:key`, the newest first. A key is used by the bytes of its text, which has to be generated from
    /// at least 256 random bits, and has no comma in it.
    ///
    /// # Errors
    /// [`KeyListError`] says what is wrong.
    pub fn parse(list: &SecretString) -> Result<Self, KeyListError> {
        let keys = list.expose_secret().split(',').map(|entry| Self::parse_key(entry.trim()));
        let keys: Vec<SecretKey> = keys.collect::<Result<_, _>>()?;
        if keys.len() > MOST_IN_LIST {
            return Err(KeyListError::TooMany);
        }
        let is_same = |one: &SecretKey, other: &SecretKey| {
            one.id == other.id || is_same_secret(&one.text, other.text.expose_secret())
        };
        let is_repeated = |(place, key)| keys.iter().skip(place + 1).any(|other| is_same(key, other));
        if keys.iter().enumerate().any(is_repeated) {
            return Err(KeyListError::Repeated);
        }
        let mut keys = keys.into_iter();
        let newest = keys.next().ok_or(KeyListError::Form)?;
        Ok(Self { newest, older: keys.collect() })
    }

    fn parse_key(entry: &str) -> Result<SecretKey, KeyListError> {
        let (id, text) = entry.split_once(':').ok_or(KeyListError::Form)?;
        // `ssm:/name` stands for a parameter that nobody has read.
        let id = Some(id).filter(|id| *id != "ssm").and_then(|id| id.parse().ok()).ok_or(KeyListError::Form)?;
        let text = SecretString::from(text);
        let hmac = hmac_key(&text).map_err(|KeyTooShort| KeyListError::TooShort)?;
        Ok(SecretKey { id, text, hmac })
    }

    /// The key that makes what is new.
    pub const fn newest(&self) -> &SecretKey {
        &self.newest
    }

    /// The key of this id, if it is listed.
    pub fn find(&self, id: KeyId) -> Option<&SecretKey> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id == id)
    }

    /// The ids of the keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        std::iter::once(&self.newest).chain(&self.older).map(SecretKey::id)
    }

    /// The secret that a tenant's runtime expects in `X-Telegram-Bot-Api-Secret-Token`: 43 characters of `A-Za-z0-9_-`.
    /// `None` when the generation's key is not listed (any more): nothing can be made or checked with it.
    pub fn webhook_secret(&self, tenant: TenantId, generation: Generation) -> Option<SecretString> {
        self.derive_for("runtime-webhook", tenant, generation)
    }

    /// The credential of a tenant's runtime at the relay: the part after `:` of its "bot token"; `None` as above.
    pub fn relay_capability(&self, tenant: TenantId, generation: Generation) -> Option<SecretString> {
        self.derive_for("relay", tenant, generation)
    }

    fn derive_for(&self, purpose: &str, tenant: TenantId, generation: Generation) -> Option<SecretString> {
        let key = self.find(generation.key?)?;
        Some(key.derive(purpose, &[tenant.as_bytes(), &generation.number.to_be_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::ChatId;
    use crate::domain::names::Names;
    use crate::domain::secrets::{IdentityKey, MIN_KEY_BYTES};

    fn identity(letter: &str) -> IdentityKey {
        IdentityKey::new(&SecretString::from(letter.repeat(MIN_KEY_BYTES))).expect("long enough")
    }

    fn keys(list: &str) -> Result<SecretKeys, KeyListError> {
        SecretKeys::parse(&SecretString::from(list))
    }

    /// `k1` with thirty-two `a`, and so on.
    fn listed(letters: &str) -> SecretKeys {
        let entry = |letter: char| format!("k{letter}:{}", String::from(letter).repeat(MIN_KEY_BYTES));
        keys(&letters.chars().map(entry).collect::<Vec<_>>().join(",")).expect("a list")
    }

    fn generation(text: &str) -> Generation {
        text.parse().expect("a generation")
    }

    #[test]
    fn a_list_names_the_newest_first_and_finds_each_by_its_id() {
        let list = keys(&format!("b:{}, a:{}", "1:".repeat(16), "2".repeat(32))).expect("a key may have a colon");
        assert_eq!(list.ids().map(|id| id.to_string()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(list.newest().id().as_str(), "b");
        let find = |id: &str| list.find(id.parse().expect("an id")).map(|key| key.id().to_string());
        assert_eq!((find("a").as_deref(), find("c")), (Some("a"), None));
        assert!(!format!("{list:?}").contains("222"), "{list:?}");
    }

    #[test]
    fn a_list_that_cannot_be_used_is_refused_for_what_is_wrong_with_it() {
        let (one, two) = ("1".repeat(32), "2".repeat(32));
        let form =
            ["", ",", &*one, &format!(":{one}"), &format!("K:{one}"), &format!("a:{one},"), &format!("ssm:{one}")];
        for list in form {
            assert_eq!(keys(list).err(), Some(KeyListError::Form), "{list}");
        }
        for list in ["a:short", &*format!("a:{one},b:"), &format!("a:{}", "é".repeat(15))] {
            assert_eq!(keys(list).err(), Some(KeyListError::TooShort), "{list}");
        }
        for list in [format!("a:{one},a:{two}"), format!("a:{one},b:{one}"), format!("a:{one},b:{two},c:{one}")] {
            assert_eq!(keys(&list).err(), Some(KeyListError::Repeated), "{list}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}:{n}{one}")).collect::<Vec<_>>().join(",");
        assert!(keys(&many(MOST_IN_LIST)).is_ok());
        assert_eq!(keys(&many(MOST_IN_LIST + 1)).err(), Some(KeyListError::TooMany));
    }

    #[test]
    fn purpose_tenant_key_and_number_each_change_the_secret() {
        let (tenant, other, keys) = (TenantId::random(), TenantId::random(), listed("ab"));
        let secret = |tenant, text| keys.webhook_secret(tenant, generation(text)).expect("listed");
        let secrets = [
            secret(tenant, "ka.1"),
            secret(tenant, "ka.2"),
            secret(tenant, "kb.1"),
            secret(other, "ka.1"),
            keys.relay_capability(tenant, generation("ka.1")).expect("listed"),
        ];
        let distinct: std::collections::BTreeSet<_> = secrets.iter().map(|s| s.expose_secret()).collect();
        assert_eq!(distinct.len(), secrets.len());
        assert!(secrets.iter().all(|s| s.expose_secret().len() == 43));
        assert!(is_same_secret(&secrets[0], secret(tenant, "ka.1").expose_secret()));
    }

    #[test]
    fn a_key_that_is_not_listed_derives_nothing() {
        let (tenant, keys) = (TenantId::random(), listed("b"));
        for text in ["ka.1", "1"] {
            assert!(keys.webhook_secret(tenant, generation(text)).is_none(), "{text}");
            assert!(keys.relay_capability(tenant, generation(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn lists_of_parts_that_concatenate_alike_derive_different_secrets() {
        let keys = listed("a");
        let ab = keys.newest().derive("p", &[b"ab", b"c"]);
        assert!(!is_same_secret(&ab, keys.newest().derive("p", &[b"a", b"bc"]).expose_secret()));
    }

    proptest! {
        #[test]
        fn ids_and_names_follow_from_the_identity_key_and_capabilities_from_the_runtime_keys(
            chat in 1_i64..i64::MAX,
            number in 1_u32..,
            letters in prop::sample::subsequence(vec!['a', 'b', 'c', 'd', 'e'], 1..=5).prop_shuffle(),
            (one, other) in ("[a-z]", "[A-Z]"),
        ) {
            let (one, other) = (identity(&one), identity(&other));
            let (tenant, anothers) = (one.tenant_id(ChatId(chat)), other.tenant_id(ChatId(chat)));
            prop_assert_ne!(tenant, anothers);
            prop_assert_ne!(Names::derive(&one, tenant), Names::derive(&other, tenant));
            // Whatever else is listed, and in whatever order, a key makes the same of a tenant and a number.
            let keys = listed(&letters.into_iter().collect::<String>());
            for id in keys.ids() {
                let (alone, generation) = (listed(&id.as_str()[1..]), Generation::new(id, number));
                let (both, single) = (&keys, &alone);
                for derive in [SecretKeys::relay_capability, SecretKeys::webhook_secret] {
                    let secret = derive(both, tenant, generation).expect("listed");
                    let same = derive(single, tenant, generation).expect("listed");
                    prop_assert!(is_same_secret(&secret, same.expose_secret()));
                }
            }
        }
    }
}
