//! The clock: what it finds due, what that costs, and what is left when it is stopped anywhere.

use std::sync::Arc;
use std::time::Duration;

use nbhd::clock::Waiter;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::integration::{Provider, Status};
use nbhd::flows::lease;
use nbhd_sim::google::{Endpoint, Rotation};
use nbhd_sim::key_vault::{self, KEY_VAULT, Operation};
use nbhd_sim::sqs::REFRESH;
use scheduled_refresh::Report;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::refresh::world::{ADA, HOUR, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_connection_in_use_is_refreshed_before_its_token_ends() {
    let world = World::connected().await;
    world.advance(29 * MINUTE);
    assert_eq!(world.tick().await, Report::default());
    world.advance(16 * MINUTE);
    let report = world.tick().await;
    assert!(report.due == 1 && report.oldest_overdue_s <= 900, "{report:?}");
    assert_eq!(world.run_jobs().await, Report { due: 1, refreshed: 1, ..Report::default() });
    let row = world.row().await;
    assert_eq!(row.expires_at, Some(world.clock.now() + Duration::from_secs(3599)));
    world.advance(40 * MINUTE);
    world.broker().access_token(Some(&row)).await.expect("valid");
    assert_eq!(world.google.calls(Endpoint::Token), 1, "nobody had to wait for Google");
}

#[tokio::test]
async fn a_tick_reads_each_shard_once_and_writes_nothing() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    world.table.clear_calls();
    assert_eq!(world.tick().await.due, 1);
    let calls = world.table.calls();
    assert!(calls.len() == 16 && calls.iter().all(|call| call.operation == "Query"));
    assert!(world.table.units() <= 8.0, "{} units", world.table.units());
}

#[tokio::test]
async fn an_idle_connection_is_kept_alive_once_a_week_without_a_new_version() {
    let world = World::connected().await;
    for _ in 0..40 {
        world.advance(HOUR);
        world.tick().await;
        world.run_jobs().await;
    }
    let (calls, versions) = (world.google.calls(Endpoint::Token), world.azure.vault.versions(&world.secret_name()));
    assert!((25..=50).contains(&calls), "a day and a quarter in use, {calls} refreshes");
    for _ in 0..28 {
        world.advance(DAY / 4);
        world.tick().await;
        world.run_jobs().await;
    }
    assert_eq!(world.google.calls(Endpoint::Token), calls + 1);
    assert_eq!(world.azure.vault.versions(&world.secret_name()), versions, "nobody needs the token");
    world.broker().access_token(Some(&world.row().await)).await.expect("refreshed for who needs it");
    assert_eq!(world.google.calls(Endpoint::Token), calls + 2);
    world.advance(46 * MINUTE);
    assert_eq!(world.tick().await.due, 1, "in use again");
}

#[tokio::test]
async fn a_keep_alive_keeps_a_new_refresh_token() {
    let world = World::connected().await;
    world.google.rotates_refresh_tokens(Rotation::AtOnce);
    let at = world.clock.now();
    world.change(|row| (row.used_at, row.due) = (None, Some(Due::new(Kind::Refresh, row.tenant_id, at)))).await;
    for _ in 0..3 {
        world.advance(8 * DAY);
        world.tick().await;
        assert_eq!(world.run_jobs().await.refreshed, 1);
    }
    world.broker().access_token(Some(&world.row().await)).await.expect("the newest refresh token was kept");
}

#[tokio::test]
async fn use_is_noted_once_in_six_hours_and_a_call_reads_nothing_for_it() {
    let world = World::connected().await;
    let broker = world.broker();
    world.table.clear_calls();
    let mut writes = 0;
    for _ in 0..12 {
        world.advance(HOUR);
        world.tick().await;
        world.run_jobs().await;
        let row = world.row().await;
        world.table.clear_calls();
        broker.access_token(Some(&row)).await.expect("fresh");
        assert!(world.table.calls().iter().all(|call| call.operation == "PutItem" && call.succeeded));
        writes += world.table.calls().len();
    }
    assert_eq!(writes, 2);
    assert_eq!(world.row().await.used_at, Some(world.clock.now()));
}

