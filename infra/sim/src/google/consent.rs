//! The page on which a person chooses an account, ticks what we may read, and allows or denies it.
//! See <https://developers.google.com/identity/protocols/oauth2/web-server>.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use nbhd::clock::Timestamp;

use super::accounts::{Account, Code};
use super::{State as Google, World};

pub(super) const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";
pub(super) const PROFILE: &str = "https://www.googleapis.com/auth/userinfo.profile";

/// The scopes a project can ask for here, and what the page says about each.
const KNOWN: [(&str, &str); 9] = [
    ("openid", "Associate you with your personal info on Google"),
    (EMAIL, "See your primary Google Account email address"),
    (PROFILE, "See your personal info"),
    ("https://www.googleapis.com/auth/gmail.readonly", "View your email messages and settings"),
    ("https://www.googleapis.com/auth/gmail.metadata", "View your email message metadata, not the body"),
    ("https://www.googleapis.com/auth/gmail.modify", "Read, compose and send emails from your Gmail account"),
    ("https://mail.google.com/", "Read, compose, send and permanently delete all your email from Gmail"),
    ("https://www.googleapis.com/auth/calendar.readonly", "See and download any calendar you can access"),
    ("https://www.googleapis.com/auth/calendar", "See, edit, share and permanently delete all your calendars"),
];

/// The scopes that a person ticks on the consent page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Every requested scope.
    All,
    /// These only, by full name or last part, such as `calendar.readonly`.
    Only(Vec<&'static str>),
    /// "Cancel".
    Deny,
}

/// An error page: Google does not send the browser back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The page's status.
    pub status: StatusCode,
    /// Such as `redirect_uri_mismatch`.
    pub error: &'static str,
    /// A sentence about what is wrong.
    pub detail: String,
}

/// An authorization request that Google would show a page for.
#[derive(Debug)]
struct AuthorizationRequest {
    redirect_uri: String,
    state: Option<String>,
    scopes: BTreeSet<String>,
    challenge: Option<String>,
    offline: bool,
    forces_consent: bool,
    with_granted: bool,
    login_hint: Option<String>,
}

