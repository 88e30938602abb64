//! The resource manager's client against its simulator: the parts around a container, and every way to fail.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::providers::Error;
use nbhd::providers::azure::resource_manager::{GrantOutcome, Group};
use nbhd_sim::arm::{ACCOUNT, ARM, ENVIRONMENT, Failure, LOCATION, Operation, Pace};
use nbhd_sim::azure::VAULT;
use nbhd_sim::entra::ENTRA;
use serde_json::json;
use uuid::Uuid;

use crate::vendors::arm_world::{NAME, ROLE, SECRET, World, share, tags};

#[tokio::test]
async fn every_part_is_created_found_and_deleted() {
    let world = World::start().await;
    let (client, group) = (&world.client, &world.group);
    world.deploy_app().await;

    let identity = client.get_identity(group, NAME).await.expect("an identity");
    assert_eq!((identity.tags, group.identity(NAME) == identity.id), (tags(), true));
    let scope = group.vault_secret(VAULT, SECRET);
    let role = client.get_role_assignment(&scope, ROLE).await.expect("a role");
    assert_eq!((role.principal_id, role.name, scope == role.scope), (identity.principal_id, Some(ROLE), true));
    assert_eq!(client.get_share(group, ACCOUNT, NAME).await.expect("a share"), share());
    assert_eq!(client.get_storage(group, ENVIRONMENT, NAME).await.expect("a storage"), world.storage());
    assert_eq!(world.arm.resources().len(), 5);

    let deleted = client.delete_app(group, NAME).await.expect("begun");
    world.await_operation(deleted).await;
    for _ in 0..2 {
        client.delete_storage(group, ENVIRONMENT, NAME).await.expect("deleted");
        client.delete_share(group, ACCOUNT, NAME).await.expect("deleted");
        client.revoke_role(&scope, ROLE).await.expect("revoked");
        client.delete_identity(group, NAME).await.expect("deleted");
    }
    assert!(matches!(client.get_identity(group, NAME).await, Err(Error::NotFound)));
    assert!(matches!(client.get_role_assignment(&scope, ROLE).await, Err(Error::NotFound)));
    assert!(matches!(client.get_share(group, ACCOUNT, NAME).await, Err(Error::NotFound)));
    assert!(matches!(client.get_storage(group, ENVIRONMENT, NAME).await, Err(Error::NotFound)));
    assert_eq!(world.arm.resources(), []);
    world.assert_contract();
}

#[tokio::test]
async fn putting_a_part_twice_leaves_one() {
    let world = World::start().await;
    world.prepare_app().await;
    let first = world.client.get_identity(&world.group, NAME).await.expect("an identity");
    world.prepare_app().await;
    assert_eq!(world.client.get_identity(&world.group, NAME).await.expect("the same"), first);
    assert_eq!(world.arm.resources().len(), 4);
}

#[tokio::test]
async fn a_process_signs_in_once() {
    let world = World::start().await;
    world.identity().await;
    world.identity().await;
    assert_eq!((world.journal.entries_of(ENTRA).len(), world.journal.entries_of(ARM).len()), (1, 2));
}

#[tokio::test]
async fn without_a_token_nothing_is_said() {
    let world = World::start().await;
    let url = format!("{}{}?api-version=2024-11-30", world.arm.base_url(), world.group.identity(NAME));
    let answer = world.http.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
    assert!(challenge.starts_with("Bearer authorization="));

    world.identity().await;
    world.azure.entra.revokes_tokens();
    let refused = world.client.get_identity(&world.group, NAME).await;
    assert!(matches!(refused, Err(Error::Unauthorized)));
    world.assert_contract();
}

#[tokio::test]
async fn a_new_principal_is_unknown_for_a_while() {
    let world = World::start().await;
    let scope = world.group.vault_secret(VAULT, SECRET);
    world.arm.delays_principals(Pace::After(Duration::from_secs(60)));
    let identity = world.identity().await;
    let grant = || world.client.grant_secret(&scope, ROLE, &identity.principal_id);

    assert_eq!(grant().await.expect("an answer"), GrantOutcome::PrincipalUnknown);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(grant().await.expect("an answer"), GrantOutcome::InPlace);
    assert_eq!(grant().await.expect("an answer"), GrantOutcome::InPlace);
    assert!(world.arm.may_read(&identity.principal_id, VAULT, SECRET));
    world.assert_contract();
}

