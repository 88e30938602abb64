//! The function `billing-session`: it leads from a link in a chat, over a page, to Stripe's Checkout or customer
//! portal, and back to the bot.
//!
//! A link may be opened by anyone it was forwarded to, by previews and by scanners. So opening it only shows whose
//! assistant would be paid for, and a button on that page creates the session. That works once: whoever finds a link
//! later, in a history or a log, is not led to somebody's invoices.

mod pages;
mod refusal;
mod requests;
mod session;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::ids::TenantId;
use nbhd::domain::secrets::IdentityKey;
use nbhd::domain::subscription::Tier;
use nbhd::flows::billing_link::{BillingLink, Destination, Links};
use nbhd::flows::connect_link::LIFETIME;
use nbhd::flows::public_base::bot_address;
use nbhd::providers::stripe::Client;
use nbhd::store::{NonceState, Store};
use nbhd::tokens::Claims;
use nbhd::web::{self, Page};
use serde::Deserialize;

use refusal::Refusal;

/// How long a used link is remembered: longer than it is valid, whichever sandbox's clock is asked.
const USED_LINK_RETENTION: Duration = LIFETIME.saturating_mul(2);

/// The origins of Stripe's pages, to which our forms may redirect.
const CHECKOUT_ORIGIN: &str = "https://checkout.stripe.com";
const PORTAL_ORIGIN: &str = "https://billing.stripe.com";

/// The longest trial that can be set, in days.
const LONGEST_TRIAL_DAYS: u32 = 90;

/// The function's clients and settings.
pub struct App {
    stripe: Option<Client>,
    store: Store,
    links: Links,
    identity_key: IdentityKey,
    /// Where the bot is opened in Telegram.
    bot_address: String,
    /// How many days of trial a person's first subscription begins with; 0: none.
    trial_days: u32,
    /// The origin of a simulator's pages in place of Stripe's.
    simulated_origin: Option<String>,
    clock: Clock,
}

impl App {
    /// # Errors
    /// When a setting is missing or unusable. Without the settings of Stripe each request gets an error page.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            stripe: Client::from_env(env, nbhd::http::client(env)?)?,
            store: Store::from_env(env)?,
            links: Links::from_env(env)?,
            identity_key: env.identity_key("TENANT_ID_KEY")?,
            bot_address: bot_address(env)?,
            trial_days: env.number("TRIAL_DAYS", 0, 0..=LONGEST_TRIAL_DAYS)?,
            simulated_origin: env.optional("STRIPE_API_URL").map(str::to_owned),
            clock,
        })
    }

    /// The origin that the form of `destination` may redirect to.
    fn stripe_origin(&self, destination: Destination) -> String {
        let origin = match destination {
            Destination::Checkout => CHECKOUT_ORIGIN,
            Destination::Portal => PORTAL_ORIGIN,
        };
        self.simulated_origin.as_deref().unwrap_or(origin).to_owned()
    }

    /// The tenant of a link: the one that its chat has, or the one that it will have.
    fn resolve_tenant(&self, link: &BillingLink) -> TenantId {
        link.tenant_id.unwrap_or_else(|| self.identity_key.tenant_id(link.chat_id))
    }
}

/// The function's routes.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/billing/checkout", get(show_checkout).post(start_checkout))
        .route("/billing/portal", get(show_portal).post(start_portal))
        .route("/billing/done", get(show_return))
        .with_state(Arc::new(app));
    web::log_requests("billing-session", routes)
}

/// The link's token, in the address of a page and in its form; the tier in the form of Checkout alone.
#[derive(Deserialize)]
struct LinkParameters {
    link: String,
    #[serde(default)]
    tier: String,
}

async fn show_checkout(
    State(app): State<Arc<App>>,
    query: Result<Query<LinkParameters>, QueryRejection>,
) -> Result<Page, Refusal> {
    let token = query.map(|Query(parameters)| parameters.link).unwrap_or_default();
    let (_, link) = verify_link(&app, &token)?;
    Ok(pages::checkout_page(&app, &link, &token, None))
}

