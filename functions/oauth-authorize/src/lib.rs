//! The function `oauth-authorize`: it leads from a link in a chat, over a page, to Google's consent.
//!
//! A link may be opened by anyone it was forwarded to, by previews and by scanners. So opening it only shows whose
//! assistant would read, and the button on that page redirects to Google. Nothing is stored, and no service is called.

mod consent;
mod embedded;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::{ConfigError, Env};
use nbhd::flows::connect_link::{BrowserSecret, ConnectLink, Links, Services};
use nbhd::tokens::Claims;
use nbhd::web::{self, ButtonStyle, ErrorPage, Page};
use serde::Deserialize;

use consent::ConsentClient;

/// The function's clients and settings.
pub struct App {
    links: Links,
    consent: Option<ConsentClient>,
    clock: Clock,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable. Without the settings of a Google client each request gets an error page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        Ok(Self { links: Links::from_env(env)?, consent: ConsentClient::from_env(env)?, clock })
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/oauth/{services}/authorize", get(show_confirmation).post(redirect_to_google))
        .with_state(Arc::new(app));
    web::log_requests("oauth-authorize", routes)
}

/// The link's token, in the address of the page and in its form.
#[derive(Deserialize)]
struct LinkParameters {
    link: String,
}

/// Shows whose assistant is going to read what.
async fn show_confirmation(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    parameters: Result<Query<LinkParameters>, QueryRejection>,
) -> Result<Page, Refusal> {
    let token = parameters.map(|Query(parameters)| parameters.link).unwrap_or_default();
    let (services, consent, link) = verify_link(&app, &services, &token, app.clock.now())?;
    let user_agent = headers.get(header::USER_AGENT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let address = app.links.authorize_url(services, &token);
    let page = if embedded::is_embedded(user_agent) {
        tracing::info!(code = "embedded_browser", "link opened inside an app; asking to open it in a browser");
        Page::new(StatusCode::OK, "Open this in your browser")
            .text("Google does not let you sign in inside another app. Copy this link and open it in your browser:")
            .copyable(&address)
            .text("In many apps the menu at the top has “Open in browser”, which does the same.")
    } else {
        let names: Vec<&str> = services.providers().iter().map(|provider| provider.display_name()).collect();
        Page::new(StatusCode::OK, "Is this your assistant?")
            .definition_list(&[
                ("Assistant of", &link.content.person.name),
                ("In Telegram", &link.content.person.account()),
                ("Will be able to read", &names.join(" and ")),
            ])
            .text(
                "If you go on, this person’s assistant can read what is in the Google account you choose next. \
                 Anybody can give themselves any name: send /status to the bot to see which account is yours.",
            )
            .text("Continue only if this is you, and you asked for this link in Telegram.")
            .form(&app.links.form_url(services), &[("link", &token)], ButtonStyle::Primary, "Yes, continue to Google")
            .allow_redirect_to(consent.origin())
            .text("Not you? Close this page: nothing has been connected.")
    };
    Ok(page)
}

/// Sets the cookie that binds the answer to this browser, and redirects to Google's consent page.
async fn redirect_to_google(
    State(app): State<Arc<App>>,
    Path(services): Path<String>,
    headers: HeaderMap,
    parameters: Result<Form<LinkParameters>, FormRejection>,
) -> Result<impl IntoResponse, Refusal> {
    if !web::is_same_origin(&headers, &app.links.base().origin()) {
        return Err(Refusal::CrossSite);
    }
    let now = app.clock.now();
    let token = parameters.map(|Form(parameters)| parameters.link).unwrap_or_default();
    let (services, consent, link) = verify_link(&app, &services, &token, now)?;
    let browser = BrowserSecret::new().map_err(|_| Refusal::NotConfigured)?;
    let address = consent.consent_url(&app.links, &link, services, &browser, now);
    let address = address.map_err(|_| Refusal::NotConfigured)?;
    tracing::info!(code = "consent_requested", services = services.as_str(), "link accepted; redirecting to Google");
    let headers = [
        (header::SET_COOKIE, app.links.set_cookie_header(&link.jti, &browser)),
        (header::LOCATION, address),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers))
}

/// Verifies what both the page and its button need: a known service, a configured client and a valid link.
fn verify_link<'a>(
    app: &'a App,
    services: &str,
    token: &str,
    now: Timestamp,
) -> Result<(Services, &'a ConsentClient, Claims<ConnectLink>), Refusal> {
    let services = services.parse().map_err(|_| Refusal::UnknownProvider)?;
    let consent = app.consent.as_ref().ok_or(Refusal::NotConfigured)?;
    let link = app.links.read_link(token, now).map_err(|_| Refusal::InvalidLink)?;
    web::record_tenant(link.content.tenant_id);
    Ok((services, consent, link))
}

/// Why a request is refused.
#[derive(Clone, Copy)]
enum Refusal {
    UnknownProvider,
    NotConfigured,
    InvalidLink,
    CrossSite,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let page = match self {
            Self::UnknownProvider => ErrorPage {
                status: StatusCode::NOT_FOUND,
                code: "unknown_provider",
                title: "This cannot be connected",
                text: "There is nothing here by that name. Send /connect to the bot in Telegram to see what there is.",
            },
            Self::NotConfigured => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "not_configured",
                title: "Connecting is not possible right now",
                text: "Google sign-in is not set up on our side. You can do nothing about it; please try again later.",
            },
            Self::InvalidLink => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "invalid_link",
                title: "This link no longer works",
                text: "Links are valid for ten minutes. Send /connect to the bot in Telegram to get a new one.",
            },
            Self::CrossSite => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "cross_site",
                title: "Please start from the link",
                text: "This request did not come from our own page. Open the link in Telegram and press the button \
                       there.",
            },
        };
        page.into_page().into_response()
    }
}
