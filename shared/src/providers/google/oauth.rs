//! Google's token, revocation and userinfo endpoints.
//! <https://developers.google.com/identity/protocols/oauth2/web-server>

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::{BasicClient, BasicErrorResponse, BasicTokenResponse};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::{ConfigError, Env};
use crate::domain::scope::GrantedScopes;
use crate::providers;
use crate::providers::{google, http};

/// The limit of a call to the token endpoint; a lease on a refresh must be longer.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of a revocation and of a call for the account: a person waits in front of a page.
const SIDE_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The lifetime of a token without `expires_in`, which RFC 6749 makes optional. Google always sends it.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(600);

/// Codes that are the last word about a grant, beside `invalid_grant`: the account is restricted, its administrator
/// keeps our application out, or nothing but another consent of its person helps (`OpenID` Connect, 3.1.2.6).
/// <https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors>
const GRANT_ERRORS: [&str; 7] = [
    "access_denied",
    "admin_policy_enforced",
    "policy_enforced",
    "account_disabled",
    "consent_required",
    "interaction_required",
    "login_required",
];

/// Codes that are about our client or its request, whoever the grant is from. Among them is `unauthorized_client`,
/// which Google says of the refresh tokens of another client, and `invalid_scope`, since the scopes are ours: a slip in
/// our settings must not end everybody's connection.
/// <https://datatracker.ietf.org/doc/html/rfc6749#section-5.2>
const CLIENT_ERRORS: [&str; 10] = [
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "redirect_uri_mismatch",
    "deleted_client",
    "disabled_client",
    "restricted_client",
    "org_internal",
];

/// Our OAuth client at Google.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    oauth: BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    revoke_url: String,
    userinfo_url: String,
}

/// The tokens that the token endpoint issued.
#[derive(Clone)]
pub struct Tokens {
    /// The credential for Google's APIs.
    pub access_token: SecretString,
    /// How long the access token is valid, from the moment of the answer.
    pub lifetime: Duration,
    /// After an exchange, the one that Google sent; after a refresh, that or else the one that was used: it stays
    /// valid.
    pub refresh_token: Option<SecretString>,
    /// The scopes that were granted, when the answer names them: a person can untick each one.
    pub granted: Option<GrantedScopes>,
}

/// The Google account that was connected.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// Google's id of the account, which never changes; elsewhere Google calls it `sub`.
    #[serde(rename = "id", alias = "sub")]
    pub sub: String,
    /// Its mail address, by which a person recognises it.
    #[serde(default)]
    pub email: Option<String>,
}

/// Why no tokens were issued; each variant is the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A permanent error: the code or refresh token is used up, expired or revoked (`invalid_grant`), or Google does
    /// not let us into the account any more.
    #[error("the grant is no longer valid (`{code}`)")]
    InvalidGrant {
        /// Google's error code.
        code: String,
    },
    /// Google refuses our client or its request. The grant may be valid: an operator has to act, not the person.
    #[error("our client was refused with `{code}`")]
    Configuration {
        /// Google's error code.
        code: String,
    },
    /// A transient error (no answer, 429, 5xx, unreadable): the same call may succeed later.
    #[error("no usable answer")]
    Transient(#[source] providers::Error),
}

impl Client {
    /// The client with `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET`; `None` when either is not set.
    ///
    /// # Errors
    /// [`ConfigError`] when one of the endpoints' settings is not an address.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Option<Self>, ConfigError> {
        let (Some(id), Some(secret)) = (env.optional("GOOGLE_CLIENT_ID"), env.optional("GOOGLE_CLIENT_SECRET")) else {
            return Ok(None);
        };
        let token_url = TokenUrl::new(env.url("GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token")?)
            .map_err(|_| ConfigError::invalid("GOOGLE_TOKEN_URL", "an absolute http(s) address"))?;
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

