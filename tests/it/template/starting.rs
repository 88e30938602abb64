//! Functions as their template has them: the settings, and how each is started with them.

use axum::Router;
use nbhd::clock::Clock;
use nbhd::config::Env;
use serde_json::Value;

use super::reading::variables;

/// What Lambda sets itself, what has the vendor's or our own default, and what only tests set.
pub(super) fn has_a_default(variable: &str) -> bool {
    const DEFAULTS: [&str; 20] = [
        "AZURE_RESOURCE_MANAGER_URL",
        "AZURE_SUBSCRIPTION_TENANTS",
        "MODEL_GATEWAY_URL",
        "MODEL_ID_PLUS",
        "MODEL_LIMIT_BASIC_CENTS",
        "MODEL_LIMIT_PLUS_CENTS",
        "AZURE_AUTHORITY_HOST",
        "AZURE_CLIENT_SECRET",
        "CALENDAR_API_URL",
        "CA_BUNDLE",
        "GMAIL_API_URL",
        "GOOGLE_AUTH_URL",
        "GOOGLE_REVOKE_URL",
        "GOOGLE_TOKEN_URL",
        "GOOGLE_USERINFO_URL",
        "RATE_LIMIT_BURST",
        "RATE_LIMIT_PER_MINUTE",
        "STRIPE_API_URL",
        "TELEGRAM_API_URL",
        "TELEGRAM_LINK_URL",
    ];
    variable.starts_with("AWS_") || DEFAULTS.contains(&variable)
}

/// Starts a function with nothing but what its template gives it.
pub(super) fn start(name: &str, env: &Env) {
    match name {
        "telegram-forward" => drop(telegram_forward::App::new(env, Clock::System).expect(name)),
        "scheduled-refresh" => drop(scheduled_refresh::App::from_env(env, Clock::System).expect(name)),
        "reconcile-sweep" => drop(reconcile_sweep::App::from_env(env, Clock::System).expect(name)),
        "tenant-reconcile" => drop(tenant_reconcile::App::new(env, Clock::System).expect(name)),
        _ => drop(router(name, env).expect("an HTTP function")),
    }
}

/// The router of an HTTP function.
pub(super) fn router(name: &str, env: &Env) -> Option<Router> {
    nbhd_local::build_router(name, env, Clock::System).map(|router| router.expect(name))
}

/// The variables of the template with values of their form, and what Lambda adds.
pub(super) fn settings(function: &Value) -> Env {
    let value = |name: &str| match name {
        "TELEGRAM_BOT_TOKEN" => "123456:a-token".to_owned(),
        "AZURE_TENANT_ID" | "AZURE_CLIENT_ID" => "11111111-1111-1111-1111-111111111111".to_owned(),
        "AZURE_SHARDS" => "a-subscription/an-account/a-vault".to_owned(),
        "TRIAL_DAYS" => "0".to_owned(),
        "PULL_IDENTITY" => "/subscriptions/a-subscription/an-identity".to_owned(),
        "OPENCLAW_IMAGE" => "registry.example/openclaw@sha256:0".to_owned(),
        name if name.ends_with("_URL") || name.ends_with("_URLS") => "http://127.0.0.1:9".to_owned(),
        name if name.ends_with("_KEYS") => "k1:a-key-with-32-or-more-characters-in-it".to_owned(),
        name => format!("{name}-with-32-or-more-characters-in-it"),
    };
    let given = variables(function).into_iter().map(|(name, _)| (name.clone(), value(&name)));
    let lambda = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let endpoints = ["DYNAMODB", "SQS"].map(|service| format!("AWS_ENDPOINT_URL_{service}"));
    let lambda = lambda.map(|name| (name.to_owned(), "local".to_owned()));
    Env::from_pairs(given.chain(lambda).chain(endpoints.map(|name| (name, "http://127.0.0.1:9".to_owned()))))
}
