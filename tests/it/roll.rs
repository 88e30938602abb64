//! Replacing each secret that can be replaced, while people write, connect and pay.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::generation::Generation;
use nbhd::domain::ids::ChatId;
use nbhd_local::{Browser, LoadedPage, Options, Subscriber, World, story};
use nbhd_ops::Args;
use nbhd_sim::arm::Pace;
use nbhd_sim::google::Scopes;
use nbhd_sim::google::mailbox::TextForm;
use nbhd_sim::rights::env_of;
use nbhd_sim::runtime::Settings;
use nbhd_sim::sqs;
use serde_json::{Value, json};
use tenant_reconcile::Outcome;

const BEN: ChatId = ChatId(1002);
const NEW_KEY: &str = "k2:another-key-of-at-least-32-bytes-in-a-list";
const NEW_SECRET: &str = "another-secret-of-the-webhook";
const HOUR: Duration = Duration::from_secs(3_600);

/// A world with two tenants, and an operator.
struct Office {
    world: World,
    ann: ChatId,
    settings: PathBuf,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let _ = nbhd::telemetry::capture();
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("settings.env");
        let clock = Clock::manual(Timestamp::from_seconds(1_795_240_000));
        let options = Options { settings: Some(settings.clone()), ..Options::with_clock(clock) };
        let world = World::start(options).await.expect("the world starts");
        story::fill_account(&world, None, TextForm::Utf8).expect("the project's own messages");
        let ann = ChatId(world.chat.id());
        for chat in [ann, BEN] {
            world.subscribes(chat).await.expect("an assistant");
        }
        Self { world, ann, settings, _folder: folder }
    }

    async fn subscriber(&self, chat: ChatId) -> Subscriber {
        self.world.subscriber(chat).await.expect("readable").expect("an assistant")
    }

    async fn generation(&self, chat: ChatId) -> Generation {
        let tenant = self.subscriber(chat).await.tenant_id;
        let tenant = self.world.store().expect("a store").tenant(tenant).await.expect("readable").expect("there");
        assert_eq!(tenant.other_generation, None, "no rotation goes on");
        tenant.generation
    }

    fn setting(&self, name: &str) -> String {
        self.world.env.optional(name).expect("set").to_owned()
    }

    /// The functions are deployed with a new key, and with the one before if `keeps` is set.
    fn deploys(&mut self, name: &'static str, new: &str, keeps: bool) {
        let old = self.setting(name);
        let list = if keeps { format!("{new},{old}") } else { new.to_owned() };
        self.world.restart(&[(name, &list)]).expect("complete settings");
    }

    async fn nbhd(&self, words: &[&str]) -> Value {
        let settings = self.settings.to_str().expect("a path in UTF-8");
        let words = [&["nbhd", "--json", "--settings", settings], words].concat();
        let answer = nbhd_ops::run(Args::try_parse_from(words).expect("a command"), self.world.clock.clone())
            .await
            .expect("answered");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Writes to an assistant; whether it has answered.
    async fn is_answered(&self, chat: ChatId, text: &str) -> bool {
        self.world.telegram.says(chat, text);
        self.world.run_until_idle().await;
        self.has_answered(chat, text)
    }

    fn has_answered(&self, chat: ChatId, text: &str) -> bool {
        self.world.telegram.texts_to(chat).iter().any(|said| said.contains(&format!("You said: {text}")))
    }

    /// The status of a call of a container's.
    async fn relay(&self, container: &Settings) -> u16 {
        // No rate limit is in the way.
        self.world.clock.advance(Duration::from_secs(1));
        let url = format!("{}/bot{}/getMe", container.api_root, container.bot_token);
        let http = nbhd::http::client_with_roots(None).expect("a client");
        http.get(url).send().await.expect("served").status().as_u16()
    }

    /// The status of an update with this secret.
    async fn webhook(&self, secret: &str) -> u16 {
        let http = nbhd::http::client_with_roots(None).expect("a client");
        let request = http.post(format!("{}/telegram/webhook", self.world.base_url()));
        let request = request.header("x-telegram-bot-api-secret-token", secret).body("{}");
        request.send().await.expect("served").status().as_u16()
    }

    /// The address below the bot's answer to a command.
    async fn link(&self, command: &str) -> String {
        let before = self.world.chat.answers().len();
        self.world.chat.says(command);
        self.world.run_until_idle().await;
        let answers = self.world.chat.answers().into_iter().skip(before);
        answers.flat_map(|answer| answer.buttons).next().expect("a button").url
    }

    /// What bears a tenant's names at Azure, in the vault and at the gateway, where a generation's number is left out.
    fn inventory(&self) -> Vec<String> {
        let unnumbered = |name: String| match name.rsplit_once("-g") {
            Some((name, _)) if name.starts_with("model key") => name.to_owned(),
            _ => name,
        };
        let mut all: Vec<_> = self.world.inventory().into_iter().map(unnumbered).collect();
        all.sort_unstable();
        all
    }

    /// Rotates a tenant's keys one wait at a time: in each, its container calls the relay with the secrets that it has.
    /// How many calls that were.
    async fn rotate_under_traffic(&self, chat: ChatId) -> usize {
        let env = env_of("tenant-reconcile", &self.world.env);
        let reconciler = tenant_reconcile::App::new(&env, self.world.clock.clone()).expect("complete settings");
        let tenant = self.subscriber(chat).await.tenant_id;
        for calls in 1..200 {
            let outcome = tenant_reconcile::reconcile(&reconciler, tenant).await.expect("a table");
            assert_eq!(self.relay(&self.subscriber(chat).await.secrets).await, 200, "after {calls} turns");
            match outcome {
                Outcome::Converged => return calls,
                Outcome::Waiting { until } => self.world.clock.set(until.max(self.world.clock.now())),
                Outcome::Leased { .. } | Outcome::NotFound | Outcome::Inventoried => panic!("{outcome:?}"),
            }
        }
        panic!("the rotation has no end")
    }
}

