//! The commands that `telegram-webhook` answers itself.

use axum::body::Body;
use axum::http::Request;
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::route::RouteStatus;
use nbhd::domain::tenant::TimeZone;
use nbhd::flows::connect_link::Links;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::telegram::webhook_world::{ANA, SECRET, STRANGER, World, private};

#[tokio::test]
async fn no_command_of_ours_reaches_the_assistant_and_every_other_does() {
    let world = World::start().await;
    for text in ["/start", "/START deep-link", "/help@nbhd_bot", "/billing", "/status"] {
        world.ana_says(text).await;
    }
    assert!(world.queued().is_empty());
    for text in ["/remind me", "/help@another_bot", "start", "see /help", "/"] {
        world.ana_says(text).await;
    }
    assert_eq!(world.queued().len(), 5);
}

#[tokio::test]
async fn every_answer_stays_in_the_topic_of_its_question() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "10")).await;
    let commands = ["/start", "/connect", "/disconnect", "/status", "/billing", "/timezone", "/timezone x", "/help"];
    for text in commands {
        world.telegram.says_in_topic(ANA, 77, text);
        world.deliver().await;
    }
    world.ana_says("/help").await;
    for text in ["hi", "too much"] {
        world.telegram.says_in_topic(ANA, 78, text);
        world.deliver().await;
    }
    world.set_route(RouteStatus::Suspended).await;
    world.telegram.says_in_topic(ANA, 79, "hi");
    world.deliver().await;
    world.corrupt_route();
    world.telegram.says_in_topic(ANA, 80, "hi");
    world.deliver().await;
    world.telegram.says_in_topic(STRANGER, 81, "hi");
    world.deliver().await;

    let topics = |chat| world.telegram.sent_to(chat).into_iter().map(|sent| sent.topic).collect::<Vec<_>>();
    let expected = [vec![Some(77); 8], vec![None, Some(78), Some(79), Some(80)]].concat();
    assert_eq!(topics(ANA), expected, "{:?}", world.telegram.texts_to(ANA));
    assert_eq!(topics(STRANGER), [Some(81)]);
    assert_eq!(world.queued().len(), 1);
}

#[tokio::test]
async fn start_says_whether_the_assistant_is_ready() {
    let world = World::start().await;
    assert!(world.answer_to("/start").await.contains("is here"));
    world.set_route(RouteStatus::Provisioning).await;
    assert!(world.answer_to("/start").await.contains("being made ready"));
}

#[tokio::test]
async fn connect_offers_a_link_for_each_service_and_for_both() {
    let world = World::start().await;
    world.ana_says("/connect").await;
    let sent = world.telegram.sent_to(ANA).pop().expect("an answer");
    let rows = sent.message["reply_markup"]["inline_keyboard"].as_array().expect("buttons").clone();
    let urls: Vec<&str> = rows.iter().filter_map(|row| row[0]["url"].as_str()).collect();
    let links = Links::from_env(&world.env).expect("complete settings");
    let mut identities = Vec::new();
    for (url, service) in urls.iter().zip(["google", "gmail", "google-calendar"]) {
        let link = url.strip_prefix(&format!("https://nbhd.example/oauth/{service}/authorize?link="));
        let claims = links.read_link(link.expect("an address of ours"), world.clock.now()).expect("fresh");
        assert_eq!((claims.content.tenant_id, claims.content.person.name.as_str()), (world.tenant, "Ana"));
        identities.push(claims.jti);
    }
    identities.dedup();
    assert_eq!(identities.len(), 3);
}

#[tokio::test]
async fn disconnect_revokes_at_once_and_queues_the_rest() {
    for (text, expected) in [
        ("/disconnect", vec![Provider::Gmail, Provider::GoogleCalendar]),
        ("/disconnect gmail", vec![Provider::Gmail]),
        ("/disconnect calendar", vec![Provider::GoogleCalendar]),
    ] {
        let world = World::start().await;
        for provider in Provider::ALL {
            world.connect(provider).await;
        }
        let answer = world.answer_to(text).await;
        let mut jobs = Vec::new();
        for provider in Provider::ALL {
            let ended = expected.contains(&provider);
            assert_eq!(world.status_of(provider).await == Status::Revoked, ended, "{text}: {provider}");
            assert_eq!(answer.contains(provider.display_name()), ended, "{text}: {answer}");
            if ended {
                jobs.push(json!({"job": "disconnect", "tenant_id": world.tenant, "provider": provider}));
            }
        }
        let queued: Vec<Value> = world.jobs().iter().map(|job| serde_json::from_str(job).expect("JSON")).collect();
        assert_eq!(queued, jobs, "{text}");
    }
}

#[tokio::test]
async fn disconnect_of_what_is_not_connected_or_not_known_changes_nothing() {
    let world = World::start().await;
    assert!(world.answer_to("/disconnect").await.contains("not connected"));
    assert!(world.answer_to("/disconnect outlook").await.contains("/disconnect gmail"));
    assert!(world.jobs().is_empty());
}

