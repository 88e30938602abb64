//! The function `oauth-authorize`: from a link in a chat, over a page, to Google's consent.
//!
//! A link may be opened by anyone it was sent on to, by previews and by scanners; so opening it shows whose assistant
//! would read, and only the button on that page goes on. Nothing is stored, and no other service is asked.

mod consent;
mod embedded;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::{ConfigError, Env};
use nbhd::flows::connect_link::{ConnectLink, Links, Services};
use nbhd::tokens::Claims;
use nbhd::web::{self, Button, Page};
use serde::Deserialize;

use consent::Consent;

/// What the function holds.
pub struct App {
    links: Links,
    consent: Option<Consent>,
    clock: Clock,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable; a Google client that is not configured is answered for, page by page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        Ok(Self { links: Links::from_env(env)?, consent: Consent::from_env(env)?, clock })
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let routes = Router::new().route("/oauth/{services}/authorize", get(ask).post(go_on)).with_state(Arc::new(app));
    web::logged("oauth-authorize", routes)
}

/// Where a link is: in the address of the page, and in its form.
#[derive(Deserialize)]
struct Parameters {
    link: String,
}

/// Shows whose assistant is about to read what.
async fn ask(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let token = parameters.map(|Query(parameters)| parameters.link).unwrap_or_default();
    let (services, consent, link) = match admit(&app, &services, &token, app.clock.now()) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.page(),
    };
    let user_agent = headers.get(header::USER_AGENT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let address = app.links.authorize_url(services, &token);
    let page = if embedded::is_embedded(user_agent) {
        tracing::info!(code = "embedded_browser", "asked to open the link elsewhere");
        Page::new(StatusCode::OK, "Open this in your browser")
            .text("Google does not let you sign in inside another app. Copy this link and open it in your browser:")
            .copyable(&address)
            .text("In many apps the menu at the top has “Open in browser”, which does the same.")
    } else {
        let names: Vec<&str> = services.providers().iter().map(|provider| provider.display_name()).collect();
        Page::new(StatusCode::OK, "Is this your assistant?")
            .facts(&[("Assistant of", &link.content.name), ("Will be able to read", &names.join(" and "))])
            .text(
                "If you go on, this person’s assistant can read what is in the Google account you choose next. \
                 Continue only if this is you, and you asked for this link in Telegram.",
            )
            .form(&app.links.form_url(services), &[("link", &token)], Button::Main, "Yes, continue to Google")
            .leading_to(consent.origin())
            .text("Not you? Close this page: nothing has been connected.")
    };
    page.into_response()
}

/// Marks the browser and goes on to Google.
async fn go_on(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    parameters: Result<Form<Parameters>, FormRejection>,
) -> Response {
    if !web::is_same_origin(&headers, &app.links.base().origin()) {
        return Refusal::CrossSite.page();
    }
    let now = app.clock.now();
    let token = parameters.map(|Form(parameters)| parameters.link).unwrap_or_default();
    let (services, consent, link) = match admit(&app, &services, &token, now) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.page(),
    };
    let Ok(address) = consent.url(&app.links, &link, services, now) else { return Refusal::NotConfigured.page() };
    tracing::info!(code = "consent_asked", services = services.as_str(), "sent to Google");
    let headers = [
        (header::SET_COOKIE, app.links.set_cookie_header(&link.jti)),
        (header::LOCATION, address),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// What page and button need alike: a known service, a configured client and a valid link.
fn admit<'a>(
    app: &'a App,
    services: &str,
    token: &str,
    now: Timestamp,
) -> Result<(Services, &'a Consent, Claims<ConnectLink>), Refusal> {
    let services = services.parse().map_err(|_| Refusal::UnknownProvider)?;
    let consent = app.consent.as_ref().ok_or(Refusal::NotConfigured)?;
    let link = app.links.read_link(token, now).map_err(|_| Refusal::InvalidLink)?;
    web::record_tenant(link.content.tenant_id);
    Ok((services, consent, link))
}

/// Why the way ends here.
#[derive(Clone, Copy)]
enum Refusal {
    UnknownProvider,
    NotConfigured,
    InvalidLink,
    CrossSite,
}

impl Refusal {
    fn page(self) -> Response {
        let (status, code, title, text) = match self {
            Self::UnknownProvider => (
                StatusCode::NOT_FOUND,
                "unknown_provider",
                "This cannot be connected",
                "There is nothing here by that name. Send /connect to the bot in Telegram to see what there is.",
            ),
            Self::NotConfigured => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_configured",
                "Connecting is not possible right now",
                "Google sign-in is not set up on our side. You can do nothing about it; please try again later.",
            ),
            Self::InvalidLink => (
                StatusCode::FORBIDDEN,
                "invalid_link",
                "This link no longer works",
                "Links are valid for ten minutes. Send /connect to the bot in Telegram to get a new one.",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "Please start from the link",
                "This request did not come from our own page. Open the link in Telegram and press the button there.",
            ),
        };
        tracing::info!(code, "refused");
        Page::new(status, title).text(text).code(code).into_response()
    }
}
