//! A tenant's container app, and the configuration in it.
//!
//! A release says what all containers have in common; what is the tenant's own is filled in here, and has a fingerprint
//! of its own, so that a change of either is seen without a call.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::names::Names;
use nbhd::domain::release::{Release, fingerprint};
use nbhd::domain::shard::Shard;
use nbhd::domain::subscription::Tier;
use nbhd::domain::tenant::Tenant;
use nbhd::providers::azure::resource_manager::container_app::{EnvValue, Probe, ProbeKind, SecretReference, Volume};
use nbhd::providers::azure::resource_manager::{ContainerAppSpec, Tags};
use serde_json::Value;
use uuid::Uuid;

use crate::settings::Settings;

/// The configuration that `openclaw.md` of the design's companion texts gives the reasons for.
const CONFIG: &str = include_str!("openclaw.json");
/// The port of the container's front, the only one that anything outside reaches.
const PORT: u16 = 8787;
/// OpenClaw ends within 330 s of a `SIGTERM`; its front takes its last snapshot after that.
const GRACE_SECONDS: u32 = 420;
/// The name under which the app knows the tenant's secret.
const RUNTIME_SECRET: &str = "runtime";

/// The tag that names a resource's tenant.
pub(crate) const TENANT_TAG: &str = "nbhd_tenant";

/// What is the tenant's own in its app; `None` before its keys are made.
pub(crate) struct TenantParameters {
    tenant_id: String,
    chat_id: String,
    time_zone: String,
    tier: Tier,
    shard: Shard,
    secret_version: String,
}

impl TenantParameters {
    pub(crate) fn of(tenant: &Tenant, now: Timestamp) -> Option<Self> {
        let status = &tenant.reconcile;
        Some(Self {
            tenant_id: tenant.tenant_id.to_string(),
            chat_id: tenant.chat_id.to_string(),
            time_zone: tenant.time_zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.name.clone()),
            tier: tenant.tier(now),
            shard: status.shard.clone()?,
            secret_version: status.resources.keys.as_ref()?.secret_version.clone(),
        })
    }

    pub(crate) fn fingerprint(&self) -> String {
        let Self { tenant_id, chat_id, time_zone, tier, shard, secret_version } = self;
        let Shard { azure_subscription, account, vault: _, vault_url } = shard;
        let parts =
            [tenant_id, chat_id, time_zone, tier.as_str(), azure_subscription, account, vault_url, secret_version];
        fingerprint(&parts.join("\n"))
    }
}

/// The tags of every resource of a tenant.
pub(crate) fn tags(tenant: &Tenant) -> Tags {
    Tags::from([(TENANT_TAG.to_owned(), tenant.tenant_id.to_string())])
}

/// The newest release: what the settings and this file make of every container.
pub(crate) fn newest_release(settings: &Settings) -> Release {
    let config = |model: &String| config_of_release(model, &settings.models, &settings.public_base_url);
    let [basic, plus] = settings.tier_models.each_ref().map(config);
    Release { image: settings.image.clone(), basic, plus, app_fingerprint: app_fingerprint(settings) }
}

/// The configuration of a release, with places for what is a tenant's own.
fn config_of_release(model: &str, models: &str, base_url: &str) -> String {
    filled(CONFIG, &[("{model}", model), ("{models}", models), ("{base_url}", base_url)])
}

/// A fingerprint of what [`container_app`] makes of the settings for a tenant that does not exist: whatever changes it,
/// be it a setting or this file, is a release too, and reaches tenants one by one.
fn app_fingerprint(settings: &Settings) -> String {
    let place = || "x".to_owned();
    let names = Names { resource: place(), secret: place(), role: Uuid::nil() };
    let parameters = TenantParameters {
        tenant_id: place(),
        chat_id: place(),
        time_zone: place(),
        tier: Tier::Basic,
        shard: Shard { azure_subscription: place(), account: place(), vault: place(), vault_url: place() },
        secret_version: place(),
    };
    let nobody = Tenant::new(TenantId::from(Uuid::nil()), ChatId(0));
    fingerprint(&container_app(settings, &Release::default(), &names, &nobody, &parameters).body().to_string())
}

/// The app of a tenant that runs `release`.
pub(crate) fn container_app(
    settings: &Settings,
    release: &Release,
    names: &Names,
    tenant: &Tenant,
    parameters: &TenantParameters,
) -> ContainerAppSpec {
    let group = settings.group(&parameters.shard);
    let config = filled(
        release.config(parameters.tier),
        &[
            ("{tenant_id}", &parameters.tenant_id),
            ("{chat_id}", &parameters.chat_id),
            ("{time_zone}", &parameters.time_zone),
        ],
    );
    let identity = group.identity(&names.resource);
    let pull_identity = settings.pull_identity.clone();
    let plain = |name: &str, value: &str| (name.to_owned(), EnvValue::Plain(value.to_owned()));
    ContainerAppSpec {
        location: settings.location.clone(),
        tags: tags(tenant),
        environment: group.environment(&settings.environment),
        identities: vec![identity.clone(), pull_identity.clone()],
        registry: (settings.registry.clone(), pull_identity),
        secrets: vec![SecretReference {
            name: RUNTIME_SECRET.to_owned(),
            // By version: a container starts with the keys that it was defined with, not with a half-made rotation's.
            key_vault_url: format!(
                "{}/secrets/{}/{}",
                parameters.shard.vault_url, names.secret, parameters.secret_version
            ),
            identity,
        }],
        port: PORT,
        container: "openclaw".to_owned(),
        image: release.image.clone(),
        cpu: 1.0,
        memory_gib: 2.0,
        env: vec![
            plain("NBHD_TENANT_ID", &parameters.tenant_id),
            plain("NBHD_API_BASE_URL", &settings.public_base_url),
            plain("NBHD_OPENCLAW_CONFIG", &config),
            ("NBHD_RUNTIME_SECRET".to_owned(), EnvValue::Secret(RUNTIME_SECRET.to_owned())),
        ],
        // The container's front answers within seconds of its start, whatever OpenClaw behind it does.
        probes: vec![
            probe(ProbeKind::Startup, 5, 10),
            probe(ProbeKind::Readiness, 5, 3),
            probe(ProbeKind::Liveness, 30, 4),
        ],
        volumes: vec![Volume {
            name: "durable".to_owned(),
            storage: names.resource.clone(),
            mount_path: "/var/lib/nbhd".to_owned(),
        }],
        replicas: (0, 1),
        termination_grace_seconds: GRACE_SECONDS,
    }
}

const fn probe(kind: ProbeKind, period_seconds: u32, failure_threshold: u32) -> Probe {
    Probe { kind, path: "/healthz", port: PORT, period_seconds, timeout_seconds: 5, failure_threshold }
}

/// `template` with each place filled by a text, whatever characters that has.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (place, value)| {
        let quoted = Value::from(*value).to_string();
        text.replace(place, quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_the_configuration_stays_json() {
        let release = config_of_release("vendor/model", "https://models.example/v1", "https://api.example");
        let config = filled(&release, &[("{tenant_id}", "t"), ("{chat_id}", "7"), ("{time_zone}", "A\"\\B")]);
        let config: Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["agents"]["defaults"]["userTimezone"], "A\"\\B");
        assert_eq!(config["agents"]["defaults"]["model"]["primary"], "nbhd/vendor/model");
        assert_eq!(config["channels"]["telegram"]["apiRoot"], "https://api.example/telegram/relay/t");
        assert_eq!(config["channels"]["telegram"]["allowFrom"][0], "7");
        assert!(!config.to_string().contains("{t") && !config.to_string().contains("{c"));
    }
}
