//! The addresses at which people reach this system and its bot.

use url::{Host, Url};

use crate::config::{ConfigError, Env};

/// Where the bot is opened in Telegram: `https://t.me/<bot>`, by the settings `TELEGRAM_BOT_USERNAME` and
/// `TELEGRAM_LINK_URL`. <https://core.telegram.org/bots/features#deep-linking>
///
/// # Errors
/// [`ConfigError`] when the bot's name is missing, or the other one is not an address.
pub fn bot_address(env: &Env) -> Result<String, ConfigError> {
    let username = env.required("TELEGRAM_BOT_USERNAME", "the bot's user name, without @")?;
    Ok(format!("{}/{username}", env.url("TELEGRAM_LINK_URL", "https://t.me")?))
}

/// The setting `PUBLIC_BASE_URL`: the address at which people, Google and runtimes reach this system.
#[derive(Clone, Debug)]
pub struct PublicBase {
    text: String,
    url: Url,
}

impl PublicBase {
    /// # Errors
    /// When the setting is absent, or is plain HTTP to anything but this machine.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (name, hint) = ("PUBLIC_BASE_URL", "the https address this system is reached at");
        let invalid = || ConfigError::invalid(name, hint);
        let text = env.required(name, hint)?.trim_end_matches('/').to_owned();
        let url = Url::parse(&text).map_err(|_| invalid())?;
        let base = Self { text, url };
        if base.url.scheme() == "https" || base.is_loopback() { Ok(base) } else { Err(invalid()) }
    }

    /// The address without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of `Origin` in requests from our own pages.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Whether this is plain HTTP on this machine, where `Secure` cookies do not work.
    pub fn is_loopback(&self) -> bool {
        let loopback = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        loopback && self.url.scheme() == "http"
    }
}
