//! Every way to come back from Google without a connection, each by its stable code.

use axum::http::StatusCode;
use nbhd::domain::integration::Provider;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::connect_link::{LIFETIME, Services};
use nbhd_sim::google::{Endpoint, Failure, Scopes};
use nbhd_sim::key_vault;
use url::Url;

use crate::oauth::world::{ADA, ADA_CHAT, BASE, LONGEST_REQUEST, World};

#[tokio::test]
async fn access_denied_when_the_person_cancels_and_the_link_still_works() {
    let world = World::start().await;
    let mut browser = world.browser();
    let link = world.link(Services::Gmail);
    let consent = world.consent_page(&mut browser, &link).await;
    let back = world.google.consents(&consent, ADA, &Scopes::Deny).expect("sent back");
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "access_denied"));
    assert!(world.has_no_calls());

    let consent = world.consent_page(&mut browser, &link).await;
    let back = world.google.consents(&consent, ADA, &Scopes::All).expect("sent back");
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}

#[tokio::test]
async fn invalid_state_when_it_is_not_ours_or_for_another_service() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let elsewhere = back.replace("/oauth/gmail/", "/oauth/google/");
    for address in [&format!("{BASE}/oauth/gmail/callback?code=4/0A&state=eyJ.eyJ.x"), &elsewhere] {
        let page = browser.get(address).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "invalid_state"), "{address}");
    }
    assert!(world.has_no_calls());
}

#[tokio::test]
async fn invalid_state_when_the_tenant_is_gone() {
    for tombstone in [false, true] {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        let tenant = world.tenant().await;
        if tombstone {
            let left = tenant.to_tombstone(world.clock.now());
            world.store.save_tombstone(&left, tenant.version).await.expect("unchanged meanwhile");
        } else {
            let gone = Tenant { lifecycle: Lifecycle::Deprovisioning, ..tenant.clone() };
            world.store.save_tenant(&gone, Some(tenant.version)).await.expect("unchanged meanwhile");
        }
        let page = browser.get(&back).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "invalid_state"));
        assert_eq!(world.google.calls(Endpoint::Token), 0);
    }
}

#[tokio::test]
async fn expired_state_after_ten_minutes() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.advance(LIFETIME);
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::GONE, "expired_state"));
    assert_eq!((world.table.calls().len(), world.google.calls(Endpoint::Token)), (1, 0), "one read, no exchange");
}

#[tokio::test]
async fn replayed_state_when_it_is_spent_and_its_end_unknown() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let state = Url::parse(&back)
        .expect("a URL")
        .query_pairs()
        .find(|(name, _)| name == "state")
        .expect("a state")
        .1
        .into_owned();
    let jti = world.links.read_state(&state).expect("our own").jti;
    world.store.spend_nonce::<String>(&jti, world.clock.now(), LIFETIME).await.expect("the table is up");
    // Whoever spent it has ended by now.
    world.advance(LONGEST_REQUEST);
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::CONFLICT, "replayed_state"));
    assert!(page.body.contains("send /connect again") && world.google.calls(Endpoint::Token) == 0);
}

#[tokio::test]
async fn wrong_browser_when_the_cookie_is_missing_or_of_another_link() {
    let world = World::start().await;
    let (mut browser, mut other) = (world.browser(), world.browser());
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.consent_redirect(&mut other, Services::Gmail, &Scopes::All).await;
    let mut forged = other.clone();
    let mark = other.cookies.values().next().expect("a mark").clone();
    forged.cookies = browser.cookies.keys().map(|name| (name.clone(), mark.clone())).collect();
    for mut stranger in [world.browser(), other, forged] {
        let page = stranger.get(&back).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "wrong_browser"));
    }
    assert!(world.has_no_calls());
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_provider_on_every_path() {
    let world = World::start().await;
    let mut browser = world.browser();
    for path in
        ["outlook/authorize", "outlook/callback", "Gmail/callback", "%00/callback", "gmail%252f..%252fx/authorize"]
    {
        let page = browser.get(&format!("{BASE}/oauth/{path}")).await;
        assert_eq!((page.status, page.code()), (StatusCode::NOT_FOUND, "unknown_provider"), "{path}");
    }
}

#[tokio::test]
async fn missing_params_without_state_or_code() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let state = back.split(['?', '&']).find(|pair| pair.starts_with("state=")).expect("a state");
    for query in
        ["", "?code=4/0A", "?state=&code=4/0A", &format!("?{state}"), &format!("?{state}&code="), "?state=a&state=b"]
    {
        let page = browser.get(&format!("{BASE}/oauth/gmail/callback{query}")).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "missing_params"), "{query}");
    }
    assert!(world.has_no_calls());
}

