//! Building the address of Google's consent page.

use std::borrow::Cow;

use nbhd::clock::Timestamp;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::scope;
use nbhd::flows::connect_link::{BrowserSecret, ConnectLink, Links, Services};
use nbhd::tokens::Claims;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthUrl, ClientId, CsrfToken, EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, url::ParseError,
};
use secrecy::ExposeSecret as _;

/// Our OAuth client, as far as a consent URL needs it; it makes no calls.
pub(crate) struct ConsentClient {
    client: BasicClient<EndpointSet>,
}

impl ConsentClient {
    /// `None` when `GOOGLE_CLIENT_ID` is not set.
    pub(crate) fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        let Some(id) = env.optional("GOOGLE_CLIENT_ID") else { return Ok(None) };
        let (name, hint) = ("GOOGLE_AUTH_URL", "the address of Google's consent page");
        let url = env.url(name, "https://accounts.google.com/o/oauth2/v2/auth")?;
        let url = AuthUrl::new(url).map_err(|_| ConfigError::invalid(name, hint))?;
        Ok(Some(Self { client: BasicClient::new(ClientId::new(id.to_owned())).set_auth_uri(url) }))
    }

    /// The origin of the consent page, to which our form is allowed to redirect.
    pub(crate) fn origin(&self) -> String {
        self.client.auth_uri().url().origin().ascii_serialization()
    }

    /// The address of the consent page for the holder of `link` in the browser that has the secret.
    ///
    /// `offline` and `consent` together make Google hand out a refresh token every time; `include_granted_scopes` lets
    /// a second service join the grant of the first.
    /// <https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient>
    pub(crate) fn consent_url(
        &self,
        links: &Links,
        link: &Claims<ConnectLink>,
        services: Services,
        browser: &BrowserSecret,
        now: Timestamp,
    ) -> Result<String, ParseError> {
        let redirect = RedirectUrl::new(links.redirect_url(services))?;
        let verifier = PkceCodeVerifier::new(links.pkce_verifier(&link.jti, browser).expose_secret().to_owned());
        let scopes = scope::IDENTITY.into_iter().chain(services.providers().iter().map(|provider| provider.scope()));
        let (url, _) = self
            .client
            .authorize_url(|| CsrfToken::new(links.sign_state(link, services, browser, now)))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("access_type", "offline")
            .add_extra_param("prompt", "consent")
            .add_extra_param("include_granted_scopes", "true")
            .url();
        Ok(url.into())
    }
}
