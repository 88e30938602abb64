//! Connecting Google: the page before the consent, and a way back that ends well.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::tenant::TimeZone;
use nbhd::flows::connect_link::{BrowserSecret, LIFETIME, Services};
use nbhd_sim::google::{Endpoint, Failure, Scopes};
use nbhd_sim::telegram;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::oauth::world::{ADA, ADA_CHAT, BASE, World, person};

// The page before the consent.

#[tokio::test]
async fn the_page_names_whose_assistant_will_read_what() {
    let world = World::start().await;
    let page = world.browser().get(&world.link(Services::Google)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Ada Lovelace") && page.body.contains("Gmail and Google Calendar"), "{}", page.body);
    assert!(page.body.contains("Continue only if this is you"));
}

#[tokio::test]
async fn opening_a_link_changes_nothing() {
    let world = World::start().await;
    let link = world.link(Services::Gmail);
    let mut scanner = world.browser();
    scanner.user_agent = "TelegramBot (like TwitterBot)";
    for method in [Method::GET, Method::HEAD] {
        let answer = scanner.send(method, &link, &[], String::new()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert!(world.has_no_calls());
    assert_eq!(world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_button_asks_google_for_lasting_read_access_and_no_more() {
    let world = World::start().await;
    let mut browser = world.browser();
    let consent = Url::parse(&world.consent_page(&mut browser, &world.link(Services::Google)).await).expect("a URL");
    let asked: std::collections::BTreeMap<_, _> = consent.query_pairs().into_owned().collect();
    let asked = |name: &str| asked.get(name).map_or("", String::as_str).to_owned();
    assert_eq!(
        asked("scope"),
        "openid email https://www.googleapis.com/auth/gmail.readonly https://www.googleapis.com/auth/calendar.readonly"
    );
    assert_eq!((asked("access_type"), asked("prompt")), ("offline".to_owned(), "consent".to_owned()));
    assert_eq!((asked("include_granted_scopes"), asked("response_type")), ("true".to_owned(), "code".to_owned()));
    assert_eq!((asked("code_challenge_method"), asked("code_challenge").len()), ("S256".to_owned(), 43));
    assert_eq!(asked("redirect_uri"), format!("{BASE}/oauth/google/callback"));
    assert!(world.links.read_state(&asked("state")).is_ok());
    assert!(browser.cookies.keys().all(|name| name.starts_with("__Host-nbhd-")) && browser.cookies.len() == 1);
    assert!(world.has_no_calls());
}

#[tokio::test]
async fn one_service_asks_for_its_own_scope_alone() {
    let world = World::start().await;
    let consent = world.consent_page(&mut world.browser(), &world.link(Services::GoogleCalendar)).await;
    assert!(consent.contains("calendar.readonly") && !consent.contains("gmail"), "{consent}");
}

#[tokio::test]
async fn without_a_valid_link_there_is_nothing_to_press() {
    let world = World::start().await;
    let link = world.link(Services::Gmail);
    let flipped = format!("{}A", &link[..link.len() - 1]);
    let state = {
        let (_, token) = link.split_once("link=").expect("a link");
        let read = world.links.read_link(token, world.clock.now()).expect("fresh");
        format!(
            "{BASE}/oauth/gmail/authorize?link={}",
            world.links.sign_state(
                &read,
                Services::Gmail,
                &BrowserSecret::new().expect("randomness"),
                world.clock.now()
            )
        )
    };
    let mut refused =
        vec![format!("{BASE}/oauth/gmail/authorize"), format!("{BASE}/oauth/gmail/authorize?link="), state];
    refused.extend((flipped != link).then_some(flipped));
    for address in refused {
        let page = world.browser().get(&address).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "invalid_link"), "{address}");
    }
    world.advance(LIFETIME);
    let page = world.browser().get(&link).await;
    assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "invalid_link"));
    assert!(world.has_no_calls());
}

#[tokio::test]
async fn a_button_on_someone_elses_page_is_refused() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (action, form) = browser.get(&world.link(Services::Gmail)).await.form();
    for headers in [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..],
        &[("sec-fetch-site", "same-site"), ("origin", BASE)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[],
    ] {
        let answer = browser.post(&action, headers, form.clone()).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "cross_site"), "{headers:?}");
        assert!(browser.cookies.is_empty());
    }
    let older_browser = browser.post(&action, &[("origin", BASE)], form).await;
    assert_eq!(older_browser.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_that_is_none_is_refused() {
    let world = World::start().await;
    let action = format!("{BASE}/oauth/gmail/authorize");
    for form in ["", "link", "link=%FF", "link=a&link=b", "{}"] {
        let answer = world.browser().post(&action, &[("sec-fetch-site", "same-origin")], form.to_owned()).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "invalid_link"), "{form}");
    }
}

