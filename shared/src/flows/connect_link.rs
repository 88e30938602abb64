//! The signed values that lead a person from a link in a chat to Google's consent and back, without a store.
//!
//! A link is a bearer token, so it only opens a page and changes nothing. The `state` that goes to Google inherits the
//! link's `jti`. A cookie and the PKCE verifier are derived from it, which binds Google's answer to one browser.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};
use crate::domain::ids::{InvalidId, TenantId};
use crate::domain::integration::Provider;
use crate::domain::secrets::{KeyTooShort, MasterKey, is_same_secret};
use crate::tokens::{self, Claims, Purpose, Signer};

/// How long a link is valid, and then the `state` that leads through Google's consent.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// How long the link in an unrequested message is valid: its reader may be asleep, or away.
pub const RECONNECT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the undo button of the result page is valid; after that, `/disconnect` does the same.
pub const UNDO_LIFETIME: Duration = Duration::from_secs(3600);

/// Longer display names are cut: a link has to fit a Telegram button, and a page a phone.
pub(super) const MAX_NAME_CHARACTERS: usize = 64;

/// The services that one consent asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Services {
    /// Gmail alone.
    Gmail,
    /// Google Calendar alone.
    GoogleCalendar,
    /// Both.
    Google,
}

impl Services {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Gmail, Self::GoogleCalendar, Self::Google];

    /// The name in paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gmail => Provider::Gmail.as_str(),
            Self::GoogleCalendar => Provider::GoogleCalendar.as_str(),
            Self::Google => "google",
        }
    }

    /// The services asked for.
    pub const fn providers(self) -> &'static [Provider] {
        match self {
            Self::Gmail => &[Provider::Gmail],
            Self::GoogleCalendar => &[Provider::GoogleCalendar],
            Self::Google => &Provider::ALL,
        }
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Services {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL.into_iter().find(|services| services.as_str() == text).ok_or(InvalidId)
    }
}

/// The content of a link: whose assistant will read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectLink {
    /// The tenant it connects.
    pub tenant_id: TenantId,
    /// The person's name in Telegram, by which the reader of the page recognises whose assistant it is.
    pub name: String,
}

/// The content of the OAuth `state`, which Google returns with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthState {
    /// The content of the link that led to Google.
    #[serde(flatten)]
    pub connect: ConnectLink,
    /// The services that were asked for.
    pub services: Services,
}

/// The content of the undo button on a result page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRequest {
    /// The tenant that was connected.
    pub tenant_id: TenantId,
    /// The services that were connected.
    pub providers: Vec<Provider>,
    /// When they were connected. The button does not undo a later connection.
    pub connected_at: Timestamp,
}

/// Signs links, states and undo buttons, and verifies them.
#[derive(Clone)]
pub struct Links {
    signer: Signer,
    derivation: MasterKey,
    base: PublicBase,
}

