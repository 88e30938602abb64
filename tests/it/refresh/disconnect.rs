//! Ending a connection: at once in the row, and by a job at Google and in the vault.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::{disconnect, lease};
use nbhd::queue::{Queues, RefreshJob};
use nbhd_sim::google::{Endpoint, Failure};
use nbhd_sim::key_vault::{self, Operation};
use nbhd_sim::rights::env_of;
use nbhd_sim::sqs::REFRESH;
use scheduled_refresh::{App, Report, process_batch};
use serde_json::Value;

use crate::refresh::world::{ADA, WORK, World};

const NONE: Report = Report {
    due: 1,
    refreshed: 0,
    expired: 0,
    deferred: 0,
    failed: 0,
    skipped_leased: 0,
    oldest_overdue_s: 0,
    notified: 0,
    disconnected: 0,
    unchanged: 0,
};
const DONE: Report = Report { disconnected: 1, ..NONE };
const UNCHANGED: Report = Report { unchanged: 1, ..NONE };
const LEASED: Report = Report { skipped_leased: 1, ..NONE };
const FAILED: Report = Report { failed: 1, ..NONE };

#[tokio::test]
async fn a_disconnect_revokes_at_once_and_queues_the_rest() {
    let world = World::connected().await;
    assert!(request(&world).await);
    assert_eq!(world.row().await.status, Status::Revoked);
    assert_eq!(world.sqs.messages(REFRESH).len(), 1);
    assert!(world.azure.vault.value(&world.secret_name()).is_some(), "the job removes it");
}

#[tokio::test]
async fn what_was_never_connected_is_not_queued() {
    let world = World::start().await;
    assert!(!request(&world).await);
    assert!(world.sqs.messages(REFRESH).is_empty());
}

#[tokio::test]
async fn a_disconnect_leaves_a_worker_its_lease() {
    let world = World::connected().await;
    let leased = lease::try_acquire(&world.store, &world.row().await, world.clock.now()).await.expect("a table");
    request(&world).await;
    assert_eq!(world.row().await.lease_until, leased.expect("free").lease_until);
    assert_eq!(job(&world).await, LEASED);
    world.advance(lease::LEASE);
    assert_eq!(job(&world).await, DONE);
}

#[tokio::test]
async fn the_job_ends_the_grant_and_purges_the_secret() {
    let world = World::connected().await;
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_is_disconnected(&world).await;
    assert_eq!(world.google.calls(Endpoint::Revoke), 1);
}

#[tokio::test]
async fn a_job_that_comes_twice_is_done_as_well() {
    let world = World::connected().await;
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_eq!(job(&world).await, DONE);
    assert_is_disconnected(&world).await;
    assert_eq!(world.google.calls(Endpoint::Revoke), 1);
}

#[tokio::test]
async fn of_two_jobs_at_once_one_waits() {
    let world = World::connected().await;
    request(&world).await;
    let (one, other) = tokio::join!(job(&world), job(&world));
    assert!([one, other].contains(&DONE), "{one:?} {other:?}");
    assert_eq!(world.google.calls(Endpoint::Revoke), 1);
    assert_is_disconnected(&world).await;
}

#[tokio::test]
async fn a_job_stopped_after_any_effect_starts_over() {
    let mut requests = 1;
    loop {
        let world = World::connected().await;
        request(&world).await;
        let was_stopped = world.journal.interruption().stop_after(requests, job(&world)).await.is_none();
        world.advance(lease::LEASE);
        assert_eq!(job(&world).await, DONE, "after a stop at request {requests}");
        assert_is_disconnected(&world).await;
        if !was_stopped {
            break;
        }
        requests += 1;
    }
    // Row, lease, challenge, AWS's word, sign-in, secret, the account's connections and the own row, revocation, the
    // account's item, versions, disabled, deletion, purge, row.
    assert_eq!(requests, 16);
}

#[tokio::test]
async fn a_connection_made_anew_is_left_alone() {
    let world = World::connected().await;
    request(&world).await;
    world.connects(Provider::Gmail, ADA).await;
    assert_eq!(job(&world).await, UNCHANGED);
    assert_eq!(world.row().await.status, Status::Active);
    assert!(world.azure.vault.value(&world.secret_name()).is_some());
    assert_eq!(world.google.calls(Endpoint::Revoke), 0);
}

#[tokio::test]
async fn another_active_connection_to_the_account_keeps_the_grant() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, ADA).await;
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_eq!(world.google.calls(Endpoint::Revoke), 0);
    assert!(!world.azure.vault.names().contains(&world.secret_name()));
    assert!(world.broker().access_token(Some(&world.row_of(Provider::GoogleCalendar).await)).await.is_ok());
}