/// Goes on from a page of ours to the next one.
async fn go_on(browser: &mut Browser, url: &str, page: &LoadedPage) -> LoadedPage {
    browser.submit(page.form_action(url).expect("a form").as_str(), &page.form_fields()).await.expect("served")
}

#[tokio::test]
async fn runtime_keys_are_replaced_under_traffic_and_nothing_is_refused_or_renamed() {
    let mut office = Office::open().await;
    let (ann, inventory) = (office.ann, office.inventory());
    let before = [office.subscriber(ann).await, office.subscriber(BEN).await];
    office.deploys("RUNTIME_KEYS", NEW_KEY, true);
    for (chat, known) in [ann, BEN].into_iter().zip(&before) {
        assert_eq!(office.relay(&known.secrets).await, 200);
        assert!(office.is_answered(chat, "before the rotation").await);
        assert_eq!(office.generation(chat).await.to_string(), "k1.1", "a deployment alone rotates nothing");
    }

    // The operator's command is stopped after the first tenant; said once more, it goes on with the second.
    office.world.azure.arm.delays_operations(Pace::Polls(2));
    let asked = office.nbhd(&["rotate-keys", &before[0].tenant_id.to_string()]).await;
    assert!(asked.to_string().contains("gets new keys"), "{asked}");
    let asked = office.nbhd(&["rotate-keys", "--all", "--per-minute", "6000"]).await;
    assert_eq!(asked["rotations_requested"], 1);
    assert!(asked["next"].as_str().is_some_and(|next| next.starts_with("2 tenants that run")), "{asked}");
    for chat in [ann, BEN] {
        office.world.telegram.says(chat, "during the rotation");
        assert!(office.rotate_under_traffic(chat).await > 3, "it waits for Azure");
    }
    office.world.run_until_idle().await;

    let asked = office.nbhd(&["rotate-keys", "--all"]).await;
    assert_eq!(asked["rotations_requested"], 0);
    let counts = json!([
        { "key": "k1", "listed": "older", "tenants": 0, "of_them_suspended": 0 },
        { "key": "k2", "listed": "newest", "tenants": 2, "of_them_suspended": 0 },
    ]);
    assert_eq!(asked["keys"], counts);
    assert!(asked["next"].as_str().is_some_and(|next| next.contains("every key but `k2` can be removed")), "{asked}");

    office.deploys("RUNTIME_KEYS", NEW_KEY, false);
    for (chat, before) in [ann, BEN].into_iter().zip(before) {
        assert!(office.has_answered(chat, "during the rotation"));
        assert!(office.is_answered(chat, "after the rotation").await);
        let after = office.subscriber(chat).await;
        assert_eq!(after.tenant_id, before.tenant_id);
        assert_eq!(office.generation(chat).await.to_string(), "k2.2");
        let shown = office.nbhd(&["tenant", &after.tenant_id.to_string()]).await;
        assert_eq!(shown["secret_generations"], json!(["k2.2"]));
        assert_eq!((office.relay(&after.secrets).await, office.relay(&before.secrets).await), (200, 401));
    }
    assert_eq!(office.inventory(), inventory, "nothing is renamed, and nothing is there twice");
    assert!(office.world.sqs.messages(sqs::INBOUND_DLQ).is_empty());
}

#[tokio::test]
async fn a_runtime_key_that_is_removed_too_early_closes_doors_and_loses_no_message() {
    let mut office = Office::open().await;
    let (ann, inventory) = (office.ann, office.inventory());
    let before = [office.subscriber(ann).await, office.subscriber(BEN).await];
    office.deploys("RUNTIME_KEYS", NEW_KEY, false);
    assert_eq!(office.relay(&before[0].secrets).await, 401, "as to anybody with a wrong capability");
    office.world.telegram.says(ann, "is anybody there?");
    for _ in 0..10 {
        office.world.attempt().await;
        office.world.clock.advance(Duration::from_secs(60));
    }
    assert!(!office.has_answered(ann, "is anybody there?"));
    assert_eq!(office.world.sqs.messages(sqs::INBOUND).len(), 1, "it waits");
    let log = nbhd::telemetry::capture();
    assert!(log.contains("runtime_key_not_listed") && log.contains("\"RuntimeKeysUnlisted\":1"));

    // Nobody does anything: the reconciler's next look finds it.
    office.world.pass_time(2 * HOUR).await;
    assert!(office.has_answered(ann, "is anybody there?"));
    for chat in [ann, BEN] {
        assert_eq!(office.generation(chat).await.to_string(), "k2.2");
        assert_eq!(office.relay(&office.subscriber(chat).await.secrets).await, 200);
    }
    assert_eq!(office.inventory(), inventory);
    assert!(office.world.sqs.messages(sqs::INBOUND_DLQ).is_empty());
}

