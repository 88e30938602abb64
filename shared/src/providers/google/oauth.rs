//! Google's token, revocation and userinfo endpoints.
//! <https://developers.google.com/identity/protocols/oauth2/web-server>

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::{ConfigError, Env};
use crate::domain::scope::GrantedScopes;
use crate::providers;
use crate::providers::{google, wire};

/// The longest a call to the token endpoint takes; a lease on a refresh must outlive it.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Revoking and asking for the account are never worth a longer wait of a person in front of a page.
const SIDE_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// RFC 6749 lets a server leave `expires_in` out. Google never does; should it, the token is renewed soon.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(600);

/// Google's own error codes that mean our client is set up wrongly.
/// <https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors>
const OUR_FAULT: [&str; 4] = ["redirect_uri_mismatch", "deleted_client", "disabled_client", "org_internal"];

/// Our client at Google.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    oauth: BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    revoke_url: String,
    userinfo_url: String,
}

/// What the token endpoint granted.
#[derive(Clone)]
pub struct Tokens {
    /// The credential for Google's APIs.
    pub access_token: SecretString,
    /// How long the access token lasts, from the moment of the answer.
    pub lifetime: Duration,
    /// On an exchange, what Google sent; on a refresh, what it sent or else the one that was used: it stays valid.
    pub refresh_token: Option<SecretString>,
    /// What was granted, when the answer says so: a person can untick each scope that was asked for.
    pub granted: Option<GrantedScopes>,
}

/// Whose account was connected.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// Google's own, unchanging id of the account; elsewhere Google calls it `sub`.
    #[serde(rename = "id", alias = "sub")]
    pub sub: String,
    /// Its address, for people to recognise it by.
    #[serde(default)]
    pub email: Option<String>,
}

/// Why there are no tokens; each variant is the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `invalid_grant`, Google's final word: the code or refresh token is used up, expired or revoked.
    #[error("the grant is no longer valid")]
    InvalidGrant,
    /// Google refuses our client or the way it asks. The grant may well be sound: an operator has to act, not the
    /// person.
    #[error("our client was refused with `{code}`")]
    Configuration {
        /// Google's error code.
        code: String,
    },
    /// Nothing final was said (no answer, 429, 5xx, unreadable): the same call may succeed later.
    #[error("no answer that can be used")]
    Transient(#[source] providers::Error),
}

