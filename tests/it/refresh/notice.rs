//! What a person hears when Google ended a connection: one message, with a link that renews it.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::tenant::Tenant;
use nbhd::flows::connect_link::Links;
use nbhd::flows::lease;
use nbhd_sim::telegram::Failure;

use crate::refresh::world::{ADA, CHAT, HOUR, WORK, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn the_link_opens_for_a_week_and_names_whose_assistant_it_is() {
    let world = ended().await;
    round(&world).await;
    let sent = world.telegram.sent_to(CHAT).pop().expect("a message");
    assert!(sent.text.contains("Gmail (ada@example.com)"), "{}", sent.text);
    let button = sent.message["reply_markup"].to_string();
    assert!(button.contains("https://nbhd.example/oauth/gmail/authorize?link="), "{button}");
    let link = button.split("link=").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let links = Links::from_env(&world.env).expect("complete settings");
    world.advance(7 * DAY - MINUTE);
    let read = links.read_link(link, world.clock.now()).expect("still open");
    assert_eq!((read.content.tenant_id, read.content.person.name.as_str()), (world.tenant, "Ada"));
    world.advance(MINUTE);
    assert!(links.read_link(link, world.clock.now()).is_err());
}

#[tokio::test]
async fn services_of_one_account_are_told_of_together() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, ADA).await;
    // One of them is used, and the other would be looked at in a week only.
    let later = world.clock.now() + 7 * DAY;
    let calendar = world.row_of(Provider::GoogleCalendar).await;
    let due = Some(nbhd::domain::refresh::due_entry(&calendar, later));
    let idle = nbhd::domain::integration::Integration { due, used_at: None, ..calendar.clone() };
    world.store.save_integration(&idle, Some(calendar.version)).await.expect("nobody else writes");
    world.google.person_revokes(ADA);
    world.advance(46 * MINUTE);
    round(&world).await;
    for provider in Provider::ALL {
        assert_eq!(world.row_of(provider).await.status, Status::Expired);
    }
    let sent = world.telegram.sent_to(CHAT);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].text.contains("Gmail (ada@example.com) and Google Calendar (ada@example.com)"));
    let button = sent[0].message["reply_markup"].to_string();
    assert!(button.contains("/oauth/google/authorize"), "{button}");
}

#[tokio::test]
async fn another_account_is_left_out() {
    let world = World::connected().await;
    world.connects(Provider::GoogleCalendar, WORK).await;
    world.google.person_revokes(ADA);
    world.advance(46 * MINUTE);
    round(&world).await;
    assert_eq!(world.row_of(Provider::GoogleCalendar).await.status, Status::Active);
    assert!(!world.telegram.sent_to(CHAT)[0].text.contains("Calendar"));
}

#[tokio::test]
async fn a_connection_that_ends_again_after_it_was_renewed_is_told_again() {
    let world = ended().await;
    round(&world).await;
    world.connects(Provider::Gmail, ADA).await;
    world.google.person_revokes(ADA);
    world.advance(HOUR);
    for _ in 0..3 {
        round(&world).await;
        world.advance(HOUR);
    }
    assert_eq!(world.telegram.sent_to(CHAT).len(), 2);
}

#[tokio::test]
async fn what_is_renewed_before_it_was_told_is_not_told() {
    let world = ended().await;
    world.advance(HOUR);
    world.broker().access_token(Some(&world.row().await)).await.expect_err("it ended");
    world.tick().await;
    world.connects(Provider::Gmail, ADA).await;
    world.run_jobs().await;
    world.advance(MINUTE);
    round(&world).await;
    assert!(world.telegram.sent_to(CHAT).is_empty());
}

