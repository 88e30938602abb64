//! A callback that is asked for more than once: at once, ahead of time, and while the first request is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use nbhd::clock::Waiter;
use nbhd::domain::integration::Provider;
use nbhd::flows::connect_link::Services;
use nbhd_sim::google::{Endpoint, Failure, Scopes};

use crate::oauth::world::{ADA, ADA_CHAT, Answer, Browser, LONGEST_REQUEST, World};

#[tokio::test]
async fn two_callbacks_at_once_exchange_the_code_once_and_show_the_same_result() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let (mut one, mut two) = (world.in_new_sandbox(&browser), world.in_new_sandbox(&browser));
    let (one, two) = tokio::join!(one.get(&back), two.get(&back));
    for page in [&one, &two] {
        assert!(page.status == StatusCode::OK && page.body.contains(ADA), "{page:?}");
    }
    assert_eq!(world.google.calls(Endpoint::Token), 1);
    assert_eq!(world.telegram.texts_to(ADA_CHAT).len(), 1);
}

#[tokio::test]
async fn two_callbacks_at_once_show_the_same_failure() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.google.faults.fail_next(Endpoint::Token, Failure::OAuth("invalid_grant"));
    let (mut one, mut two) = (world.in_new_sandbox(&browser), world.in_new_sandbox(&browser));
    let (one, two) = tokio::join!(one.get(&back), two.get(&back));
    assert_eq!((one.code(), two.code()), ("exchange_failed", "exchange_failed"));
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_prefetch_has_no_effect_before_the_real_request_and_after_it() {
    for (name, value) in [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch")] {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.consent_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        let early = prefetch(&mut browser, &back, name, value).await;
        assert_eq!((early.status, early.header("cache-control")), (StatusCode::SERVICE_UNAVAILABLE, "no-store"));
        assert!(world.has_no_calls(), "{name}: {value}");
        world.confirm(&mut browser, &back, ADA_CHAT).await;
        let page = browser.get(&back).await;
        assert!(page.status == StatusCode::OK && page.body.contains(ADA), "{page:?}");
        let late = prefetch(&mut browser, &back, name, value).await;
        assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(browser.get(&back).await.status, StatusCode::OK);
        assert_eq!((world.google.calls(Endpoint::Token), world.telegram.texts_to(ADA_CHAT).len()), (1, 1));
    }
}

#[tokio::test]
async fn a_prefetch_at_the_same_time_leaves_the_real_request_alone_in_both_orders() {
    for is_prefetch_first in [true, false] {
        let world = World::start().await;
        let mut browser = world.browser();
        let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
        let (mut real, mut ahead) = (world.in_new_sandbox(&browser), world.in_new_sandbox(&browser));
        let (real, ahead) = (real.get(&back), prefetch(&mut ahead, &back, "sec-purpose", "prefetch"));
        // The one that is named first is begun first.
        let (real, ahead) = if is_prefetch_first {
            let (ahead, real) = tokio::join!(ahead, real);
            (real, ahead)
        } else {
            tokio::join!(real, ahead)
        };
        assert_eq!((real.status, ahead.status), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(world.google.calls(Endpoint::Token), 1);
    }
}

#[tokio::test]
async fn a_prefetch_of_the_page_before_the_consent_has_no_effect() {
    let world = World::start().await;
    let (mut browser, link) = (world.browser(), world.link(Services::Gmail));
    let page = prefetch(&mut browser, &link, "sec-purpose", "prefetch").await;
    assert!(page.header("set-cookie").is_empty() && browser.cookies.is_empty() && world.has_no_calls());
    assert_eq!(world.connect(&mut browser, Services::Gmail, &Scopes::All).await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_the_first_request_is_at_work_the_second_waits_and_then_reloads_itself() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    let waits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waits);
    let waiter = Waiter::hook(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(())
    });
    let mut second = world.browser_with_waiter(waiter);
    second.cookies.clone_from(&browser.cookies);
    // The first stops at Google, and goes on later.
    world.google.faults.delay(Endpoint::UserInfo, Duration::from_millis(1500));
    let first = browser.get(&back);
    let meanwhile = async {
        while world.google.calls(Endpoint::UserInfo) == 0 {
            tokio::task::yield_now().await;
        }
        second.get(&back).await
    };
    let (first, page) = tokio::join!(first, meanwhile);
    assert_eq!((page.status, page.header("refresh"), page.code()), (StatusCode::ACCEPTED, "2", ""), "{page:?}");
    assert!((1..=60).contains(&waits.load(Ordering::SeqCst)), "it waits, and no longer than a browser does");
    assert_eq!(first.status, StatusCode::OK);
    let page = second.get(&back).await;
    assert!(page.status == StatusCode::OK && page.body.contains(ADA), "the reload shows the result");
    assert_eq!(world.google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn a_first_request_that_died_is_waited_for_no_longer_than_it_could_live() {
    let world = World::start().await;
    let mut browser = world.browser();
    let back = world.confirmed_redirect(&mut browser, Services::Gmail, &Scopes::All).await;
    // Sign-in and tenant are read, the nonce is spent, and nothing comes after it.
    assert!(world.journal.interruption().stop_after(3, browser.get(&back)).await.is_none());
    let instant = Waiter::hook(|_| std::future::ready(()));
    let mut again = world.browser_with_waiter(instant);
    again.cookies.clone_from(&browser.cookies);
    assert_eq!(again.get(&back).await.status, StatusCode::ACCEPTED);
    world.advance(LONGEST_REQUEST);
    let page = again.get(&back).await;
    assert_eq!((page.status, page.code()), (StatusCode::CONFLICT, "replayed_state"));
    assert!(world.row(world.ada, Provider::Gmail).await.is_none());
}

async fn prefetch(browser: &mut Browser, address: &str, name: &str, value: &str) -> Answer {
    browser.send(Method::GET, address, &[("sec-fetch-site", "cross-site"), (name, value)], String::new()).await
}
