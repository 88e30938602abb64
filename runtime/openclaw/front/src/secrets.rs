//! The secrets of the tenant, which no other process of the container ever sees, and those that it gets in their place.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nbhd::config::ConfigError;
use nbhd::domain::secrets::is_same_secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// The most generations of a list: the newest, and those that are on their way out.
const MOST_GENERATIONS: usize = 5;

/// What the control plane gave this container.
#[derive(Clone)]
pub struct Secrets {
    /// Opens the runtime endpoints.
    pub internal_key: SecretString,
    /// Opens the relay: `<digits>:<secret>`, as a bot's token.
    pub relay_token: SecretString,
    /// Opens the model gateway.
    pub model_key: SecretString,
    webhook_secrets: Vec<SecretString>,
}

impl Secrets {
    const HINT: &str = "the JSON of a generation's keys, or a list of up to 5, the newest first";

    /// Reads the setting `name`: one generation's object, or a list of them. The newest is what the front uses; updates
    /// may come with the webhook secret of any.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not what the control plane writes; nothing of the value is in it.
    pub fn parse(name: &str, text: &SecretString) -> Result<Self, ConfigError> {
        Self::read(text.expose_secret()).ok_or_else(|| ConfigError::invalid(name, Self::HINT))
    }

    fn read(text: &str) -> Option<Self> {
        let generations = match serde_json::from_str(text).ok()? {
            Value::Array(list) if list.len() <= MOST_GENERATIONS => list,
            single if single.is_object() => vec![single],
            Value::Array(_) | Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return None;
            }
        };
        let secret = |generation: &Value, field: &str| {
            // It becomes a header's value, or a part of a path.
            let is_plain = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            generation[field].as_str().filter(is_plain).map(SecretString::from)
        };
        let webhook_secrets: Option<Vec<_>> = generations.iter().map(|each| secret(each, "webhook_secret")).collect();
        let newest = generations.first()?;
        let relay_token = secret(newest, "relay_token")?;
        bot_id(&relay_token)?;
        Some(Self {
            internal_key: secret(newest, "internal_key")?,
            relay_token,
            model_key: secret(newest, "model_key")?,
            webhook_secrets: webhook_secrets?,
        })
    }

    /// Whether it is the webhook secret of one of the generations; all are compared, each in constant time.
    pub fn accept_webhook(&self, given: &[u8]) -> bool {
        let given = std::str::from_utf8(given).unwrap_or_default();
        self.webhook_secrets.iter().fold(false, |accepted, secret| accepted | is_same_secret(secret, given))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// What `OpenClaw` gets: random, made at each boot, of no use outside this container.
#[derive(Clone)]
pub struct LocalSecrets {
    /// Opens the relay's door, in a bot's token's form.
    pub relay_token: SecretString,
    /// Opens the door of the runtime endpoints.
    pub internal_key: SecretString,
    /// Opens the models' door.
    pub model_key: SecretString,
    /// Opens `OpenClaw`'s own gateway, which nothing outside the container reaches.
    pub gateway_token: SecretString,
    /// With it the front hands updates over.
    pub webhook_secret: SecretString,
}

impl LocalSecrets {
    /// New ones, with the bot's own id in the token, since that is no secret and `OpenClaw` shows it.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random(secrets: &Secrets) -> anyhow::Result<Self> {
        let bot = bot_id(&secrets.relay_token).unwrap_or_default();
        Ok(Self {
            relay_token: format!("{bot}:{}", random()?.expose_secret()).into(),
            internal_key: random()?,
            model_key: random()?,
            gateway_token: random()?,
            webhook_secret: random()?,
        })
    }
}

impl fmt::Debug for LocalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalSecrets(…)")
    }
}

/// The digits that a bot's token begins with.
fn bot_id(token: &SecretString) -> Option<&str> {
    let (id, capability) = token.expose_secret().split_once(':')?;
    let is_token = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && !capability.is_empty();
    is_token.then_some(id)
}

fn random() -> anyhow::Result<SecretString> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn generation(name: &str) -> Value {
        json!({
            "generation": format!("k1:{name}"), "internal_key": format!("internal-{name}"),
            "webhook_secret": format!("webhook-{name}"), "relay_token": format!("42:relay-{name}"),
            "gateway_token": "gateway", "model_key": "model", "model_key_hash": "hash",
        })
    }

    #[test]
    fn the_newest_goes_out_and_every_one_comes_in() {
        let list = json!([generation("b"), generation("a")]);
        let secrets = Secrets::read(&list.to_string()).expect("a list");
        assert_eq!(secrets.internal_key.expose_secret(), "internal-b");
        assert!(secrets.accept_webhook(b"webhook-a") && secrets.accept_webhook(b"webhook-b"));
        for given in [&b"webhook-"[..], b"", b"webhook-c", b"\xFF", b"webhook-a "] {
            assert!(!secrets.accept_webhook(given));
        }
        let single = Secrets::read(&generation("a").to_string()).expect("an object");
        assert!(single.accept_webhook(b"webhook-a") && !single.accept_webhook(b"webhook-b"));
    }

    #[test]
    fn what_is_no_set_of_keys_is_refused_without_a_word_of_it() {
        let without = |field: &str| {
            let mut value = generation("secret-word");
            value[field] = json!("");
            value.to_string()
        };
        let fields = ["internal_key", "webhook_secret", "relay_token", "model_key"];
        let mut wrong: Vec<String> = fields.map(without).into();
        let mut split = generation("secret-word");
        split["internal_key"] = json!("secret-word\r\nx: y");
        let mut token = generation("secret-word");
        token["relay_token"] = json!("secret-word");
        wrong.extend([split.to_string(), token.to_string(), "secret-word".to_owned(), "[]".to_owned()]);
        wrong.push(json!([generation("a"), {}]).to_string());
        wrong.push(json!(vec![generation("a"); 6]).to_string());
        for text in wrong {
            let error = Secrets::parse("KEYS", &text.clone().into()).expect_err("refused").to_string();
            assert!(error.starts_with("`KEYS` cannot be used: ") && !error.contains("secret-word"), "{error}");
        }
    }

    #[test]
    fn what_openclaw_gets_is_new_at_each_boot_and_keeps_the_bots_id() {
        let secrets = Secrets::read(&generation("a").to_string()).expect("an object");
        let [one, two] = [(); 2].map(|()| LocalSecrets::random(&secrets).expect("random"));
        assert_ne!(one.relay_token.expose_secret(), two.relay_token.expose_secret());
        assert!(one.relay_token.expose_secret().starts_with("42:") && one.relay_token.expose_secret().len() == 46);
        assert_eq!(format!("{secrets:?}{one:?}"), "Secrets(…)LocalSecrets(…)");
    }
}
