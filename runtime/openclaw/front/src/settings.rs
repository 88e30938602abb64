//! What a container is told from outside.

use std::net::SocketAddr;
use std::path::PathBuf;

use nbhd::config::{ConfigError, Env};
use nbhd::domain::ids::TenantId;
use url::Url;

use crate::secrets::Secrets;

/// The settings of the front.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `NBHD_TENANT_ID`: the tenant.
    pub tenant: TenantId,
    /// `NBHD_RUNTIME_SECRET`: the tenant's secrets.
    pub secrets: Secrets,
    /// `NBHD_API_BASE_URL`: the control plane, without a trailing slash.
    pub api_base_url: String,
    /// `NBHD_MODELS_URL`: the model gateway's API with its version, such as `https://models.example/v1`.
    pub models_url: String,
    /// `NBHD_RELEASE`: the name of what this image holds.
    pub release: String,
    /// `NBHD_OPENCLAW_CONFIG`: the configuration, as the control plane makes it.
    pub config: String,
    /// `NBHD_SHARE` (`/var/lib/nbhd`): the folder that outlives the container.
    pub share: PathBuf,
    /// `NBHD_JOURNAL_MIB` (64; 1 to 1,024): how much of what waits is kept.
    pub journal_mib: u32,
    /// `NBHD_FRONT_ADDRESS` (`0.0.0.0:8787`): where updates come in.
    pub front: SocketAddr,
    /// `NBHD_DOORS_ADDRESS` (`127.0.0.1:8790`): where `OpenClaw` goes out. Only a loopback address.
    pub doors: SocketAddr,
    /// `NBHD_OPENCLAW_WEBHOOK` (`http://127.0.0.1:8788`): `OpenClaw`'s own listener for updates. Only on loopback.
    pub openclaw_webhook: String,
    /// `NBHD_OPENCLAW_GATEWAY` (`http://127.0.0.1:18789`): `OpenClaw`'s gateway. Only on loopback.
    pub openclaw_gateway: String,
}

const LOOPBACK: &str = "an address of this container, such as http://127.0.0.1:8788";

impl Settings {
    /// Reads every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the one that is missing or invalid.
    pub fn new(env: &Env) -> Result<Self, ConfigError> {
        const TENANT: &str = "the tenant's id";
        let tenant = env.required("NBHD_TENANT_ID", TENANT)?;
        let secret = env.secret("NBHD_RUNTIME_SECRET", "the tenant's secret, as the vault has it")?;
        let doors = address(env, "NBHD_DOORS_ADDRESS", "127.0.0.1:8790")?;
        if !doors.ip().is_loopback() {
            return Err(ConfigError::invalid("NBHD_DOORS_ADDRESS", "a loopback address, such as 127.0.0.1:8790"));
        }
        env.required("NBHD_API_BASE_URL", "the control plane's address")?;
        env.required("NBHD_MODELS_URL", "the model gateway's address")?;
        Ok(Self {
            tenant: tenant.parse().map_err(|_| ConfigError::invalid("NBHD_TENANT_ID", TENANT))?,
            secrets: Secrets::parse("NBHD_RUNTIME_SECRET", &secret)?,
            api_base_url: env.url("NBHD_API_BASE_URL", "")?,
            models_url: env.url("NBHD_MODELS_URL", "")?,
            release: env.required("NBHD_RELEASE", "the name of what the image holds")?.to_owned(),
            config: env.required("NBHD_OPENCLAW_CONFIG", "the configuration of OpenClaw, as JSON")?.to_owned(),
            share: env.optional("NBHD_SHARE").unwrap_or("/var/lib/nbhd").into(),
            journal_mib: env.number("NBHD_JOURNAL_MIB", 64, 1..=1024)?,
            front: address(env, "NBHD_FRONT_ADDRESS", "0.0.0.0:8787")?,
            doors,
            openclaw_webhook: loopback(env, "NBHD_OPENCLAW_WEBHOOK", "http://127.0.0.1:8788")?,
            openclaw_gateway: loopback(env, "NBHD_OPENCLAW_GATEWAY", "http://127.0.0.1:18789")?,
        })
    }
}

fn address(env: &Env, name: &str, default: &str) -> Result<SocketAddr, ConfigError> {
    let text = env.optional(name).unwrap_or(default);
    text.parse().map_err(|_| ConfigError::invalid(name, "an address and a port, such as 127.0.0.1:8787"))
}

/// What is handed over has a person's words: it never leaves the container.
fn loopback(env: &Env, name: &str, default: &str) -> Result<String, ConfigError> {
    let address = env.url(name, default)?;
    let url = Url::parse(&address).ok();
    let is_loopback = url.as_ref().and_then(Url::host).is_some_and(|host| match host {
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
        url::Host::Domain(_) => false,
    });
    if is_loopback { Ok(address) } else { Err(ConfigError::invalid(name, LOOPBACK)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = r#"{"internal_key":"i","webhook_secret":"w","relay_token":"1:r","gateway_token":"g",
        "model_key":"m"}"#;

    fn env() -> Env {
        Env::from_pairs([
            ("NBHD_TENANT_ID", "6f2c9d1e-0000-8000-8000-000000000001"),
            ("NBHD_RUNTIME_SECRET", SECRET),
            ("NBHD_API_BASE_URL", "https://api.example/"),
            ("NBHD_MODELS_URL", "https://models.example/v1"),
            ("NBHD_RELEASE", "r1"),
            ("NBHD_OPENCLAW_CONFIG", "{}"),
        ])
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let settings = Settings::new(&env()).expect("complete");
        assert_eq!(settings.front.to_string(), "0.0.0.0:8787");
        assert_eq!(settings.doors.to_string(), "127.0.0.1:8790");
        assert_eq!((settings.api_base_url.as_str(), settings.journal_mib), ("https://api.example", 64));
        assert!(!format!("{settings:?}").contains("\"m\""));
    }

    #[test]
    fn each_required_setting_is_named_when_it_is_missing() {
        for name in [
            "NBHD_TENANT_ID",
            "NBHD_RUNTIME_SECRET",
            "NBHD_API_BASE_URL",
            "NBHD_MODELS_URL",
            "NBHD_RELEASE",
            "NBHD_OPENCLAW_CONFIG",
        ] {
            let error = Settings::new(&env().without(name)).expect_err("missing").to_string();
            assert!(error.starts_with(&format!("`{name}` is not set: ")), "{error}");
        }
    }

    #[test]
    fn what_is_for_openclaw_alone_stays_in_the_container() {
        let wrong = [
            ("NBHD_DOORS_ADDRESS", "0.0.0.0:8790"),
            ("NBHD_OPENCLAW_WEBHOOK", "http://10.0.0.7:8788"),
            ("NBHD_OPENCLAW_WEBHOOK", "http://127.0.0.1.example:8788"),
            ("NBHD_OPENCLAW_GATEWAY", "https://example.com"),
            ("NBHD_FRONT_ADDRESS", "8787"),
            ("NBHD_TENANT_ID", "someone"),
            ("NBHD_JOURNAL_MIB", "0"),
        ];
        for (name, value) in wrong {
            let error = Settings::new(&env().with(name, value)).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("`{name}` cannot be used: ")), "{error}");
        }
    }
}
