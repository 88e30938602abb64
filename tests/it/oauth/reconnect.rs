//! Connecting again: while a refresh is at the same connection, killed anywhere, and with another account.

use axum::http::StatusCode;
use nbhd::clock::Waiter;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh;
use nbhd::flows::connect_link::Services;
use nbhd::flows::lease;
use nbhd::queue::RefreshJob;
use nbhd_sim::google::{Endpoint, Failure, Scopes};
use nbhd_sim::key_vault::{self, Operation};
use nbhd_sim::rights::env_of;
use scheduled_refresh::App;
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::time::Duration;

use crate::oauth::world::{ADA, ADA_CHAT, Browser, World};

const HOUR: Duration = Duration::from_secs(3600);
const OTHER: &str = "bea@gmail.com";
/// More requests than either makes.
const MANY: usize = 60;

#[tokio::test]
async fn a_refresh_held_anywhere_while_the_person_connects_again_loses_no_token() {
    for is_in_doubt in [false, true] {
        for requests in 1..MANY {
            let world = due(is_in_doubt).await;
            let mut browser = patient(&world);
            let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
            let reconnect = async { assert_eq!(browser.get(&back).await.status, StatusCode::OK) };
            let stops = world.journal.interruption().clone();
            let (_, met) = stops.hold_after(requests, refreshes(&world), reconnect).await;
            if met.is_none() {
                assert!(requests > 8, "the refresh makes more than {requests} requests");
                break;
            }
            assert_works(&world, &format!("in doubt {is_in_doubt}, held after {requests}")).await;
        }
    }
}

#[tokio::test]
async fn a_reconnect_held_anywhere_while_the_clock_refreshes_loses_no_token() {
    for is_in_doubt in [false, true] {
        for requests in 1..MANY {
            let world = due(is_in_doubt).await;
            let mut browser = patient(&world);
            let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
            let stops = world.journal.interruption().clone();
            let (page, met) = stops.hold_after(requests, browser.get(&back), refreshes(&world)).await;
            assert_eq!(page.status, StatusCode::OK, "held after {requests}: {}", page.body);
            if met.is_none() {
                assert!(requests > 12, "a callback makes more than {requests} requests");
                break;
            }
            assert_works(&world, &format!("in doubt {is_in_doubt}, held after {requests}")).await;
        }
    }
}

#[tokio::test]
async fn a_reconnect_killed_anywhere_leaves_a_connection_that_works() {
    for requests in 1..MANY {
        let world = due(false).await;
        let mut browser = patient(&world);
        let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        let stopped = world.journal.interruption().stop_after(requests, browser.get(&back)).await.is_none();
        assert_works(&world, &format!("killed after {requests}")).await;
        if !stopped {
            return;
        }
    }
    panic!("a callback makes fewer requests than {MANY}");
}

#[tokio::test]
async fn a_latest_version_that_was_taken_back_does_not_hide_the_rows_own() {
    let world = due(true).await;
    let row = row(&world).await;
    let late = world.azure.vault.put(&row.secret_name, "{}");
    world.azure.vault.disables(&row.secret_name, &late);
    assert_works(&world, "the latest version is disabled").await;
    assert!(world.telegram.sent_to(ADA_CHAT).iter().all(|sent| !sent.text.contains("ended")));
}

#[tokio::test]
async fn what_a_dead_worker_wrote_is_superseded_too() {
    let world = due(true).await;
    let row = row(&world).await;
    let orphan = world.azure.vault.put(&row.secret_name, &world.azure.vault.value(&row.secret_name).expect("tokens"));
    reconnects(&world, Services::Gmail, ADA).await;
    assert!(!readable(&world).contains(&orphan));
}

#[tokio::test]
async fn the_former_accounts_grant_is_ended() {
    let world = connected(Services::Google).await;
    reconnects(&world, Services::Google, OTHER).await;
    assert!(world.google.granted_scopes(ADA).is_empty() && !world.google.granted_scopes(OTHER).is_empty());
}

#[tokio::test]
async fn a_grant_that_another_connection_needs_is_kept() {
    let world = connected(Services::Google).await;
    reconnects(&world, Services::Gmail, OTHER).await;
    assert!(!world.google.granted_scopes(ADA).is_empty());
    reconnects(&world, Services::GoogleCalendar, ADA).await;
    assert_eq!(world.google.calls(Endpoint::Revoke), 0, "the same account");
}