#[tokio::test]
async fn a_role_reads_the_one_secret_it_is_scoped_to() {
    let world = World::start().await;
    world.prepare_app().await;
    let reader = world.client.get_identity(&world.group, NAME).await.expect("an identity").principal_id;
    assert_eq!(world.arm.readers(VAULT, SECRET), std::slice::from_ref(&reader));
    for (vault, secret) in [(VAULT, "runtime-t10"), (VAULT, "runtime-t"), ("other", SECRET)] {
        assert!(!world.arm.may_read(&reader, vault, secret), "{vault} {secret}");
    }
}

#[tokio::test]
async fn a_role_under_another_name_is_in_place_as_well() {
    let world = World::start().await;
    world.prepare_app().await;
    let scope = world.group.vault_secret(VAULT, SECRET);
    let principal = world.client.get_identity(&world.group, NAME).await.expect("an identity").principal_id;
    let again = world.client.grant_secret(&scope, Uuid::from_u128(2), &principal).await.expect("an answer");
    assert_eq!(again, GrantOutcome::InPlace);
    let found = world.role_assignments(&scope).await;
    assert_eq!(found.iter().map(|role| &role["name"]).collect::<Vec<_>>(), [&json!(ROLE)]);
    world.assert_contract();
}

#[tokio::test]
async fn an_identity_made_anew_needs_its_role_made_anew() {
    let world = World::start().await;
    world.prepare_app().await;
    let scope = world.group.vault_secret(VAULT, SECRET);
    world.client.delete_identity(&world.group, NAME).await.expect("deleted");
    assert_eq!(world.role_assignments(&scope).await.len(), 1, "it stays behind");

    let identity = world.identity().await;
    let grant = || world.client.grant_secret(&scope, ROLE, &identity.principal_id);
    assert_eq!(grant().await.expect("an answer"), GrantOutcome::NameTaken);
    world.client.revoke_role(&scope, ROLE).await.expect("revoked");
    assert_eq!(grant().await.expect("an answer"), GrantOutcome::InPlace);
    world.assert_contract();
}

#[tokio::test]
async fn a_full_subscription_says_so_and_another_has_room() {
    let world = World::start().await;
    world.arm.allows_role_assignments(1);
    world.prepare_app().await;
    let identity = world.identity().await;
    let other = world.arm.adds_subscription();
    let grant = async |group: &Group, secret: &str, name| {
        let scope = group.vault_secret(VAULT, secret);
        world.client.grant_secret(&scope, Uuid::from_u128(name), &identity.principal_id).await.expect("an answer")
    };
    assert_eq!(grant(&world.group, "second", 2).await, GrantOutcome::LimitReached);
    assert_eq!(grant(&other, "second", 2).await, GrantOutcome::InPlace);
    let of = async |group: &Group| world.role_assignments(&group.subscription()).await.len();
    assert_eq!((of(&world.group).await, of(&other).await), (1, 1));
}

#[tokio::test]
async fn lists_go_on_over_their_pages() {
    let world = World::start().await;
    for n in 0..45 {
        let name = format!("nbhd-{n:02}");
        let (identity, share) = (world.group.identity(&name), world.group.share(ACCOUNT, &name));
        let storage = world.group.storage(ENVIRONMENT, &name);
        world.arm.creates(identity.as_str(), json!({"location": LOCATION, "tags": {"nbhd-tenant": name}}));
        world.arm.creates(share.as_str(), json!({"properties": {"shareQuota": 5}}));
        world.arm.creates(storage.as_str(), json!({"properties": {}}));
    }
    world.arm.creates(world.group.identity("foreign").as_str(), json!({"location": LOCATION, "tags": {"a": "b"}}));
    let group = format!("{}/resourceGroups/{}", world.group.subscription(), world.group.name);
    let tagged = "2021-04-01&$filter=tagName%20eq%20%27nbhd-tenant%27";
    let resources = world.list(format!("{group}/resources"), tagged).await;
    assert_eq!((resources.len(), &resources[44]["tags"]["nbhd-tenant"]), (45, &json!("nbhd-44")));
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}");
    assert_eq!(world.list(format!("{account}/fileServices/default/shares"), "2025-06-01").await.len(), 45);
    let environment = world.group.environment(ENVIRONMENT);
    assert_eq!(world.list(format!("{environment}/storages"), "2026-01-01").await[0]["name"], "nbhd-00");
}