#[tokio::test]
async fn a_connection_to_an_account_we_do_not_know_keeps_the_grant() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, WORK).await;
    world.change(|row| row.subject = None).await;
    let secret = world.azure.vault.value(&world.secret_name()).expect("tokens");
    let mut unknown: Value = serde_json::from_str(&secret).expect("JSON");
    unknown["subject"] = Value::Null;
    world.azure.vault.put(&world.secret_name(), &unknown.to_string());
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_eq!(world.google.calls(Endpoint::Revoke), 0);
}

#[tokio::test]
async fn a_connection_to_another_account_does_not_keep_the_grant() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, WORK).await;
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert!(world.google.granted_scopes(ADA).is_empty() && !world.google.granted_scopes(WORK).is_empty());
}

#[tokio::test]
async fn the_last_of_two_disconnected_services_ends_the_grant() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, ADA).await;
    for provider in Provider::ALL {
        let queue = Queues::new(&world.env).expect("settings").refresh_jobs(&world.sqs.url(REFRESH));
        disconnect::request(&world.store, &queue, world.tenant, provider, world.clock.now()).await.expect("revoked");
    }
    for provider in Provider::ALL {
        assert_eq!(run(&world, &body(&world, provider)).await.0, DONE);
    }
    assert!(world.google.granted_scopes(ADA).is_empty());
    assert!(world.azure.vault.names().is_empty());
}

#[tokio::test]
async fn a_grant_the_person_ended_before_is_no_obstacle() {
    let world = World::connected().await;
    world.google.person_revokes(ADA);
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_is_disconnected(&world).await;
}

#[tokio::test]
async fn nothing_is_deleted_before_google_has_spoken() {
    for failure in [Failure::Status(503), Failure::Throttled(Some(5)), Failure::AnswerLost] {
        let world = World::connected().await;
        request(&world).await;
        world.google.faults.fail_next(Endpoint::Revoke, failure.clone());
        assert_eq!(job(&world).await, FAILED, "{failure:?}");
        assert!(world.azure.vault.value(&world.secret_name()).is_some());
        assert_eq!(job(&world).await, DONE);
        assert_is_disconnected(&world).await;
    }
}

#[tokio::test]
async fn a_vault_that_fails_anywhere_lets_the_job_come_up_again() {
    let throttled = key_vault::Failure::Throttled(3);
    for (operation, failure) in [
        (Operation::Get, throttled),
        (Operation::Delete, throttled),
        (Operation::Delete, key_vault::Failure::AnswerLost),
        (Operation::Purge, key_vault::Failure::Status(axum::http::StatusCode::SERVICE_UNAVAILABLE)),
        (Operation::Purge, key_vault::Failure::AnswerLost),
    ] {
        let world = World::connected().await;
        request(&world).await;
        world.azure.vault.faults.fail_next(operation, failure);
        assert_eq!(job(&world).await, FAILED, "{operation:?} {failure:?}");
        assert_eq!(job(&world).await, DONE, "{operation:?} {failure:?}");
        assert_is_disconnected(&world).await;
    }
}

#[tokio::test]
async fn a_deletion_in_progress_is_purged_when_the_job_comes_up_again() {
    let world = World::connected().await;
    request(&world).await;
    world.azure.vault.delays_changes(1);
    assert_eq!(job(&world).await, FAILED);
    assert!(world.azure.vault.is_soft_deleted(&world.secret_name()));
    assert_eq!(job(&world).await, DONE);
    assert_is_disconnected(&world).await;
}

#[tokio::test]
async fn a_vault_that_protects_from_purging_is_taken_at_its_word() {
    let world = World::connected().await;
    world.azure.vault.protects_from_purge();
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    let row = world.row().await;
    assert!(row.is_removed() && world.google.granted_scopes(ADA).is_empty());
    assert_eq!(row.purged_by, Some(world.clock.now() + Duration::from_secs(90 * 24 * 3600)));
    assert!(world.azure.vault.is_soft_deleted(&world.secret_name()));

    let connected = world.connects(Provider::GoogleCalendar, ADA).await;
    assert_eq!(connected.purged_by, None);
}

