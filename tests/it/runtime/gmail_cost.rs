//! `runtime-gmail`: how often it asks whom, and what it never says.

use nbhd_sim::google::{Endpoint, Failure};
use serde_json::json;

use crate::runtime::gmail::{LIST, message, open};
use crate::runtime::world::World;

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let world = World::start().await;
    for endpoint in [Endpoint::MessagesList, Endpoint::MessagesGet] {
        let renewals = world.google.calls(Endpoint::Token);
        world.google.faults.fail_next(endpoint, Failure::Unauthorized);
        assert_eq!(world.get(LIST).await.status, 200, "{endpoint:?}");
        assert_eq!(world.google.calls(Endpoint::Token), renewals + 1, "{endpoint:?}");
    }
    let (renewals, lists) = (world.google.calls(Endpoint::Token), world.google.calls(Endpoint::MessagesList));
    world.google.faults.fail_always(Endpoint::MessagesList, Failure::Unauthorized);
    let answer = world.get(LIST).await;
    assert_eq!(
        (answer.error().1.as_str(), &answer.json()["provider_status"]),
        ("provider_request_failed", &json!(401))
    );
    assert_eq!(world.google.calls(Endpoint::Token), renewals + 1);
    assert_eq!(world.google.calls(Endpoint::MessagesList), lists + 2);
}

#[tokio::test]
async fn a_call_costs_one_query_and_one_write() {
    let world = World::start().await;
    world.get(LIST).await;
    let id = message(&world, "nvoice");
    open(&world, &id, "").await;
    assert_eq!(world.table_calls(), ["Query", "UpdateItem", "Query", "UpdateItem"]);
    assert!((world.table.units() - 4.0).abs() < f64::EPSILON, "{} units", world.table.units());
}

#[tokio::test]
async fn a_warm_list_of_ten_is_eleven_requests_in_two_round_trips() {
    let world = World::start().await;
    for number in 0..10 {
        world.google.delivers(world.ana.account, format!("Subject: {number}\r\n\r\nhello").as_bytes());
    }
    assert_eq!(world.get("gmail/messages/?max_results=10").await.status, 200);
    world.journal.clear();
    // No get is answered, so all ten can only be under way when none waits for another.
    let (lists, gets) = (world.google.calls(Endpoint::MessagesList), world.google.calls(Endpoint::MessagesGet));
    world.google.faults.fail_always(Endpoint::MessagesGet, Failure::Hang);
    let all_asked = async {
        while world.google.calls(Endpoint::MessagesGet) < gets + 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = world.get("gmail/messages/?max_results=10") => panic!("{answer:?} without any message"),
        () = all_asked => {}
    }
    assert_eq!(world.google.calls(Endpoint::MessagesList), lists + 1);
    assert_eq!(world.journal.entries().len(), 11, "Google alone is asked");
}

#[tokio::test]
async fn every_request_asks_for_the_fields_it_needs() {
    let world = World::start().await;
    world.get(LIST).await;
    open(&world, &message(&world, "nvoice"), "").await;
    let calls = world.journal.entries_of("google");
    assert!(calls.iter().all(|call| call.path.contains("fields=")), "{calls:?}");
}

#[tokio::test]
async fn neither_mail_nor_token_nor_key_is_emitted() {
    let world = World::start().await;
    let id = message(&world, "nvoice");
    let text = open(&world, &id, "").await["body_text"].as_str().expect("a text").to_owned();
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Echo);
    world.get("gmail/messages/?q=very-private-search").await;
    let emitted = nbhd::telemetry::capture();
    let line = text.lines().find(|line| line.len() > 20).expect("a line of some length");
    for secret in
        [line, "very-private-search", world.ana.key].into_iter().chain(world.google.issued().iter().map(String::as_str))
    {
        assert!(!emitted.contains(secret), "{secret:?} was emitted");
    }
}