    /// Exchanges the `code` of a consent for tokens. `redirect` must be the redirect address of the consent.
    pub async fn exchange_code(
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

    /// Gets a new access token for the grant behind `refresh_token`.
    pub async fn refresh_access_token(&self, refresh_token: &SecretString) -> Result<Tokens, Error> {
        let answer = self
            .oauth
            .exchange_refresh_token(&RefreshToken::new(refresh_token.expose_secret().to_owned()))
            .request_async(&self.transport())
            .await?;
        let mut tokens = Tokens::from(answer);
        tokens.refresh_token.get_or_insert_with(|| refresh_token.clone());
        Ok(tokens)
    }

    /// Revokes the whole grant behind `token` (of either kind); succeeds as well when it was revoked before.
    /// <https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke>
    pub async fn revoke_grant(&self, token: &SecretString) -> Result<(), google::Error> {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("token", token.expose_secret()).finish();
        let request = self
            .http
            .post(&self.revoke_url)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .timeout(SIDE_CALL_TIMEOUT)
            .body(form);
        match google::fetch_body(request).await {
            Ok(_) => Ok(()),
            Err(google::Error::Refused { reason, .. }) if reason.cause == google::Cause::Token => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Fetches the account behind `access_token`, which needs the scopes `openid email`.
    /// <https://developers.google.com/identity/protocols/oauth2/scopes#oauth2>
    pub async fn get_account(&self, access_token: &SecretString) -> Result<Account, google::Error> {
        let request =
            self.http.get(&self.userinfo_url).bearer_auth(access_token.expose_secret()).timeout(SIDE_CALL_TIMEOUT);
        let body = google::fetch_body(request).await?;
        serde_json::from_slice(&body).map_err(|_| providers::Error::malformed("not a userinfo answer").into())
    }

    /// The function that sends the `oauth2` crate's requests. It owns its client: with a borrowed one the compiler
    /// cannot prove that these futures are `Send`.
    fn transport(&self) -> impl Fn(oauth2::HttpRequest) -> SendFuture + use<> {
        let http = self.http.clone();
        move |request| Box::pin(send(http.clone(), request))
    }
}

type SendFuture = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, providers::Error>> + Send>>;

/// Sends one request with our own client. A transient error never reaches the crate's parser.
async fn send(http: reqwest::Client, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, providers::Error> {
    let mut request = reqwest::Request::try_from(request)?;
    *request.timeout_mut() = Some(TOKEN_TIMEOUT);
    let response = http::reject_transient(http.execute(request).await?)?;
    let status = response.status();
    let body = response.bytes().await?;
    oauth2::http::Response::builder()
        .status(status)
        .body(body.to_vec())
        .map_err(|_| providers::Error::malformed("not an HTTP message"))
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
        // The parser's own messages are dropped: they quote what they could not read, which may be a token.
        let malformed = || Self::Transient(providers::Error::malformed("not a token answer"));
        match error {
            RequestTokenError::Request(error) => Self::Transient(error),
            RequestTokenError::ServerResponse(answer) => Self::from_code(answer.error().as_ref()),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => malformed(),
        }
    }
}

impl Error {
    /// What a code of the token endpoint means. One that is not known ends nothing: the call is repeated.
    fn from_code(code: &str) -> Self {
        if code == "invalid_grant" || GRANT_ERRORS.contains(&code) {
            Self::InvalidGrant { code: code.to_owned() }
        } else if CLIENT_ERRORS.contains(&code) {
            Self::Configuration { code: code.to_owned() }
        } else {
            // A text that is no code may quote what we sent.
            let code = http::loggable_code(Some(code));
            Self::Transient(providers::Error::malformed(format!("an unknown code `{code}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How an answer of the token endpoint is read, from its body on.
    fn read(body: &str) -> Error {
        match serde_json::from_str::<BasicErrorResponse>(body) {
            Ok(answer) => RequestTokenError::ServerResponse(answer).into(),
            Err(_) => RequestTokenError::Other(body.to_owned()).into(),
        }
    }

    #[test]
    fn every_code_of_the_token_endpoint_is_about_the_grant_or_about_us_or_passes() {
        let grant = ["invalid_grant"].into_iter().chain(GRANT_ERRORS);
        let table = grant.map(|code| (code, "grant")).chain(CLIENT_ERRORS.map(|code| (code, "client"))).chain(
            [
                "temporarily_unavailable",
                "server_error",
                "internal_failure",
                "rate_limit_exceeded",
                "slow_down",
                "a_code_of_tomorrow",
                "ACCESS_DENIED",
                "access_denied ",
                "",
            ]
            .map(|code| (code, "passes")),
        );
        for (code, about) in table {
            let answer = serde_json::json!({ "error": code, "error_description": "Account Restricted" });
            let read = match read(&answer.to_string()) {
                Error::InvalidGrant { code: named } => ("grant", named == code),
                Error::Configuration { code: named } => ("client", named == code),
                Error::Transient(_) => ("passes", true),
            };
            assert_eq!(read, (about, true), "{code}");
        }
    }

    #[test]
    fn an_answer_of_another_form_passes_and_quotes_nothing() {
        for body in [
            r#"{"error":"the token 1//secret is bad"}"#,
            r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"1//secret"}}"#,
            "<html>1//secret</html>",
            "{}",
        ] {
            let Error::Transient(error) = read(body) else { panic!("{body}") };
            assert!(!format!("{error} {error:?}").contains("secret"), "{body}");
        }
    }
}
