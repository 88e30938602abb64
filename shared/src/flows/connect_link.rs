//! The signed values that lead a person from a link in a chat to Google's consent and back, without a store.
//!
//! A link is a bearer token, so it only opens a page and changes nothing. The `state` that goes to Google inherits the
//! link's `jti`, and names by its hash the secret of the browser in which the page's button was pressed. PKCE verifier
//! and start token are derived from `jti` and secret, which binds Google's answer and its confirmation to that browser.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use super::browser_secret::{BrowserSecret, NoRandomness};
pub use super::public_base::PublicBase;
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};
use crate::domain::ids::{InvalidId, TenantId};
use crate::domain::integration::Provider;
use crate::domain::person::Person;
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
    /// Whose assistant it is, for the pages.
    #[serde(flatten)]
    pub person: Person,
}

/// The content of the OAuth `state`, which Google returns with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthState {
    /// The content of the link that led to Google.
    #[serde(flatten)]
    pub connect: ConnectLink,
    /// The services that were asked for.
    pub services: Services,
    /// The hash of the browser's secret.
    pub browser: String,
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
    base: PublicBase,
}

impl Links {
    /// Reads the settings `LINK_SIGNING_KEYS` and `PUBLIC_BASE_URL`.
    ///
    /// # Errors
    /// [`ConfigError`] when either is missing or unusable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { signer: Signer::new(env.secret_keys("LINK_SIGNING_KEYS")?), base: PublicBase::from_env(env)? })
    }

    /// The address of this system.
    pub fn base(&self) -> &PublicBase {
        &self.base
    }

    /// A link for the chat of `tenant_id` with a fresh `jti`, valid for ten minutes.
    pub fn connect_url(&self, services: Services, tenant_id: TenantId, person: &Person, now: Timestamp) -> String {
        self.link(services, tenant_id, person, now, LIFETIME)
    }

    /// A link for an unrequested message, valid for a week.
    pub fn reconnect_url(&self, services: Services, tenant_id: TenantId, person: &Person, now: Timestamp) -> String {
        self.link(services, tenant_id, person, now, RECONNECT_LIFETIME)
    }

    fn link(
        &self,
        services: Services,
        tenant_id: TenantId,
        person: &Person,
        now: Timestamp,
        lifetime: Duration,
    ) -> String {
        let name = person.name.chars().take(MAX_NAME_CHARACTERS).collect();
        let content = ConnectLink { tenant_id, person: Person { name, ..person.clone() } };
        let link = self.signer.sign(Purpose::Connect, &self.signer.new_jti(), &content, now, lifetime);
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

    /// Signs the OAuth `state` of a link for one browser; it inherits the link's `jti`.
    pub fn sign_state(
        &self,
        link: &Claims<ConnectLink>,
        services: Services,
        browser: &BrowserSecret,
        now: Timestamp,
    ) -> String {
        let state = OauthState { connect: link.content.clone(), services, browser: browser.hash() };
        self.signer.sign(Purpose::OauthState, &link.jti, &state, now, LIFETIME)
    }

    /// Verifies an OAuth `state` and returns its content; the caller judges its end, which counts for the first arrival
    /// alone.
    pub fn read_state(&self, state: &str) -> Result<Claims<OauthState>, tokens::Error> {
        self.signer.verify_signature(Purpose::OauthState, state)
    }

    /// Signs the value that the undo button submits. Its hour begins with the connection, however late its page is
    /// shown.
    pub fn sign_undo(&self, undo: &UndoRequest) -> String {
        self.signer.sign(Purpose::Undo, &self.signer.new_jti(), undo, undo.connected_at, UNDO_LIFETIME)
    }

    /// Verifies the value that an undo button submitted and returns its content.
    pub fn read_undo(&self, undo: &str, now: Timestamp) -> Result<Claims<UndoRequest>, tokens::Error> {
        self.signer.verify(Purpose::Undo, undo, now)
    }

    /// The PKCE verifier of RFC 7636. It is derived, so that nothing has to be stored.
    pub fn pkce_verifier(&self, jti: &str, browser: &BrowserSecret) -> SecretString {
        self.signer.derive("pkce", jti, &[browser.expose().as_bytes()])
    }

    /// The start token of a browser's sign-in: 43 characters of `A-Za-z0-9_-`, which only this browser is shown. It is
    /// derived, so that a reload of the page shows the same one although only its hash is kept.
    pub fn start_token(&self, jti: &str, browser: &BrowserSecret) -> SecretString {
        self.signer.derive("start", jti, &[browser.expose().as_bytes()])
    }

    /// The `Set-Cookie` value that gives the browser its secret.
    pub fn set_cookie_header(&self, jti: &str, browser: &BrowserSecret) -> String {
        let (name, value) = (self.cookie_name(jti), browser.expose());
        let secure = if self.base.is_loopback() { "" } else { "; Secure" };
        // The way back may begin when the state is about to expire, and the result page may be reloaded after that.
        let seconds = 2 * LIFETIME.as_secs();
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }

    /// The secret in a `Cookie` header, if it is the one that `state` names.
    pub fn find_browser(&self, state: &Claims<OauthState>, cookies: &str) -> Option<BrowserSecret> {
        let name = self.cookie_name(&state.jti);
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, text)| BrowserSecret::from_cookie(text))
            .find(|secret| secret.has_hash(&state.content.browser))
    }

    fn cookie_name(&self, jti: &str) -> String {
        // Browsers accept the prefix only together with `Secure`, which plain HTTP on this machine cannot have.
        let prefix = if self.base.is_loopback() { "" } else { "__Host-" };
        format!("{prefix}nbhd-{jti}")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::sign_in::{CONFIRMATION_LIFETIME, NONCE_RETENTION, SignInId};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn links(base: &str) -> Links {
        let env = Env::from_pairs([
            ("LINK_SIGNING_KEYS", format!("k1:{}", "k".repeat(32))),
            ("PUBLIC_BASE_URL", base.to_owned()),
        ]);
        Links::from_env(&env).expect("complete settings")
    }

    fn person(name: &str) -> Person {
        Person { name: name.to_owned(), username: Some("ada_l".to_owned()), id_ending: "1001".to_owned() }
    }

    fn browser() -> BrowserSecret {
        BrowserSecret::new().expect("randomness")
    }

    /// The state of a link in a browser.
    fn state(links: &Links, link: &Claims<ConnectLink>, browser: &BrowserSecret) -> Claims<OauthState> {
        links.read_state(&links.sign_state(link, Services::Gmail, browser, NOW)).expect("our own")
    }

    fn link(links: &Links) -> Claims<ConnectLink> {
        let url = links.connect_url(Services::Google, TenantId::random(), &person("Ada"), NOW);
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
        let secret = browser();
        let state = links.sign_state(&link, Services::Gmail, &secret, NOW);
        let read = links.read_state(&state).expect("our own");
        assert_eq!(read.jti, link.jti);
        let (connect, services) = (link.content, Services::Gmail);
        assert_eq!(read.content, OauthState { connect, services, browser: secret.hash() });
        assert_eq!(links.read_link(&state, NOW), Err(tokens::Error::Invalid));
        assert!(!read.is_expired(NOW) && read.is_expired(NOW + LIFETIME));
    }

    #[test]
    fn a_long_name_is_cut_on_a_character() {
        let links = links("https://nbhd.example");
        let url = links.connect_url(Services::Gmail, TenantId::random(), &person(&"é".repeat(1000)), NOW);
        let (_, link) = url.split_once("link=").expect("a link in it");
        assert_eq!(links.read_link(link, NOW).expect("fresh").content.person.name, "é".repeat(MAX_NAME_CHARACTERS));
    }

    #[test]
    fn a_cookie_marks_one_browser_for_one_press_of_the_button() {
        let links = links("https://nbhd.example");
        let (link, secret, again) = (link(&links), browser(), browser());
        let (first, second) = (state(&links, &link, &secret), state(&links, &link, &again));
        let set = links.set_cookie_header(&link.jti, &secret);
        assert!(set.starts_with(&format!("__Host-nbhd-{}=", link.jti)));
        assert!(set.ends_with("; HttpOnly; SameSite=Lax; Secure"));
        let (cookie, _) = set.split_once(';').expect("attributes");
        let found = links.find_browser(&first, &format!("a=b; {cookie}; c=d")).expect("the same browser");
        assert_eq!(found.hash(), secret.hash());
        for cookies in [&cookie[..cookie.len() - 1], "", &format!("{cookie}x"), &cookie.replace("nbhd-", "nbhd")] {
            assert!(links.find_browser(&first, cookies).is_none(), "{cookies}");
        }
        assert!(links.find_browser(&second, cookie).is_none(), "another press has another secret");
    }

    #[test]
    fn only_plain_http_on_this_machine_goes_without_secure() {
        for base in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"] {
            let links = links(base);
            let set = links.set_cookie_header(&link(&links).jti, &browser());
            assert!(set.starts_with("nbhd-") && !set.contains("Secure"), "{base}: {set}");
        }
        assert!(links("https://localhost").set_cookie_header("1", &browser()).contains("Secure"));
        let refused = Env::from_pairs([("PUBLIC_BASE_URL", "http://nbhd.example")]);
        assert!(PublicBase::from_env(&refused).is_err());
    }

    #[test]
    fn verifier_and_start_token_follow_from_link_and_browser_and_have_their_forms() {
        let links = links("https://nbhd.example");
        let (one, two, secret) = (link(&links).jti, link(&links).jti, browser());
        let derived = |jti: &str, secret: &BrowserSecret| {
            [links.pkce_verifier(jti, secret), links.start_token(jti, secret)]
                .map(|text| text.expose_secret().to_owned())
        };
        let all = [derived(&one, &secret), derived(&two, &secret), derived(&one, &browser())].concat();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert!(distinct.len() == 6 && all.iter().all(|text| text.len() == 43));
        assert_eq!(derived(&one, &secret), derived(&one, &secret));
        assert!(SignInId::from_parameter(&all[1]).is_some(), "a parameter that Telegram takes");
    }

    #[test]
    fn a_nonce_is_kept_longer_than_any_token_that_carries_it() {
        assert!(NONCE_RETENTION > RECONNECT_LIFETIME + LIFETIME + CONFIRMATION_LIFETIME);
    }
}
