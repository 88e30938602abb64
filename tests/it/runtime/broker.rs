//! The credential broker: a valid token, or the reason why not, by its name.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::scope::GrantedScopes;
use nbhd::flows::access_token::Denial;
use nbhd_sim::google::{Endpoint, Failure};
use nbhd_sim::key_vault::{self, KEY_VAULT, Operation};
use secrecy::ExposeSecret as _;

use crate::refresh::world::{ADA, HOUR, World};

#[tokio::test]
async fn a_valid_token_is_handed_out_without_google_and_then_without_the_vault() {
    let world = World::connected().await;
    let broker = world.broker();
    let row = world.row().await;
    let first = broker.access_token(Some(&row)).await.expect("valid");
    world.journal.clear();
    let second = broker.access_token(Some(&row)).await.expect("valid");
    assert_eq!(first.expose_secret(), second.expose_secret());
    assert!(world.journal.entries_of(KEY_VAULT).is_empty());
    assert_eq!(world.google.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_reconnect_ends_what_a_process_remembers() {
    let world = World::connected().await;
    let broker = world.broker();
    let first = broker.access_token(Some(&world.row().await)).await.expect("valid");
    world.connects(Provider::Gmail, ADA).await;
    let second = broker.access_token(Some(&world.row().await)).await.expect("valid");
    assert_ne!(first.expose_secret(), second.expose_secret());
}

#[tokio::test]
async fn not_connected() {
    let world = World::start().await;
    assert_eq!(world.broker().access_token(None).await.err(), Some(Denial::NotConnected));
}

#[tokio::test]
async fn inactive() {
    let world = World::connected().await;
    for status in [Status::Expired, Status::Revoked] {
        let row = world.change(|row| row.status = status).await;
        assert_eq!(world.broker().access_token(Some(&row)).await.err(), Some(Denial::Inactive { status }));
    }
}

#[tokio::test]
async fn a_disconnect_counts_at_once_even_where_a_token_is_remembered() {
    let world = World::connected().await;
    let broker = world.broker();
    broker.access_token(Some(&world.row().await)).await.expect("valid");
    let row = world.change(|row| row.status = Status::Revoked).await;
    let denied = broker.access_token(Some(&row)).await.err();
    assert_eq!(denied, Some(Denial::Inactive { status: Status::Revoked }));
}

#[tokio::test]
async fn scope_insufficient() {
    let world = World::connected().await;
    let row = world.change(|row| row.granted = GrantedScopes::parse("openid email")).await;
    assert_eq!(world.broker().access_token(Some(&row)).await.err(), Some(Denial::ScopeInsufficient));
}

#[tokio::test]
async fn not_configured() {
    for missing in ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] {
        let mut world = World::connected().await;
        world.env = world.env.clone().without(missing);
        let row = world.row().await;
        assert_eq!(world.broker().access_token(Some(&row)).await.err(), Some(Denial::NotConfigured));
    }
}

#[tokio::test]
async fn a_client_that_google_refuses_is_not_configured_and_ends_nothing() {
    let mut world = World::connected().await;
    world.env = world.env.clone().with("GOOGLE_CLIENT_SECRET", "wrong");
    world.advance(HOUR);
    let row = world.row().await;
    assert_eq!(world.broker().access_token(Some(&row)).await.err(), Some(Denial::NotConfigured));
    assert_eq!((world.row().await.status, world.row().await.lease_until), (Status::Active, None));
}

#[tokio::test]
async fn refresh_failed_and_ends_nothing() {
    let wait = Some(Duration::from_secs(7));
    for (failure, retry_after) in [
        (Failure::Throttled(Some(7)), wait),
        (Failure::Status(500), None),
        (Failure::Status(503), None),
        (Failure::NotJson, None),
        (Failure::AnswerLost, None),
        (Failure::OAuth("temporarily_unavailable"), None),
    ] {
        let world = World::connected().await;
        world.advance(HOUR);
        world.google.faults.fail_next(Endpoint::Token, failure.clone());
        let row = world.row().await;
        let denied = world.broker().access_token(Some(&row)).await.err();
        assert_eq!(denied, Some(Denial::RefreshFailed { retry_after }), "{failure:?}");
        let row = world.row().await;
        assert_eq!((row.status, row.lease_until, row.failures), (Status::Active, None, 1), "{failure:?}");

        world.broker().access_token(Some(&row)).await.expect("it passes");
        assert_eq!(world.row().await.failures, 0);
    }
}

#[tokio::test]
async fn store_unavailable_when_the_vault_fails_and_ends_nothing() {
    let wait = Some(Duration::from_secs(9));
    for (failure, retry_after) in [
        (key_vault::Failure::Throttled(9), wait),
        (key_vault::Failure::Status(StatusCode::INTERNAL_SERVER_ERROR), None),
        (key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE), None),
        (key_vault::Failure::Status(StatusCode::FORBIDDEN), None),
        (key_vault::Failure::Status(StatusCode::NOT_FOUND), None),
        (key_vault::Failure::NotJson, None),
    ] {
        // At the first read, and at the second, which precedes Google's final word.
        for reads_before in [0, 1] {
            let world = World::connected().await;
            world.advance(HOUR);
            world.google.person_revokes(ADA);
            if reads_before == 0 {
                world.azure.vault.faults.fail_all(failure);
            } else {
                world.azure.vault.faults.fail_after(Operation::Get, reads_before, failure);
            }
            let row = world.row().await;
            let denied = world.broker().access_token(Some(&row)).await.err();
            assert_eq!(denied, Some(Denial::StoreUnavailable { retry_after }), "{failure:?}");
            let row = world.row().await;
            assert_eq!(row.status, Status::Active, "{failure:?} after {reads_before}");
            assert!(!row.is_leased(world.clock.now()), "{failure:?} after {reads_before}");
        }
    }
}

#[tokio::test]
async fn store_unavailable_when_the_sign_in_fails() {
    let world = World::connected().await;
    world.azure.entra.faults.fail_any(StatusCode::SERVICE_UNAVAILABLE);
    let row = world.row().await;
    let denied = world.broker().access_token(Some(&row)).await.err();
    assert_eq!(denied, Some(Denial::StoreUnavailable { retry_after: None }));
}

#[tokio::test]
async fn store_unavailable_when_the_table_fails() {
    let world = World::connected().await;
    let row = world.row().await;
    world.advance(HOUR);
    world.table.faults.set_down(true);
    let denied = world.broker().access_token(Some(&row)).await.err();
    assert_eq!(denied, Some(Denial::StoreUnavailable { retry_after: None }));
    assert_eq!(world.google.calls(Endpoint::Token), 0, "no lease, no refresh");
}

#[tokio::test]
async fn a_vault_that_cannot_write_does_not_keep_a_fresh_token_from_its_caller() {
    for failure in [key_vault::Failure::Throttled(1), key_vault::Failure::AnswerLost] {
        let world = World::connected().await;
        world.advance(HOUR);
        world.azure.vault.faults.fail_next(Operation::Set, failure);
        let row = world.row().await;
        world.broker().access_token(Some(&row)).await.expect("Google gave one");
        let row = world.row().await;
        assert!(row.status == Status::Active && !row.is_leased(world.clock.now()));
        world.broker().access_token(Some(&row)).await.expect("the stored refresh token still works");
        assert_ne!(world.row().await.secret_version, row.secret_version);
        let versions = world.azure.vault.versions(&world.secret_name());
        assert_eq!(versions.iter().filter(|(_, enabled)| *enabled).count(), 1, "{failure:?}: {versions:?}");
    }
}
