//! What there is of a tenant at Azure, in the vault and at the model gateway, as it was last observed.
//!
//! A resource stands here once a call has answered that it exists; an observation that finds it missing or edited takes
//! it out again. So a converged tenant costs no call.

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::secrets::KeyHash;
use super::step_name::StepName;
use crate::clock::Timestamp;

/// A tenant's resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The container's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The keys of the newest generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// Those of the generation before, until nothing uses them any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_keys: Option<Keys>,
    /// The principal whose role lets it read the runtime's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_reader: Option<String>,
    /// Whether the file share exists.
    pub share: bool,
    /// Whether the container environment knows the share.
    pub storage: bool,
    /// The container app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<ContainerApp>,
    /// A change to the app that Azure works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// A user-assigned identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What a role is assigned to; an identity made anew has another one.
    pub principal_id: String,
}

/// What a runtime holds of one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The generation.
    pub generation: Generation,
    /// The version of the vault's secret that holds them.
    pub secret_version: String,
    /// The hash of the internal key.
    pub internal: KeyHash,
    /// The gateway's identifier of the model key.
    pub model_key: String,
    /// What the model key may cost a month, in USD cents.
    pub limit_cents: u32,
    /// Whether the model key is switched off.
    pub disabled: bool,
}

/// A container app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerApp {
    /// The fingerprint of the tenant's parameters in its definition; empty once the app was found to differ from it.
    pub fingerprint: String,
    /// The id of the release that it was defined with.
    pub release: String,
    /// The host name under which it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Whether a request wakes it; a stopped app is woken by nothing.
    pub running: bool,
    /// Whether no replica has been left since it was stopped.
    #[serde(default)]
    pub drained: bool,
    /// Whether it has answered since it was last changed or started.
    #[serde(default)]
    pub healthy: bool,
    /// When it was last changed or started.
    pub changed_at: Timestamp,
}

/// A change to a container app that Azure works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What is changed.
    pub change: AppChange,
    /// What Azure is asked with about it: its own JSON.
    pub handle: String,
    /// When to ask next.
    pub poll_at: Timestamp,
}

/// A change to a container app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum AppChange {
    /// The app is created or updated.
    Put {
        /// The fingerprint of the tenant's parameters in the new definition.
        fingerprint: String,
        /// The id of the release of the new definition.
        release: String,
    },
    /// The app is started.
    Start,
    /// The app is stopped.
    Stop,
    /// The app is deleted.
    Delete,
}

impl AppChange {
    /// The step that makes this change, and makes it again when it fails.
    pub const fn step(&self) -> StepName {
        match self {
            Self::Put { .. } => StepName::PutApp,
            Self::Start => StepName::StartApp,
            Self::Stop => StepName::StopApp,
            Self::Delete => StepName::RemoveApp,
        }
    }
}

impl Resources {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            identity: None,
            keys: None,
            former_keys: None,
            secret_reader: None,
            share: false,
            storage: false,
            app: None,
            operation: None,
        }
    }

    /// The hashes of the internal keys that are valid, the newest last.
    pub fn key_hashes(&self) -> Vec<KeyHash> {
        self.former_keys.iter().chain(&self.keys).map(|keys| keys.internal.clone()).collect()
    }
}
