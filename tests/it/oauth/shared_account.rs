//! One Google account connected by several tenants, and tokens that no row names.

use axum::http::StatusCode;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::flows::connect_link::Services;
use nbhd::flows::disconnect;
use nbhd::queue::{Queues, RefreshJob};
use nbhd_sim::google::{Endpoint, Scopes};
use nbhd_sim::key_vault::{Failure, Operation};
use nbhd_sim::rights::env_of;
use nbhd_sim::sqs::REFRESH;
use serde_json::json;

use crate::oauth::world::{ADA, ADA_CHAT, BEA_CHAT, LONGEST_REQUEST, World, person};

#[tokio::test]
async fn the_grant_of_an_account_ends_with_its_last_connection_whoever_has_it() {
    let world = World::start().await;
    connects(&world, world.ada, Services::Google).await;
    connects(&world, world.bea, Services::Gmail).await;
    for provider in Provider::ALL {
        disconnects(&world, world.ada, provider).await;
    }
    assert_eq!(world.google.calls(Endpoint::Revoke), 0, "Bea reads the same mailbox");
    assert!(!world.google.granted_scopes(ADA).is_empty());
    disconnects(&world, world.bea, Provider::Gmail).await;
    assert_eq!(world.google.calls(Endpoint::Revoke), 1);
    assert!(world.google.granted_scopes(ADA).is_empty() && world.azure.vault.names().is_empty());
    let kept = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
    assert!(!kept.contains("GRANT#"), "no item is left behind");
}

#[tokio::test]
async fn a_connection_moved_to_another_account_ends_the_formers_grant_only_if_nobody_uses_it() {
    for is_shared in [true, false] {
        let world = World::start().await;
        connects(&world, world.ada, Services::Gmail).await;
        if is_shared {
            connects(&world, world.bea, Services::GoogleCalendar).await;
        }
        connects_account(&world, world.ada, Services::Gmail, "bea@gmail.com").await;
        assert_eq!(world.google.granted_scopes(ADA).is_empty(), !is_shared, "shared: {is_shared}");
    }
}

#[tokio::test]
async fn an_expired_connection_does_not_keep_a_grant_alive() {
    let world = World::start().await;
    connects(&world, world.ada, Services::Gmail).await;
    connects(&world, world.bea, Services::Gmail).await;
    let row = world.row(world.bea, Provider::Gmail).await.expect("a row");
    let expired = Integration { status: Status::Expired, ..row.clone() };
    world.store.save_integration(&expired, Some(row.version)).await.expect("nobody else writes");
    disconnects(&world, world.ada, Provider::Gmail).await;
    assert!(world.google.granted_scopes(ADA).is_empty());
}

#[tokio::test]
async fn tokens_of_a_first_connect_that_failed_are_removed_at_google_and_in_the_vault() {
    let world = World::start().await;
    world.azure.vault.faults.fail_next(Operation::Set, Failure::AnswerLost);
    let page = world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
    assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"));
    assert!(page.body.contains("Nothing was connected") && !world.azure.vault.names().is_empty());
    let jobs: Vec<String> = world.sqs.messages(REFRESH).into_iter().map(|job| job.sent.body).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");

    assert!(!runs(&world, &jobs[0]).await, "a connect at work would look the same");
    assert!(!world.azure.vault.names().is_empty());
    world.advance(LONGEST_REQUEST);
    assert!(runs(&world, &jobs[0]).await);
    assert!(world.azure.vault.names().is_empty() && world.google.granted_scopes(ADA).is_empty());
    assert_eq!(world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await.status, StatusCode::OK);
    assert!(runs(&world, &jobs[0]).await, "a job that comes late");
    assert_eq!(world.row(world.ada, Provider::Gmail).await.expect("a row").status, Status::Active);
}

