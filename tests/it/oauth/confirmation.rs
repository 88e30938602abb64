//! The confirmation in Telegram: who is asked, who may give it, and who is told that a link was not theirs.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::Provider;
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::domain::sign_in::CONFIRMATION_LIFETIME;
use nbhd::flows::connect_link::{LIFETIME, Services};
use nbhd_sim::google::{Endpoint, Scopes};
use serde_json::{Value, json};

use crate::oauth::world::{ADA, ADA_CHAT, Answer, BEA_CHAT, Browser, STRANGER, World, message};

const SECOND: Duration = Duration::from_secs(1);
const GOOGLE_CONNECTIONS: &str = "https://myaccount.google.com/connections";

// What the page shows.

#[tokio::test]
async fn the_page_after_the_consent_asks_for_a_confirmation_and_exchanges_nothing() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Google, &Scopes::All).await;
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.header("refresh")), (StatusCode::OK, "4"));
    for shown in ["Ada Lovelace", "no username · id ending in 1001", "Nothing is connected yet", "<svg"] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    assert!(page.body.contains("https://t.me/nbhd_bot?start=") && page.body.contains("Never show or send this code"));
    assert!(!page.body.contains("<script") && !page.body.contains("<form"));
    assert_nothing_is_connected(&world).await;
}

#[tokio::test]
async fn a_reload_shows_the_same_token_for_one_read() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let first = browser.get(&back).await;
    world.table.clear_calls();
    let again = world.in_new_sandbox(&browser).get(&back).await;
    assert_eq!(first.start_token(), again.start_token());
    let calls: Vec<String> = world.table.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(calls, ["GetItem"]);
}

#[tokio::test]
async fn the_table_keeps_no_start_token() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let page = browser.get(&back).await;
    world.sends_start(ADA_CHAT, &page).await;
    browser.get(&back).await;
    let kept = serde_json::to_string(&world.table.items().expect("readable")).expect("JSON");
    let secret = browser.cookies.values().next().expect("a cookie").as_str();
    assert!(!kept.contains(page.start_token()) && !kept.contains(secret));
}

#[tokio::test]
async fn each_press_of_the_button_is_a_browser_of_its_own() {
    let world = World::start().await;
    let mut browser = world.browser();
    let link = world.link(Services::Gmail);
    let first = world.consent_page(&mut browser, &link).await;
    let second = world.consent_page(&mut browser, &link).await;
    assert_eq!(browser.cookies.len(), 1);
    let stale = world.google.consents(&first, ADA, &Scopes::All).expect("sent back");
    assert_eq!(browser.get(&stale).await.code(), "wrong_browser");
    let back = world.google.consents(&second, ADA, &Scopes::All).expect("sent back");
    world.confirm(&mut browser, &back, ADA_CHAT).await;
    assert!(browser.get(&back).await.body.contains(ADA));
}

// Who confirms.

#[tokio::test]
async fn the_links_own_chat_confirms_and_the_page_goes_on() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let page = browser.get(&back).await;
    for _ in ["once", "and again"] {
        let answer = world.sends_start(ADA_CHAT, &page).await.expect("an answer");
        assert!(answer.contains("Go back to the page") && answer.contains("nothing is connected before that"));
    }
    assert_nothing_is_connected(&world).await;
    let result = browser.get(&back).await;
    assert!(result.status == StatusCode::OK && result.body.contains(ADA), "{}", result.body);
}

#[tokio::test]
async fn what_is_no_new_message_of_the_chats_own_person_does_nothing() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let text = format!("/start {}", browser.get(&back).await.start_token());
    let new = message(900, ADA_CHAT, &text);
    let of_kind = |kind: &str, content: Value| json!({"update_id": 900, kind: content});
    let changed = |pointer: &str, value: Value| {
        let mut update = new.clone();
        *update.pointer_mut(pointer).expect("there") = value;
        update
    };
    for update in [
        of_kind("edited_message", new["message"].clone()),
        of_kind("callback_query", json!({"id": "1", "from": new["message"]["from"], "message": new["message"]})),
        of_kind("channel_post", new["message"].clone()),
        of_kind("business_message", new["message"].clone()),
        changed("/message/from/id", json!(BEA_CHAT)),
        changed("/message/from/is_bot", json!(true)),
        changed("/message/chat/type", json!("supergroup")),
        changed("/message/text", json!(format!("/start@another_bot {}", text.trim_start_matches("/start ")))),
        changed("/message/text", json!(format!("{text}x"))),
    ] {
        world.posts(&update).await;
        assert_eq!(browser.get(&back).await.header("refresh"), "4", "{update}");
    }
    assert_nothing_is_connected(&world).await;
}