#[tokio::test]
async fn a_browser_that_google_refuses_gets_the_link_to_copy() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.user_agent = "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";
    let link = world.link(Services::Gmail);
    let page = browser.get(&link).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Open this in your browser") && page.body.contains(&link), "{}", page.body);
    assert!(!page.body.contains("<form"));
}

#[tokio::test]
async fn a_name_stays_text() {
    let world = World::start().await;
    let name = "<script>alert(1)</script>\"'>";
    let link = world.links.connect_url(Services::Gmail, world.ada, &person(name, ADA_CHAT), world.clock.now());
    let page = world.browser().get(&link).await;
    assert!(!page.body.contains("<script") && page.body.contains("&lt;script&gt;"), "{}", page.body);
}

#[tokio::test]
async fn pages_are_neither_kept_nor_framed_nor_scripted() {
    let world = World::start().await;
    let mut browser = world.browser();
    let asking = browser.get(&world.link(Services::Gmail)).await;
    let refusing = browser.get(&format!("{BASE}/oauth/gmail/callback")).await;
    let result = world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    for page in [&asking, &refusing, &result] {
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(!page.body.contains("<script") && !page.body.contains("style="), "{}", page.body);
    }
    let google = Url::parse(&world.google.base_url()).expect("a URL").origin().ascii_serialization();
    assert!(asking.header("content-security-policy").contains(&format!("form-action 'self' {google};")));
    assert!(refusing.header("content-security-policy").contains("form-action 'none';"));
}

// The way back.

#[tokio::test]
async fn a_consent_connects_tells_both_identities_and_takes_over_the_time_zone() {
    let world = World::start().await;
    let page = world.connect(&mut world.browser(), Services::Google, &Scopes::All).await;
    assert_eq!(page.status, StatusCode::OK);
    for told in ["Ada Lovelace", ADA, "Gmail and Google Calendar", "Undo"] {
        assert!(page.body.contains(told), "{told}: {}", page.body);
    }
    for provider in Provider::ALL {
        let row = world.row(world.ada, provider).await.expect("a row");
        assert_eq!((row.status, row.account.as_deref()), (Status::Active, Some(ADA)));
        assert_eq!(row.expires_at, Some(world.clock.now() + Duration::from_secs(3599)));
        let stored = world.secret(provider).expect("tokens in the vault");
        let refresh_token = stored.refresh_token.expect("a refresh token");
        assert!(refresh_token.expose_secret().starts_with("1//"), "a refresh token of Google's form");
    }
    assert_eq!(world.tenant().await.time_zone, Some(TimeZone { name: "Europe/Berlin".to_owned(), chosen: false }));
    let told = world.telegram.texts_to(ADA_CHAT);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("Gmail and Google Calendar (ada@gmail.com) are connected"), "{told:?}");
}

#[tokio::test]
async fn a_service_that_was_not_ticked_is_not_connected_and_the_page_says_so() {
    let world = World::start().await;
    let page = world.connect(&mut world.browser(), Services::Google, &Scopes::Only(vec!["calendar.readonly"])).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Gmail was not ticked at Google"), "{}", page.body);
    assert!(world.row(world.ada, Provider::Gmail).await.is_none() && world.secret(Provider::Gmail).is_none());
    assert_eq!(world.row(world.ada, Provider::GoogleCalendar).await.expect("a row").status, Status::Active);
    assert!(world.telegram.texts_to(ADA_CHAT)[0].contains("Gmail was not ticked"));
}