#[tokio::test]
async fn a_wrong_address_of_ours_is_never_not_found() {
    let world = World::start().await;
    world.identity().await;
    let wrong = [
        Group { name: "other".to_owned(), ..world.group.clone() },
        Group { subscription_id: Uuid::nil().to_string(), ..world.group.clone() },
    ];
    for group in wrong {
        let answer = world.client.get_identity(&group, NAME).await;
        assert!(matches!(&answer, Err(Error::Refused { status: 404, .. })), "{answer:?}");
        let answer = world.client.delete_identity(&group, NAME).await;
        assert!(matches!(&answer, Err(Error::Refused { status: 404, .. })), "{answer:?}");
    }
    let account = world.client.delete_share(&world.group, "otheraccount", NAME).await;
    assert!(matches!(account, Err(Error::Refused { status: 404, reason }) if reason == "ParentResourceNotFound"));
}

#[tokio::test]
async fn a_name_that_would_lead_elsewhere_is_not_sent() {
    let world = World::start().await;
    let answer = world.client.delete_identity(&world.group, "a/../b?x").await;
    assert!(matches!(answer, Err(Error::Refused { status: 400, reason }) if reason == "InvalidName"));
    assert!(world.journal.entries_of(ARM).is_empty());
}

#[tokio::test]
async fn throttling_says_how_long_to_wait() {
    let world = World::start().await;
    world.arm.faults.fail_next(Operation::PutIdentity, Failure::Throttled(17));
    let answer = world.client.put_identity(&world.group, NAME, LOCATION, &tags()).await;
    let wait = Some(Duration::from_secs(17));
    assert!(matches!(answer, Err(Error::RateLimited { retry_after }) if retry_after == wait));
    assert_eq!(world.arm.resources(), []);
    world.assert_contract();
}

#[tokio::test]
async fn no_failure_of_azure_is_a_final_word() {
    let world = World::start().await;
    for failure in [
        Failure::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Failure::Status(StatusCode::SERVICE_UNAVAILABLE),
        Failure::Status(StatusCode::REQUEST_TIMEOUT),
        Failure::ConnectionLost,
        Failure::NotJson,
        Failure::Throttled(1),
    ] {
        world.arm.faults.fail_all(failure);
        let error = world.client.put_identity(&world.group, NAME, LOCATION, &tags()).await.expect_err("down");
        assert!(error.is_retryable(), "{failure:?}: {error:?}");
        let error = world.client.get_app(&world.group, NAME).await.expect_err("down");
        assert!(error.is_retryable(), "{failure:?}: {error:?}");
    }
    world.arm.faults.recover();
    assert_eq!(world.arm.resources(), []);
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect_and_doing_it_again_is_harmless() {
    let world = World::start().await;
    world.arm.faults.fail_next(Operation::PutIdentity, Failure::AnswerLost);
    let answer = world.client.put_identity(&world.group, NAME, LOCATION, &tags()).await;
    assert!(matches!(answer, Err(Error::Unreachable { .. })));
    let made = world.client.get_identity(&world.group, NAME).await.expect("it was made");
    assert_eq!(world.identity().await, made);
}

#[tokio::test]
async fn a_sign_in_that_fails_says_nothing_of_the_resource() {
    let world = World::start().await;
    world.azure.entra.faults.fail_any(StatusCode::SERVICE_UNAVAILABLE);
    let error = world.client.get_identity(&world.group, NAME).await.expect_err("no token");
    assert!(error.is_retryable(), "{error:?}");
    assert!(world.journal.entries_of(ARM).is_empty());
}

#[tokio::test]
async fn the_client_shows_no_secret() {
    let world = World::start().await;
    let shown = format!("{:?}", world.client);
    assert!(!shown.contains("secret"), "{shown}");
}
