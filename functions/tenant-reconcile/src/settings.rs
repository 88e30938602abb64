//! Where tenants' resources are made, and what they run.

use nbhd::config::{ConfigError, Env};
use nbhd::domain::shard::Shard;
use nbhd::domain::subscription::Tier;
use nbhd::providers::azure::resource_manager::{Group, ResourceId};

/// The settings that are no client's.
pub(crate) struct Settings {
    /// Every place there is.
    pub(crate) shards: Vec<Shard>,
    /// How many tenants a subscription takes: it allows 4,000 role assignments, and a few are ours.
    pub(crate) tenants_per_subscription: u32,
    /// The resource group's name, the same in each subscription.
    group: String,
    /// The region.
    pub(crate) location: String,
    /// The environment's name in each group.
    pub(crate) environment: String,
    /// The name of the identity with which an environment reads the storage account's key.
    environment_identity: String,
    /// The identity that pulls images, the same for all, and can do nothing else.
    pub(crate) pull_identity: ResourceId,
    /// The registry's host.
    pub(crate) registry: String,
    /// Where runtimes and Telegram reach the API.
    pub(crate) public_base_url: String,
    /// The runtime's image, by digest.
    pub(crate) image: String,
    /// The gateway's address, as containers know it.
    pub(crate) models: String,
    /// Each tier's model.
    pub(crate) tier_models: [String; 2],
    limits: [u32; 2],
}

impl Settings {
    pub(crate) fn new(env: &Env) -> Result<Self, ConfigError> {
        let limit = |name: &str, default| env.number(name, default, 1..=1_000_000);
        let name = |name: &str, hint| env.required(name, hint).map(str::to_owned);
        let public_base_url = env.required("PUBLIC_BASE_URL", "where the API is reached")?;
        let public_base_url = public_base_url.trim_end_matches('/').to_owned();
        let model = name("MODEL_ID", "the gateway's name of the model")?;
        let plus = env.optional("MODEL_ID_PLUS").map_or_else(|| model.clone(), str::to_owned);
        Ok(Self {
            shards: shards(env)?,
            tenants_per_subscription: env.number("AZURE_SUBSCRIPTION_TENANTS", 3_900, 1..=4_000)?,
            group: name("AZURE_RESOURCE_GROUP", "the resource group's name")?,
            location: name("AZURE_LOCATION", "the region, such as `eastus`")?,
            environment: name("CONTAINER_ENVIRONMENT", "the name of the container apps environment")?,
            environment_identity: name("ENVIRONMENT_IDENTITY", "the name of the environment's identity")?,
            pull_identity: pull_identity(env)?,
            registry: name("CONTAINER_REGISTRY", "the registry's host")?,
            public_base_url,
            image: image(env)?,
            models: env.url("MODEL_GATEWAY_URL", "https://openrouter.ai/api/v1")?,
            tier_models: [model, plus],
            limits: [limit("MODEL_LIMIT_BASIC_CENTS", 500)?, limit("MODEL_LIMIT_PLUS_CENTS", 2_000)?],
        })
    }

    /// What a tier's models may cost a month, in USD cents.
    pub(crate) const fn limit_cents(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Basic => self.limits[0],
            Tier::Plus => self.limits[1],
        }
    }

    /// The group of a tenant's resources.
    pub(crate) fn group(&self, shard: &Shard) -> Group {
        Group { subscription_id: shard.azure_subscription.clone(), name: self.group.clone() }
    }

    pub(crate) fn environment_identity(&self, group: &Group) -> ResourceId {
        group.identity(&self.environment_identity)
    }
}

fn pull_identity(env: &Env) -> Result<ResourceId, ConfigError> {
    const NAME: &str = "PULL_IDENTITY";
    const HINT: &str = "the full name of the identity that pulls images, `/subscriptions/…/userAssignedIdentities/…`";
    let name = env.required(NAME, HINT)?;
    let invalid = || ConfigError::invalid(NAME, HINT);
    if !name.starts_with("/subscriptions/") {
        return Err(invalid());
    }
    serde_json::from_value(name.into()).map_err(|_| invalid())
}

/// A vault, the subscription it is in, and the storage account beside it.
fn shards(env: &Env) -> Result<Vec<Shard>, ConfigError> {
    const NAME: &str = "AZURE_SHARDS";
    const HINT: &str =
        "`<subscription id>/<storage account>/<vault>` for each of `KEY_VAULT_URLS`, separated by commas";
    let invalid = || ConfigError::invalid(NAME, HINT);
    let places: Vec<_> = env.required(NAME, HINT)?.split(',').map(str::trim).collect();
    let vaults = env.urls("KEY_VAULT_URLS", "the addresses of the vaults, separated by commas")?;
    if places.len() != vaults.len() {
        return Err(invalid());
    }
    let shard = |(place, vault_url): (&str, String)| {
        let names: Vec<_> = place.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let [azure_subscription, account, vault] = names.try_into().ok()?;
        is_at(&vault, &vault_url).then_some(Shard { azure_subscription, account, vault, vault_url })
    };
    places.into_iter().zip(vaults).map(|pair| shard(pair).ok_or_else(invalid)).collect()
}

/// Whether the address can be the vault's: in another order of the two settings, a role would be assigned in another
/// vault than the one with the secret. An address on this machine has no name in it.
fn is_at(vault: &str, address: &str) -> bool {
    let named = address.trim_start_matches("https://").split_once(".vault.");
    named.is_none_or(|(name, _)| name.eq_ignore_ascii_case(vault))
}

fn image(env: &Env) -> Result<String, ConfigError> {
    const IMAGE: &str = "OPENCLAW_IMAGE";
    const BY_DIGEST: &str = "an image by its digest, such as `registry/openclaw@sha256:…`";
    let image = env.required(IMAGE, BY_DIGEST)?;
    if !image.contains("@sha256:") {
        return Err(ConfigError::invalid(IMAGE, BY_DIGEST));
    }
    Ok(image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_and_its_address_go_together() {
        assert!(is_at("one", "https://one.vault.azure.net") && is_at("one", "https://127.0.0.1:4000"));
        assert!(!is_at("two", "https://one.vault.azure.net"));
    }
}