#[tokio::test]
async fn a_second_service_leaves_the_first_as_it_is() {
    let world = World::start().await;
    world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
    let gmail = world.row(world.ada, Provider::Gmail).await;
    world.advance(Duration::from_secs(60));
    world.connect(&mut world.browser(), Services::GoogleCalendar, &Scopes::All).await;
    assert_eq!(world.row(world.ada, Provider::Gmail).await, gmail);
    assert_eq!(world.row(world.ada, Provider::GoogleCalendar).await.expect("a row").status, Status::Active);
}

#[tokio::test]
async fn a_zone_that_the_person_chose_stays() {
    let world = World::start().await;
    let chosen = Some(TimeZone { name: "Asia/Tokyo".to_owned(), chosen: true });
    let mut tenant = world.tenant().await;
    let version = tenant.version;
    tenant.time_zone.clone_from(&chosen);
    world.store.save_tenant(&tenant, Some(version)).await.expect("unchanged meanwhile");
    world.connect(&mut world.browser(), Services::Google, &Scopes::All).await;
    assert_eq!(world.tenant().await.time_zone, chosen);
    assert_eq!(world.google.calls(Endpoint::CalendarGet), 0);
}

#[tokio::test]
async fn a_lost_connection_is_connected_again_under_the_same_name() {
    for status in [Status::Revoked, Status::Expired] {
        let world = World::start().await;
        world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
        let mut row = world.row(world.ada, Provider::Gmail).await.expect("a row");
        let (name, version) = (row.secret_name.clone(), row.version);
        row.status = status;
        world.store.save_integration(&row, Some(version)).await.expect("unchanged meanwhile");
        world.advance(Duration::from_secs(3600));

        world.connect(&mut world.browser(), Services::Gmail, &Scopes::All).await;
        let again = world.row(world.ada, Provider::Gmail).await.expect("a row");
        assert_eq!((again.status, &again.secret_name), (Status::Active, &name));
        let versions = world.azure.vault.versions(&again.secret_name);
        assert_eq!(
            versions,
            [(row.secret_version, false), (again.secret_version, true)],
            "the earlier one is disabled"
        );
    }
}

#[tokio::test]
async fn address_and_zone_and_message_are_not_worth_failing_for() {
    let world = World::start().await;
    world.google.faults.fail_always(Endpoint::UserInfo, Failure::Status(500));
    world.google.faults.fail_always(Endpoint::CalendarGet, Failure::NotJson);
    world.telegram.faults.fail_next("sendMessage", telegram::Failure::Status(StatusCode::FORBIDDEN));
    let page = world.connect(&mut world.browser(), Services::Google, &Scopes::All).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("the account you chose"), "{}", page.body);
    let row = world.row(world.ada, Provider::Gmail).await.expect("a row");
    assert_eq!((row.status, row.account), (Status::Active, None));
    assert_eq!(world.tenant().await.time_zone, None);
}

#[tokio::test]
async fn a_reload_shows_the_outcome_and_does_nothing_twice() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let first = browser.get(&back).await;
    let row = world.row(world.ada, Provider::Gmail).await;
    world.advance(Duration::from_secs(30));
    let second = browser.get(&back).await;
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert!(second.body.contains("Ada Lovelace") && second.body.contains(ADA), "{}", second.body);
    assert_eq!(world.row(world.ada, Provider::Gmail).await, row);
    assert_eq!(world.google.calls(Endpoint::Token), 1);
    assert_eq!(world.telegram.texts_to(ADA_CHAT).len(), 1);
}

#[tokio::test]
async fn a_preview_of_the_way_back_spends_nothing() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let head = browser.send(Method::HEAD, &back, &[], String::new()).await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(world.has_no_calls());
    assert_eq!(browser.get(&back).await.status, StatusCode::OK);
}