#[tokio::test]
async fn not_configured_without_id_or_secret() {
    let back = format!("{BASE}/oauth/gmail/callback?code=a&state=b");
    // The page before the consent needs no secret, and has none.
    for (setting, stops_at_once) in [("GOOGLE_CLIENT_ID", true), ("GOOGLE_CLIENT_SECRET", false)] {
        let world = World::start_with(|env| env.without(setting)).await;
        let mut browser = world.browser();
        let first = browser.get(&world.link(Services::Gmail)).await;
        assert_eq!(first.code() == "not_configured", stops_at_once, "{setting}");
        let page = browser.get(&back).await;
        assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "not_configured"), "{setting}");
    }
}

#[tokio::test]
async fn exchange_failed_whatever_google_says() {
    for failure in [
        Failure::OAuth("invalid_grant"),
        Failure::OAuth("invalid_client"),
        Failure::OAuth("something_new"),
        Failure::Throttled(Some(7)),
        Failure::Status(503),
        Failure::NotJson,
        Failure::AnswerLost,
    ] {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        world.google.faults.fail_next(Endpoint::Token, failure.clone());
        for _ in ["at first", "on a reload"] {
            let page = browser.get(&back).await;
            assert_eq!((page.status, page.code()), (StatusCode::BAD_GATEWAY, "exchange_failed"), "{failure:?}");
        }
        assert_eq!(world.google.calls(Endpoint::Token), 1, "{failure:?}");
        assert!(world.row(world.ada, Provider::Gmail).await.is_none() && world.azure.vault.names().is_empty());
    }
}

#[tokio::test]
async fn exchange_failed_when_google_sends_another_error_than_a_denial() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::Deny).await;
    let page = browser.get(&back.replace("access_denied", "server_error")).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_GATEWAY, "exchange_failed"));
}

#[tokio::test]
async fn no_refresh_token_when_google_gives_none() {
    let world = World::start().await;
    world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
    let mut browser = world.browser();
    let consent = world.consent_page(&mut browser, &world.link(Services::GoogleCalendar)).await;
    // Google gives one anew only when it is asked to ask.
    let back = world.google.consents(&consent.replace("prompt=consent", "prompt=none"), ADA, &Scopes::All);
    let back = back.expect("sent back");
    world.confirm(&mut browser, &back, ADA_CHAT).await;
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_GATEWAY, "no_refresh_token"));
    assert!(world.row(world.ada, Provider::GoogleCalendar).await.is_none());
}

#[tokio::test]
async fn scope_missing_when_nothing_readable_is_granted() {
    let world = World::start().await;
    let mut browser = world.browser();
    let consent = world.consent_page(&mut browser, &world.link(Services::Gmail)).await;
    let consent = consent.replace("gmail.readonly", "gmail.metadata");
    let back = world.google.consents(&consent, ADA, &Scopes::All).expect("sent back");
    world.confirm(&mut browser, &back, ADA_CHAT).await;
    for _ in ["at first", "on a reload"] {
        let page = browser.get(&back).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "scope_missing"));
    }
    assert!(world.row(world.ada, Provider::Gmail).await.is_none() && world.azure.vault.names().is_empty());
}

#[tokio::test]
async fn store_unavailable_while_the_table_is_down_and_a_reload_afterwards_works() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.table.faults.set_down(true);
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"));
    assert_eq!((page.header("retry-after"), world.google.calls(Endpoint::Token)), ("30", 0));
    world.table.faults.set_down(false);
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}

#[tokio::test]
async fn store_unavailable_while_the_vault_is_down() {
    let world = World::start().await;
    let mut browser = world.browser();
    world.azure.vault.faults.fail_all(key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
    let page = world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"));
    assert!(world.row(world.ada, Provider::Gmail).await.is_none());
    world.azure.vault.faults.recover();
    assert_eq!(world.connect(&mut browser, Services::Gmail, &Scopes::All).await.status, StatusCode::OK);
}

#[tokio::test]
async fn connected_when_only_the_answer_to_the_last_write_was_lost() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    // The sign-in, the tenant, the nonce, the account's item, and then the transaction.
    world.table.faults.fail_any_after(4, nbhd_sim::table::Failure::AnswerLost);
    for _ in ["at first", "on a reload"] {
        let page = browser.get(&back).await;
        assert_eq!((page.status, page.body.contains(ADA)), (StatusCode::OK, true));
    }
    assert!(world.row(world.ada, Provider::Gmail).await.is_some());
    assert_eq!(world.telegram.texts_to(ADA_CHAT).len(), 1);
}