#[tokio::test]
async fn a_suspended_chat_confirms_nothing_and_is_told_why() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let page = browser.get(&back).await;
    let route = Route { status: RouteStatus::Suspended, ..Route::new(ChatId(ADA_CHAT), world.ada) };
    world.store.put_route(&route).await.expect("the table is up");
    let answer = world.sends_start(ADA_CHAT, &page).await.expect("an answer");
    assert!(answer.contains("paused"), "{answer}");
    assert_eq!(browser.get(&back).await.header("refresh"), "4");
}

// Somebody else's link.

#[tokio::test]
async fn whoever_follows_a_forwarded_link_is_told_and_nothing_of_hers_is_connected() {
    for (victim, limited) in [(BEA_CHAT, false), (BEA_CHAT, true), (STRANGER, false)] {
        let world = World::start().await;
        let link = world.link(Services::Google);
        let (mut hers, page, back) = arrives(&world, &link, "bea@gmail.com").await;
        if limited {
            for _ in 0..40 {
                world.writes(victim, "hello").await;
            }
        }
        let answer = world.sends_start(victim, &page).await.expect("she is told");
        for told in ["somebody else’s assistant", "Nothing was connected", GOOGLE_CONNECTIONS] {
            assert!(answer.contains(told), "{told}: {answer}");
        }
        assert_eq!(world.sends_start(victim, &page).await, None, "each token once");
        let page = hers.get(&back).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "other_chat"));
        assert!(page.body.contains(GOOGLE_CONNECTIONS) && page.body.contains("somebody else’s link"));
        assert_nothing_is_connected(&world).await;

        // The link is spent, for its own person too.
        let (_, again, _) = arrives(&world, &link, ADA).await;
        assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "replayed_state"));
    }
}

#[tokio::test]
async fn telegrams_retry_of_her_start_is_answered_again() {
    let world = World::start().await;
    let (_, page, _) = arrives(&world, &world.link(Services::Gmail), "bea@gmail.com").await;
    let update = message(77, BEA_CHAT, &format!("/start {}", page.start_token()));
    let (first, again) = (world.posts(&update).await, world.posts(&update).await);
    assert!(first.is_some() && first == again);
}

#[tokio::test]
async fn a_refusal_stopped_anywhere_is_done_by_telegrams_retry() {
    for requests in 1..10 {
        let world = World::start().await;
        let link = world.link(Services::Gmail);
        let (mut hers, page, back) = arrives(&world, &link, "bea@gmail.com").await;
        let update = message(77, BEA_CHAT, &format!("/start {}", page.start_token()));
        let stopped = world.journal.interruption().stop_after(requests, world.posts(&update)).await.is_none();
        assert!(world.posts(&update).await.is_some_and(|answer| answer.contains("somebody else’s")));
        assert_eq!(hers.get(&back).await.code(), "other_chat", "after {requests}");
        assert_eq!(arrives(&world, &link, ADA).await.1.code(), "replayed_state", "after {requests}");
        if !stopped {
            return;
        }
    }
    panic!("a refusal makes fewer requests");
}

/// Attacker and victim have his link open at the same time; he tries everything that his own chat can send.
#[tokio::test]
async fn the_links_owner_cannot_confirm_another_browsers_arrival() {
    for his in ["his own, before hers", "his own, after hers", "made up", "the hash of hers"] {
        let world = World::start().await;
        let link = world.link(Services::Gmail);
        let (mut attacker, mut arrival) = (world.browser(), None);
        if his == "his own, before hers" {
            arrival = Some(arrives(&world, &link, ADA).await);
        }
        let (mut hers, page, back) = arrives(&world, &link, "bea@gmail.com").await;
        if his == "his own, after hers" {
            arrival = Some(arrives(&world, &link, ADA).await);
        }
        match arrival {
            Some((browser, own, own_back)) => {
                attacker = browser;
                assert_ne!(own.start_token(), page.start_token());
                world.sends_start(ADA_CHAT, &own).await;
                assert!(attacker.get(&own_back).await.body.contains(ADA), "his own account is his to connect");
            }
            None => {
                let token = if his == "made up" { "A".repeat(43) } else { hash(page.start_token()) };
                world.writes(ADA_CHAT, &format!("/start {token}")).await;
            }
        }
        // Her address in his browser opens nothing, and in hers it waits until it ends.
        assert_eq!(attacker.get(&back).await.code(), "wrong_browser", "{his}");
        let exchanged = world.google.calls(Endpoint::Token);
        assert_eq!(hers.get(&back).await.header("refresh"), "4", "{his}");
        world.advance(CONFIRMATION_LIFETIME);
        assert_eq!(hers.get(&back).await.code(), "not_confirmed", "{his}");
        assert_eq!(world.google.calls(Endpoint::Token), exchanged, "her code was never exchanged: {his}");
        let row = world.row(world.ada, Provider::Gmail).await;
        assert!(row.is_none_or(|row| row.account.as_deref() == Some(ADA)), "{his}");
    }
}

