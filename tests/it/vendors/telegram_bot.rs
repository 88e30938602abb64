//! The bot's client against the simulated Telegram.

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::ChatId;
use nbhd::providers::telegram::{Bot, Button, FilePath, MessageOptions};
use nbhd::providers::{Error, NetworkFailure};
use nbhd_sim::journal::Journal;
use nbhd_sim::telegram::contract::Contract;
use nbhd_sim::telegram::{Failure, Telegram};
use serde_json::{Value, json};

const ANA: ChatId = ChatId(1001);
const SECRET: &str = "the-real-token-of-the-shared-bot";

#[tokio::test]
async fn a_message_carries_its_options_and_no_preview() {
    let world = World::start().await;
    let button = Button { text: "Connect Gmail", url: "https://nbhd.example/oauth/gmail/authorize?link=x" };
    let options = MessageOptions { topic: None, reply_to: Some(7), button: Some(button), silent: true };
    world.bot.send_message(ANA, "Hello <Ana>", options).await.expect("sent");
    world.bot.send_message(ANA, "Bye", MessageOptions::default()).await.expect("sent");
    world.bot.send_chat_action(ANA, "typing", None).await.expect("shown");

    let sent = world.telegram.sent_to(ANA.0);
    assert_eq!((sent[0].text.as_str(), sent[0].reply_to), ("Hello <Ana>", Some(7)));
    assert_eq!(sent[0].message["reply_markup"]["inline_keyboard"][0][0]["url"], button.url);
    assert_eq!(sent[0].params.json("link_preview_options"), Some(json!({"is_disabled": true})));
    assert_eq!((sent[1].reply_to, world.telegram.actions_in(ANA.0)), (None, vec!["typing".to_owned()]));
    if let Some(contract) = Contract::load() {
        assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_message_for_a_topic_goes_there_while_there_is_one() {
    let world = World::start().await;
    world.telegram.says_in_topic(ANA.0, 77, "hi");
    let options = || MessageOptions { topic: Some(77), ..MessageOptions::default() };
    world.bot.send_message(ANA, "in it", options()).await.expect("sent");
    world.bot.send_chat_action(ANA, "typing", Some(77)).await.expect("shown");
    world.telegram.deletes_topic(ANA.0, 77);
    world.bot.send_message(ANA, "beside it", options()).await.expect("sent");
    world.bot.send_chat_action(ANA, "typing", Some(77)).await.expect("shown");
    let topics: Vec<_> = world.telegram.sent_to(ANA.0).into_iter().map(|sent| sent.topic).collect();
    assert_eq!((topics, world.telegram.topics_of_actions_in(ANA.0)), (vec![Some(77), None], vec![Some(77), None]));

    // Any other refusal is the caller's, at once.
    world.telegram.blocks_the_bot(ANA.0);
    let before = world.journal.entries().len();
    assert!(matches!(world.bot.send_message(ANA, "x", options()).await, Err(Error::Refused { status: 403, .. })));
    assert_eq!(world.journal.entries().len(), before + 1);
}

#[tokio::test]
async fn every_failure_is_the_callers_next_move() {
    let world = World::start().await;
    let send = async || world.bot.send_message(ANA, "hi", MessageOptions::default()).await.err();
    let fails = |failure| world.telegram.faults.fail_next("sendMessage", failure);

    fails(Failure::Throttled(17));
    assert!(matches!(send().await, Some(Error::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 17));
    fails(Failure::Status(StatusCode::UNAUTHORIZED));
    assert!(matches!(send().await, Some(Error::Unauthorized)));
    fails(Failure::Status(StatusCode::NOT_FOUND));
    assert!(matches!(send().await, Some(Error::NotFound)));
    fails(Failure::Status(StatusCode::BAD_GATEWAY));
    assert!(matches!(send().await, Some(Error::Failed { status: 502 })));
    fails(Failure::NotJson);
    assert!(matches!(send().await, Some(Error::Malformed { .. })));
    fails(Failure::AnswerLost);
    assert!(matches!(send().await, Some(Error::Unreachable { cause: NetworkFailure::ConnectionLost })));
    world.telegram.blocks_the_bot(ANA.0);
    let blocked = "Forbidden: bot was blocked by the user";
    assert!(matches!(send().await, Some(Error::Refused { status: 403, reason }) if reason == blocked));
}

#[tokio::test]
async fn an_error_shows_neither_the_token_nor_an_address() {
    let nowhere = bot("http://127.0.0.1:1");
    let world = World::start().await;
    world.telegram.faults.fail_any(Failure::AnswerLost);
    for bot in [nowhere, world.bot.clone()] {
        let error = bot.call::<Value>("getMe", &json!({})).await.expect_err("no answer");
        for shown in [error.to_string(), format!("{error:?}"), format!("{bot:?}")] {
            assert!(!shown.contains(SECRET), "{shown}");
        }
        assert!(!format!("{error:?}").contains("127.0.0.1"));
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn a_file_is_downloaded_up_to_a_limit() {
    let world = World::start().await;
    let file_id = world.telegram.uploads_file(ANA.0, "a.bin", "application/octet-stream", vec![7; 1000]);
    let file = world.bot.get_file(&file_id).await.expect("known");
    assert_eq!((file.file_id, file.file_size), (file_id, Some(1000)));
    let path = FilePath::parse(&file.file_path.expect("a path")).expect("plain");
    let download = world.bot.download(&path, 1000).await.expect("there").expect("within the limit");
    assert_eq!(download.bytes, vec![7; 1000]);
    assert!(world.bot.download(&path, 999).await.expect("there").is_none());
    let other = FilePath::parse("documents/none").expect("plain");
    assert!(matches!(world.bot.download(&other, 1000).await, Err(Error::NotFound)));
}

struct World {
    telegram: Telegram,
    journal: Journal,
    bot: Bot,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(1_795_000_000));
        let journal = Journal::new();
        let token = format!("42:{SECRET}");
        let telegram = Telegram::start(&token, "nbhd_bot", clock, journal.clone()).await.expect("a port");
        telegram.knows(ANA.0, "Ana");
        let bot = bot(&telegram.base_url());
        Self { telegram, journal, bot }
    }
}

fn bot(base_url: &str) -> Bot {
    let token = format!("42:{SECRET}");
    let env = Env::from_pairs([("TELEGRAM_API_URL", base_url), ("TELEGRAM_BOT_TOKEN", token.as_str())]);
    Bot::new(&env, nbhd::http::client(&env).expect("embedded roots")).expect("complete settings")
}