#[tokio::test]
async fn telegrams_refusal_is_not_the_end_of_it() {
    let (slow, down) = (Failure::Throttled(90), Failure::Status(StatusCode::BAD_GATEWAY));
    let refused = Failure::Status(StatusCode::BAD_REQUEST);
    for (method, failure) in [("sendMessage", &slow), ("sendMessage", &refused), ("getChat", &slow), ("getChat", &down)]
    {
        let world = ended().await;
        world.telegram.faults.fail_next(method, failure.clone());
        world.tick().await;
        let report = world.run_jobs().await;
        assert_eq!((report.notified, report.failed), (0, 1), "{method} {failure:?}");
        assert!(world.telegram.sent_to(CHAT).is_empty());
        for _ in 0..3 {
            world.advance(5 * MINUTE);
            round(&world).await;
        }
        assert_eq!(world.telegram.sent_to(CHAT).len(), 1, "{method} {failure:?}");
        assert!(world.row().await.due.is_none());
    }
}

#[tokio::test]
async fn a_message_that_may_have_arrived_is_not_sent_again() {
    for (failure, sent) in [(Failure::AnswerLost, 1), (Failure::Status(StatusCode::BAD_GATEWAY), 0)] {
        let world = ended().await;
        world.telegram.faults.fail_next("sendMessage", failure);
        for _ in 0..5 {
            round(&world).await;
            world.advance(HOUR);
        }
        assert_eq!(world.telegram.sent_to(CHAT).len(), sent);
    }
}

#[tokio::test]
async fn a_chat_that_is_not_known_has_nobody_to_tell() {
    let world = ended().await;
    let tenant = world.store.tenant(world.tenant).await.expect("a table").expect("a tenant");
    let elsewhere = Tenant { chat_id: ChatId(7), ..tenant.clone() };
    world.store.save_tenant(&elsewhere, Some(tenant.version)).await.expect("nobody else writes");
    round(&world).await;
    assert!(world.row().await.due.is_none() && world.telegram.sent_to(CHAT).is_empty());
}

#[tokio::test]
async fn a_tenant_that_is_gone_leaves_nothing_due() {
    let world = ended().await;
    let tenant = world.store.tenant(world.tenant).await.expect("a table").expect("a tenant");
    let left = tenant.to_tombstone(world.clock.now());
    world.store.save_tombstone(&left, tenant.version).await.expect("nobody else writes");
    round(&world).await;
    assert_eq!((world.row().await.status, world.row().await.due), (Status::Expired, None));
    assert!(world.telegram.sent_to(CHAT).is_empty());
}

#[tokio::test]
async fn a_person_who_blocked_the_bot_is_left_in_peace() {
    let world = ended().await;
    world.telegram.blocks_the_bot(CHAT);
    for _ in 0..3 {
        round(&world).await;
        world.advance(HOUR);
    }
    let calls = world.journal.entries().into_iter().filter(|entry| entry.path.contains("/bot")).count();
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn killed_anywhere_between_the_last_word_and_the_message_it_is_sent_once() {
    let (mut requests, mut untold) = (1, Vec::new());
    loop {
        let world = ended().await;
        world.tick().await;
        let was_killed = world.journal.interruption().stop_after(requests, world.run_jobs()).await.is_none();
        for _ in 0..3 {
            world.advance(lease::LEASE.max(10 * MINUTE));
            round(&world).await;
        }
        let sent = world.telegram.sent_to(CHAT).len();
        assert!(sent <= 1, "killed at request {requests}");
        assert_eq!(world.row().await.status, Status::Expired);
        if sent == 0 {
            untold.push(requests);
        }
        if !was_killed {
            break;
        }
        requests += 1;
    }
    // Row, lease, challenge, sign-in in two, secret, token endpoint, latest version, row, two views, name, mark,
    // message.
    assert_eq!(requests, 15);
    // Whether a message went out cannot be asked of Telegram: between mark and message silence is chosen over a repeat.
    assert_eq!(untold, [13]);
}

/// Ada has revoked the access to her connected Gmail, and nobody has noticed yet.
async fn ended() -> World {
    let world = World::connected().await;
    world.google.person_revokes(ADA);
    world.advance(46 * MINUTE);
    world
}

async fn round(world: &World) {
    world.tick().await;
    world.run_jobs().await;
}