#[tokio::test]
async fn two_browsers_of_one_person_do_not_see_each_others_outcome() {
    let world = World::start().await;
    let link = world.link(Services::Gmail);
    let (mut one, first, first_back) = arrives(&world, &link, ADA).await;
    let (mut two, second, second_back) = arrives(&world, &link, "bea@gmail.com").await;
    world.sends_start(ADA_CHAT, &first).await;
    world.sends_start(ADA_CHAT, &second).await;
    assert!(one.get(&first_back).await.body.contains(ADA));
    let page = two.get(&second_back).await;
    assert_eq!((page.status, page.code()), (StatusCode::CONFLICT, "replayed_state"));
    assert!(!page.body.contains(ADA));
}

#[tokio::test]
async fn whoever_sends_the_code_too_late_to_stop_it_is_told_so() {
    let world = World::start().await;
    let (mut browser, page, back) = arrives(&world, &world.link(Services::Gmail), "bea@gmail.com").await;
    world.sends_start(ADA_CHAT, &page).await;
    browser.get(&back).await;
    let answer = world.sends_start(BEA_CHAT, &page).await.expect("she is told");
    assert!(answer.contains("completed before you wrote") && answer.contains(GOOGLE_CONNECTIONS), "{answer}");
}

// Time.

#[tokio::test]
async fn a_state_that_was_fresh_at_the_first_arrival_is_good_for_five_minutes_more() {
    let world = World::start().await;
    let mut browser = world.browser();
    let consent = world.consent_page(&mut browser, &world.link(Services::Gmail)).await;
    world.advance(LIFETIME - SECOND);
    let back = world.google.consents(&consent, ADA, &Scopes::All).expect("sent back");
    let page = browser.get(&back).await;
    world.advance(CONFIRMATION_LIFETIME - SECOND);
    assert_eq!(browser.get(&back).await.start_token(), page.start_token());
    world.sends_start(ADA_CHAT, &page).await;
    assert!(browser.get(&back).await.body.contains(ADA));
    // The outcome is shown however late it is.
    world.advance(LIFETIME);
    assert!(browser.get(&back).await.body.contains(ADA));
}

#[tokio::test]
async fn the_end_of_the_five_minutes_spends_the_link_and_a_later_start_is_told_so() {
    let world = World::start().await;
    let link = world.link(Services::Gmail);
    let (mut browser, page, back) = arrives(&world, &link, ADA).await;
    world.advance(CONFIRMATION_LIFETIME);
    let answer = world.sends_start(ADA_CHAT, &page).await.expect("an answer");
    assert!(answer.contains("longer than five minutes") && answer.contains("/connect"), "{answer}");
    let end = browser.get(&back).await;
    assert_eq!((end.status, end.code()), (StatusCode::GONE, "not_confirmed"));
    let (_, again, _) = arrives(&world, &link, ADA).await;
    assert_eq!(again.code(), "replayed_state", "although the link itself is valid for longer");
    assert_nothing_is_connected(&world).await;
}

#[tokio::test]
async fn what_was_confirmed_in_time_is_not_begun_after_it() {
    let world = World::start().await;
    let (mut browser, page, back) = arrives(&world, &world.link(Services::Gmail), ADA).await;
    world.sends_start(ADA_CHAT, &page).await;
    world.advance(CONFIRMATION_LIFETIME);
    let end = browser.get(&back).await;
    assert_eq!((end.status, end.code()), (StatusCode::GONE, "expired_state"));
    assert_nothing_is_connected(&world).await;
}

/// Somebody opens the link, consents with `account`, and arrives at our page.
async fn arrives(world: &World, link: &str, account: &str) -> (Browser, Answer, String) {
    let mut browser = world.browser();
    let consent = world.consent_page(&mut browser, link).await;
    let back = world.google.consents(&consent, account, &Scopes::All).expect("known to Google");
    let page = browser.get(&back).await;
    (browser, page, back)
}

fn hash(text: &str) -> String {
    nbhd::domain::sign_in::SignInId::from_parameter(text).expect("a token").as_str().to_owned()
}

async fn assert_nothing_is_connected(world: &World) {
    assert_eq!(world.google.calls(Endpoint::Token), 0, "no code was exchanged");
    assert!(world.azure.vault.names().is_empty());
    for tenant in [world.ada, world.bea] {
        for provider in Provider::ALL {
            assert!(world.row(tenant, provider).await.is_none());
        }
    }
}
