//! Replies and topics of Telegram's simulator, in the present spelling and in the older one.

use nbhd::clock::{Clock, Timestamp};
use nbhd_sim::journal::Journal;
use nbhd_sim::telegram::Telegram;
use serde_json::{Value, json};

const TOKEN: &str = "42:simulated-token";
const ANA: i64 = 1001;

#[tokio::test]
async fn a_reply_to_a_message_that_is_gone_is_refused_unless_it_may_go_without() {
    let telegram = start().await;
    let sent = call(&telegram, json!({})).await["result"]["message_id"].clone();
    let gone = 5_000;
    for (given, reply_to) in [
        (json!({"reply_parameters": {"message_id": sent}}), Some(&sent)),
        (json!({"reply_to_message_id": sent}), Some(&sent)),
        (json!({"reply_parameters": {"message_id": gone}}), None),
        (json!({"reply_to_message_id": gone}), None),
        (json!({"reply_to_message_id": gone, "allow_sending_without_reply": "No"}), None),
        // The present spelling alone counts where both are given.
        (json!({"reply_parameters": {"message_id": gone}, "reply_to_message_id": sent}), None),
    ] {
        let answer = call(&telegram, given.clone()).await;
        match reply_to {
            Some(id) => assert_eq!(&answer["result"]["reply_to_message"]["message_id"], id, "{given}"),
            None => assert_eq!(answer["description"], "Bad Request: message to be replied not found", "{given}"),
        }
    }
    for given in [
        json!({"reply_parameters": {"message_id": gone, "allow_sending_without_reply": true}}),
        json!({"reply_to_message_id": gone, "allow_sending_without_reply": "Yes"}),
        json!({"reply_to_message_id": 0}),
        json!({"reply_parameters": "", "reply_to_message_id": gone}),
    ] {
        assert_eq!(call(&telegram, given.clone()).await["ok"], true, "{given}");
    }
}

#[tokio::test]
async fn a_topic_takes_messages_until_its_person_deletes_it() {
    let telegram = start().await;
    let thread = json!({"message_thread_id": 77});
    let refused = json!({"ok": false, "error_code": 400, "description": "Bad Request: message thread not found"});
    assert_eq!(call(&telegram, thread.clone()).await, refused);
    telegram.says_in_topic(ANA, 77, "hi");
    let message = call(&telegram, thread.clone()).await["result"].clone();
    assert_eq!((&message["message_thread_id"], &message["is_topic_message"]), (&json!(77), &json!(true)));
    telegram.deletes_topic(ANA, 77);
    assert_eq!(call(&telegram, thread).await, refused);
    let topics: Vec<_> = telegram.sent_to(ANA).into_iter().map(|sent| sent.topic).collect();
    assert_eq!(topics, [Some(77)]);
}

async fn start() -> Telegram {
    let clock = Clock::manual(Timestamp::from_seconds(1_795_000_000));
    let telegram = Telegram::start(TOKEN, "nbhd_bot", clock, Journal::default()).await.expect("a free port");
    telegram.knows(ANA, "Ana");
    telegram
}

/// Sends a message to Ana with these parameters beside its text.
async fn call(telegram: &Telegram, mut parameters: Value) -> Value {
    (parameters["chat_id"], parameters["text"]) = (json!(ANA), json!("hi"));
    let url = format!("{}/bot{TOKEN}/sendMessage", telegram.base_url());
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let request = http.post(url).header("content-type", "application/json").body(parameters.to_string());
    let answer = request.send().await.expect("an answer").text().await.expect("a body");
    serde_json::from_str(&answer).expect("JSON")
}