impl Links {
    /// Reads the settings `LINK_SIGNING_KEY` and `PUBLIC_BASE_URL`.
    ///
    /// # Errors
    /// [`ConfigError`] when either is missing or unusable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (name, hint) = ("LINK_SIGNING_KEY", "at least 32 random bytes, as text");
        let key = env.secret(name, hint)?;
        let too_short = |KeyTooShort| ConfigError::invalid(name, hint);
        Ok(Self {
            signer: Signer::new(&key).map_err(too_short)?,
            derivation: MasterKey::new(&key).map_err(too_short)?,
            base: PublicBase::from_env(env)?,
        })
    }

    /// The address of this system.
    pub fn base(&self) -> &PublicBase {
        &self.base
    }

    /// A link for the chat of `tenant_id` with a fresh `jti`, valid for ten minutes.
    pub fn connect_url(&self, services: Services, tenant_id: TenantId, name: &str, now: Timestamp) -> String {
        self.link(services, tenant_id, name, now, LIFETIME)
    }

    /// A link for an unrequested message, valid for a week.
    pub fn reconnect_url(&self, services: Services, tenant_id: TenantId, name: &str, now: Timestamp) -> String {
        self.link(services, tenant_id, name, now, RECONNECT_LIFETIME)
    }

    fn link(&self, services: Services, tenant_id: TenantId, name: &str, now: Timestamp, lifetime: Duration) -> String {
        let name = name.chars().take(MAX_NAME_CHARACTERS).collect();
        let link =
            self.signer.sign(Purpose::Connect, &Signer::new_jti(), &ConnectLink { tenant_id, name }, now, lifetime);
        self.authorize_url(services, &link)
    }

    /// The page that `link` opens.
    pub fn authorize_url(&self, services: Services, link: &str) -> String {
        format!("{}?link={link}", self.form_url(services))
    }

    /// The address that the button on that page posts to.
    pub fn form_url(&self, services: Services) -> String {
        format!("{}/oauth/{services}/authorize", self.base.as_str())
    }

    /// The address that Google redirects to; it is registered at Google for each of [`Services::ALL`].
    pub fn redirect_url(&self, services: Services) -> String {
        format!("{}/oauth/{services}/callback", self.base.as_str())
    }

    /// The address that the undo button posts to.
    pub fn undo_url(&self, services: Services) -> String {
        format!("{}/oauth/{services}/undo", self.base.as_str())
    }

    /// Verifies a link and returns its content.
    pub fn read_link(&self, link: &str, now: Timestamp) -> Result<Claims<ConnectLink>, tokens::Error> {
        self.signer.verify(Purpose::Connect, link, now)
    }

    /// Signs the OAuth `state` of a link; it inherits the link's `jti`.
    pub fn sign_state(&self, link: &Claims<ConnectLink>, services: Services, now: Timestamp) -> String {
        let state = OauthState { connect: link.content.clone(), services };
        self.signer.sign(Purpose::OauthState, &link.jti, &state, now, LIFETIME)
    }

    /// Verifies an OAuth `state` and returns its content.
    pub fn read_state(&self, state: &str, now: Timestamp) -> Result<Claims<OauthState>, tokens::Error> {
        self.signer.verify(Purpose::OauthState, state, now)
    }

    /// Signs the value that the undo button submits.
    pub fn sign_undo(&self, undo: &UndoRequest, now: Timestamp) -> String {
        self.signer.sign(Purpose::Undo, &Signer::new_jti(), undo, now, UNDO_LIFETIME)
    }

    /// Verifies the value that an undo button submitted and returns its content.
    pub fn read_undo(&self, undo: &str, now: Timestamp) -> Result<Claims<UndoRequest>, tokens::Error> {
        self.signer.verify(Purpose::Undo, undo, now)
    }

    /// The PKCE verifier of RFC 7636. It is derived from `jti`, so that nothing has to be stored.
    pub fn pkce_verifier(&self, jti: &str) -> SecretString {
        self.derivation.derive("pkce", &[jti.as_bytes()])
    }

    /// The `Set-Cookie` value that marks the browser in which the person agreed to go on.
    pub fn set_cookie_header(&self, jti: &str) -> String {
        let (name, value) = (self.cookie_name(jti), self.browser_mark(jti));
        let secure = if self.base.is_loopback() { "" } else { "; Secure" };
        // The way back may begin when the state is about to expire, and the result page may be reloaded after that.
        let seconds = 2 * LIFETIME.as_secs();
        format!("{name}={}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", value.expose_secret())
    }

    /// Whether a `Cookie` header comes from the browser that [`Self::set_cookie_header`] marked.
    pub fn is_same_browser(&self, jti: &str, cookies: &str) -> bool {
        let (name, value) = (self.cookie_name(jti), self.browser_mark(jti));
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(found, text)| found == name && is_same_secret(&value, text))
    }

    fn browser_mark(&self, jti: &str) -> SecretString {
        self.derivation.derive("browser", &[jti.as_bytes()])
    }

    fn cookie_name(&self, jti: &str) -> String {
        // Browsers accept the prefix only together with `Secure`, which plain HTTP on this machine cannot have.
        let prefix = if self.base.is_loopback() { "" } else { "__Host-" };
        format!("{prefix}nbhd-{jti}")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn links(base: &str) -> Links {
        let env = Env::from_pairs([("LINK_SIGNING_KEY", "k".repeat(32)), ("PUBLIC_BASE_URL", base.to_owned())]);
        Links::from_env(&env).expect("complete settings")
    }

    fn link(links: &Links) -> Claims<ConnectLink> {
        let url = links.connect_url(Services::Google, TenantId::random(), "Ada", NOW);
        let (_, link) = url.split_once("link=").expect("a link in it");
        links.read_link(link, NOW).expect("fresh")
    }

    #[test]
    fn every_choice_is_read_back_from_its_name() {
        for services in Services::ALL {
            assert_eq!(services.as_str().parse(), Ok(services));
            assert_eq!(serde_json::to_value(services).expect("serializable"), services.as_str());
        }
    }

    #[test]
    fn a_link_becomes_a_state_of_the_same_identity() {
        let links = links("https://nbhd.example");
        let link = link(&links);
        let state = links.sign_state(&link, Services::Gmail, NOW);
        let read = links.read_state(&state, NOW).expect("fresh");
        assert_eq!(read.jti, link.jti);
        assert_eq!(read.content, OauthState { connect: link.content, services: Services::Gmail });
        assert_eq!(links.read_link(&state, NOW), Err(tokens::Error::Invalid));
        assert_eq!(links.read_state(&state, NOW + LIFETIME), Err(tokens::Error::Expired));
    }

    #[test]
    fn a_long_name_is_cut_on_a_character() {
        let links = links("https://nbhd.example");
        let url = links.connect_url(Services::Gmail, TenantId::random(), &"é".repeat(1000), NOW);
        let (_, link) = url.split_once("link=").expect("a link in it");
        assert_eq!(links.read_link(link, NOW).expect("fresh").content.name, "é".repeat(MAX_NAME_CHARACTERS));
    }

    #[test]
    fn a_cookie_marks_one_browser_for_one_link() {
        let links = links("https://nbhd.example");
        let (jti, other) = (link(&links).jti, link(&links).jti);
        let set = links.set_cookie_header(&jti);
        assert!(set.starts_with(&format!("__Host-nbhd-{jti}=")) && set.ends_with("; HttpOnly; SameSite=Lax; Secure"));
        let (cookie, _) = set.split_once(';').expect("attributes");
        assert!(links.is_same_browser(&jti, &format!("a=b; {cookie}; c=d")));
        assert!(!links.is_same_browser(&other, cookie));
        assert!(!links.is_same_browser(&jti, &cookie[..cookie.len() - 1]));
        assert!(!links.is_same_browser(&jti, ""));
    }

    #[test]
    fn only_plain_http_on_this_machine_goes_without_secure() {
        for base in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"] {
            let links = links(base);
            let set = links.set_cookie_header(&link(&links).jti);
            assert!(set.starts_with("nbhd-") && !set.contains("Secure"), "{base}: {set}");
        }
        assert!(links("https://localhost").set_cookie_header("1").contains("Secure"));
        let refused = Env::from_pairs([("PUBLIC_BASE_URL", "http://nbhd.example")]);
        assert!(PublicBase::from_env(&refused).is_err());
    }

    #[test]
    fn a_verifier_has_the_form_of_rfc_7636() {
        let links = links("https://nbhd.example");
        let verifier = links.pkce_verifier(&link(&links).jti);
        assert_eq!(verifier.expose_secret().len(), 43);
        assert_ne!(verifier.expose_secret(), links.pkce_verifier(&link(&links).jti).expose_secret());
    }
}
