//! Settings and routes of the local world: what `template.yaml` says for the deployed one.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::providers::azure::resource_manager::Group;
use nbhd_sim::arm::{ACCOUNT, ENVIRONMENT, LOCATION};
use nbhd_sim::azure::{Azure, VAULT};
use nbhd_sim::sqs::{self, Sqs};
use nbhd_sim::table::{self, Table};
use nbhd_sim::telegram::Telegram;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::trace::Trace;
use crate::world::BOT_USERNAME;

/// The platform's secrets, made for one run: they open nothing but its simulators.
#[derive(Clone)]
pub struct Secrets {
    /// `TELEGRAM_BOT_TOKEN`.
    pub bot_token: String,
    /// `TELEGRAM_WEBHOOK_SECRET`.
    pub webhook_secret: String,
    /// `PLATFORM_KEY`.
    pub platform_key: String,
    /// `LINK_SIGNING_KEY`.
    pub link_signing_key: String,
}

impl Secrets {
    /// Secrets nobody knows.
    pub fn random() -> Self {
        let random = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self {
            bot_token: format!("7000000001:{}", random()),
            webhook_secret: random(),
            platform_key: random(),
            link_signing_key: random(),
        }
    }
}

/// What does not depend on where a simulator listens.
pub(crate) fn settings(base_url: &str, secrets: &Secrets) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("TABLE_NAME", table::NAME.to_owned()),
        ("PUBLIC_BASE_URL", base_url.to_owned()),
        ("TELEGRAM_BOT_USERNAME", BOT_USERNAME.to_owned()),
        ("TELEGRAM_BOT_TOKEN", secrets.bot_token.clone()),
        ("TELEGRAM_WEBHOOK_SECRET", secrets.webhook_secret.clone()),
        ("PLATFORM_KEY", secrets.platform_key.clone()),
        ("LINK_SIGNING_KEY", secrets.link_signing_key.clone()),
    ]
}

/// Where the simulators listen that do not say so themselves.
pub(crate) fn endpoints(table: &Table, sqs: &Sqs, telegram: &Telegram) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL_DYNAMODB", table.base_url()),
        ("AWS_ENDPOINT_URL_SQS", sqs.base_url()),
        ("INBOUND_QUEUE_URL", sqs.url(sqs::INBOUND)),
        ("INBOUND_DLQ_URL", sqs.url(sqs::INBOUND_DLQ)),
        ("REFRESH_QUEUE_URL", sqs.url(sqs::REFRESH)),
        ("LIFECYCLE_QUEUE_URL", sqs.url(sqs::LIFECYCLE)),
        ("REFRESH_DLQ_URL", sqs.url(sqs::REFRESH_DLQ)),
        ("LIFECYCLE_DLQ_URL", sqs.url(sqs::LIFECYCLE_DLQ)),
        ("TELEGRAM_API_URL", telegram.base_url()),
    ]
}

/// Where containers are made, and what they run.
pub(crate) fn containers(azure: &Azure) -> Vec<(&'static str, String)> {
    let group = azure.arm.group();
    let shared = Group { name: "shared".to_owned(), ..group.clone() };
    vec![
        ("AZURE_SHARDS", format!("{}/{ACCOUNT}/{VAULT}", group.subscription_id)),
        ("AZURE_LOCATION", LOCATION.to_owned()),
        ("CONTAINER_ENVIRONMENT", ENVIRONMENT.to_owned()),
        ("ENVIRONMENT_IDENTITY", "nbhd-environment".to_owned()),
        ("PULL_IDENTITY", shared.identity("nbhd-pull").to_string()),
        ("CONTAINER_REGISTRY", "nbhd.azurecr.io".to_owned()),
        ("OPENCLAW_IMAGE", format!("nbhd.azurecr.io/openclaw@sha256:{}", "0".repeat(64))),
        ("MODEL_ID", "local/stand-in".to_owned()),
        ("AZURE_RESOURCE_GROUP", group.name),
    ]
}

/// The HTTP functions behind one API, each watched.
pub(crate) fn functions(env: &Env, clock: &Clock, trace: &Trace) -> Result<Router, ConfigError> {
    let webhook = telegram_webhook::router(telegram_webhook::App::new(env, clock.clone())?);
    let relay = telegram_relay::router(telegram_relay::App::new(env, clock.clone())?);
    let authorize = oauth_authorize::router(oauth_authorize::App::new(env, clock.clone())?);
    let callback = oauth_callback::router(oauth_callback::App::new(env, clock.clone())?);
    let gmail = runtime_gmail::router(runtime_gmail::App::from_env(env, clock.clone())?);
    let calendar = runtime_calendar::router(runtime_calendar::App::from_env(env, clock.clone())?);
    let stripe = stripe_webhook::router(stripe_webhook::App::new(env, clock.clone())?);
    let billing = billing_session::router(billing_session::App::new(env, clock.clone())?);
    let routes = Routes {
        webhook: trace.watch("telegram-webhook", webhook),
        relay: trace.watch("telegram-relay", relay),
        authorize: trace.watch("oauth-authorize", authorize),
        callback: trace.watch("oauth-callback", callback),
        gmail: trace.watch("runtime-gmail", gmail),
        calendar: trace.watch("runtime-calendar", calendar),
        stripe: trace.watch("stripe-webhook", stripe),
        billing: trace.watch("billing-session", billing),
    };
    Ok(Router::new().fallback(serve).with_state(routes))
}

/// The functions by the routes of `template.yaml`; each router sees the whole path, as in Lambda.
#[derive(Clone)]
struct Routes {
    webhook: Router,
    relay: Router,
    authorize: Router,
    callback: Router,
    gmail: Router,
    calendar: Router,
    stripe: Router,
    billing: Router,
}

async fn serve(State(routes): State<Routes>, request: Request) -> Response {
    let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let function = match path.as_slice() {
        ["telegram", "webhook"] => routes.webhook,
        ["telegram", "relay", ..] => routes.relay,
        ["oauth", _, "authorize"] => routes.authorize,
        ["oauth", _, "callback" | "undo"] => routes.callback,
        ["api", "v1", "integrations", "runtime", _, "gmail", ..] => routes.gmail,
        ["api", "v1", "integrations", "runtime", _, "google-calendar", ..] => routes.calendar,
        ["stripe", "webhook"] => routes.stripe,
        ["billing", "checkout" | "portal" | "done"] => routes.billing,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    function.oneshot(request).await.into_response()
}
