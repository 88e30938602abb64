//! The routes of the local world: what `template.yaml` says for the deployed one.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use tower::ServiceExt as _;

use crate::trace::Trace;

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