#[tokio::test]
async fn a_suspended_tenant_holds_up_no_removal_and_gets_new_keys_when_it_resumes() {
    let mut office = Office::open().await;
    let before = office.subscriber(BEN).await;
    let ben = before.tenant_id.to_string();
    office.nbhd(&["suspend", &ben]).await;
    office.world.run_until_idle().await;
    office.deploys("RUNTIME_KEYS", NEW_KEY, true);
    assert_eq!(office.nbhd(&["rotate-keys", "--all", "--per-minute", "6000"]).await["rotations_requested"], 2);
    office.world.run_until_idle().await;
    let asked = office.nbhd(&["rotate-keys", "--all"]).await;
    assert_eq!(asked["rotations_requested"], 0, "it was asked for");
    assert_eq!(asked["keys"][0], json!({ "key": "k1", "listed": "older", "tenants": 1, "of_them_suspended": 1 }));
    assert!(asked["next"].as_str().is_some_and(|next| next.contains("can be removed")), "{asked}");

    office.deploys("RUNTIME_KEYS", NEW_KEY, false);
    office.nbhd(&["resume", &ben]).await;
    office.world.run_until_idle().await;
    assert_eq!(office.generation(BEN).await.to_string(), "k2.2");
    assert!(office.is_answered(BEN, "back again").await);
    assert_eq!(office.relay(&before.secrets).await, 401);
}

#[tokio::test]
async fn link_keys_are_replaced_while_people_connect_and_pay() {
    let mut office = Office::open().await;
    let (connect, billing, unopened) =
        (office.link("/connect").await, office.link("/billing").await, office.link("/connect").await);
    let (mut connecting, mut paying) = (Browser::new().expect("a browser"), Browser::new().expect("a browser"));
    let page = connecting.open(&connect).await.expect("served");
    let portal = paying.open(&billing).await.expect("served");
    assert_eq!((page.status, portal.status), (200, 200));

    office.deploys("LINK_SIGNING_KEYS", NEW_KEY, true);
    assert!(go_on(&mut paying, &billing, &portal).await.location.is_some(), "on to Stripe");
    let consent = go_on(&mut connecting, &connect, &page).await.location.expect("on to Google");
    assert_eq!(Browser::new().expect("a browser").open(&unopened).await.expect("served").status, 200);
    let back = office.world.google.consents(&consent, story::ACCOUNT, &Scopes::All).expect("Google agrees");
    assert_eq!(connecting.open(&back).await.expect("served").status, 200, "a consent that was under way ends");

    // One is signed with the new key; the old key goes while both are fresh.
    let newer = office.link("/connect").await;
    office.deploys("LINK_SIGNING_KEYS", NEW_KEY, false);
    let mut browser = Browser::new().expect("a browser");
    for (link, opens) in [(&newer, true), (&unopened, false), (&billing, false)] {
        assert_eq!(browser.open(link).await.expect("served").status == 200, opens, "{link}");
    }
}

#[tokio::test]
async fn the_webhooks_secret_is_replaced_while_people_write() {
    let mut office = Office::open().await;
    let (ann, old) = (office.ann, office.setting("TELEGRAM_WEBHOOK_SECRETS"));
    office.deploys("TELEGRAM_WEBHOOK_SECRETS", NEW_SECRET, true);
    assert!(office.is_answered(ann, "under the old secret").await);
    let url = format!("{}/telegram/webhook", office.world.base_url());
    office.world.telegram.deliver_to(&url, NEW_SECRET);
    for chat in [ann, BEN] {
        assert!(office.is_answered(chat, "under the new secret").await);
    }
    assert_eq!((office.webhook(&old).await, office.webhook(NEW_SECRET).await), (200, 200));
    office.deploys("TELEGRAM_WEBHOOK_SECRETS", NEW_SECRET, false);
    assert_eq!((office.webhook(&old).await, office.webhook(NEW_SECRET).await), (403, 200));
    assert!(office.is_answered(ann, "without the old secret").await);
}

#[tokio::test]
async fn the_operators_command_takes_one_tenant_or_all_of_them() {
    for words in [&["rotate-keys"][..], &["rotate-keys", "--all", "--per-minute", "0"], &["rotate-keys", "x", "--all"]]
    {
        assert!(Args::try_parse_from([&["nbhd"], words].concat()).is_err(), "{words:?}");
    }
    let one = ["nbhd", "rotate-keys", "9d3b7c1e-0000-4000-8000-000000000000", "--per-minute", "3"];
    assert!(Args::try_parse_from(one).is_err(), "one tenant needs no pace");
}
