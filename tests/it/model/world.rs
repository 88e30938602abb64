//! One world for several histories at once: every vendor, the functions between them, and a queue that loses things.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::names::Names;
use nbhd::domain::secrets::MasterKey;
use nbhd::providers::azure::resource_manager::Group;
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;
use nbhd_sim::arm::{ACCOUNT, ENVIRONMENT, LOCATION};
use nbhd_sim::azure::Azure;
use nbhd_sim::google::Google;
use nbhd_sim::interruption::LateRequest;
use nbhd_sim::journal::Journal;
use nbhd_sim::model_gateway::ModelGateway;
use nbhd_sim::sqs::{LIFECYCLE, REFRESH, Sqs};
use nbhd_sim::stripe::{AfterDunning, Stripe};
use nbhd_sim::table::Table;
use nbhd_sim::telegram::Telegram;
use secrecy::SecretString;
use tower::ServiceExt as _;

use super::Counts;
use super::history::{Dunning, Event, History, Setting};
use super::mail::Mail;
use super::person::Person;
use super::plants::{Plant, Planted};
use super::watch::{Violation, Watch};

/// How many histories one world plays.
pub(super) const PEOPLE: usize = 20;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

const BOT_TOKEN: &str = "123456:the-bot-of-the-model-test";
const PLATFORM_KEY: &str = "platform-key-of-the-model-test-0123456789abcdef";
pub(super) const START: Timestamp = Timestamp::from_seconds(1_795_262_400);

/// Vendors, functions and people.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    pub(super) table: Arc<Table>,
    pub(super) sqs: Sqs,
    pub(super) stripe: Stripe,
    pub(super) telegram: Telegram,
    pub(super) azure: Azure,
    pub(super) gateway: ModelGateway,
    pub(super) store: Store,
    pub(super) reconciler: tenant_reconcile::App,
    pub(super) refresh: scheduled_refresh::App,
    /// The same functions in a second sandbox, where others work while an invocation is held.
    pub(super) elsewhere: (tenant_reconcile::App, scheduled_refresh::App),
    _google: Google,
    pub(super) lifecycle: Jobs<LifecycleJob>,
    pub(super) watch: Arc<Watch>,
    pub(super) chance: Chance,
    /// Requests under way: when they take effect, and whose they are.
    pub(super) late: RefCell<Vec<(Timestamp, usize, LateRequest)>>,
    pub(super) counts: RefCell<Counts>,
    pub(super) people: RefCell<Vec<Person>>,
    pub(super) mail: RefCell<Mail>,
    /// Faults have stopped.
    pub(super) is_calm: Cell<bool>,
    /// Nothing is drawn: what happens was recorded.
    pub(super) is_replay: Cell<bool>,
    /// Recorded faults that an invocation ended without meeting.
    pub(super) unmet: RefCell<Vec<Event>>,
    dunning: Dunning,
    pub(super) planted: Planted,
    webhook: Router,
}

/// What the seed decides.
pub(super) struct Chance(RefCell<fastrand::Rng>);

impl Chance {
    pub(super) fn percent(&self, of_a_hundred: u8) -> bool {
        self.0.borrow_mut().u8(..100) < of_a_hundred
    }

    pub(super) fn below(&self, end: usize) -> usize {
        self.0.borrow_mut().usize(..end)
    }

    pub(super) fn choice<T: Clone>(&self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(super) fn shuffle<T>(&self, all: &mut [T]) {
        self.0.borrow_mut().shuffle(all);
    }

    /// Seconds up to `most`.
    pub(super) fn up_to(&self, most: Duration) -> Duration {
        Duration::from_secs(self.0.borrow_mut().u64(..=most.as_secs()))
    }
}

impl World {
    pub(super) async fn start(seed: u64, dunning: Option<Dunning>, plant: Option<Plant>) -> Self {
        let chance = Chance(RefCell::new(fastrand::Rng::with_seed(seed)));
        let (clock, journal) = (Clock::manual(START), Journal::new());
        let table = Arc::new(Table::start(None).await.expect("a table"));
        table.stops_with(journal.interruption());
        let sqs = Sqs::start(&clock, &journal).await.expect("queues");
        let stripe = Stripe::start(clock.clone(), &journal).await.expect("Stripe");
        let drawn = || chance.choice(&[Dunning::Unpaid, Dunning::Canceled, Dunning::PastDue]);
        let dunning = dunning.unwrap_or_else(drawn);
        stripe.gives_up_by(match dunning {
            Dunning::Unpaid => AfterDunning::Unpaid,
            Dunning::Canceled => AfterDunning::Canceled,
            Dunning::PastDue => AfterDunning::PastDue,
        });
        let telegram = Telegram::start(BOT_TOKEN, "nbhd_bot", clock.clone(), journal.clone()).await.expect("a port");
        let azure = Azure::start(clock.clone(), journal.clone()).await.expect("Azure");
        let gateway = ModelGateway::start(clock.clone(), &journal).await.expect("a gateway");
        let google = Google::start(clock.clone(), &journal).await.expect("Google");
        let settings = [
            plain(&sqs, &table, &telegram),
            azure_places(&azure),
            azure.settings(),
            gateway.settings(),
            stripe.settings(),
            google.settings(),
        ];
        let mut settings: BTreeMap<&str, String> = settings.concat().into_iter().collect();
        let planted = Planted::start(plant, &azure, &mut settings).await;
        let env = Env::from_pairs(settings);
        let watch = Watch::start(&clock, &table, &azure, journal.interruption());
        let webhook = stripe_webhook::App::new(&env, clock.clone()).expect("complete settings");
        let world = Self {
            reconciler: tenant_reconcile::App::new(&env, clock.clone()).expect("complete settings"),
            refresh: scheduled_refresh::App::from_env(&env, clock.clone()).expect("complete settings"),
            elsewhere: (
                tenant_reconcile::App::new(&env, clock.clone()).expect("complete settings"),
                scheduled_refresh::App::from_env(&env, clock.clone()).expect("complete settings"),
            ),
            _google: google,
            webhook: stripe_webhook::router(webhook),
            lifecycle: Queues::new(&env).expect("complete settings").lifecycle_jobs(&sqs.url(LIFECYCLE)),
            store: Store::from_env(&env).expect("complete settings"),
            people: RefCell::default(),
            late: RefCell::default(),
            counts: RefCell::default(),
            mail: RefCell::default(),
            is_calm: Cell::new(false),
            is_replay: Cell::new(false),
            unmet: RefCell::default(),
            dunning,
            clock,
            journal,
            table,
            sqs,
            stripe,
            telegram,
            azure,
            gateway,
            watch,
            chance,
            planted,
        };
        for number in 0..PEOPLE {
            world.arrives(number);
        }
        world
    }