#[tokio::test]
async fn an_unknown_end_is_due_at_once() {
    let world = World::connected().await;
    world.change(|row| row.expires_at = None).await;
    let row = world.row().await;
    let due = nbhd::domain::refresh::with_next_renewal(row, world.clock.now()).due;
    world.change(|row| row.due = due).await;
    world.tick().await;
    assert_eq!(world.run_jobs().await.refreshed, 1);
}

#[tokio::test]
async fn of_ticks_that_overlap_one_refreshes() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    let (one, other) = tokio::join!(world.tick(), world.tick());
    assert_eq!((one.due, other.due), (1, 1));
    assert_eq!(world.sqs.messages(REFRESH).len(), 2);
    let report = world.run_jobs().await;
    assert_eq!((report.due, report.refreshed, report.skipped_leased + report.unchanged), (2, 1, 1));
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_tick_that_is_killed_anywhere_forgets_nothing_and_the_next_repeats_nothing() {
    let mut requests = 1;
    loop {
        let world = World::connected().await;
        world.connects(Provider::GoogleCalendar, ADA).await;
        world.advance(46 * MINUTE);
        let was_killed = world.journal.interruption().stop_after(requests, world.tick()).await.is_none();
        world.tick().await;
        world.run_jobs().await;
        assert_eq!(world.google.calls(Endpoint::Token), 2, "killed at request {requests}");
        assert_eq!(world.tick().await.due, 0);
        if !was_killed {
            break;
        }
        requests += 1;
    }
    // Sixteen shards and a batch.
    assert_eq!(requests, 18);
}

#[tokio::test]
async fn a_refresh_that_is_killed_anywhere_is_taken_up_and_leaves_one_version() {
    for rotation in [Rotation::Never, Rotation::WhenUsed] {
        let mut requests = 1;
        loop {
            let world = World::connected().await;
            world.google.rotates_refresh_tokens(rotation);
            world.advance(46 * MINUTE);
            world.tick().await;
            let was_killed = world.journal.interruption().stop_after(requests, world.run_jobs()).await.is_none();
            world.advance(lease::LEASE);
            world.tick().await;
            world.run_jobs().await;
            let row = world.row().await;
            assert_eq!((row.status, row.lease_until), (Status::Active, None), "killed at request {requests}");
            assert_eq!(world.tick().await.due, 0);
            let versions = world.azure.vault.versions(&row.secret_name);
            let readable: Vec<&String> = versions.iter().filter(|(_, on)| *on).map(|(version, _)| version).collect();
            assert_eq!(readable, [&row.secret_version], "killed at request {requests}");
            world.advance(HOUR);
            world.broker().access_token(Some(&row)).await.expect("no refresh token is lost");
            if !was_killed {
                break;
            }
            requests += 1;
        }
        // Row, lease, challenge, sign-in in two, secret, token endpoint, secret, old version, row.
        assert_eq!(requests, 11);
    }
}

#[tokio::test]
async fn of_many_runtime_calls_and_two_ticks_one_asks_google_and_all_are_answered() {
    const CALLERS: usize = 64;
    let world = Arc::new(World::connected().await);
    world.advance(HOUR);
    let row = Arc::new(world.row().await);
    // Whoever finds the lease taken sleeps until somebody is done.
    let (done, is_done) = watch::channel(0);
    let mut everyone = JoinSet::new();
    for caller in 0..CALLERS {
        if caller % 32 == 16 {
            let (world, done) = (Arc::clone(&world), done.clone());
            everyone.spawn(async move {
                world.tick().await;
                world.run_jobs().await;
                done.send_modify(|count| *count += 1);
                None
            });
        }
        let (is_done, done) = (is_done.clone(), done.clone());
        let broker = world.broker_with_waiter(Waiter::hook(move |_| {
            let mut is_done = is_done.clone();
            async move {
                let _ = is_done.changed().await;
            }
        }));
        let row = Arc::clone(&row);
        everyone.spawn(async move {
            let token = broker.access_token(Some(&row)).await;
            done.send_modify(|count| *count += 1);
            Some(token.map(|token| secrecy::ExposeSecret::expose_secret(&token).to_owned()))
        });
    }
    let mut tokens = Vec::new();
    while let Some(ended) = everyone.join_next().await {
        tokens.extend(ended.expect("no panic").map(|token| token.expect("answered")));
    }
    assert_eq!(tokens.len(), CALLERS);
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "all have the same token");
    assert_eq!(world.google.calls(Endpoint::Token), 1);
    assert_eq!(world.azure.vault.versions(&world.secret_name()).len(), 2);
}

