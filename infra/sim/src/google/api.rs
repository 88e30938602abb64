//! What Gmail and Calendar have in common: bearer tokens, scopes, partial responses and the shape of a refusal.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::World;
use super::accounts::Account;
use super::fields::Mask;

/// The query of a request, in order, with repeated names.
pub(super) struct Params(Vec<(String, String)>);

/// A refusal in the [shape](https://cloud.google.com/apis/design/errors) of Google's APIs.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    reason: &'static str,
    message: String,
    domain: &'static str,
    location: Option<(&'static str, &'static str)>,
}

impl Params {
    pub(super) fn read(query: Option<&str>) -> Result<Self, Refused> {
        let pairs = serde_urlencoded::from_str(query.unwrap_or_default());
        pairs.map(Self).map_err(|_| Refused::invalid("the query cannot be read"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refused::invalid(format!("Invalid value at '{name}': {other}"))),
        }
    }

    /// A number from 1 to `most`; larger ones are cut down, as Google does.
    pub(super) fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refused> {
        match self.get(name).map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(number)) if number > 0 => Ok(number.min(most)),
            Some(_) => Err(Refused::invalid(format!("Invalid value at '{name}'"))),
        }
    }

    /// `value`, cut down to what `fields=` names.
    pub(super) fn answer(&self, value: Value) -> Result<Response, Refused> {
        let Some(fields) = self.get("fields") else { return Ok(Json(value).into_response()) };
        let mask = Mask::parse(fields).ok_or_else(|| {
            let refused =
                Refused::new(StatusCode::BAD_REQUEST, "invalidParameter", format!("Invalid field selection {fields}"));
            Refused { location: Some(("fields", "parameter")), ..refused }
        })?;
        Ok(Json(mask.apply(value)).into_response())
    }
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), domain: "global", location: None }
    }

    pub(super) fn in_domain(self, domain: &'static str) -> Self {
        Self { domain, ..self }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalidArgument", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", "Requested entity was not found.")
    }

    pub(super) fn invalid_credentials() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                       other valid authentication credential.";
        let refused = Self::new(StatusCode::UNAUTHORIZED, "authError", message);
        Self { location: Some(("Authorization", "header")), ..refused }
    }

    fn insufficient_scopes() -> Self {
        let message = "Request had insufficient authentication scopes.";
        Self::new(StatusCode::FORBIDDEN, "insufficientPermissions", message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut detail = json!({ "message": self.message, "domain": self.domain, "reason": self.reason });
        if let Some((location, kind)) = self.location {
            detail["location"] = location.into();
            detail["locationType"] = kind.into();
        }
        let code = match self.status {
            StatusCode::BAD_REQUEST => "INVALID_ARGUMENT",
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::FORBIDDEN => "PERMISSION_DENIED",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
            _ => "UNKNOWN",
        };
        let error = json!({
            "code": self.status.as_u16(), "message": self.message, "errors": [detail], "status": code,
        });
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        let challenge = match self.status {
            StatusCode::UNAUTHORIZED => "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            StatusCode::FORBIDDEN if self.reason == "insufficientPermissions" => {
                "Bearer realm=\"https://accounts.google.com/\", error=\"insufficient_scope\""
            }
            _ => return response,
        };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(challenge));
        response
    }
}

/// Runs `work` on the account a bearer token opens, if it was granted one of `scopes`.
pub(super) fn authorized<R>(
    world: &World,
    headers: &HeaderMap,
    scopes: &[&str],
    work: impl FnOnce(&Account, &BTreeSet<String>) -> Result<R, Refused>,
) -> Result<R, Refused> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(Refused::invalid_credentials)?;
    let state = world.lock();
    let access = state.accounts.find_access(token, world.clock.now()).ok_or_else(Refused::invalid_credentials)?;
    if !scopes.iter().any(|scope| access.scopes.contains(*scope)) {
        return Err(Refused::insufficient_scopes());
    }
    work(state.accounts.get(&access.email).ok_or_else(Refused::invalid_credentials)?, &access.scopes)
}

pub(super) async fn unknown_path() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], "Error 404 (Not FoundMail)!!1")
        .into_response()
}
