//! A subscriber's tenant, as far as serving requests needs it.

use serde::{Deserialize, Serialize};

use super::ids::{ChatId, TenantId};
use super::secrets::KeyHash;

/// Where a tenant's life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Subscribed, nothing built yet.
    Pending,
    /// Its resources are being made.
    Provisioning,
    /// Its assistant runs.
    Active,
    /// Its assistant is stopped; nothing is lost.
    Suspended,
    /// Its resources are being removed.
    Deprovisioning,
    /// Removed; what remains is a receipt.
    Deleted,
}

/// A person's time zone and who chose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZone {
    /// An IANA name, such as `Europe/Berlin`.
    pub name: String,
    /// Whether the person set it; then a calendar's zone does not replace it.
    pub chosen: bool,
}

/// A tenant's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Where its life stands.
    pub lifecycle: Lifecycle,
    /// The one chat its runtime may speak to.
    pub chat_id: ChatId,
    /// The SHA-256 of each internal key that is valid now: one, or two during a rotation.
    pub key_hashes: Vec<KeyHash>,
    /// The generation of the runtime's derived secrets.
    pub generation: u32,
    /// A second generation that is valid too, while a rotation is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_generation: Option<u32>,
    /// The person's time zone, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZone>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

impl Tenant {
    /// Whether its runtime may call us.
    pub fn may_serve(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Provisioning | Lifecycle::Active => true,
            Lifecycle::Pending | Lifecycle::Suspended | Lifecycle::Deprovisioning | Lifecycle::Deleted => false,
        }
    }

    /// Whether its person may connect an account: also while suspended, but not once its resources are being removed.
    pub fn may_connect(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Provisioning | Lifecycle::Active | Lifecycle::Suspended => true,
            Lifecycle::Deprovisioning | Lifecycle::Deleted => false,
        }
    }

    /// The generations whose secrets are valid, the current one first.
    pub fn generations(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.generation).chain(self.other_generation)
    }
}
