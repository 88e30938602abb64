//! What is handed over.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Mutex;

use nbhd_front::share::{Effect, Fault};

use super::support::{Answer, Seen, World, answer, durable, id_of, is_update};

/// Answers each update with its answers one after the other, and then durably; everything else is up.
fn script(answers: impl IntoIterator<Item = (i64, Vec<Answer>)>) -> impl Fn(&Seen) -> Answer + Send + Sync {
    let answers: Mutex<HashMap<i64, Vec<Answer>>> = Mutex::new(answers.into_iter().collect());
    move |seen| {
        if !is_update(seen) {
            return answer(200);
        }
        let mut answers = answers.lock().expect("whole");
        let left = answers.entry(id_of(&seen.body)).or_default();
        if left.is_empty() { durable() } else { left.remove(0) }
    }
}

#[tokio::test]
async fn what_waited_is_handed_over_in_order_with_our_own_secret_and_once() {
    let world = World::new().await;
    let front = world.start().await;
    for id in [5, 3, 9] {
        assert!(world.deliver(&front, id).await);
    }
    assert_eq!(world.handed_over(), [0_i64; 0]);
    front.permit_turns(true);
    world.openclaw.sees(3, is_update).await;
    assert!(world.deliver(&front, 4).await && world.deliver(&front, 5).await);
    let seen = world.openclaw.sees(4, is_update).await;
    assert_eq!(world.handed_over(), [5, 3, 9, 4]);
    let secret = &seen[0].headers["x-telegram-bot-api-secret-token"];
    assert!(secret.len() == 43 && seen.iter().all(|seen| seen.headers["x-telegram-bot-api-secret-token"] == secret));
    assert_eq!(seen[0].body, super::support::update(5));
}

#[tokio::test]
async fn a_boot_hands_over_what_has_no_recorded_end() {
    let world = World::new().await;
    let mut front = world.start().await;
    front.permit_turns(true);
    assert!(world.deliver(&front, 1).await);
    world.openclaw.sees(1, is_update).await;
    front.drain().await;
    assert!(world.deliver(&front, 2).await && world.deliver(&front, 3).await, "taken while it drains");
    drop(front);
    let next = world.start().await;
    assert!(world.deliver(&next, 4).await);
    next.permit_turns(true);
    world.openclaw.sees(4, is_update).await;
    assert_eq!(world.handed_over(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_openclaw_refuses_three_times_is_skipped_and_its_person_told_once() {
    for refusal in [400, 422, 500, 502, 200] {
        let world = World::new().await;
        world.openclaw.answers(script([(2, vec![answer(refusal); 5])]));
        let front = world.start().await;
        for id in [1, 2, 3] {
            assert!(world.deliver(&front, id).await);
        }
        front.permit_turns(true);
        world.openclaw.sees(5, is_update).await;
        assert_eq!(world.handed_over(), [1, 2, 2, 2, 3], "{refusal}");
        let told = world.control_plane.sees(1, |_| true).await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].path, format!("/telegram/relay/{}/bot42:relay-new/sendMessage", super::support::TENANT));
        let message: serde_json::Value = serde_json::from_slice(&told[0].body).expect("JSON");
        assert_eq!(
            (message["chat_id"].as_i64(), message["reply_parameters"]["message_id"].as_i64()),
            (Some(77), Some(502))
        );
        assert!(!message["text"].as_str().expect("words").contains("secret word"));
    }
}

#[tokio::test]
async fn what_breaks_openclaw_again_and_again_is_skipped() {
    let world = World::new().await;
    world.openclaw.answers(script([(1, vec![answer(0); 20])]));
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await && world.deliver(&front, 2).await);
    front.permit_turns(true);
    world.openclaw.sees(1, |seen| is_update(seen) && id_of(&seen.body) == 2).await;
    assert_eq!(world.control_plane.sees(1, |_| true).await.len(), 1);
}

#[tokio::test]
async fn what_says_nothing_about_an_update_is_waited_out() {
    let world = World::new().await;
    let statuses = [401, 403, 404, 408, 429, 503].repeat(4).into_iter().map(answer).collect();
    world.openclaw.answers(script([(1, statuses)]));
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await && world.deliver(&front, 2).await);
    front.permit_turns(true);
    world.openclaw.sees(26, is_update).await;
    assert_eq!(world.handed_over()[24..], [1, 2]);
    assert!(world.control_plane.seen().is_empty());
}

#[tokio::test]
async fn refusals_of_an_openclaw_that_is_not_ready_do_not_count() {
    let world = World::new().await;
    let refusals = Mutex::new(0);
    world.openclaw.answers(move |seen| {
        let mut refusals = refusals.lock().expect("whole");
        match seen.path.as_str() {
            "/readyz" if *refusals < 9 => answer(503),
            "/telegram-webhook" if *refusals < 9 => {
                *refusals += 1;
                answer(500)
            }
            _ => durable(),
        }
    });
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await);
    front.permit_turns(true);
    world.openclaw.sees(10, is_update).await;
    assert_eq!(world.handed_over(), [1; 10]);
    assert!(world.control_plane.seen().is_empty());
}

#[tokio::test]
async fn a_relay_that_is_down_does_not_hold_up_the_chat() {
    let world = World::new().await;
    world.control_plane.answers(|_| answer(502));
    world.openclaw.answers(script([(1, vec![answer(400); 3])]));
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await && world.deliver(&front, 2).await);
    front.permit_turns(true);
    world.openclaw.sees(4, is_update).await;
    assert_eq!(world.control_plane.seen().len(), 4);
    assert_eq!(world.handed_over(), [1, 1, 1, 2]);
}

#[tokio::test]
async fn while_an_end_cannot_be_recorded_nothing_else_is_handed_over() {
    let world = World::new().await;
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await);
    world.fail(&[Effect::Write], Fault::Fails(ErrorKind::ReadOnlyFilesystem));
    front.permit_turns(true);
    world.openclaw.sees(1, is_update).await;
    assert!(!world.deliver(&front, 2).await);
    world.fail(&[], Fault::None);
    assert!(world.deliver(&front, 2).await);
    world.openclaw.sees(2, is_update).await;
    assert_eq!(world.handed_over(), [1, 2]);
}

#[tokio::test]
async fn a_listener_that_is_not_up_yet_loses_nothing() {
    let world = World::new().await;
    let mut settings = world.settings();
    let later = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = later.local_addr().expect("an address");
    drop(later);
    settings.openclaw_webhook = format!("http://{address}");
    let (tries, tried) = tokio::sync::watch::channel(0);
    let waiter = nbhd::clock::Waiter::hook(move |_| {
        tries.send_modify(|tries| *tries += 1);
        tokio::task::yield_now()
    });
    let means = nbhd_front::Means {
        http: world.http.clone(),
        clock: world.clock.clone(),
        waiter,
        effects: nbhd_front::share::Effects::default(),
    };
    let front = nbhd_front::Front::start(&settings, means).await.expect("a front");
    front.readiness.write_stamp().expect("written");
    front.permit_turns(true);
    assert!(world.deliver(&front, 1).await);
    tried.clone().wait_for(|tries| *tries > 20).await.expect("it tries");
    let listener = tokio::net::TcpListener::bind(address).await.expect("the same port");
    let (seen, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(nbhd_front::server::serve(listener, move |request| {
        let _ = seen.send(request.uri().path().to_owned());
        async { super::support::durable_response() }
    }));
    assert_eq!(arrived.recv().await.as_deref(), Some("/telegram-webhook"));
    server.abort();
}
