//! Google's redirect back to us, and everything that is checked before anything is touched.

use axum::http::{HeaderMap, header};
use nbhd::domain::sign_in::SignInId;
use nbhd::flows::connect_link::{self, BrowserSecret, Services};
use nbhd::providers::google::oauth;
use nbhd::tokens::Claims;
use nbhd::web;
use secrecy::SecretString;
use serde::Deserialize;

use crate::App;
use crate::failure::Failure;

/// What Google adds to our redirect address.
/// <https://developers.google.com/identity/protocols/oauth2/web-server#handlingresponse>
#[derive(Deserialize)]
pub(crate) struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// A redirect that passed every check: the person has a code, and is in the browser they left with.
pub(crate) struct VerifiedCallback {
    pub(crate) google: oauth::Client,
    pub(crate) services: Services,
    pub(crate) state: Claims<connect_link::OauthState>,
    pub(crate) code: SecretString,
    pub(crate) browser: BrowserSecret,
    /// What the person sends from Telegram to confirm that the assistant is theirs.
    pub(crate) start_token: SecretString,
    /// The sign-in that the token is of.
    pub(crate) sign_in: SignInId,
}

pub(crate) fn verify(
    app: &App,
    services: &str,
    headers: &HeaderMap,
    query: CallbackQuery,
) -> Result<VerifiedCallback, Failure> {
    let services: Services = services.parse().map_err(|_| Failure::UnknownProvider)?;
    let google = app.google.clone().ok_or(Failure::NotConfigured)?;
    let state = query.state.filter(|state| !state.is_empty()).ok_or(Failure::MissingParams)?;
    let state = app.links.read_state(&state).map_err(|_| Failure::InvalidState)?;
    if state.content.services != services {
        return Err(Failure::InvalidState);
    }
    web::record_tenant(state.content.connect.tenant_id);
    let browser = app.links.find_browser(&state, &join_cookies(headers)).ok_or(Failure::WrongBrowser)?;
    match (query.error.as_deref(), query.code) {
        (Some("access_denied"), _) => Err(Failure::AccessDenied),
        (Some(_), _) => Err(Failure::ExchangeFailed),
        (None, Some(code)) if !code.is_empty() => {
            let start_token = app.links.start_token(&state.jti, &browser);
            let sign_in = SignInId::of_token(&start_token);
            Ok(VerifiedCallback { google, services, state, code: code.into(), browser, start_token, sign_in })
        }
        (None, _) => Err(Failure::MissingParams),
    }
}

/// All `Cookie` headers as one: HTTP/2 allows several.
fn join_cookies(headers: &HeaderMap) -> String {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.collect::<Vec<_>>().join("; ")
}
