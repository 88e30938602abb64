//! A person who has an assistant.

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd_sim::runtime::{Runtime, Settings};

/// A tenant and its container.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The tenant's id.
    pub tenant_id: TenantId,
    /// The tenant's one chat.
    pub chat_id: ChatId,
    /// The settings of the container, with the secrets that only it has.
    pub secrets: Settings,
    /// The stand-in for the container.
    pub runtime: Runtime,
}
