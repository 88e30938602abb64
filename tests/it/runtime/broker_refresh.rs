//! The credential broker's refresh: when, by whom, what is kept, and what ends a connection.

use std::sync::Arc;
use std::time::Duration;

use nbhd::clock::Waiter;
use nbhd::domain::integration::{Provider, Status};
use nbhd::flows::access_token::Denial;
use nbhd::flows::lease;
use nbhd::flows::stored_token::StoredFields;
use nbhd_sim::google::{Endpoint, Rotation};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::refresh::world::{ADA, HOUR, World};

#[tokio::test]
async fn a_token_is_refreshed_two_minutes_before_its_end_and_not_earlier() {
    let world = World::connected().await;
    let row = world.row().await;
    world.advance(HOUR - Duration::from_secs(121));
    world.broker().access_token(Some(&row)).await.expect("valid");
    assert_eq!(world.google.calls(Endpoint::Token), 0);
    world.advance(Duration::from_secs(1));
    world.broker().access_token(Some(&row)).await.expect("refreshed");
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_missing_or_malformed_access_token_is_refreshed() {
    let world = World::connected().await;
    let refresh = stored(&world).refresh_token.expect("stored").expose_secret().to_owned();
    for value in [
        format!(r#"{{"refresh_token":"{refresh}"}}"#),
        format!(r#"{{"refresh_token":"{refresh}","access_token":"two words","expires_at":9999999999999}}"#),
        format!(r#"{{"refresh_token":"{refresh}","access_token":"token"}}"#),
        format!(r#"{{"refresh_token":"{refresh}","access_token":"token","expires_at":"never"}}"#),
    ] {
        let secret_version = world.azure.vault.put(&world.secret_name(), &value);
        let row = world.change(|row| row.secret_version = secret_version).await;
        let token = world.broker().access_token(Some(&row)).await.expect("refreshed");
        assert!(token.expose_secret().starts_with("ya29."), "{value}");
    }
    assert_eq!(world.google.calls(Endpoint::Token), 4);
}

#[tokio::test]
async fn the_old_refresh_token_is_kept_when_google_returns_none() {
    let world = World::connected().await;
    let before = stored(&world);
    world.advance(HOUR);
    world.broker().access_token(Some(&world.row().await)).await.expect("refreshed");
    let after = stored(&world);
    assert!(is_same(before.refresh_token, after.refresh_token));
    assert!(!is_same(before.access_token, after.access_token));
    assert_eq!(after.account.as_deref(), Some(ADA));
    assert_eq!(after.expires_at, world.row().await.expires_at);
}

#[tokio::test]
async fn a_new_refresh_token_replaces_the_old() {
    let world = World::connected().await;
    world.google.rotates_refresh_tokens(Rotation::AtOnce);
    let before = stored(&world);
    for _ in 0..3 {
        world.advance(HOUR);
        world.broker().access_token(Some(&world.row().await)).await.expect("refreshed");
    }
    assert!(!is_same(before.refresh_token, stored(&world).refresh_token));
}

#[tokio::test]
async fn a_refresh_disables_the_version_it_supersedes() {
    let world = World::connected().await;
    world.advance(HOUR);
    world.broker().access_token(Some(&world.row().await)).await.expect("refreshed");
    let versions: Vec<bool> = world.azure.vault.versions(&world.secret_name()).into_iter().map(|(_, on)| on).collect();
    assert_eq!(versions, [false, true]);
}

#[tokio::test]
async fn a_row_read_before_a_refresh_finds_the_refreshed_token() {
    let world = World::connected().await;
    let stale = world.row().await;
    world.advance(HOUR);
    let fresh = world.broker().access_token(Some(&stale)).await.expect("refreshed");
    let again = world.broker().access_token(Some(&stale)).await.expect("found");
    assert_eq!(fresh.expose_secret(), again.expose_secret());
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn googles_final_word_expires_the_connection() {
    let world = World::connected().await;
    world.advance(HOUR);
    world.google.person_revokes(ADA);
    let row = world.row().await;
    let expired = Some(Denial::Inactive { status: Status::Expired });
    assert_eq!(world.broker().access_token(Some(&row)).await.err(), expired);
    assert_eq!((world.row().await.status, world.row().await.lease_until), (Status::Expired, None));
}

#[tokio::test]
async fn a_secret_without_a_refresh_token_expires_the_connection() {
    let world = World::connected().await;
    let secret_version = world.azure.vault.put(&world.secret_name(), r#"{"access_token":"a","expires_at":1}"#);
    let row = world.change(|row| row.secret_version = secret_version).await;
    let expired = Some(Denial::Inactive { status: Status::Expired });
    assert_eq!(world.broker().access_token(Some(&row)).await.err(), expired);
    assert_eq!(world.row().await.status, Status::Expired);
    assert_eq!(world.google.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_newer_version_in_the_vault_is_tried_before_the_final_word_is_believed() {
    let world = World::connected().await;
    let row = world.row().await;
    // A worker got new tokens and wrote them to the vault, and died before the row.
    world.google.person_revokes(ADA);
    world.connects(Provider::Gmail, ADA).await;
    world.change(|changed| changed.secret_version.clone_from(&row.secret_version)).await;
    world.advance(HOUR);

    world.broker().access_token(Some(&world.row().await)).await.expect("the newer refresh token works");
    assert_eq!(world.row().await.status, Status::Active);
    assert_eq!(world.google.calls(Endpoint::Token), 2);
}

#[tokio::test]
async fn a_newer_version_that_is_refused_too_expires_the_connection() {
    let world = World::connected().await;
    let row = world.row().await;
    world.connects(Provider::Gmail, ADA).await;
    world.change(|changed| changed.secret_version.clone_from(&row.secret_version)).await;
    world.google.person_revokes(ADA);
    world.advance(HOUR);

    assert!(world.broker().access_token(Some(&world.row().await)).await.is_err());
    assert_eq!(world.row().await.status, Status::Expired);
    assert_eq!(world.google.calls(Endpoint::Token), 2, "each version once");
}

#[tokio::test]
async fn a_vault_without_the_secret_asks_the_person_to_reconnect_and_leaves_the_row() {
    let mut world = World::connected().await;
    // A vault address that leads to another vault says the same.
    let elsewhere = World::start().await;
    for (name, value) in elsewhere.azure.settings() {
        world.env = world.env.with(name, value);
    }
    let row = world.row().await;
    let reconnect = Some(Denial::Inactive { status: Status::Expired });
    assert_eq!(world.broker().access_token(Some(&row)).await.err(), reconnect);
    assert_eq!((world.row().await.status, world.row().await.lease_until), (Status::Active, None));
}

#[tokio::test]
async fn of_many_callers_one_refreshes_and_all_are_answered() {
    const CALLERS: usize = 64;
    let world = World::connected().await;
    let row = Arc::new(world.row().await);
    world.advance(HOUR);
    // Whoever finds the lease taken sleeps until the first caller is done.
    let (done, is_done) = watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let is_done = is_done.clone();
        let broker = world.broker_with_waiter(Waiter::hook(move |_| {
            let mut is_done = is_done.clone();
            async move {
                let _ = is_done.wait_for(|done| *done).await;
            }
        }));
        let row = Arc::clone(&row);
        callers.spawn(async move { broker.access_token(Some(&row)).await });
    }
    let mut tokens = Vec::new();
    while let Some(token) = callers.join_next().await {
        tokens.push(token.expect("no panic").expect("a token").expose_secret().to_owned());
        done.send_replace(true);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "all have the same token");
    assert_eq!(world.google.calls(Endpoint::Token), 1);
    assert_eq!(world.azure.vault.versions(&world.secret_name()).len(), 2);
}

#[tokio::test]
async fn a_caller_does_not_wait_for_ever() {
    let world = World::connected().await;
    world.advance(HOUR);
    lease::try_acquire(&world.store, &world.row().await, world.clock.now()).await.expect("a table").expect("free");
    let start = world.clock.now();
    let row = world.row().await;
    let denied = world.broker().access_token(Some(&row)).await.err();
    assert_eq!(denied, Some(Denial::RefreshFailed { retry_after: None }));
    assert_eq!(world.clock.now().since(start), Duration::from_secs(10));
    assert_eq!(world.google.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_lease_whose_holder_died_runs_out() {
    let world = World::connected().await;
    world.advance(HOUR);
    lease::try_acquire(&world.store, &world.row().await, world.clock.now()).await.expect("a table").expect("free");
    world.advance(lease::LEASE);
    world.broker().access_token(Some(&world.row().await)).await.expect("refreshed");
}

#[tokio::test]
async fn a_disconnect_after_a_refresh_died_under_its_lease_wins() {
    let world = World::connected().await;
    world.advance(HOUR);
    let row = world.row().await;
    // Challenge, sign-in, secret, lease.
    let broker = world.broker();
    let refresh = broker.access_token(Some(&row));
    let stopped = world.journal.interruption().stop_after(4, refresh).await;
    assert!(stopped.is_none());
    let row = world.change(|row| row.status = Status::Revoked).await;
    world.advance(lease::LEASE);
    let denied = world.broker().access_token(Some(&row)).await.err();
    assert_eq!(denied, Some(Denial::Inactive { status: Status::Revoked }));
    assert_eq!(world.row().await.status, Status::Revoked);
}

#[tokio::test]
async fn a_refresh_stopped_after_any_effect_is_taken_up_by_the_next_caller() {
    let mut requests = 1;
    loop {
        let world = World::connected().await;
        world.advance(HOUR);
        let row = world.row().await;
        let broker = world.broker();
        let refresh = broker.access_token(Some(&row));
        let was_stopped = world.journal.interruption().stop_after(requests, refresh).await.is_none();
        world.advance(lease::LEASE);
        let row = world.row().await;
        world.broker().access_token(Some(&row)).await.unwrap_or_else(|denied| panic!("{denied} after {requests}"));
        let row = world.row().await;
        assert_eq!((row.status, row.lease_until), (Status::Active, None), "after a stop at request {requests}");
        assert!(stored(&world).refresh_token.is_some());
        if !was_stopped {
            break;
        }
        requests += 1;
    }
    // Challenge, AWS's word, sign-in, secret, lease, token endpoint, secret, row, old version.
    assert_eq!(requests, 10);
}

#[tokio::test]
async fn a_refused_token_is_renewed() {
    let world = World::connected().await;
    let broker = world.broker();
    let row = world.row().await;
    let refused = broker.access_token(Some(&row)).await.expect("valid by its end");
    let renewed = broker.replace_token(Some(&row), &refused).await.expect("refreshed");
    assert_ne!(refused.expose_secret(), renewed.expose_secret());
    let next = broker.access_token(Some(&world.row().await)).await.expect("valid");
    assert_eq!(next.expose_secret(), renewed.expose_secret());
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_refused_token_that_another_process_renewed_is_not_renewed_again() {
    let world = World::connected().await;
    let (one, other) = (world.broker(), world.broker());
    let row = world.row().await;
    let refused = one.access_token(Some(&row)).await.expect("valid by its end");
    other.access_token(Some(&row)).await.expect("remembered");
    let first = one.replace_token(Some(&row), &refused).await.expect("refreshed");
    let second = other.replace_token(Some(&row), &refused).await.expect("found");
    assert_eq!(first.expose_secret(), second.expose_secret());
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_refused_token_of_an_ended_grant_expires_the_connection() {
    let world = World::connected().await;
    let broker = world.broker();
    let row = world.row().await;
    let refused = broker.access_token(Some(&row)).await.expect("valid by its end");
    world.google.person_revokes(ADA);
    let denied = broker.replace_token(Some(&row), &refused).await.err();
    assert_eq!(denied, Some(Denial::Inactive { status: Status::Expired }));
}

/// What the vault holds for Ada's Gmail.
fn stored(world: &World) -> StoredFields {
    StoredFields::parse(&world.azure.vault.value(&world.secret_name()).expect("a secret").into())
}

fn is_same(one: Option<SecretString>, other: Option<SecretString>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.expose_secret() == other.expose_secret(),
        (None, _) | (_, None) => false,
    }
}