#[tokio::test]
async fn a_former_grant_that_cannot_be_ended_is_no_obstacle() {
    let world = connected(Services::Gmail).await;
    world.google.faults.fail_next(Endpoint::Revoke, Failure::Status(503));
    reconnects(&world, Services::Gmail, OTHER).await;
    assert!(!world.google.granted_scopes(ADA).is_empty());
    assert_eq!(row(&world).await.account.as_deref(), Some(OTHER));
}

#[tokio::test]
async fn a_superseded_version_that_stays_readable_is_remembered_and_disabled_by_the_next_refresh() {
    let world = connected(Services::Gmail).await;
    let former = row(&world).await;
    world.azure.vault.faults.fail_next(Operation::Update, key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
    reconnects(&world, Services::Gmail, ADA).await;
    let now = row(&world).await;
    assert_eq!(readable(&world), [former.secret_version.clone(), now.secret_version.clone()]);
    assert_eq!(now.superseded, [former.secret_version]);
    assert_works(&world, "after a version was left readable").await;
    assert!(row(&world).await.superseded.is_empty());
}

#[tokio::test]
async fn a_vault_that_fails_a_reconnect_gives_the_lease_back() {
    let world = connected(Services::Gmail).await;
    let mut browser = patient(&world);
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.azure.vault.faults.fail_next(Operation::Set, key_vault::Failure::AnswerLost);
    assert_eq!(browser.get(&back).await.code(), "store_unavailable");
    let row = row(&world).await;
    assert!(!row.is_leased(world.clock.now()) && row.lease_until.is_some(), "over, and in doubt");
    assert_works(&world, "after the vault failed").await;
}

/// Ada's Gmail is connected, and due; in doubt: a worker died under its lease.
async fn due(is_in_doubt: bool) -> World {
    let world = connected(Services::Gmail).await;
    world.advance(HOUR);
    let read = row(&world).await;
    let lease_until = is_in_doubt.then(|| world.clock.now());
    let changed = Integration { lease_until, due: Some(refresh::due_entry(&read, world.clock.now())), ..read.clone() };
    world.store.save_integration(&changed, Some(read.version)).await.expect("nobody else writes");
    world
}

async fn connected(services: Services) -> World {
    let world = World::start().await;
    let page = world.connect(&mut world.browser(), services, &Scopes::All).await;
    assert_eq!(page.status, StatusCode::OK);
    world
}

async fn reconnects(world: &World, services: Services, account: &str) {
    let mut browser = patient(world);
    let consent = world.consent_page(&mut browser, &world.link(services)).await;
    let back = world.google.consents(&consent, account, &Scopes::All).expect("known to Google");
    world.confirm(&mut browser, &back, ADA_CHAT).await;
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}

/// A browser whose callback waits for nobody's clock.
fn patient(world: &World) -> Browser {
    world.browser_with_waiter(Waiter::hook(|_| tokio::task::yield_now()))
}

async fn row(world: &World) -> Integration {
    world.row(world.ada, Provider::Gmail).await.expect("a row")
}

/// A job of a tick is delivered, in a process of its own.
async fn refreshes(world: &World) {
    let app = App::from_env(&env_of("scheduled-refresh", &world.env), world.clock.clone()).expect("complete settings");
    let job = RefreshJob::Due { connections: vec![(world.ada, Provider::Gmail)] };
    let event = json!({ "Records": [{ "messageId": "1", "body": serde_json::to_string(&job).expect("JSON") }] });
    scheduled_refresh::process_batch(&app, serde_json::from_value(event).expect("a batch"), "id").await;
}

fn readable(world: &World) -> Vec<String> {
    let versions = world.azure.vault.versions(&Integration::secret_name(world.ada, Provider::Gmail));
    versions.into_iter().filter(|(_, on)| *on).map(|(version, _)| version).collect()
}

/// Once whoever died is given up, the connection is renewed as ever, and nothing but its version is readable.
async fn assert_works(world: &World, case: &str) {
    for wait in [lease::LEASE, HOUR, HOUR] {
        world.advance(wait);
        refreshes(world).await;
    }
    let row = row(world).await;
    assert_eq!((row.status, row.failures, row.lease_until), (Status::Active, 0, None), "{case}");
    assert_eq!(row.expires_at, Some(world.clock.now() + Duration::from_secs(3599)), "{case}");
    assert_eq!(readable(world), [row.secret_version], "{case}");
    let kept = world.secret(Provider::Gmail).and_then(|kept| kept.refresh_token).expect("a refresh token");
    assert!(world.google.accepts_refresh_token(kept.expose_secret()), "{case}");
}
