//! The function `billing-session`: from a link in a chat, over a page, to Stripe's Checkout or customer portal, and
//! back to the bot.
//!
//! A link may be opened by anyone it was sent on to, by previews and by scanners; so opening it shows whose assistant
//! would be paid for, and only a button on that page makes something.

mod pages;
mod refusal;
mod requests;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::ids::TenantId;
use nbhd::domain::secrets::MasterKey;
use nbhd::domain::subscription::Tier;
use nbhd::flows::billing_link::{BillingLink, Destination, Links};
use nbhd::providers::stripe::Client;
use nbhd::store::Store;
use nbhd::tokens::Claims;
use nbhd::web;
use serde::Deserialize;

use refusal::Refusal;

/// Where Stripe's own pages are: a form of ours may lead there.
const CHECKOUT: &str = "https://checkout.stripe.com";
const PORTAL: &str = "https://billing.stripe.com";

/// What this function uses.
pub struct App {
    stripe: Option<Client>,
    store: Store,
    links: Links,
    platform: MasterKey,
    bot: String,
    /// The origin that stands in for Stripe's pages, where one does.
    stand_in: Option<String>,
    clock: Clock,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable; what is not configured at Stripe is answered for, page by page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            stripe: Client::from_env(env, nbhd::http::client(env)?)?,
            store: Store::new(env)?,
            links: Links::from_env(env)?,
            platform: env.master_key("PLATFORM_KEY")?,
            bot: env.required("TELEGRAM_BOT_USERNAME", "the bot's user name, without @")?.to_owned(),
            stand_in: env.optional("STRIPE_API_URL").map(str::to_owned),
            clock,
        })
    }

    /// Where a form that goes on to `destination` may lead.
    fn origin_of(&self, destination: Destination) -> String {
        let own = match destination {
            Destination::Checkout => CHECKOUT,
            Destination::Portal => PORTAL,
        };
        self.stand_in.as_deref().unwrap_or(own).to_owned()
    }

    /// The tenant of a link: the one that its chat has, or the one that it will have.
    fn tenant_of(&self, link: &BillingLink) -> TenantId {
        link.tenant_id.unwrap_or_else(|| self.platform.tenant_id(link.chat_id))
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/billing/checkout", get(ask_checkout).post(go_to_checkout))
        .route("/billing/portal", get(ask_portal).post(go_to_portal))
        .route("/billing/done", get(done))
        .with_state(Arc::new(app));
    web::logged("billing-session", routes)
}

/// Where a link is: in the address of a page, and in its form.
#[derive(Deserialize)]
struct Parameters {
    link: String,
    #[serde(default)]
    tier: String,
}

async fn ask_checkout(State(app): State<Arc<App>>, query: Result<Query<Parameters>, QueryRejection>) -> Response {
    let token = query.map(|Query(parameters)| parameters.link).unwrap_or_default();
    match admit(&app, &token) {
        Ok((_, link)) => pages::choose(&app, &link, &token).into_response(),
        Err(refusal) => refusal.page(),
    }
}

async fn ask_portal(State(app): State<Arc<App>>, query: Result<Query<Parameters>, QueryRejection>) -> Response {
    let token = query.map(|Query(parameters)| parameters.link).unwrap_or_default();
    match admit(&app, &token) {
        Ok((_, link)) => pages::manage(&app, &link, &token).into_response(),
        Err(refusal) => refusal.page(),
    }
}

async fn go_to_checkout(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<Parameters>, FormRejection>,
) -> Response {
    let (stripe, link, form) = match pressed(&app, &headers, form) {
        Ok(pressed) => pressed,
        Err(refusal) => return refusal.page(),
    };
    let Ok(tier) = form.tier.parse::<Tier>() else { return Refusal::UnknownTier.page() };
    match session::checkout(&app, stripe, &link, tier).await {
        Ok(Some(address)) => see_other(address),
        Ok(None) => pages::subscribed(&app, &form.link).into_response(),
        Err(refusal) => refusal.page(),
    }
}

async fn go_to_portal(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<Parameters>, FormRejection>,
) -> Response {
    let (stripe, link, form) = match pressed(&app, &headers, form) {
        Ok(pressed) => pressed,
        Err(refusal) => return refusal.page(),
    };
    match session::portal(&app, stripe, &link).await {
        Ok(Some(address)) => see_other(address),
        Ok(None) => pages::choose(&app, &link, &form.link).into_response(),
        Err(refusal) => refusal.page(),
    }
}

/// How a person came back from Stripe.
#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    from: String,
}

async fn done(State(app): State<Arc<App>>, query: Result<Query<Outcome>, QueryRejection>) -> Response {
    let from = query.map(|Query(outcome)| outcome.from).unwrap_or_default();
    pages::back(&app, &from).into_response()
}

/// What page and button need alike: configured billing and a valid link.
fn admit<'a>(app: &'a App, token: &str) -> Result<(&'a Client, Claims<BillingLink>), Refusal> {
    let stripe = app.stripe.as_ref().ok_or(Refusal::NotConfigured)?;
    let link = app.links.read(token, app.clock.now()).map_err(|_| Refusal::InvalidLink)?;
    web::record_tenant(app.tenant_of(&link.content));
    Ok((stripe, link))
}

/// What a button needs beyond that: to be on our own page.
fn pressed<'a>(
    app: &'a App,
    headers: &HeaderMap,
    form: Result<Form<Parameters>, FormRejection>,
) -> Result<(&'a Client, Claims<BillingLink>, Parameters), Refusal> {
    if !web::is_same_origin(headers, &app.links.base().origin()) {
        return Err(Refusal::CrossSite);
    }
    let Form(form) = form.map_err(|_| Refusal::InvalidLink)?;
    let (stripe, link) = admit(app, &form.link)?;
    Ok((stripe, link, form))
}

fn see_other(address: String) -> Response {
    let headers = [
        (header::LOCATION, address),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
