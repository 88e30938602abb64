//! The HTTP functions of the local world and their routes: what `template.yaml` says for the deployed one.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd_sim::rights::env_of;
use tower::ServiceExt as _;

use crate::trace::Trace;

/// The paths of the API as `template.yaml` spells them, each with its function.
pub const ROUTES: &[(&str, &str)] = &[
    ("/telegram/webhook", "telegram-webhook"),
    ("/telegram/relay/{tenant_id}/{proxy+}", "telegram-relay"),
    ("/oauth/{provider}/authorize", "oauth-authorize"),
    ("/oauth/{provider}/callback", "oauth-callback"),
    ("/oauth/{provider}/undo", "oauth-callback"),
    ("/billing/checkout", "billing-session"),
    ("/billing/portal", "billing-session"),
    ("/billing/done", "billing-session"),
    ("/stripe/webhook", "stripe-webhook"),
    ("/api/v1/integrations/runtime/{tenant_id}/gmail/{proxy+}", "runtime-gmail"),
    ("/api/v1/integrations/runtime/{tenant_id}/google-calendar/{proxy+}", "runtime-calendar"),
];

/// Builds the router of an HTTP function from its settings. `None`: no HTTP function has this name.
///
/// # Errors
/// [`ConfigError`] names the setting that is missing or invalid.
pub fn build_router(function: &str, env: &Env, clock: Clock) -> Option<Result<Router, ConfigError>> {
    Some(match function {
        "telegram-webhook" => telegram_webhook::App::new(env, clock).map(telegram_webhook::router),
        "telegram-relay" => telegram_relay::App::new(env, clock).map(telegram_relay::router),
        "oauth-authorize" => oauth_authorize::App::new(env, clock).map(oauth_authorize::router),
        "oauth-callback" => oauth_callback::App::new(env, clock).map(oauth_callback::router),
        "billing-session" => billing_session::App::new(env, clock).map(billing_session::router),
        "stripe-webhook" => stripe_webhook::App::new(env, clock).map(stripe_webhook::router),
        "runtime-gmail" => runtime_gmail::App::from_env(env, clock).map(runtime_gmail::router),
        "runtime-calendar" => runtime_calendar::App::from_env(env, clock).map(runtime_calendar::router),
        _ => return None,
    })
}

/// The HTTP functions behind one API, each watched.
pub(crate) fn functions(env: &Env, clock: &Clock, trace: &Trace) -> Result<Router, ConfigError> {
    let mut routers = BTreeMap::new();
    for (_, function) in ROUTES {
        if let Some(router) = build_router(function, &env_of(function, env), clock.clone()) {
            routers.insert(*function, trace.watch(function, router?));
        }
    }
    Ok(Router::new().fallback(serve).with_state(routers))
}

/// Leads a request to its function by the whole path, which the function's router sees too, as in Lambda.
async fn serve(State(routers): State<BTreeMap<&str, Router>>, request: Request) -> Response {
    let path = request.uri().path();
    let function = ROUTES.iter().find(|(route, _)| matches_route(route, path)).map(|(_, function)| *function);
    match function.and_then(|function| routers.get(function).cloned()) {
        Some(router) => router.oneshot(request).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether `path` has the form of `route`: `{name}` stands for one segment, `{proxy+}` for one or more.
fn matches_route(route: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (route.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) | (Some("{proxy+}"), Some(_)) => return true,
            (Some(part), Some(segment)) if part == segment || part.starts_with('{') => {}
            _ => return false,
        }
    }
}