impl Client {
    /// The client of the settings `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET`; `None` when either is not set.
    ///
    /// # Errors
    /// When an address among the settings is not one.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Option<Self>, ConfigError> {
        let (Some(id), Some(secret)) = (env.optional("GOOGLE_CLIENT_ID"), env.optional("GOOGLE_CLIENT_SECRET")) else {
            return Ok(None);
        };
        let invalid = |name: &str| ConfigError::Invalid { name: name.to_owned(), hint: "an absolute http(s) address" };
        let token_url = TokenUrl::new(env.url("GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token")?)
            .map_err(|_| invalid("GOOGLE_TOKEN_URL"))?;
        let oauth = BasicClient::new(ClientId::new(id.to_owned()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(token_url);
        Ok(Some(Self {
            http,
            oauth,
            revoke_url: env.url("GOOGLE_REVOKE_URL", "https://oauth2.googleapis.com/revoke")?,
            userinfo_url: env.url("GOOGLE_USERINFO_URL", "https://www.googleapis.com/oauth2/v2/userinfo")?,
        }))
    }

    /// Trades the `code` of a consent for tokens. `redirect` must be the address the consent was asked with.
    pub async fn exchange(
        &self,
        code: &SecretString,
        verifier: &SecretString,
        redirect: &str,
    ) -> Result<Tokens, Error> {
        let redirect = RedirectUrl::new(redirect.to_owned())
            .map_err(|_| Error::Configuration { code: "redirect_uri_mismatch".to_owned() })?;
        self.oauth
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .set_redirect_uri(Cow::Owned(redirect))
            .request_async(&self.transport())
            .await
            .map(Tokens::from)
            .map_err(Error::from)
    }

    /// A fresh access token for the grant behind `refresh_token`.
    pub async fn refresh(&self, refresh_token: &SecretString) -> Result<Tokens, Error> {
        let answer = self
            .oauth
            .exchange_refresh_token(&RefreshToken::new(refresh_token.expose_secret().to_owned()))
            .request_async(&self.transport())
            .await?;
        let mut tokens = Tokens::from(answer);
        tokens.refresh_token.get_or_insert_with(|| refresh_token.clone());
        Ok(tokens)
    }

    /// Ends the whole grant behind `token` (either kind); a grant that is gone already counts as ended.
    /// <https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke>
    pub async fn revoke(&self, token: &SecretString) -> Result<(), providers::Error> {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("token", token.expose_secret()).finish();
        let request = self
            .http
            .post(&self.revoke_url)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .timeout(SIDE_CALL_TIMEOUT)
            .body(form);
        match google::answer(request).await {
            Ok(_) => Ok(()),
            Err(providers::Error::Refused { reason, .. }) if reason == "invalid_token" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whose account `access_token` opens; the scopes `openid email` are needed for it.
    /// <https://developers.google.com/identity/protocols/oauth2/scopes#oauth2>
    pub async fn userinfo(&self, access_token: &SecretString) -> Result<Account, providers::Error> {
        let request =
            self.http.get(&self.userinfo_url).bearer_auth(access_token.expose_secret()).timeout(SIDE_CALL_TIMEOUT);
        let body = google::answer(request).await?;
        serde_json::from_slice(&body)
            .map_err(|_| providers::Error::Malformed { reason: "not a userinfo answer".to_owned() })
    }

    /// What carries the `oauth2` crate's requests. It owns its client: with a borrowed one the compiler could not tell
    /// that these futures may move between threads.
    fn transport(&self) -> impl Fn(oauth2::HttpRequest) -> Carried + use<> {
        let http = self.http.clone();
        move |request| Box::pin(carry(http.clone(), request))
    }
}

type Carried = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, providers::Error>> + Send>>;

/// Carries one request over our own client. What is no final word never reaches the crate's parser.
async fn carry(http: reqwest::Client, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, providers::Error> {
    let mut request = reqwest::Request::try_from(request).map_err(wire::unreachable)?;
    *request.timeout_mut() = Some(TOKEN_TIMEOUT);
    let response = wire::unless_passing(http.execute(request).await.map_err(wire::unreachable)?)?;
    let status = response.status();
    let body = response.bytes().await.map_err(wire::unreachable)?;
    oauth2::http::Response::builder()
        .status(status)
        .body(body.to_vec())
        .map_err(|_| providers::Error::Malformed { reason: "not an HTTP message".to_owned() })
}

impl From<BasicTokenResponse> for Tokens {
    fn from(answer: BasicTokenResponse) -> Self {
        let secret = |text: &String| SecretString::from(text.as_str());
        Self {
            access_token: secret(answer.access_token().secret()),
            lifetime: answer.expires_in().unwrap_or(ASSUMED_LIFETIME),
            refresh_token: answer.refresh_token().map(|token| secret(token.secret())),
            granted: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect()),
        }
    }
}

impl From<RequestTokenError<providers::Error, BasicErrorResponse>> for Error {
    fn from(error: RequestTokenError<providers::Error, BasicErrorResponse>) -> Self {
        use BasicErrorResponseType as Code;
        // The parser's own messages quote what they could not read, which may be a token: they go no further.
        let malformed = || Self::Transient(providers::Error::Malformed { reason: "not a token answer".to_owned() });
        match error {
            RequestTokenError::Request(error) => Self::Transient(error),
            RequestTokenError::ServerResponse(answer) => match answer.error() {
                Code::InvalidGrant => Self::InvalidGrant,
                code @ (Code::InvalidClient
                | Code::InvalidRequest
                | Code::InvalidScope
                | Code::UnauthorizedClient
                | Code::UnsupportedGrantType) => Self::Configuration { code: code.as_ref().to_owned() },
                Code::Extension(code) if OUR_FAULT.contains(&code.as_str()) => {
                    Self::Configuration { code: code.clone() }
                }
                Code::Extension(_) => malformed(),
            },
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => malformed(),
        }
    }
}
