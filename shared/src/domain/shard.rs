//! Where a tenant's resources lie: subscriptions and vaults are shards by configuration.

use serde::{Deserialize, Serialize};

/// Where a tenant's resources lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The Azure subscription's id.
    pub azure_subscription: String,
    /// The storage account with its share.
    pub account: String,
    /// The vault with its runtime's secret: its name at Azure.
    pub vault: String,
    /// Its address.
    pub vault_url: String,
}
