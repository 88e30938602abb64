//! The names of a tenant's resources.
//!
//! They are derived from the tenant's id, so that a retry finds what an earlier attempt made; and from the identity
//! key, so that nobody guesses the one that becomes a public address.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::generation::Generation;
use super::ids::TenantId;
use super::secrets::IdentityKey;

/// The alphabet of the encoding: 32 lower-case letters and digits, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The length of a label: 128 bits, 5 a letter.
const LABEL_LENGTH: usize = 26;
const RESOURCE: &str = "t";
const SECRET: &str = "runtime-";
/// What stands between the label and the number of a model key's generation.
const GENERATION: &str = "-g";

/// The names of one tenant's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The container app, its identity, its share and the environment's storage, each of another kind: 27 lower-case
    /// letters and digits, the first one a letter.
    pub resource: String,
    /// The vault secret that the container reads.
    pub secret: String,
    /// The role assignment on that secret.
    pub role: Uuid,
}

/// What all names of one tenant's resources have in common: 26 letters. No tenant is found from it, but by deriving the
/// names of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// The label in the name of a container app, an identity, a share or a storage; `None` when it is no name of ours.
    pub fn of_resource(name: &str) -> Option<Self> {
        // Azure keeps a name's letter case and does not tell cases apart.
        Self::of_text(name.to_ascii_lowercase().strip_prefix(RESOURCE)?)
    }

    /// The label in the name of a runtime's secret.
    pub fn of_secret(name: &str) -> Option<Self> {
        Self::of_text(name.to_ascii_lowercase().strip_prefix(SECRET)?)
    }

    /// The label in the gateway's name of a model key.
    pub fn of_model_key(name: &str) -> Option<Self> {
        let (resource, number) = name.split_once(GENERATION)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Self::of_text(resource.strip_prefix(RESOURCE)?).filter(|_| is_number)
    }

    /// The name of the app, the identity, the share and the storage.
    pub fn resource(&self) -> String {
        format!("{RESOURCE}{}", self.0)
    }

    /// The name of the runtime's secret.
    pub fn secret(&self) -> String {
        format!("{SECRET}{}", self.0)
    }

    fn of_text(text: &str) -> Option<Self> {
        let is_ours = text.len() == LABEL_LENGTH && text.bytes().all(|letter| LETTERS.contains(&letter));
        is_ours.then(|| Self(text.to_owned()))
    }
}

impl Names {
    /// Derives the names of `tenant`'s resources from the identity key.
    pub fn derive(key: &IdentityKey, tenant: TenantId) -> Self {
        let label = encode_letters(&key.bytes("azure-name", &[tenant.as_bytes()]));
        let role = uuid::Builder::from_custom_bytes(key.bytes("azure-role", &[tenant.as_bytes()])).into_uuid();
        let label = Label(label);
        Self { resource: label.resource(), secret: label.secret(), role }
    }

    /// What they have in common; `None` of names that were not derived.
    pub fn label(&self) -> Option<Label> {
        Label::of_resource(&self.resource)
    }

    /// The gateway's name of the model key of one generation; it has the number alone, so that a generation which is
    /// made anew with another runtime key finds what was made for it before.
    pub fn model_key(&self, generation: Generation) -> String {
        format!("{}{GENERATION}{}", self.resource, generation.number)
    }

    /// Whether a key of this `name` at the gateway is this tenant's, of any generation.
    pub fn is_model_key(&self, name: &str) -> bool {
        name.strip_prefix(&self.resource).is_some_and(|rest| rest.starts_with(GENERATION))
    }
}

/// Writes 128 bits as 26 letters; the last one carries 3 bits.
fn encode_letters(bytes: &[u8; 16]) -> String {
    let bits = u128::from_be_bytes(*bytes);
    let letter = |place: u32| {
        let index = bits.checked_shr(123_u32.saturating_sub(5 * place)).unwrap_or_default() & 31;
        usize::try_from(index).ok().and_then(|index| LETTERS.get(index)).copied().map_or('a', char::from)
    };
    (0..26).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use secrecy::SecretString;

    use super::*;

    fn names(key: &str, tenant: TenantId) -> Names {
        Names::derive(&IdentityKey::new(&SecretString::from(key.repeat(32))).expect("long enough"), tenant)
    }

    #[test]
    fn names_are_derived_and_of_the_form_every_kind_takes() {
        let tenant = TenantId::random();
        let ours = names("k", tenant);
        assert_eq!(ours, names("k", tenant));
        assert_ne!(ours.resource, names("l", tenant).resource);
        let (first, second) = (Generation::unkeyed(1), Generation::unkeyed(17));
        // Container apps: at most 32, lower-case, no double hyphen; shares: 3 to 63.
        assert_eq!(ours.resource.len(), 27);
        assert!(ours.resource.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert!(!ours.resource.contains(&tenant.to_string()[..8]));
        assert_ne!(ours.model_key(first), ours.model_key(second));
        assert!(ours.is_model_key(&ours.model_key(second)) && !ours.is_model_key(&names("l", tenant).model_key(first)));
    }

    #[test]
    fn no_two_tenants_share_a_name() {
        let named: BTreeSet<_> = (0..1_000).map(|_| names("k", TenantId::random()).resource).collect();
        assert_eq!(named.len(), 1_000);
    }

    #[test]
    fn a_label_is_read_from_our_names_and_from_no_others() {
        let ours = names("k", TenantId::random());
        let label = ours.label().expect("derived");
        assert_eq!(Label::of_secret(&ours.secret), Some(label.clone()));
        assert_eq!(Label::of_model_key(&ours.model_key(Generation::unkeyed(3))), Some(label.clone()));
        assert_eq!(Label::of_resource(&ours.resource.to_ascii_uppercase()), Some(label.clone()));
        assert_eq!((label.resource(), label.secret()), (ours.resource.clone(), ours.secret.clone()));
        let (short, long) = (&ours.resource[..26], format!("{}a", ours.resource));
        for foreign in
            ["", "t", "terraform-state", "identity", short, &long, &ours.secret, "t0123456789012345678901234"]
        {
            assert_eq!(Label::of_resource(foreign), None, "{foreign}");
        }
        for foreign in [&*ours.resource, &format!("{}-g", ours.resource), &format!("{}-g1x", ours.resource), "key"] {
            assert_eq!(Label::of_model_key(foreign), None, "{foreign}");
        }
        assert_eq!(Label::of_secret("storage-account-key"), None);
    }

    #[test]
    fn every_bit_counts() {
        let all: BTreeSet<_> = (0..128).map(|bit| encode_letters(&(1_u128 << bit).to_be_bytes())).collect();
        assert_eq!(all.len(), 128);
    }
}
