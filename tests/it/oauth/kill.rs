//! Connecting, stopped dead after each request it makes, at once in two tabs, and against changes underneath it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::Waiter;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::connect_link::Services;
use nbhd::flows::lease;
use nbhd::providers::azure::vaults::Vaults;
use nbhd_sim::google::{Endpoint, Scopes};

use crate::oauth::world::{LONGEST_REQUEST, World};

/// More requests than a callback makes.
const MANY: usize = 40;

#[tokio::test]
async fn a_callback_stopped_anywhere_is_told_the_truth_by_its_re_run() {
    let (mut connected, mut replayed, mut finished) = (0, 0, false);
    for requests in 1..MANY {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.confirmed_redirect(&mut browser, Services::Google, &Scopes::All).await;
        let stopped = world.journal.interruption().stop_after(requests, browser.get(&back)).await.is_none();
        let exchanged = world.google.calls(Endpoint::Token);

        world.advance(LONGEST_REQUEST);
        let mut again = world.in_new_sandbox(&browser);
        let page = again.get(&back).await;
        match page.code() {
            "" => connected += 1,
            "replayed_state" => {
                replayed += 1;
                // What it says is what helps.
                assert!(page.body.contains("send /connect again"));
                let page = world.connect(&mut again, Services::Google, &Scopes::All).await;
                assert_eq!(page.status, StatusCode::OK, "after request {requests}: {}", page.body);
            }
            code => panic!("after request {requests}: {code}"),
        }
        // The code went to Google once; only a new consent asked for tokens anew.
        assert!(exchanged <= 1 && world.google.calls(Endpoint::Token) <= 2, "after request {requests}");
        assert_is_connected(&world).await;
        if !stopped {
            finished = true;
            break;
        }
    }
    assert!(finished && connected >= 2 && replayed >= 5, "connected {connected}, replayed {replayed}");
}

#[tokio::test]
async fn an_undo_stopped_anywhere_is_done_by_pressing_again() {
    for requests in 1..MANY {
        let world = World::start().await;
        let mut browser = world.browser();
        let result = world.connect(&mut browser, Services::Google, &Scopes::All).await;
        let stopped = world.journal.interruption().stop_after(requests, browser.submit(&result)).await.is_none();
        assert_eq!(world.in_new_sandbox(&browser).submit(&result).await.status, StatusCode::OK);
        for provider in Provider::ALL {
            let row = world.row(world.ada, provider).await.expect("a row");
            assert_eq!(row.status, Status::Revoked, "after request {requests}");
            let jobs = world.sqs.messages("refresh");
            assert!(
                jobs.iter().any(|job| job.sent.body.contains(&format!("\"{provider}\""))),
                "after request {requests}"
            );
        }
        if !stopped {
            return;
        }
    }
    panic!("an undo makes fewer requests than {MANY}");
}

#[tokio::test]
async fn a_tenant_that_changes_meanwhile_is_connected_as_it_is_then() {
    let world = World::start().await;
    let page = connect_while(&world, |tenant| Tenant { lifecycle: Lifecycle::Suspended, ..tenant }).await;
    assert_eq!(page, (StatusCode::OK, String::new()));
    let tenant = world.tenant().await;
    assert_eq!(tenant.lifecycle, Lifecycle::Suspended);
    assert_eq!(tenant.time_zone.expect("of the calendar").name, "Europe/Berlin");
}

#[tokio::test]
async fn a_tenant_that_is_removed_meanwhile_is_not_connected_and_has_its_tokens_removed() {
    let world = World::start().await;
    let page = connect_while(&world, |tenant| Tenant { lifecycle: Lifecycle::Deprovisioning, ..tenant }).await;
    assert_eq!(page, (StatusCode::BAD_REQUEST, "invalid_state".to_owned()));
    assert!(world.row(world.ada, Provider::Gmail).await.is_none());
    let removed = world.sqs.messages("refresh").into_iter().map(|job| job.sent.body).collect::<String>();
    assert!(Provider::ALL.iter().all(|provider| removed.contains(provider.as_str())), "a job each takes them away");
}

