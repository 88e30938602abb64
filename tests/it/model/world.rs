//! One world for several histories at once: every vendor, the functions between them, and a queue that loses things.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::names::Names;
use nbhd::domain::secrets::IdentityKey;
use nbhd::flows::billing_link::Links;
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;
use nbhd_sim::azure::Azure;
use nbhd_sim::google::Google;
use nbhd_sim::interruption::LateRequest;
use nbhd_sim::model_gateway::ModelGateway;
use nbhd_sim::rights::env_of;
use nbhd_sim::sqs::LIFECYCLE;
use nbhd_sim::stripe::{AfterDunning, Stripe};
use nbhd_sim::testbed::Testbed;
use secrecy::SecretString;
use tower::ServiceExt as _;

use super::Counts;
use super::history::{Dunning, Event, History, Setting};
use super::mail::Mail;
use super::money::TRIAL_DAYS;
use super::mutants::{ActiveMutant, Mutant};
use super::observer::{Observer, Violation};
use super::person::Person;
use super::roll::Deployments;

/// How many histories one world plays.
pub(super) const PEOPLE: usize = 20;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

const TENANT_ID_KEY: &str = "platform-key-of-the-model-test-0123456789abcdef";
pub(super) const START: Timestamp = Timestamp::from_seconds(1_795_262_400);

/// Vendors, functions and people.
pub(super) struct World {
    testbed: Testbed,
    pub(super) stripe: Stripe,
    pub(super) azure: Azure,
    pub(super) gateway: ModelGateway,
    pub(super) store: Store,
    pub(super) deployments: Deployments,
    pub(super) sweep: reconcile_sweep::App,
    pub(super) refresh: scheduled_refresh::App,
    /// The same function in a second sandbox, where others work while an invocation is held.
    pub(super) second_sandbox: scheduled_refresh::App,
    pub(super) google: Google,
    pub(super) lifecycle: Jobs<LifecycleJob>,
    pub(super) observer: Arc<Observer>,
    pub(super) chance: Chance,
    /// Requests under way: when they take effect, and whose they are.
    pub(super) late: RefCell<Vec<(Timestamp, usize, LateRequest)>>,
    pub(super) counts: RefCell<Counts>,
    pub(super) people: RefCell<Vec<Person>>,
    pub(super) mail: RefCell<Mail>,
    /// Faults have stopped.
    pub(super) is_fault_free: Cell<bool>,
    /// Nothing is drawn: what happens was recorded.
    pub(super) is_replay: Cell<bool>,
    /// Recorded faults that an invocation ended without meeting.
    pub(super) unmet: RefCell<Vec<Event>>,
    dunning: Dunning,
    pub(super) mutant: ActiveMutant,
    webhook: Router,
    pub(super) billing: Router,
    pub(super) links: Links,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
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
    pub(super) async fn start(seed: u64, dunning: Option<Dunning>, mutant: Option<Mutant>) -> Self {
        let chance = Chance(RefCell::new(fastrand::Rng::with_seed(seed)));
        let mut testbed = Testbed::start(Clock::manual(START)).await.expect("a test bed");
        // The tenants' ids follow from it, and with them what a seed leads to.
        testbed.set("TENANT_ID_KEY", TENANT_ID_KEY);
        testbed.set("TRIAL_DAYS", TRIAL_DAYS);
        let stripe = testbed.start_stripe().await.expect("Stripe");
        let drawn = || chance.choice(&[Dunning::Unpaid, Dunning::Canceled, Dunning::PastDue]);
        let dunning = dunning.unwrap_or_else(drawn);
        stripe.ends_dunning_with(match dunning {
            Dunning::Unpaid => AfterDunning::Unpaid,
            Dunning::Canceled => AfterDunning::Canceled,
            Dunning::PastDue => AfterDunning::PastDue,
        });
        let azure = testbed.start_azure().await.expect("Azure");
        let gateway = testbed.start_model_gateway().await.expect("a gateway");
        let google = testbed.start_google().await.expect("Google");
        let mutant = ActiveMutant::start(mutant, &azure, &mut testbed).await;
        let (env, clock) = (testbed.env(), &testbed.clock);
        let observer = Observer::start(clock, &testbed.table, &azure, testbed.journal.interruption());
        let webhook =
            stripe_webhook::App::new(&env_of("stripe-webhook", &env), clock.clone()).expect("complete settings");
        let billing =
            billing_session::App::new(&env_of("billing-session", &env), clock.clone()).expect("complete settings");
        let world = Self {
            deployments: Deployments::new(env.clone(), clock.clone()),
            sweep: reconcile_sweep::App::from_env(&env_of("reconcile-sweep", &env), clock.clone())
                .expect("complete settings"),
            refresh: scheduled_refresh::App::from_env(&env_of("scheduled-refresh", &env), clock.clone())
                .expect("complete settings"),
            second_sandbox: scheduled_refresh::App::from_env(&env_of("scheduled-refresh", &env), clock.clone())
                .expect("complete settings"),
            google,
            webhook: stripe_webhook::router(webhook),
            billing: billing_session::router(billing),
            links: Links::from_env(&env).expect("complete settings"),
            lifecycle: Queues::new(&env).expect("complete settings").lifecycle_jobs(&testbed.sqs.url(LIFECYCLE)),
            store: Store::from_env(&env).expect("complete settings"),
            people: RefCell::default(),
            late: RefCell::default(),
            counts: RefCell::default(),
            mail: RefCell::default(),
            is_fault_free: Cell::new(false),
            is_replay: Cell::new(false),
            unmet: RefCell::default(),
            dunning,
            testbed,
            stripe,
            azure,
            gateway,
            observer,
            chance,
            mutant,
        };
        for number in 0..PEOPLE {
            world.add_person(number);
        }
        world.open_accounts();
        world
    }

    fn add_person(&self, number: usize) {
        let key = IdentityKey::new(&SecretString::from(TENANT_ID_KEY)).expect("long enough");
        let chat = ChatId(1_001 + i64::try_from(number).expect("few"));
        let tenant = key.tenant_id(chat);
        self.telegram.knows(chat, "A person");
        let gets_no_events = self.chance.percent(12);
        self.people.borrow_mut().push(Person::new(number, chat, tenant, Names::derive(&key, tenant), gets_no_events));
    }

    /// What Stripe posts reaches the function as API Gateway hands it over; the status of the answer.
    pub(super) async fn post_webhook(&self, body: &bytes::Bytes) -> u16 {
        if let Some(status) = self.mutant.apply_event(self, body).await {
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
    pub(super) fn note(&self, number: usize, what: impl Into<String>) {
        let line = format!("{} {}", self.clock.now(), what.into());
        self.with(number, |person| person.story.push(line));
    }

    /// The first promise that was broken.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.observer.violation()
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
