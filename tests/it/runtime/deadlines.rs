//! Answers that are due before API Gateway ends the request, whatever keeps them waiting.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use nbhd::config::Env;
use nbhd::domain::integration::Provider;
use nbhd::flows::connect_link::Services;
use nbhd::flows::runtime_request::{Caller, Credentials, Gate, Problem};
use nbhd_sim::google::{Endpoint, Scopes};

use crate::oauth::world as oauth_world;
use crate::runtime::world as runtime_world;

const PATIENCE: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_connection_that_takes_too_long_has_its_page_and_its_outcome() {
    let world = oauth_world::World::start().await;
    let mut browser = world.browser_with_timeout(PATIENCE);
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.google.faults.delay(Endpoint::Token, LONG);
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"));
    assert_eq!(world.in_new_sandbox(&browser).get(&back).await.code(), "store_unavailable", "not `replayed_state`");
}

#[tokio::test]
async fn a_token_that_takes_too_long_is_a_refresh_that_failed() {
    let (world, gate, caller) = admitted().await;
    world.clock.advance(runtime_world::HOUR);
    world.google.faults.delay(Endpoint::Token, LONG);
    let asked = gate.call_google(&caller, "q", async |_| Ok::<_, nbhd::providers::google::Error>(())).await;
    assert!(matches!(asked, Err(Problem::RefreshFailed { .. })), "{asked:?}");
}

#[tokio::test]
async fn a_call_of_google_that_takes_too_long_is_one_that_failed() {
    let (_world, gate, caller) = admitted().await;
    let asked =
        gate.call_google(&caller, "q", |_| std::future::pending::<Result<(), nbhd::providers::google::Error>>()).await;
    assert!(matches!(asked, Err(Problem::ProviderFailed { status: None })), "{asked:?}");
}

/// Ana's runtime, let in at a gate that does not wait long.
async fn admitted() -> (runtime_world::World, Gate, Caller) {
    let mut settings = Env::from_pairs::<&str, String>([]);
    let world = runtime_world::World::start_with(|env| {
        settings = env.clone();
        env
    })
    .await;
    let http = nbhd::http::client(&settings).expect("a client");
    let gate = Gate::from_env(&settings, &http, Provider::Gmail, world.clock.clone()).expect("complete settings");
    let gate = gate.with_timeout(PATIENCE);
    let tenant = world.ana.tenant.to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-nbhd-internal-key", world.ana.key.parse().expect("ASCII"));
    headers.insert("x-nbhd-tenant-id", tenant.parse().expect("ASCII"));
    let caller = gate.authenticate(Credentials::from_headers(&tenant, &headers)).await.expect("her key");
    (world, gate, caller)
}