#[tokio::test]
async fn a_name_that_is_softly_deleted_in_the_vault_is_used_again() {
    let world = World::start().await;
    world.connect(&mut world.browser(), Services::Google, &Scopes::All).await;
    let http = nbhd::http::client(&world.env).expect("a client");
    let vaults = Vaults::new(&world.env, &http, &world.clock).expect("complete settings");
    let vault = vaults.find(None).expect("the first");
    for provider in Provider::ALL {
        let mut row = world.row(world.ada, provider).await.expect("a row");
        let version = row.version;
        row.status = Status::Revoked;
        world.store.save_integration(&row, Some(version)).await.expect("unchanged meanwhile");
        vault.delete(&row.secret_name).await.expect("deleted");
    }
    world.advance(Duration::from_secs(60));
    world.connect(&mut world.browser(), Services::Google, &Scopes::All).await;
    assert_is_connected(&world).await;
}

#[tokio::test]
async fn a_disconnect_job_at_work_is_waited_for() {
    let world = World::start().await;
    world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
    let mut row = world.row(world.ada, Provider::Gmail).await.expect("a row");
    let version = row.version;
    row.status = Status::Revoked;
    let row = world.store.save_integration(&row, Some(version)).await.expect("unchanged meanwhile");
    let leased = lease::try_acquire(&world.store, &row, world.clock.now()).await.expect("a table").expect("free");

    // The job deletes the secret while the callback waits, and then gives the lease back.
    let http = nbhd::http::client(&world.env).expect("a client");
    let vaults = Arc::new(Vaults::new(&world.env, &http, &world.clock).expect("complete settings"));
    let store = world.store.clone();
    let job = Waiter::hook(move |_| {
        let (vaults, store, leased) = (Arc::clone(&vaults), store.clone(), leased.clone());
        async move {
            let vault = vaults.find(None).expect("the first");
            vault.delete(&leased.secret_name).await.expect("deleted");
            vault.purge(&leased.secret_name).await.expect("purged");
            let released = Integration { lease_until: None, secret_version: String::new(), ..leased.clone() };
            store.save_integration(&released, Some(leased.version)).await.expect("nobody else writes");
        }
    });
    world.advance(Duration::from_secs(1));
    world.connect(&mut world.browser_with_waiter(job), Services::Google, &Scopes::All).await;
    assert_is_connected(&world).await;
    assert_eq!(world.azure.vault.versions(&row.secret_name).len(), 1, "written after the purge");
}

/// Comes back from Google and changes Ada's row between the exchange and the end; the page's status and code.
async fn connect_while(world: &World, change: impl FnOnce(Tenant) -> Tenant) -> (StatusCode, String) {
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Google, &Scopes::All).await;
    world.google.faults.delay(Endpoint::UserInfo, Duration::from_millis(300));
    let changing = async {
        while world.google.calls(Endpoint::UserInfo) == 0 {
            tokio::task::yield_now().await;
        }
        let tenant = world.tenant().await;
        let version = tenant.version;
        world.store.save_tenant(&change(tenant), Some(version)).await.expect("unchanged meanwhile");
    };
    let (page, ()) = tokio::join!(browser.get(&back), changing);
    (page.status, page.code().to_owned())
}

/// Both rows are active and speak of a version that the vault holds.
async fn assert_is_connected(world: &World) {
    for provider in Provider::ALL {
        let row = world.row(world.ada, provider).await.expect("a row");
        assert_eq!(row.status, Status::Active);
        let versions = world.azure.vault.versions(&row.secret_name);
        assert_eq!(versions.last(), Some(&(row.secret_version, true)));
        assert!(world.secret(provider).is_some_and(|token| token.refresh_token.is_some()));
    }
}
