//! The one secret that a tenant's container reads: JSON, unpacked by its entrypoint.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nbhd::domain::generation::Generation;
use nbhd::domain::ids::TenantId;
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::secrets::{KeyHash, is_same_secret};
use nbhd::domain::step_error::StepError;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::failure::Failure;

/// What a runtime holds of one generation.
pub(crate) struct Bundle {
    pub(crate) generation: Generation,
    internal_key: SecretString,
    webhook_secret: SecretString,
    relay_token: SecretString,
    gateway_token: SecretString,
    model_key: SecretString,
    /// The gateway's identifier of the model key.
    pub(crate) model_key_hash: String,
}

/// A model key; the gateway shows the key itself only once, when it is made.
pub(crate) struct ModelKey {
    pub(crate) key: SecretString,
    pub(crate) hash: String,
}

impl Bundle {
    /// New keys of 256 random bits, and what is derived.
    pub(crate) fn new(
        runtime_keys: &SecretKeys,
        bot_id: &str,
        tenant: TenantId,
        generation: Generation,
        model: ModelKey,
    ) -> Result<Self, Failure> {
        let derived = Derived::new(runtime_keys, bot_id, tenant, generation);
        // The plan writes no keys of one that is not listed.
        let Derived { webhook_secret, relay_token } =
            derived.ok_or_else(|| StepError::precondition("runtime_key_not_listed"))?;
        Ok(Self {
            generation,
            internal_key: random()?,
            webhook_secret,
            relay_token,
            gateway_token: random()?,
            model_key: model.key,
            model_key_hash: model.hash,
        })
    }

    /// Reads a secret's value; `None` when it is not what [`Self::new`] makes for this tenant and generation.
    pub(crate) fn read(
        value: &SecretString,
        runtime_keys: &SecretKeys,
        bot_id: &str,
        tenant: TenantId,
        generation: Generation,
    ) -> Option<Self> {
        let value: Value = serde_json::from_str(value.expose_secret()).ok()?;
        let text = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
        let secret = |field: &str| text(field).map(SecretString::from);
        let read = Self {
            generation: text("generation")?.parse().ok()?,
            internal_key: secret("internal_key")?,
            webhook_secret: secret("webhook_secret")?,
            relay_token: secret("relay_token")?,
            gateway_token: secret("gateway_token")?,
            model_key: secret("model_key")?,
            model_key_hash: text("model_key_hash")?.to_owned(),
        };
        let derived = Derived::new(runtime_keys, bot_id, tenant, generation)?;
        let is_derived = is_same_secret(&read.webhook_secret, derived.webhook_secret.expose_secret())
            && is_same_secret(&read.relay_token, derived.relay_token.expose_secret());
        (read.generation == generation && is_derived).then_some(read)
    }

    pub(crate) fn to_secret(&self) -> SecretString {
        let value = json!({
            "generation": self.generation,
            "internal_key": self.internal_key.expose_secret(),
            "webhook_secret": self.webhook_secret.expose_secret(),
            "relay_token": self.relay_token.expose_secret(),
            "gateway_token": self.gateway_token.expose_secret(),
            "model_key": self.model_key.expose_secret(),
            "model_key_hash": self.model_key_hash,
        });
        value.to_string().into()
    }

    /// The hash of the internal key, which is all that the table knows of it.
    pub(crate) fn internal_hash(&self) -> KeyHash {
        KeyHash::from_key(self.internal_key.expose_secret())
    }
}

/// What a bundle holds that others derive as well.
struct Derived {
    webhook_secret: SecretString,
    relay_token: SecretString,
}

impl Derived {
    /// `None` when the generation's key is not listed.
    fn new(keys: &SecretKeys, bot_id: &str, tenant: TenantId, generation: Generation) -> Option<Self> {
        let capability = keys.relay_capability(tenant, generation)?;
        Some(Self {
            webhook_secret: keys.webhook_secret(tenant, generation)?,
            relay_token: format!("{bot_id}:{}", capability.expose_secret()).into(),
        })
    }
}

fn random() -> Result<SecretString, Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StepError::precondition("no_randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}