    fn arrives(&self, number: usize) {
        let key = MasterKey::new(&SecretString::from(PLATFORM_KEY)).expect("long enough");
        let chat = ChatId(1_001 + i64::try_from(number).expect("few"));
        let tenant = key.tenant_id(chat);
        self.telegram.knows(chat, "A person");
        let is_deaf = self.chance.percent(12);
        self.people.borrow_mut().push(Person::new(number, chat, tenant, Names::derive(&key, tenant), is_deaf));
    }

    /// What Stripe posts reaches the function as API Gateway hands it over; the status of the answer.
    pub(super) async fn posts(&self, body: &bytes::Bytes) -> u16 {
        if let Some(status) = self.planted.takes(self, body).await {
            return status;
        }
        let request = Request::post("/stripe/webhook")
            .header("stripe-signature", self.stripe.signs(body))
            .body(Body::from(body.clone()))
            .expect("a request");
        let Ok(answer) = self.webhook.clone().oneshot(request).await;
        answer.status().as_u16()
    }

    /// Changes a count of what happened.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.borrow_mut());
    }

    pub(super) fn with<T>(&self, number: usize, change: impl FnOnce(&mut Person) -> T) -> T {
        change(&mut self.people.borrow_mut()[number])
    }

    pub(super) fn number_of(&self, tenant: TenantId) -> Option<usize> {
        self.people.borrow().iter().position(|person| person.tenant == tenant)
    }

    /// Writes a line of a history, to be read when it broke a promise.
    pub(super) fn notes(&self, number: usize, what: impl Into<String>) {
        let line = format!("{} {}", self.clock.now(), what.into());
        self.with(number, |person| person.story.push(line));
    }

    /// The first promise that was broken.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.watch.violation()
    }

    /// What was noted of the person whose promise was broken, and their history as it can be played again.
    pub(super) fn history_of(&self, violation: &Violation) -> (String, Option<History>) {
        let Some(person) = self.number_of(violation.tenant) else { return Default::default() };
        self.with(person, |known| {
            let setting = Setting { person, dunning: self.dunning, broke: violation.broke.to_owned() };
            let events = known.recording.concat();
            (known.story.join("\n  "), Some(History { setting, events }))
        })
    }
}

fn plain(sqs: &Sqs, table: &Table, telegram: &Telegram) -> Vec<(&'static str, String)> {
    vec![
        ("TABLE_NAME", nbhd_sim::table::NAME.to_owned()),
        ("LIFECYCLE_QUEUE_URL", sqs.url(LIFECYCLE)),
        ("REFRESH_QUEUE_URL", sqs.url(REFRESH)),
        ("TELEGRAM_BOT_TOKEN", BOT_TOKEN.to_owned()),
        ("TELEGRAM_API_URL", telegram.base_url()),
        ("PLATFORM_KEY", PLATFORM_KEY.to_owned()),
        ("LINK_SIGNING_KEY", PLATFORM_KEY.to_owned()),
        ("PUBLIC_BASE_URL", "https://api.nbhd.example".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", table.base_url()),
        ("AWS_ENDPOINT_URL_SQS", sqs.base_url()),
    ]
}

fn azure_places(azure: &Azure) -> Vec<(&'static str, String)> {
    let group = azure.arm.group();
    let pull = Group { name: "shared".to_owned(), ..group.clone() }.identity("nbhd-pull").to_string();
    vec![
        ("AZURE_SHARDS", format!("{}/{ACCOUNT}/{}", group.subscription_id, nbhd_sim::azure::VAULT)),
        ("AZURE_RESOURCE_GROUP", group.name),
        ("AZURE_LOCATION", LOCATION.to_owned()),
        ("CONTAINER_ENVIRONMENT", ENVIRONMENT.to_owned()),
        ("ENVIRONMENT_IDENTITY", "nbhd-environment".to_owned()),
        ("PULL_IDENTITY", pull),
        ("CONTAINER_REGISTRY", "nbhd.azurecr.io".to_owned()),
        ("OPENCLAW_IMAGE", format!("nbhd.azurecr.io/openclaw@sha256:{}", "a".repeat(64))),
        ("MODEL_ID", "vendor/model".to_owned()),
    ]
}