#[tokio::test]
async fn a_late_cleanup_at_any_moment_of_a_connect_loses_no_token() {
    let job = |world: &World| {
        let job = RefreshJob::Disconnect { tenant_id: world.ada, provider: Provider::Gmail };
        serde_json::to_string(&job).expect("JSON")
    };
    for requests in 1..60 {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        let stops = world.journal.interruption().clone();
        let (page, met) = stops.hold_after(requests, browser.get(&back), runs(&world, &job(&world))).await;
        assert_eq!(page.status, StatusCode::OK, "held after {requests}: {}", page.body);
        assert!(!world.google.granted_scopes(ADA).is_empty(), "held after {requests}");
        assert!(world.secret(Provider::Gmail).is_some_and(|kept| kept.refresh_token.is_some()));
        if met.is_none() {
            return;
        }
    }
    panic!("a callback makes fewer requests");
}

#[tokio::test]
async fn a_name_recovered_from_a_vault_without_purge_brings_no_old_version_back() {
    let world = World::start().await;
    world.azure.vault.protects_from_purge();
    connects(&world, world.ada, Services::Gmail).await;
    let name = Integration::secret_name(world.ada, Provider::Gmail);
    // A version that no row remembers.
    world.azure.vault.put(&name, &world.azure.vault.value(&name).expect("tokens"));
    disconnects(&world, world.ada, Provider::Gmail).await;
    assert!(world.azure.vault.is_soft_deleted(&name));
    connects(&world, world.ada, Services::Gmail).await;
    let versions = world.azure.vault.versions(&name);
    let readable: Vec<&str> = versions.iter().filter(|(_, on)| *on).map(|(version, _)| version.as_str()).collect();
    assert_eq!(versions.len(), 3);
    assert_eq!(readable, [world.row(world.ada, Provider::Gmail).await.expect("a row").secret_version]);
}

#[tokio::test]
async fn a_calendar_that_an_older_grant_opens_is_not_read_for_gmail_alone() {
    let world = World::start().await;
    connects(&world, world.bea, Services::Google).await;
    let before = world.google.calls(Endpoint::CalendarGet);
    connects(&world, world.ada, Services::Gmail).await;
    let row = world.row(world.ada, Provider::Gmail).await.expect("a row");
    assert!(Provider::GoogleCalendar.is_readable_with(&row.granted), "Google merges the grants");
    assert_eq!((world.google.calls(Endpoint::CalendarGet), world.tenant().await.time_zone), (before, None));
}

async fn connects(world: &World, tenant: TenantId, services: Services) {
    connects_account(world, tenant, services, ADA).await;
}

async fn connects_account(world: &World, tenant: TenantId, services: Services, account: &str) {
    let (name, chat) = if tenant == world.ada { ("Ada", ADA_CHAT) } else { ("Bea", BEA_CHAT) };
    let link = world.links.connect_url(services, tenant, &person(name, chat), world.clock.now());
    let mut browser = world.browser();
    let consent = world.consent_page(&mut browser, &link).await;
    let back = world.google.consents(&consent, account, &Scopes::All).expect("known to Google");
    world.confirm(&mut browser, &back, chat).await;
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}

/// The person disconnects, and the job is done.
async fn disconnects(world: &World, tenant: TenantId, provider: Provider) {
    let queue = Queues::new(&world.env).expect("settings").refresh_jobs(&world.sqs.url(REFRESH));
    disconnect::request(&world.store, &queue, tenant, provider, world.clock.now()).await.expect("revoked");
    let job = RefreshJob::Disconnect { tenant_id: tenant, provider };
    assert!(runs(world, &serde_json::to_string(&job).expect("JSON")).await);
}

/// A job is delivered, in a process of its own; whether it is done.
async fn runs(world: &World, body: &str) -> bool {
    let env = env_of("scheduled-refresh", &world.env);
    let app = scheduled_refresh::App::from_env(&env, world.clock.clone()).expect("complete settings");
    let event = json!({ "Records": [{ "messageId": "1", "body": body }] });
    let (_, response) =
        scheduled_refresh::process_batch(&app, serde_json::from_value(event).expect("a batch"), "id").await;
    response.batch_item_failures.is_empty()
}