async fn show_portal(
    State(app): State<Arc<App>>,
    query: Result<Query<LinkParameters>, QueryRejection>,
) -> Result<Page, Refusal> {
    let token = query.map(|Query(parameters)| parameters.link).unwrap_or_default();
    let (_, link) = verify_link(&app, &token)?;
    Ok(match session::find_unpaid(&app, &link).await? {
        None => pages::portal_page(&app, &link, &token),
        Some(unpaid) => pages::checkout_page(&app, &link, &token, unpaid.gift),
    })
}

async fn start_checkout(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<LinkParameters>, FormRejection>,
) -> Result<Response, Refusal> {
    let (stripe, link, form) = verify_form(&app, &headers, form)?;
    let tier: Tier = form.tier.parse().map_err(|_| Refusal::UnknownTier)?;
    refuse_used_link(&app, &link).await?;
    Ok(match session::open_checkout(&app, stripe, &link, tier).await? {
        Some(address) => redirect_once(&app, &link, address).await?,
        None => pages::already_subscribed_page(&app, &form.link).into_response(),
    })
}

async fn start_portal(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<LinkParameters>, FormRejection>,
) -> Result<Response, Refusal> {
    let (stripe, link, form) = verify_form(&app, &headers, form)?;
    refuse_used_link(&app, &link).await?;
    Ok(match session::open_portal(&app, stripe, &link).await? {
        Some(address) => redirect_once(&app, &link, address).await?,
        None => pages::checkout_page(&app, &link, &form.link, None).into_response(),
    })
}

/// The page of Stripe's that a person comes back from: `checkout`, `cancel` or `portal`.
#[derive(Deserialize)]
struct ReturnParameters {
    #[serde(default)]
    from: String,
}

async fn show_return(State(app): State<Arc<App>>, query: Result<Query<ReturnParameters>, QueryRejection>) -> Page {
    let from = query.map(|Query(parameters)| parameters.from).unwrap_or_default();
    pages::return_page(&app, &from)
}

/// Verifies what both a page and its button need: configured billing and a valid link.
fn verify_link<'a>(app: &'a App, token: &str) -> Result<(&'a Client, Claims<BillingLink>), Refusal> {
    let stripe = app.stripe.as_ref().ok_or(Refusal::NotConfigured)?;
    let link = app.links.read(token, app.clock.now()).map_err(|_| Refusal::InvalidLink)?;
    web::record_tenant(app.resolve_tenant(&link.content));
    Ok((stripe, link))
}

/// Verifies a form: it was submitted from our own page, and its link is valid.
fn verify_form<'a>(
    app: &'a App,
    headers: &HeaderMap,
    form: Result<Form<LinkParameters>, FormRejection>,
) -> Result<(&'a Client, Claims<BillingLink>, LinkParameters), Refusal> {
    if !web::is_same_origin(headers, &app.links.base().origin()) {
        return Err(Refusal::CrossSite);
    }
    let Form(form) = form.map_err(|_| Refusal::InvalidLink)?;
    let (stripe, link) = verify_link(app, &form.link)?;
    Ok((stripe, link, form))
}

/// Refuses a link that has led to Stripe, before Stripe is asked for anything.
async fn refuse_used_link(app: &App, link: &Claims<BillingLink>) -> Result<(), Refusal> {
    match app.store.is_nonce_spent(&link.jti).await.map_err(Refusal::from_store)? {
        true => Err(Refusal::UsedLink),
        false => Ok(()),
    }
}

/// Spends the link and leads to Stripe's page. The link is spent only now that there is a page: a press that failed can
/// be repeated, and of several at once one is led on.
async fn redirect_once(app: &App, link: &Claims<BillingLink>, address: String) -> Result<Response, Refusal> {
    match app.store.spend_nonce::<()>(&link.jti, app.clock.now(), USED_LINK_RETENTION).await {
        Ok(NonceState::Fresh) => {}
        Ok(NonceState::Spent { .. }) => return Err(Refusal::UsedLink),
        Err(error) => return Err(Refusal::from_store(error)),
    }
    let headers = [
        (header::LOCATION, address),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
