//! The token, revocation and user info endpoints.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nbhd::clock::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::accounts::{ACCESS_LIFETIME, Code, Tokens};
use super::api::{self, Params, Refused};
use super::consent::{EMAIL, PROFILE, join_scopes};
use super::{State as Google, World};

const IDENTITY: [&str; 3] = ["openid", EMAIL, PROFILE];
const REDIRECT_MISMATCH: &str = "redirect_uri_mismatch";

/// A form, by name; the first of a repeated name counts.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &str) -> Self {
        Self(serde_urlencoded::from_str(body).unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(super) async fn token(State(world): State<World>, headers: HeaderMap, body: String) -> Response {
    let form = Form::read(&body);
    let mut google = world.lock();
    if let Err(detail) = check_client(&google, &headers, &form) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client", detail);
    }
    let now = world.clock.now();
    let tokens = match form.get("grant_type") {
        Some("authorization_code") => exchange(&mut google, &form, now),
        Some("refresh_token") => {
            let token = form.get("refresh_token").unwrap_or_default();
            google.accounts.refresh(token, now).ok_or("Token has been expired or revoked.")
        }
        Some(_) => return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", "Invalid grant_type"),
        None => return refusal(StatusCode::BAD_REQUEST, "invalid_request", "Missing required parameter: grant_type"),
    };
    match tokens {
        Ok(tokens) => answer(&tokens),
        Err(REDIRECT_MISMATCH) => refusal(StatusCode::BAD_REQUEST, REDIRECT_MISMATCH, "Bad Request"),
        Err(detail) => refusal(StatusCode::BAD_REQUEST, "invalid_grant", detail),
    }
}

pub(super) async fn revoke(State(world): State<World>, RawQuery(query): RawQuery, body: String) -> Response {
    let (form, query) = (Form::read(&body), Form::read(query.as_deref().unwrap_or_default()));
    let token = form.get("token").or_else(|| query.get("token")).unwrap_or_default();
    let now = world.clock.now();
    if world.lock().accounts.revoke(token, now) {
        return Json(json!({})).into_response();
    }
    refusal(StatusCode::BAD_REQUEST, "invalid_token", "Token expired or revoked")
}

/// `oauth2.userinfo.get` of the API `oauth2.v2`.
pub(super) async fn userinfo(
    State(world): State<World>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    person(&world, query.as_deref(), &headers, "id", "verified_email")
}

/// The [OpenID Connect](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo) shape of the same.
pub(super) async fn openid_userinfo(
    State(world): State<World>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    person(&world, query.as_deref(), &headers, "sub", "email_verified")
}

/// A refusal in the shape of RFC 6749, 5.2.
pub(super) fn refusal(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({ "error": error, "error_description": description }))).into_response()
}

fn person(
    world: &World,
    query: Option<&str>,
    headers: &HeaderMap,
    id_field: &str,
    verified_field: &str,
) -> Result<Response, Refused> {
    let params = Params::read(query)?;
    let person = api::authorized(world, headers, &IDENTITY, |account, scopes| {
        let mut person = json!({ id_field: account.sub });
        if scopes.contains(EMAIL) {
            person["email"] = account.email.as_str().into();
            person[verified_field] = true.into();
        }
        if scopes.contains(PROFILE) {
            person["name"] = account.name.as_str().into();
        }
        Ok(person)
    })?;
    params.answer(person)
}

/// `client_secret_basic` or `client_secret_post` (RFC 6749, 2.3.1).
fn check_client(google: &Google, headers: &HeaderMap, form: &Form) -> Result<(), &'static str> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let decoded = basic.and_then(|basic| String::from_utf8(STANDARD.decode(basic).ok()?).ok());
    let (id, secret) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((id, secret)) => (decode_component(id), decode_component(secret)),
        None => {
            let field = |name| form.get(name).unwrap_or_default().to_owned();
            (field("client_id"), field("client_secret"))
        }
    };
    if id != google.client.id {
        return Err("The OAuth client was not found.");
    }
    if secret != google.client.secret {
        return Err("Unauthorized");
    }
    Ok(())
}

/// A code is spent by the first attempt to exchange it, whatever comes of it.
fn exchange(google: &mut Google, form: &Form, now: Timestamp) -> Result<Tokens, &'static str> {
    let code = google.accounts.spend_code(form.get("code").unwrap_or_default(), now).ok_or("Malformed auth code.")?;
    if form.get("redirect_uri") != Some(&code.redirect_uri) {
        return Err(REDIRECT_MISMATCH);
    }
    check_verifier(&code, form.get("code_verifier"))?;
    google.accounts.exchange(&code, now).ok_or("Bad Request")
}

/// PKCE (RFC 7636, 4.6).
fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), &'static str> {
    match (&code.challenge, verifier) {
        (None, None) => Ok(()),
        (Some(_), None) => Err("Missing code verifier."),
        (None, Some(_)) => Err("Code verifier given without a challenge."),
        (Some(challenge), Some(verifier)) => {
            let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
            if (43..=128).contains(&verifier.len()) && expected == *challenge {
                Ok(())
            } else {
                Err("Invalid code verifier.")
            }
        }
    }
}

fn answer(tokens: &Tokens) -> Response {
    let mut answer = json!({
        "access_token": tokens.access,
        "expires_in": ACCESS_LIFETIME.as_secs(),
        "scope": join_scopes(&tokens.scopes),
        "token_type": "Bearer",
    });
    if let Some(refresh) = &tokens.refresh {
        answer["refresh_token"] = refresh.as_str().into();
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// Identifier and secret are form-encoded inside Basic (RFC 6749, 2.3.1).
fn decode_component(text: &str) -> String {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&format!("v={text}")).unwrap_or_default();
    pairs.into_iter().next().map(|(_, value)| value).unwrap_or_default()
}