#[tokio::test]
async fn disconnect_stopped_after_any_effect_is_completed_by_telegrams_retry() {
    let mut stops = 0;
    for requests in 1.. {
        let world = World::start().await;
        for provider in Provider::ALL {
            world.connect(provider).await;
        }
        world.forget_calls();
        let update = private(7, "/disconnect").to_string();
        let request = Request::post("/telegram/webhook").header("x-telegram-bot-api-secret-token", SECRET);
        let handling = world.another_instance().oneshot(request.body(Body::from(update.clone())).expect("a request"));
        let ended = world.journal.interruption().stop_after(requests, handling).await;
        let (status, answer) = world.post(Some(SECRET), update).await;

        assert!(status == 200 && answer.contains("Gmail and Google Calendar"), "{requests}: {answer}");
        for provider in Provider::ALL {
            assert_eq!(world.status_of(provider).await, Status::Revoked, "{requests}: {provider}");
            assert!(world.jobs().iter().any(|job| job.contains(&format!("\"{provider}\""))), "{requests}: {provider}");
        }
        if ended.is_some() {
            stops = requests - 1;
            break;
        }
    }
    assert_eq!(stops, 7, "admission, and for each service a read, a write and a job");
}

#[tokio::test]
async fn disconnect_with_the_queue_down_is_already_effective_and_telegram_retries() {
    let world = World::start().await;
    world.connect(Provider::Gmail).await;
    world.sqs.faults.set_down(true);
    assert_eq!(world.ana_says("/disconnect gmail").await.status, Some(503));
    assert_eq!(world.status_of(Provider::Gmail).await, Status::Revoked);
    world.sqs.faults.set_down(false);
    assert_eq!(world.deliver().await.status, Some(200));
    assert_eq!(world.jobs().len(), 1);
}

#[tokio::test]
async fn two_changes_of_one_row_at_once_both_succeed() {
    let world = World::start().await;
    world.connect(Provider::Gmail).await;
    let command = |update_id: i64, text: &str| world.post(Some(SECRET), private(update_id, text).to_string());
    let answers = tokio::join!(
        command(1, "/disconnect gmail"),
        command(2, "/disconnect gmail"),
        command(3, "/timezone Europe/Berlin"),
        command(4, "/timezone Europe/Paris"),
    );
    assert_eq!([answers.0.0, answers.1.0, answers.2.0, answers.3.0], [200; 4], "{answers:?}");
    assert_eq!(world.status_of(Provider::Gmail).await, Status::Revoked);
    let zone = world.store.tenant(world.tenant).await.expect("the table is up").expect("a row").time_zone;
    assert!(zone.is_some_and(|zone| ["Europe/Berlin", "Europe/Paris"].contains(&zone.name.as_str())));
}

#[tokio::test]
async fn status_tells_what_is_connected_and_whose() {
    let world = World::start().await;
    world.connect(Provider::Gmail).await;
    let answer = world.answer_to("/status").await;
    for line in ["Assistant: running", "Gmail: connected as ana@example.com", "Google Calendar: not connected"] {
        assert!(answer.contains(line), "{answer}");
    }
    world.answer_to("/disconnect").await;
    assert!(world.answer_to("/status").await.contains("Gmail: not connected"));
}

#[tokio::test]
async fn billing_answers_with_a_signed_link_and_reads_nothing_for_it() {
    let world = World::start().await;
    world.forget_calls();
    assert!(world.answer_to("/billing").await.contains("Your subscription"));
    let link = world.billing_link(ANA, "portal");
    assert_eq!((link.tenant_id, link.name.as_str()), (Some(world.tenant), "Ana"));
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), true)]);
}

#[tokio::test]
async fn a_time_zone_is_kept_by_its_canonical_name_as_the_persons_choice() {
    let world = World::start().await;
    assert!(world.answer_to("/timezone").await.contains("not known"));
    assert!(world.answer_to("/timezone europe/berlin").await.contains("Europe/Berlin"));
    let row = world.store.tenant(world.tenant).await.expect("the table is up").expect("a row");
    assert_eq!(row.time_zone, Some(TimeZone { name: "Europe/Berlin".to_owned(), chosen: true }));
    assert!(world.answer_to("/timezone").await.contains("Europe/Berlin"));
}

#[tokio::test]
async fn an_unknown_time_zone_is_refused_with_an_example() {
    let world = World::start().await;
    for name in ["Berlin", "Europe/Atlantis", "../../etc/passwd", "CET+25"] {
        assert!(world.answer_to(&format!("/timezone {name}")).await.contains("Europe/Berlin"), "{name}");
    }
    let row = world.store.tenant(world.tenant).await.expect("the table is up").expect("a row");
    assert_eq!(row.time_zone, None);
}

#[tokio::test]
async fn while_suspended_the_commands_that_need_no_assistant_still_work() {
    let world = World::start().await;
    world.connect(Provider::Gmail).await;
    world.set_route(RouteStatus::Suspended).await;
    assert!(world.answer_to("/billing").await.contains("Your subscription"));
    assert!(world.answer_to("/help").await.contains("/disconnect"));
    assert!(world.answer_to("/disconnect").await.contains("Gmail"));
}

impl World {
    /// Ana sends a command; what she reads next.
    async fn answer_to(&self, text: &str) -> String {
        let before = self.telegram.texts_to(ANA).len();
        self.ana_says(text).await;
        let mut texts = self.telegram.texts_to(ANA);
        assert_eq!(texts.len(), before + 1, "{text} has one answer");
        texts.remove(before)
    }
}
