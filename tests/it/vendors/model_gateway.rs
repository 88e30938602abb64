//! The model gateway's client against its simulator, and what the simulator lets a key do.

use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::providers::Error;
use nbhd::providers::model_gateway::{Client, KeyChange, NewKey};
use nbhd_sim::journal::Journal;
use nbhd_sim::model_gateway::{Failure, MODEL_GATEWAY, ModelGateway, Operation, Reply};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

const NAME: &str = "nbhd-8c1d2f3e-1";
const OPERATIONS: [Operation; 5] =
    [Operation::List, Operation::Create, Operation::Get, Operation::Update, Operation::Delete];

#[tokio::test]
async fn a_key_is_made_with_a_monthly_limit_and_told_once() {
    let world = World::start().await;
    let made = world.client.create_key(NAME, 1_999).await.expect("made");
    let found = world.finds(NAME).await.expect("a list");
    let [key] = found.as_slice() else { panic!("one key: {found:?}") };
    assert_eq!((&key.hash, key.name.as_str(), key.disabled), (&made.hash, NAME, false));
    assert_eq!((key.limit_cents, key.limit_reset.as_deref(), key.used_cents), (Some(1_999), Some("monthly"), Some(0)));
    assert_eq!(&world.client.get_key(&made.hash).await.expect("read"), key);

    let told = world.journal.entries().iter().filter(|entry| entry.contains_text(made.key.expose_secret())).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_name_is_found_only_whole_and_disabled_or_not() {
    let world = World::start().await;
    let first = world.client.create_key(NAME, 100).await.expect("made");
    let second = world.client.create_key(NAME, 100).await.expect("made");
    world.client.create_key("nbhd-8c1d2f3e-10", 100).await.expect("made");
    world
        .client
        .update_key(&first.hash, KeyChange { disabled: Some(true), ..KeyChange::default() })
        .await
        .expect("changed");

    let mut found: Vec<String> = world.finds(NAME).await.expect("a list").into_iter().map(|key| key.hash).collect();
    found.sort();
    let mut made = [first.hash, second.hash];
    made.sort();
    assert_eq!(found, made);
    assert!(world.finds("nbhd").await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_name_is_found_on_any_page() {
    for (older, younger) in [(0, 99), (0, 100), (1, 100), (150, 150), (99, 198)] {
        let world = World::start().await;
        world.is_crowded(older);
        let hash = world.gateway.has_key(NAME);
        world.is_crowded(younger);
        let found = world.finds(NAME).await.expect("a list");
        assert_eq!(
            found.iter().map(|key| key.hash.as_str()).collect::<Vec<_>>(),
            [hash.as_str()],
            "{older}, {younger}"
        );
    }
}

#[tokio::test]
async fn who_knows_since_when_to_look_reads_no_further_back() {
    let world = World::start().await;
    world.is_crowded(450);
    world.clock.advance(Duration::from_secs(60));
    let since = world.clock.now();
    world.is_crowded(30);
    assert!(world.client.find_keys_since(|name| name == NAME, since).await.expect("a list").is_empty());
    assert_eq!(world.requests(), 1);
    let hash = world.gateway.has_key(NAME);
    let found = world.client.find_keys_since(|name| name == NAME, since).await.expect("a list");
    assert_eq!(found.iter().map(|key| &key.hash).collect::<Vec<_>>(), [&hash]);
}

#[tokio::test]
async fn a_list_that_loses_keys_while_it_is_read_is_read_again() {
    let world = World::start().await;
    let hash = world.gateway.has_key(NAME);
    world.is_crowded(150);
    // The wanted key moves up, past where the second page begins.
    world.gateway.loses_keys_after_next_page(60);
    let found = world.finds(NAME).await.expect("a list");
    assert_eq!(found.iter().map(|key| &key.hash).collect::<Vec<_>>(), [&hash]);
}

#[tokio::test]
async fn a_change_leaves_the_rest_as_it_was() {
    let world = World::start().await;
    let NewKey { hash, .. } = world.client.create_key(NAME, 500).await.expect("made");
    let changed =
        world.client.update_key(&hash, KeyChange { disabled: Some(true), limit_cents: None }).await.expect("changed");
    assert_eq!((changed.disabled, changed.limit_cents), (true, Some(500)));
    let changed =
        world.client.update_key(&hash, KeyChange { disabled: None, limit_cents: Some(2_000) }).await.expect("changed");
    assert_eq!((changed.disabled, changed.limit_cents), (true, Some(2_000)));
    let gone = world.client.update_key("0".repeat(64).as_str(), KeyChange::default()).await;
    assert!(matches!(gone, Err(Error::NotFound)));
}

#[tokio::test]
async fn deleting_twice_is_done_as_well() {
    let world = World::start().await;
    let NewKey { hash, .. } = world.client.create_key(NAME, 500).await.expect("made");
    assert!(world.client.delete_key(&hash).await.expect("deleted"));
    assert!(!world.client.delete_key(&hash).await.expect("deleted before"));
    assert!(world.gateway.keys().is_empty());
    assert!(matches!(world.client.get_key(&hash).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found_deleted_and_made_anew() {
    let world = World::start().await;
    world.gateway.faults.fail_next(Operation::Create, Failure::AnswerLost);
    let lost = world.client.create_key(NAME, 500).await.expect_err("lost");
    assert!(matches!(lost, Error::Unreachable { .. }) && lost.is_retryable());
    for key in world.finds(NAME).await.expect("a list") {
        world.client.delete_key(&key.hash).await.expect("gone");
    }
    let made = world.client.create_key(NAME, 500).await.expect("made");
    assert_eq!(world.gateway.keys().iter().map(|key| &key.hash).collect::<Vec<_>>(), [&made.hash]);
}

#[tokio::test]
async fn what_passes_is_told_apart_from_a_final_word() {
    let world = World::start().await;
    for (failure, is_retryable) in [
        (Failure::Throttled(Some(7)), true),
        (Failure::Throttled(None), true),
        (Failure::Status(500), true),
        (Failure::Status(503), true),
        (Failure::ConnectionLost, true),
        (Failure::Status(403), false),
        (Failure::Status(400), false),
    ] {
        for operation in OPERATIONS {
            world.gateway.faults.fail_next(operation, failure);
            let error = world.asks(operation).await.expect_err("it fails");
            assert_eq!(error.is_retryable(), is_retryable, "{operation:?}: {failure:?} became {error:?}");
        }
    }
    world.gateway.faults.fail_next(Operation::Create, Failure::Throttled(Some(7)));
    let throttled = world.client.create_key(NAME, 1).await;
    assert!(matches!(throttled, Err(Error::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 7));
    world.gateway.faults.fail_next(Operation::List, Failure::NotJson);
    assert!(matches!(world.finds(NAME).await, Err(Error::Malformed { .. })));
    assert!(world.gateway.keys().is_empty());
}

#[tokio::test]
async fn no_error_carries_a_credential() {
    let world = World::start().await;
    let management_key = world.env.required("MODEL_GATEWAY_MANAGEMENT_KEY", "").expect("set");
    for failure in [Failure::Echo, Failure::NotJson, Failure::AnswerLost] {
        for operation in OPERATIONS {
            world.gateway.faults.fail_next(operation, failure);
            let error = format!("{:?}", world.asks(operation).await);
            assert!(!error.contains(management_key) && !error.contains("sk-or-v1"), "{error}");
        }
    }
    let made = world.client.create_key(NAME, 1).await.expect("made");
    assert!(!format!("{made:?} {:?}", world.client).contains("sk-or-v1"));
}

#[tokio::test]
async fn a_wrong_management_key_is_refused_and_a_missing_one_named() {
    let world = World::start().await;
    let NewKey { key, .. } = world.client.create_key(NAME, 1).await.expect("made");
    for wrong in ["sk-or-v1-wrong", key.expose_secret()] {
        let env = world.env.clone().with("MODEL_GATEWAY_MANAGEMENT_KEY", wrong);
        let refused = client(&env).find_keys_since(|name| name == NAME, Timestamp::default()).await;
        assert!(matches!(refused, Err(Error::Unauthorized)));
    }
    let env = world.env.clone().without("MODEL_GATEWAY_MANAGEMENT_KEY");
    let error = Client::from_env(&env, nbhd::http::client(&env).expect("client")).expect_err("missing");
    assert!(error.to_string().starts_with("`MODEL_GATEWAY_MANAGEMENT_KEY` is not set"));
}

#[tokio::test]
async fn a_call_costs_its_key_until_the_limit_and_again_next_month() {
    let world = World::start().await;
    let NewKey { key, hash } = world.client.create_key(NAME, 1).await.expect("made");
    world.gateway.replies_next(Reply { text: "Good morning, Ann.".to_owned(), cost_micros: 10_000 });
    let (status, answer) = world.says(key.expose_secret(), "hello").await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("Good morning, Ann.")));
    assert_eq!(answer["usage"]["cost"], json!(0.01));
    assert_eq!(world.client.get_key(&hash).await.expect("read").used_cents, Some(1));

    let (status, answer) = world.says(key.expose_secret(), "hello?").await;
    assert_eq!((status, &answer["error"]["metadata"]["limit_source"]), (402, &json!("openrouter_key_limit")));
    assert_eq!(world.gateway.keys()[0].used_micros, 10_000);

    world.clock.set(Timestamp::parse_rfc3339("2027-02-01T00:00:00Z").expect("a moment"));
    assert_eq!(world.says(key.expose_secret(), "hello!").await.0, 200);
}

#[tokio::test]
async fn only_a_key_that_is_known_and_on_may_call_a_model() {
    let world = World::start().await;
    let NewKey { key, hash } = world.client.create_key(NAME, 500).await.expect("made");
    let management_key = world.env.required("MODEL_GATEWAY_MANAGEMENT_KEY", "").expect("set");
    assert_eq!(world.says("sk-or-v1-unknown", "hello").await.0, 401);
    assert_eq!(world.says(management_key, "hello").await.0, 403);
    for (disabled, expected) in [(true, 401), (false, 200)] {
        world
            .client
            .update_key(&hash, KeyChange { disabled: Some(disabled), limit_cents: None })
            .await
            .expect("changed");
        assert_eq!(world.says(key.expose_secret(), "hello").await.0, expected);
    }
    world.client.delete_key(&hash).await.expect("gone");
    assert_eq!(world.says(key.expose_secret(), "hello").await.0, 401);
}

struct World {
    gateway: ModelGateway,
    journal: Journal,
    clock: Clock,
    env: Env,
    client: Client,
}

impl World {
    async fn start() -> Self {
        let (journal, clock) = (Journal::new(), Clock::manual(Timestamp::from_seconds(1_800_000_000)));
        let gateway = ModelGateway::start(clock.clone(), &journal).await.expect("a loopback port");
        let env = Env::from_pairs(gateway.settings());
        let client = client(&env);
        Self { gateway, journal, clock, env, client }
    }

    async fn finds(&self, name: &str) -> Result<Vec<nbhd::providers::model_gateway::Key>, Error> {
        self.client.find_keys_since(|found| found == name, Timestamp::default()).await
    }

    /// Other people's keys.
    fn is_crowded(&self, count: usize) {
        for other in 0..count {
            self.gateway.has_key(&format!("other-{other}"));
        }
    }

    fn requests(&self) -> usize {
        self.journal.entries_of(MODEL_GATEWAY).len()
    }

    async fn asks(&self, operation: Operation) -> Result<(), Error> {
        let hash = "0".repeat(64);
        match operation {
            Operation::List => self.finds(NAME).await.map(|_| ()),
            Operation::Create => self.client.create_key(NAME, 100).await.map(|_| ()),
            Operation::Get => self.client.get_key(&hash).await.map(|_| ()),
            Operation::Update => self.client.update_key(&hash, KeyChange::default()).await.map(|_| ()),
            Operation::Delete => self.client.delete_key(&hash).await.map(drop),
            Operation::Chat => unreachable!("our client calls no model"),
        }
    }

    /// What a tenant's assistant does with its key.
    async fn says(&self, key: &str, text: &str) -> (u16, Value) {
        let body = json!({"model": "anthropic/claude-sonnet-4.5", "messages": [{"role": "user", "content": text}]});
        let url = format!("{}/chat/completions", self.gateway.base_url());
        let http = nbhd::http::client(&self.env).expect("a client");
        let answer = http.post(url).bearer_auth(key).body(body.to_string()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }
}

fn client(env: &Env) -> Client {
    Client::from_env(env, nbhd::http::client(env).expect("a client")).expect("usable")
}