pub(super) async fn page(State(world): State<World>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let state = world.lock();
    let asked = refuse_embedded(&headers)
        .and_then(|()| AuthorizationRequest::read(&state, query.as_deref().unwrap_or_default()));
    match asked {
        Ok(asked) => Html(consent_page(&state, &asked)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub(super) async fn decision(
    State(world): State<World>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    form: String,
) -> Response {
    let mut state = world.lock();
    let ticked: Vec<(String, String)> = serde_urlencoded::from_str(&form).unwrap_or_default();
    let values =
        |name: &str| ticked.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect();
    let (accounts, decisions): (Vec<String>, Vec<String>) = (values("account"), values("decision"));
    let scopes: BTreeSet<String> = values("scope").into_iter().collect();
    let target = refuse_embedded(&headers).and_then(|()| {
        let asked = AuthorizationRequest::read(&state, query.as_deref().unwrap_or_default())?;
        if decisions.first().map(String::as_str) != Some("allow") {
            return Ok(asked.deny());
        }
        asked.allow(&mut state, accounts.first().map_or("", String::as_str), &scopes, world.clock.now())
    });
    match target.map(|target| HeaderValue::from_str(&target)) {
        Ok(Ok(target)) => (StatusCode::FOUND, [(header::LOCATION, target)]).into_response(),
        Ok(Err(_)) => Refusal::new("invalid_request", "the way back cannot be written down").into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// The same decision without a browser.
pub(super) fn decide(
    google: &mut Google,
    url: &str,
    account: &str,
    scopes: &Scopes,
    now: Timestamp,
) -> Result<String, Refusal> {
    let asked = AuthorizationRequest::read(google, url.split_once('?').map_or("", |(_, query)| query))?;
    let ticked = match scopes {
        Scopes::Deny => return Ok(asked.deny()),
        Scopes::All => asked.scopes.clone(),
        Scopes::Only(names) => {
            let ticked = |scope: &&String| {
                names.iter().any(|name| scope.as_str() == *name || scope.ends_with(&format!("/{name}")))
            };
            asked.scopes.iter().filter(ticked).cloned().collect()
        }
    };
    asked.allow(google, account, &ticked, now)
}

impl AuthorizationRequest {
    fn read(google: &Google, query: &str) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| Refusal::new("invalid_request", "the query cannot be read"))?;
        let get = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let required = |name: &str| {
            let missing = || Refusal::new("invalid_request", format!("Missing required parameter: {name}"));
            get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let redirect_uri = known_client(google, &required("client_id")?, required("redirect_uri")?)?;
        if required("response_type")? != "code" {
            return Err(Refusal::new("unsupported_response_type", "this project asks for codes"));
        }
        let challenge = get("code_challenge");
        if challenge.is_some() && get("code_challenge_method").as_deref() != Some("S256") {
            return Err(Refusal::new("invalid_request", "only S256 challenges are accepted here"));
        }
        Ok(Self {
            redirect_uri,
            challenge,
            scopes: known_scopes(&required("scope")?)?,
            state: get("state"),
            offline: get("access_type").as_deref() == Some("offline"),
            forces_consent: get("prompt").is_some_and(|prompts| prompts.split(' ').any(|prompt| prompt == "consent")),
            with_granted: get("include_granted_scopes").as_deref() == Some("true"),
            login_hint: get("login_hint"),
        })
    }

    fn deny(&self) -> String {
        self.redirect_url(&[("error", "access_denied")])
    }

    /// The identity scopes have no box to untick; a person who unticks all others has denied.
    fn allow(
        &self,
        google: &mut Google,
        email: &str,
        ticked: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        let account = google.accounts.get(email);
        let account = account.ok_or_else(|| Refusal::new("invalid_request", "Couldn’t find your Google Account"))?;
        let mut scopes: BTreeSet<String> =
            self.scopes.iter().filter(|scope| is_identity(scope) || ticked.contains(*scope)).cloned().collect();
        let ticked_none =
            self.scopes.iter().any(|scope| !is_identity(scope)) && scopes.iter().all(|scope| is_identity(scope));
        if scopes.is_empty() || ticked_none {
            return Ok(self.deny());
        }
        let is_first = account.grant.is_none();
        if let Some(grant) = account.grant.as_ref().filter(|_| self.with_granted) {
            scopes.extend(grant.scopes.iter().cloned());
        }
        let list = join_scopes(&scopes);
        let code = google.accounts.issue_code(Code {
            email: email.to_owned(),
            redirect_uri: self.redirect_uri.clone(),
            scopes,
            challenge: self.challenge.clone(),
            // Google hands out a refresh token on the first consent, and later only when consent is asked for anew.
            with_refresh_token: self.offline && (is_first || self.forces_consent),
            issued_at: now,
        });
        let authuser = ("authuser", "0");
        Ok(self.redirect_url(&[("code", &code), ("scope", &list), authuser, ("prompt", "consent")]))
    }

    fn redirect_url(&self, answer: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let pairs: Vec<_> = state.into_iter().chain(answer.iter().copied()).collect();
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{separator}{}", self.redirect_uri, serde_urlencoded::to_string(pairs).unwrap_or_default())
    }
}

impl Refusal {
    fn new(error: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, detail: detail.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, detail) = (self.status.as_u16(), escape_html(&self.detail));
        let text =
            format!("<h1>Access blocked: authorization error</h1><p>{detail}</p><p>Error {code}: {}</p>", self.error);
        (self.status, Html(render_page("Access blocked", &text))).into_response()
    }
}

/// `a b c`, as scopes are written.
pub(super) fn join_scopes(scopes: &BTreeSet<String>) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn known_client(google: &Google, id: &str, redirect_uri: String) -> Result<String, Refusal> {
    if id != google.client.id {
        let detail = "The OAuth client was not found.".to_owned();
        return Err(Refusal { status: StatusCode::UNAUTHORIZED, error: "invalid_client", detail });
    }
    if google.client.redirect_uris.contains(&redirect_uri) {
        return Ok(redirect_uri);
    }
    Err(Refusal::new("redirect_uri_mismatch", format!("{redirect_uri} is not registered for this project")))
}

/// Google answers with its own long names for `email` and `profile`.
fn known_scopes(list: &str) -> Result<BTreeSet<String>, Refusal> {
    let long = |scope: &str| match scope {
        "email" => EMAIL.to_owned(),
        "profile" => PROFILE.to_owned(),
        other => other.to_owned(),
    };
    let scopes: BTreeSet<String> = list.split_ascii_whitespace().map(long).collect();
    match scopes.iter().find(|scope| KNOWN.iter().all(|(known, _)| known != scope)) {
        Some(unknown) => Err(Refusal::new("invalid_scope", format!("Some requested scopes were invalid: {unknown}"))),
        None => Ok(scopes),
    }
}

fn is_identity(scope: &str) -> bool {
    ["openid", EMAIL, PROFILE].contains(&scope)
}

/// Google refuses browsers embedded in applications: Android's `; wv`, and Apple's without `Safari/`.
/// See <https://developers.google.com/identity/protocols/oauth2/policies#browsers>.
fn refuse_embedded(headers: &HeaderMap) -> Result<(), Refusal> {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_apple = agent.contains("iPhone") || agent.contains("iPad");
    if agent.contains("; wv)") || is_apple && agent.contains("AppleWebKit") && !agent.contains("Safari/") {
        let detail = "This app’s request does not comply with Google’s “Use secure browsers” policy.".to_owned();
        return Err(Refusal { status: StatusCode::FORBIDDEN, error: "disallowed_useragent", detail });
    }
    Ok(())
}

fn consent_page(google: &Google, asked: &AuthorizationRequest) -> String {
    let mut form = String::from("<form method=\"post\"><fieldset><legend>Choose an account</legend>");
    for (place, account) in google.accounts.all().enumerate() {
        let chosen = asked.login_hint.as_ref().map_or(place == 0, |hint| *hint == account.email);
        form.push_str(&account_choice(account, chosen));
    }
    form.push_str("</fieldset><fieldset><legend>Select what this app can access</legend>");
    for (scope, description) in KNOWN.iter().filter(|(scope, _)| asked.scopes.contains(*scope)) {
        if is_identity(scope) {
            let _ = write!(form, "<p>{description}</p>");
            continue;
        }
        let _ = write!(
            form,
            "<label><input type=\"checkbox\" name=\"scope\" value=\"{scope}\" checked> {description}</label>"
        );
    }
    form.push_str(
        "</fieldset><button name=\"decision\" value=\"deny\">Cancel</button>\
         <button name=\"decision\" value=\"allow\">Continue</button></form>",
    );
    render_page(
        "Sign in with Google (simulated)",
        &format!("<h1>NBHD United wants access to your Google Account</h1>{form}"),
    )
}

fn account_choice(account: &Account, chosen: bool) -> String {
    let (email, name) = (escape_html(&account.email), escape_html(&account.name));
    let checked = if chosen { " checked" } else { "" };
    format!(
        "<label><input type=\"radio\" name=\"account\" value=\"{email}\" required{checked}>\
         {name} &lt;{email}&gt;</label>"
    )
}

fn render_page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:16px/1.5 sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}}\
         label{{display:block;padding:.3rem 0}}fieldset{{border:1px solid #ccc;margin:1rem 0}}\
         button{{font:inherit;padding:.5rem 1.5rem;margin-right:1rem}}</style>{body}</html>"
    )
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
