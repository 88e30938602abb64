//! Who has an assistant.

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd_sim::runtime::{Runtime, Settings};

/// A tenant and its container.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its one chat.
    pub chat_id: ChatId,
    /// What only its container knows.
    pub secrets: Settings,
    /// Its container.
    pub runtime: Runtime,
}