#[tokio::test]
async fn fresh_tokens_that_no_row_speaks_of_are_left_alone_until_their_tenant_is_removed() {
    let world = World::connected().await;
    let secret = world.azure.vault.value(&world.secret_name()).expect("a secret");
    let other = World::start().await;
    other.google.has_consented(ADA, &[Provider::Gmail.scope()]);
    other.azure.vault.put(&other.secret_name(), &secret);
    assert_eq!(job(&other).await, LEASED, "a connect may be at it");
    assert!(other.azure.vault.value(&other.secret_name()).is_some());

    let tenant = other.store.tenant(other.tenant).await.expect("a table").expect("a tenant");
    let removed = Tenant { lifecycle: Lifecycle::Deprovisioning, ..tenant.clone() };
    other.store.save_tenant(&removed, Some(tenant.version)).await.expect("nobody else writes");
    assert_eq!(job(&other).await, DONE);
    assert!(other.azure.vault.names().is_empty() && other.row().await.is_removed());
    assert_eq!(other.google.calls(Endpoint::Revoke), 1);
    assert_eq!(job(&other).await, DONE, "as often as it comes");
}

#[tokio::test]
async fn a_latest_version_that_was_taken_back_does_not_keep_the_grant_alive() {
    let world = World::connected().await;
    let late = world.azure.vault.put(&world.secret_name(), "{}");
    world.azure.vault.disables(&world.secret_name(), &late);
    request(&world).await;
    assert_eq!(job(&world).await, DONE);
    assert_is_disconnected(&world).await;
}

#[tokio::test]
async fn a_table_that_is_down_lets_the_job_come_up_again() {
    let world = World::connected().await;
    request(&world).await;
    world.table.faults.set_down(true);
    assert_eq!(job(&world).await, FAILED);
    world.table.faults.set_down(false);
    assert_eq!(job(&world).await, DONE);
}

#[tokio::test]
async fn without_a_google_client_the_tokens_stay_until_there_is_one() {
    let mut world = World::connected().await;
    request(&world).await;
    let configured = world.env.clone();
    world.env = configured.clone().without("GOOGLE_CLIENT_SECRET");
    assert_eq!(job(&world).await, FAILED);
    assert!(world.azure.vault.value(&world.secret_name()).is_some());
    world.env = configured;
    assert_eq!(job(&world).await, DONE);
}

#[tokio::test]
async fn only_the_jobs_that_failed_come_up_again() {
    let world = World::connected().await;
    request(&world).await;
    let bodies = [
        "not a job".to_owned(),
        body(&world, Provider::Gmail),
        body(&world, Provider::GoogleCalendar),
        r#"{"job":"unheard-of"}"#.to_owned(),
    ];
    let (report, response) = run_batch(&world, &bodies).await;
    assert_eq!(report, Report { due: 4, disconnected: 1, unchanged: 1, failed: 2, ..NONE });
    let failed: Vec<String> = response.batch_item_failures.into_iter().map(|item| item.item_identifier).collect();
    assert_eq!(failed, ["0", "3"]);
}

async fn assert_is_disconnected(world: &World) {
    let row = world.row().await;
    assert_eq!((row.status, row.lease_until, row.secret_version.as_str()), (Status::Revoked, None, ""));
    assert!(world.azure.vault.names().is_empty(), "deleted and purged");
    assert!(world.google.granted_scopes(ADA).is_empty(), "ended at Google");
}

/// The person disconnects Gmail; whether there was a connection.
async fn request(world: &World) -> bool {
    let queue = Queues::new(&world.env).expect("settings").refresh_jobs(&world.sqs.url(REFRESH));
    disconnect::request(&world.store, &queue, world.tenant, Provider::Gmail, world.clock.now())
        .await
        .expect("table and queue are up")
}

/// Ada's Gmail's job is delivered, in a process of its own.
async fn job(world: &World) -> Report {
    let (report, response) = run(world, &body(world, Provider::Gmail)).await;
    assert_eq!(response.batch_item_failures.len(), report.failed + report.skipped_leased);
    report
}

fn body(world: &World, provider: Provider) -> String {
    serde_json::to_string(&RefreshJob::Disconnect { tenant_id: world.tenant, provider }).expect("JSON")
}

async fn run(world: &World, body: &str) -> (Report, SqsBatchResponse) {
    run_batch(world, &[body.to_owned()]).await
}

async fn run_batch(world: &World, bodies: &[String]) -> (Report, SqsBatchResponse) {
    let app = App::from_env(&env_of("scheduled-refresh", &world.env), world.clock.clone()).expect("complete settings");
    let mut event = SqsEvent::default();
    for (place, body) in bodies.iter().enumerate() {
        let mut record = SqsMessage::default();
        record.message_id = Some(place.to_string());
        record.body = Some(body.clone());
        event.records.push(record);
    }
    process_batch(&app, event, "request").await
}