#[tokio::test]
async fn a_vault_at_rest_defers_its_connections_without_a_write() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    let app = world.app();
    world.azure.vault.faults.fail_next(Operation::Get, key_vault::Failure::Throttled(30));
    let job = json!({ "job": "due", "connections": [[world.tenant, "gmail"]] }).to_string();
    assert_eq!(handled(&app, &job).await.failed, 1);
    let at = world.clock.now();
    let row = world.change(|row| row.due = Some(Due::new(Kind::Refresh, row.tenant_id, at))).await;
    world.journal.clear();
    assert_eq!(handled(&app, &job).await, Report { due: 1, deferred: 1, ..Report::default() });
    assert_eq!(world.row().await, row);
    assert!(world.journal.entries_of(KEY_VAULT).is_empty());
    assert_eq!(world.run_jobs().await, Report::default(), "put off");
    world.advance(MINUTE);
    assert_eq!(world.run_jobs().await, Report { due: 1, refreshed: 1, ..Report::default() }, "no tick was needed");
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn what_has_been_due_for_long_is_left_to_the_ticks() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    let app = world.app();
    world.azure.vault.faults.fail_next(Operation::Get, key_vault::Failure::Throttled(30));
    let job = json!({ "job": "due", "connections": [[world.tenant, "gmail"]] }).to_string();
    assert_eq!(handled(&app, &job).await.failed, 1);
    let at = world.clock.now() - 11 * MINUTE;
    world.change(|row| row.due = Some(Due::new(Kind::Refresh, row.tenant_id, at))).await;
    assert_eq!(handled(&app, &job).await.deferred, 1);
    assert!(world.sqs.messages(REFRESH).is_empty());
    assert_eq!(world.tick().await.due, 1);
}

#[tokio::test]
async fn a_disconnect_job_that_was_lost_is_queued_again() {
    let world = World::connected().await;
    let queue = nbhd::queue::Queues::new(&world.env).expect("settings").refresh_jobs(&world.sqs.url("refresh-dlq"));
    let now = world.clock.now();
    nbhd::flows::disconnect::request(&world.store, &queue, world.tenant, Provider::Gmail, now).await.expect("revoked");
    assert_eq!(world.tick().await.due, 0, "its own job comes first");
    world.advance(HOUR);
    assert_eq!(world.tick().await.due, 1);
    assert_eq!(world.run_jobs().await.disconnected, 1);
    assert!(world.azure.vault.names().is_empty() && world.row().await.due.is_none());
}

#[tokio::test]
async fn the_two_events_of_the_function_are_told_apart() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    let app = world.app();
    let tick =
        scheduled_refresh::handle_event(&app, json!({ "time": "2027-01-15T08:00:00Z" }), "id").await.expect("a report");
    assert_eq!((&tick["due"], &tick["failed"]), (&json!(1), &json!(0)));
    let message = world.sqs.messages(REFRESH).pop().expect("a job");
    let record = json!({ "messageId": "1", "body": message.sent.body });
    let worked = scheduled_refresh::handle_event(&app, json!({ "Records": [record] }), "id").await.expect("a response");
    assert_eq!(worked["batchItemFailures"], json!([]));
    assert_eq!(world.google.calls(Endpoint::Token), 1);
    world.table.faults.set_down(true);
    let record = json!({ "messageId": "2", "body": message.sent.body });
    let failed = scheduled_refresh::handle_event(&app, json!({ "Records": [record] }), "id").await.expect("a response");
    assert_eq!(failed["batchItemFailures"][0]["itemIdentifier"], "2");
}

async fn handled(app: &scheduled_refresh::App, job: &str) -> Report {
    let event = json!({ "Records": [{ "messageId": "1", "body": job }] });
    scheduled_refresh::process_batch(app, serde_json::from_value(event).expect("a batch"), "id").await.0
}
