//! Who comes back from Google, with what: everything that is checked before anything is touched.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use nbhd::clock::Timestamp;
use nbhd::flows::connect_link::{self, Services};
use nbhd::providers::google::oauth;
use nbhd::tokens::{self, Claims};
use nbhd::web;
use secrecy::SecretString;
use serde::Deserialize;

use crate::App;
use crate::connect;
use crate::ending::Failure;

/// What Google adds to our redirect address.
/// <https://developers.google.com/identity/protocols/oauth2/web-server#handlingresponse>
#[derive(Deserialize)]
pub(crate) struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// A person who came back with a code, in the browser they left with.
pub(crate) struct Arrival {
    pub(crate) google: oauth::Client,
    pub(crate) services: Services,
    pub(crate) state: Claims<connect_link::OauthState>,
    pub(crate) code: SecretString,
}

pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let now = app.clock.now();
    let answer = answer.map(|Query(answer)| answer).map_err(|_| Failure::MissingParams);
    let arrival = answer.and_then(|answer| admit(&app, &services, &headers, answer, now));
    match arrival {
        Ok(arrival) => connect::connect(&app, &arrival, now).await,
        Err(failure) => failure.page(),
    }
}

fn admit(app: &App, services: &str, headers: &HeaderMap, answer: Answer, now: Timestamp) -> Result<Arrival, Failure> {
    let services: Services = services.parse().map_err(|_| Failure::UnknownProvider)?;
    let google = app.google.clone().ok_or(Failure::NotConfigured)?;
    let state = answer.state.filter(|state| !state.is_empty()).ok_or(Failure::MissingParams)?;
    let state = app.links.read_state(&state, now).map_err(|error| match error {
        tokens::Error::Invalid => Failure::InvalidState,
        tokens::Error::Expired => Failure::ExpiredState,
    })?;
    if state.content.services != services {
        return Err(Failure::InvalidState);
    }
    web::record_tenant(state.content.connect.tenant_id);
    if !app.links.is_same_browser(&state.jti, &cookies(headers)) {
        return Err(Failure::WrongBrowser);
    }
    match (answer.error.as_deref(), answer.code) {
        (Some("access_denied"), _) => Err(Failure::AccessDenied),
        (Some(_), _) => Err(Failure::ExchangeFailed),
        (None, Some(code)) if !code.is_empty() => Ok(Arrival { google, services, state, code: code.into() }),
        (None, _) => Err(Failure::MissingParams),
    }
}

/// All `Cookie` headers as one: HTTP/2 allows several.
fn cookies(headers: &HeaderMap) -> String {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.collect::<Vec<_>>().join("; ")
}
