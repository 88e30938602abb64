//! Our client of Google's token, revocation and userinfo endpoints: what it asks, and what it makes of each answer.

use std::time::Duration;

use nbhd::config::Env;
use nbhd::domain::integration::Provider;
use nbhd::providers;
use nbhd::providers::google::oauth::{Client, Error, Tokens};
use nbhd_sim::google::{Endpoint, Failure, Rotation, Scopes};
use secrecy::{ExposeSecret as _, SecretString};

use crate::vendors::google_world::{CALENDAR, GMAIL, PERSON, REDIRECT, World};

/// The verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

#[tokio::test]
async fn a_code_becomes_tokens_with_what_was_really_granted() {
    let world = World::start().await;
    let code = code(&world, &Scopes::Only(vec!["calendar.readonly"]));
    let tokens = exchange(&world, &code).await.expect("tokens");
    assert!(tokens.refresh_token.is_some());
    assert_eq!(tokens.lifetime, Duration::from_secs(3599));
    let granted = tokens.granted.expect("Google says what it granted");
    assert!(Provider::GoogleCalendar.is_readable_with(&granted) && !Provider::Gmail.is_readable_with(&granted));
}

#[tokio::test]
async fn a_code_without_its_verifier_or_used_twice_is_no_longer_valid() {
    let world = World::start().await;
    let code = code(&world, &Scopes::All);
    let other: SecretString = "x".repeat(43).into();
    let refused = client(&world).exchange_code(&code, &other, REDIRECT).await;
    assert!(matches!(refused, Err(Error::InvalidGrant { .. })));

    let code = self::code(&world, &Scopes::All);
    exchange(&world, &code).await.expect("tokens");
    assert!(matches!(exchange(&world, &code).await, Err(Error::InvalidGrant { .. })));
}

#[tokio::test]
async fn a_refresh_keeps_the_refresh_token_unless_google_sends_another() {
    let world = World::start().await;
    let first = tokens(&world).await;
    let old = first.refresh_token.expect("asked for");
    let kept = client(&world).refresh_access_token(&old).await.expect("tokens");
    assert_ne!(kept.access_token.expose_secret(), first.access_token.expose_secret());
    assert_eq!(kept.refresh_token.expect("kept").expose_secret(), old.expose_secret());

    world.google.rotates_refresh_tokens(Rotation::AtOnce);
    let rotated = client(&world).refresh_access_token(&old).await.expect("tokens");
    assert_ne!(rotated.refresh_token.expect("sent").expose_secret(), old.expose_secret());
}

#[tokio::test]
async fn only_invalid_grant_is_final() {
    let world = World::start().await;
    let refresh_token = tokens(&world).await.refresh_token.expect("asked for");
    for (failure, is_final) in [
        (Failure::OAuth("invalid_grant"), true),
        (Failure::OAuth("access_denied"), true),
        (Failure::OAuth("admin_policy_enforced"), true),
        (Failure::OAuth("invalid_client"), false),
        (Failure::OAuth("unauthorized_client"), false),
        (Failure::OAuth("a_code_from_the_future"), false),
        (Failure::Status(500), false),
        (Failure::Status(503), false),
        (Failure::Throttled(None), false),
        (Failure::NotJson, false),
        (Failure::AnswerLost, false),
    ] {
        world.google.faults.fail_next(Endpoint::Token, failure.clone());
        let error = client(&world).refresh_access_token(&refresh_token).await.err().expect("it failed");
        assert_eq!(matches!(error, Error::InvalidGrant { .. }), is_final, "{failure:?}");
        let shown = format!("{error:?}");
        assert!(!shown.contains(refresh_token.expose_secret()), "{shown}");
    }
    assert!(client(&world).refresh_access_token(&refresh_token).await.is_ok());
    world.google.person_revokes(PERSON);
    assert!(matches!(client(&world).refresh_access_token(&refresh_token).await, Err(Error::InvalidGrant { .. })));
}

#[tokio::test]
async fn what_is_ours_to_configure_is_told_apart_from_what_passes() {
    let world = World::start().await;
    let refresh_token = tokens(&world).await.refresh_token.expect("asked for");
    let wrong_secret = settings(&world).with("GOOGLE_CLIENT_SECRET", "GOCSPX-of-another-project");
    let client = Client::from_env(&wrong_secret, world.http.clone()).expect("usable").expect("configured");
    let refused = client.refresh_access_token(&refresh_token).await;
    assert!(matches!(refused, Err(Error::Configuration { code }) if code == "invalid_client"));

    world.google.faults.fail_next(Endpoint::Token, Failure::Throttled(Some(7)));
    let limited = self::client(&world).refresh_access_token(&refresh_token).await;
    let Err(Error::Transient(providers::Error::RateLimited { retry_after })) = limited else {
        panic!("a rate limit passes");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_grant_is_revoked_once_and_again_without_harm() {
    let world = World::start().await;
    let refresh_token = tokens(&world).await.refresh_token.expect("asked for");
    world.google.faults.fail_next(Endpoint::Revoke, Failure::Status(503));
    let down = client(&world).revoke_grant(&refresh_token).await;
    assert!(matches!(down, Err(providers::Error::Failed { status: 503 })));
    for _ in ["once", "and again"] {
        client(&world).revoke_grant(&refresh_token).await.expect("gone");
    }
    assert!(world.google.granted_scopes(PERSON).is_empty());
    // The token travels in the body: addresses end up in logs.
    assert!(world.journal.entries().iter().all(|entry| !entry.path.contains(refresh_token.expose_secret())));
}

#[tokio::test]
async fn the_account_is_named_while_its_token_is_good() {
    let world = World::start().await;
    let access_token = tokens(&world).await.access_token;
    let account = client(&world).get_account(&access_token).await.expect("an account");
    assert_eq!(account.email.as_deref(), Some(PERSON));
    assert!(!account.sub.is_empty());
    let openid = settings(&world).with("GOOGLE_USERINFO_URL", format!("{}/v1/userinfo", world.google.base_url()));
    let openid = Client::from_env(&openid, world.http.clone()).expect("usable").expect("configured");
    assert_eq!(openid.get_account(&access_token).await.expect("the same").sub, account.sub);

    world.clock.advance(Duration::from_secs(3600));
    let late = client(&world).get_account(&access_token).await;
    assert!(matches!(late, Err(providers::Error::Unauthorized)));
}

#[tokio::test]
async fn without_id_or_secret_there_is_no_client() {
    let world = World::start().await;
    for setting in ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] {
        let client = Client::from_env(&settings(&world).without(setting), world.http.clone());
        assert!(client.expect("usable").is_none(), "{setting}");
    }
}

fn settings(world: &World) -> Env {
    Env::from_pairs(world.google.settings())
}

fn client(world: &World) -> Client {
    Client::from_env(&settings(world), world.http.clone()).expect("usable").expect("configured")
}

fn code(world: &World, scopes: &Scopes) -> SecretString {
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("prompt", "consent")];
    let url = world.consent_url(&format!("openid email {GMAIL} {CALENDAR}"), &pkce);
    world.consents(&url, scopes)["code"].as_str().into()
}

async fn exchange(world: &World, code: &SecretString) -> Result<Tokens, Error> {
    client(world).exchange_code(code, &VERIFIER.into(), REDIRECT).await
}

async fn tokens(world: &World) -> Tokens {
    exchange(world, &code(world, &Scopes::All)).await.expect("tokens")
}
