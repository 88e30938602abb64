//! Every row of the table in `nbhd::domain::refresh`, as the clock and as a waiting runtime meets it.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::integration::{Integration, Status};
use nbhd::domain::refresh_failure::{Class, Failure};
use nbhd_sim::google::{self, Endpoint};
use nbhd_sim::key_vault::{self, Operation};

use crate::refresh::world::{ADA, CHAT, HOUR, World};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn invalid_grant_also_with_the_latest_version_expires_and_tells() {
    expires(Failure::GrantEnded, |world| world.google.person_revokes(ADA)).await;
}

#[tokio::test]
async fn an_account_that_google_shuts_us_out_of_expires_and_tells() {
    for code in ["access_denied", "admin_policy_enforced"] {
        let refuse = |world: &mut World| world.google.faults.fail_always(Endpoint::Token, google::Failure::OAuth(code));
        expires(Failure::GrantEnded, refuse).await;
    }
}

#[tokio::test]
async fn no_refresh_token_in_the_vault_expires_and_tells() {
    expires(Failure::NoRefreshToken, |world| {
        let secret_version = world.azure.vault.put(&world.secret_name(), r#"{"access_token":"a","expires_at":1}"#);
        drop(secret_version);
        let versions = world.azure.vault.versions(&world.secret_name());
        assert_eq!(versions.len(), 2);
        world.azure.vault.disables(&world.secret_name(), &versions[0].0);
    })
    .await;
}

#[tokio::test]
async fn invalid_client_or_unauthorized_client_backs_off() {
    for code in ["invalid_client", "unauthorized_client", "deleted_client", "invalid_scope", "org_internal"] {
        let refuse = |world: &mut World| world.google.faults.fail_always(Endpoint::Token, google::Failure::OAuth(code));
        backs_off(Failure::ClientRefused, refuse, |world| world.google.faults.recover()).await;
    }
}

#[tokio::test]
async fn a_client_that_is_not_configured_backs_off() {
    backs_off(
        Failure::NotConfigured,
        |world| world.env = world.env.clone().without("GOOGLE_CLIENT_SECRET"),
        |world| world.env = world.env.clone().with("GOOGLE_CLIENT_SECRET", world.google.client().secret),
    )
    .await;
}

#[tokio::test]
async fn a_vault_without_the_secret_backs_off() {
    // Also what a wrong address says, so it must not disconnect everyone.
    let elsewhere = World::start().await;
    let settings = elsewhere.azure.settings();
    backs_off(
        Failure::SecretMissing,
        |world| {
            for (name, value) in &settings {
                world.env = world.env.clone().with(name, value);
            }
        },
        |world| {
            for (name, value) in world.azure.settings() {
                world.env = world.env.clone().with(name, value);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_vault_that_the_settings_do_not_have_backs_off() {
    let world = World::connected().await;
    world.change(|row| row.vault = Some("https://gone.vault.azure.net".to_owned())).await;
    backs_off_in(
        world,
        Failure::VaultUnknown,
        |_| {},
        |world| {
            world.env = world.env.clone().with("KEY_VAULT_URLS", "https://gone.vault.azure.net");
        },
    )
    .await;
}

#[tokio::test]
async fn no_answer_from_google_backs_off() {
    let nowhere =
        |world: &mut World| world.env = world.env.clone().with("GOOGLE_TOKEN_URL", "http://127.0.0.1:1/token");
    backs_off(Failure::Unreachable, nowhere, |world| {
        world.env = world.env.clone().with("GOOGLE_TOKEN_URL", format!("{}/token", world.google.base_url()));
    })
    .await;
}

#[tokio::test]
async fn a_429_of_google_is_waited_for_and_no_longer_than_five_minutes() {
    for (asked, at_least) in [(1, Duration::ZERO), (240, 4 * MINUTE), (1_000_000, 5 * MINUTE)] {
        let world = World::connected().await;
        world.google.faults.fail_always(Endpoint::Token, google::Failure::Throttled(Some(asked)));
        let wait = backs_off_in(world, Failure::RateLimited, |_| {}, |world| world.google.faults.recover()).await;
        assert!((at_least..=5 * MINUTE).contains(&wait), "{asked}: {wait:?}");
    }
}

#[tokio::test]
async fn a_5xx_of_google_backs_off() {
    for failure in [google::Failure::Status(500), google::Failure::Status(503), google::Failure::AnswerLost] {
        let fail = |world: &mut World| world.google.faults.fail_always(Endpoint::Token, failure.clone());
        backs_off(Failure::ProviderDown, fail, |world| world.google.faults.recover()).await;
    }
}

#[tokio::test]
async fn an_answer_of_google_that_cannot_be_read_backs_off() {
    for failure in [google::Failure::NotJson, google::Failure::OAuth("temporarily_unavailable")] {
        let fail = |world: &mut World| world.google.faults.fail_always(Endpoint::Token, failure.clone());
        backs_off(Failure::Unreadable, fail, |world| world.google.faults.recover()).await;
    }
}

#[tokio::test]
async fn a_vault_that_throttles_backs_off() {
    let throttle = |world: &mut World| world.azure.vault.faults.fail_all(key_vault::Failure::Throttled(7));
    backs_off(Failure::VaultThrottled, throttle, |world| world.azure.vault.faults.recover()).await;
}

#[tokio::test]
async fn a_vault_that_is_down_backs_off() {
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
        let fail = |world: &mut World| world.azure.vault.faults.fail_all(key_vault::Failure::Status(status));
        backs_off(Failure::VaultDown, fail, |world| world.azure.vault.faults.recover()).await;
    }
    // A failed read is never a missing refresh token, and a failed write loses none.
    for operation in [Operation::Get, Operation::Set] {
        let fail = |world: &mut World| world.azure.vault.faults.fail_next(operation, key_vault::Failure::AnswerLost);
        backs_off(Failure::VaultDown, fail, |world| world.azure.vault.faults.recover()).await;
    }
}

#[tokio::test]
async fn a_table_that_is_down_leaves_the_connection_due() {
    let world = World::connected().await;
    world.advance(46 * MINUTE);
    let row = world.row().await;
    assert_eq!(world.tick().await.due, 1);
    world.table.faults.set_down(true);
    assert_eq!(world.run_jobs().await.failed, 1);
    assert_eq!(world.tick().await.due, 0, "nothing can be read");
    world.table.faults.set_down(false);
    assert_eq!(world.row().await, row);
    assert_eq!(world.google.calls(Endpoint::Token), 0);
    world.advance(6 * MINUTE);
    assert_eq!(world.run_jobs().await.refreshed, 1, "the message is redelivered");
}

/// By the clock and by a waiting runtime: Expired, told once, nothing more until something changes.
async fn expires(failure: Failure, end: impl Fn(&mut World)) {
    for by_clock in [true, false] {
        let mut world = World::connected().await;
        end(&mut world);
        world.advance(HOUR);
        if !by_clock {
            world.broker().access_token(Some(&world.row().await)).await.expect_err("it ended");
        }
        world.tick().await;
        let report = world.run_jobs().await;
        assert_eq!((report.expired, report.notified), (usize::from(by_clock), 1));
        let row = world.row().await;
        assert_eq!((row.status, row.failure, row.lease_until, &row.due), (Status::Expired, Some(failure), None, &None));
        for _ in 0..3 {
            world.advance(24 * HOUR);
            assert_eq!(world.tick().await.due, 0);
        }
        assert_eq!(world.telegram.sent_to(CHAT).len(), 1);
        assert_eq!(failure.class(), Class::Final);
    }
}

async fn backs_off(failure: Failure, fail: impl Fn(&mut World), mend: impl Fn(&mut World)) {
    backs_off_in(World::connected().await, failure, fail, mend).await;
}

/// By the clock, then by a waiting runtime: Active, counted, put off; then it passes, and nobody was told anything.
/// Returns how long the clock waits after the first failure.
async fn backs_off_in(
    mut world: World,
    failure: Failure,
    fail: impl Fn(&mut World),
    mend: impl Fn(&mut World),
) -> Duration {
    fail(&mut world);
    world.advance(HOUR);
    assert_eq!(world.tick().await.due, 1);
    assert_eq!(world.run_jobs().await.failed, 1, "{failure:?}");
    let wait = assert_postponed(&world, failure, 1).await;
    assert_eq!(world.tick().await.due, 0, "not before its time");

    fail(&mut world);
    // A vault that asked to be left alone has rested; the runtime's process is another one anyway.
    world.advance(Duration::from_secs(1));
    let row = world.row().await;
    let is_handed_out = world.broker().access_token(Some(&row)).await.is_ok();
    // Where it is turned away before it asks Google, there is nothing to count.
    let failures = world.row().await.failures;
    assert!(failures == 1 || (failures == 2 && world.row().await.version > row.version));
    assert_postponed(&world, failure, failures).await;

    mend(&mut world);
    if failure == Failure::VaultUnknown {
        // Its address is no simulator's: it is known, and cannot be reached.
        return wait;
    }
    world.advance(HOUR);
    assert_eq!(world.tick().await.due, 1);
    assert_eq!(world.run_jobs().await.refreshed, 1, "{failure:?}, handed out: {is_handed_out}");
    let row = world.row().await;
    assert_eq!((row.status, row.failures, row.failure), (Status::Active, 0, None));
    assert!(world.telegram.sent_to(CHAT).is_empty());
    assert!(world.broker().access_token(Some(&row)).await.is_ok());
    wait
}

async fn assert_postponed(world: &World, failure: Failure, failures: u32) -> Duration {
    let row: Integration = world.row().await;
    assert_eq!((row.status, row.failure, row.failures), (Status::Active, Some(failure), failures));
    assert!(!row.is_leased(world.clock.now()));
    let wait = row.due.as_ref().expect("due").at.since(world.clock.now());
    let first = if failure.class() == Class::Configuration { 5 * MINUTE } else { MINUTE };
    assert!(wait + Duration::from_secs(1) >= first / 2 && wait <= HOUR, "{failure:?}: {wait:?}");
    wait
}
