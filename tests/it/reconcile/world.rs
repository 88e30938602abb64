//! One person, their subscription, and `tenant-reconcile` between the lifecycle queue and everything it touches.

use std::convert::Infallible;
use std::ops::Deref;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::names::Names;
use nbhd::domain::secrets::IdentityKey;
use nbhd::domain::subscription::{Status, Subscription, Tier};
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::{StepRecord, Store};
use nbhd_sim::arm::{ARM, AppView};
use nbhd_sim::azure::{Azure, VAULT};
use nbhd_sim::google::Google;
use nbhd_sim::model_gateway::ModelGateway;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::rights::env_of;
use nbhd_sim::sqs::{LIFECYCLE, LIFECYCLE_DLQ, REFRESH};
use nbhd_sim::stripe::{BASIC, Stripe, SubscriptionStart};
use nbhd_sim::testbed::{TENANT_ID_KEY, Testbed};
use secrecy::SecretString;
use tenant_reconcile::{App, Outcome};

pub(crate) const ANA: i64 = 1001;
const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) azure: Azure,
    pub(crate) gateway: ModelGateway,
    _google: Google,
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) app: App,
    pub(crate) tenant: TenantId,
    pub(crate) stripe: Stripe,
    pub(crate) customer: String,
    pub(crate) sweep: reconcile_sweep::App,
    refresh: scheduled_refresh::App,
    queue: Jobs<LifecycleJob>,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    /// Nobody has paid.
    pub(crate) async fn start() -> Self {
        let _ = nbhd::telemetry::capture();
        let mut testbed = Testbed::start(Clock::manual(NOON)).await.expect("a test bed");
        testbed.telegram.knows(ANA, "Ana");
        let azure = testbed.start_azure().await.expect("Azure");
        let gateway = testbed.start_model_gateway().await.expect("a gateway");
        let google = testbed.start_google().await.expect("Google");
        let stripe = testbed.start_stripe().await.expect("Stripe");
        let customer = stripe.has_customer(&[]);
        let (env, clock) = (testbed.env(), &testbed.clock);
        let app = App::new(&env_of("tenant-reconcile", &env), clock.clone()).expect("complete settings");
        let refresh = scheduled_refresh::App::from_env(&env_of("scheduled-refresh", &env), clock.clone())
            .expect("complete settings");
        let sweep =
            reconcile_sweep::App::from_env(&env_of("reconcile-sweep", &env), clock.clone()).expect("complete settings");
        let queue = Queues::new(&env).expect("complete settings").lifecycle_jobs(&testbed.sqs.url(LIFECYCLE));
        let store = Store::from_env(&env).expect("complete settings");
        let tenant = key().tenant_id(ChatId(ANA));
        Self {
            testbed,
            azure,
            gateway,
            _google: google,
            env,
            store,
            app,
            tenant,
            stripe,
            customer,
            refresh,
            sweep,
            queue,
        }
    }

    /// Ana has paid, and everything was made.
    pub(crate) async fn active() -> Self {
        let world = Self::start().await;
        world.pays(Status::Active).await;
        world.run_until_idle().await;
        world
    }

    /// Stripe's snapshot reaches the row, as its webhook would write it, and the job is queued.
    pub(crate) async fn pays(&self, status: Status) {
        self.save_status(status).await;
        self.nudge().await;
    }

    /// The same, and the nudge gets lost.
    pub(crate) async fn save_status(&self, status: Status) {
        let now = self.clock.now();
        let subscription = Subscription {
            id: "sub_1".to_owned(),
            status,
            tier: Tier::Basic,
            unpaid_since: (status == Status::PastDue).then_some(now),
            ended_at: (status == Status::Canceled).then_some(now),
            current_period_end: None,
            past_due_since: None,
            ends_at: None,
        };
        self.change(|tenant| tenant.subscription = Some(subscription.clone())).await;
    }

    /// Somebody else writes the tenant's row.
    pub(crate) async fn change(&self, change: impl Fn(&mut Tenant)) {
        loop {
            let record = self.store.tenant_record(self.tenant).await.expect("a table");
            let read_version = record.as_ref().map(TenantRecord::version);
            let new = || Tenant::new(self.tenant, ChatId(ANA));
            let mut tenant = match record {
                Some(TenantRecord::Live(tenant)) => *tenant,
                Some(TenantRecord::Deleted(left)) => left.reactivate(ChatId(ANA), None, self.clock.now()),
                None => Tenant { customer: Some(self.customer.clone()), ..new() },
            };
            change(&mut tenant);
            match self.store.save_tenant(&tenant, read_version).await {
                Ok(_) => return,
                Err(nbhd::store::Error::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Somebody else has paid, and nobody was nudged.
    pub(crate) async fn another_pays(&self, chat: ChatId) -> TenantId {
        let tenant_id = key().tenant_id(chat);
        let ours = [("tenant_id", &*tenant_id.to_string()), ("chat_id", &*chat.to_string())];
        let customer = self.stripe.has_customer(&[]);
        self.stripe.subscribes(&customer, BASIC, SubscriptionStart::Paid, &ours);
        self.telegram.knows(chat.0, "Somebody");
        let tenant = Tenant { customer: Some(customer), ..Tenant::new(tenant_id, chat) };
        self.store.save_tenant(&tenant, None).await.expect("a table");
        tenant_id
    }

    pub(crate) async fn nudge(&self) {
        self.queue.send(&LifecycleJob::Reconcile { tenant_id: self.tenant }).await.expect("queued");
    }

    pub(crate) async fn reconcile(&self) -> Outcome {
        tenant_reconcile::reconcile(&self.app, self.tenant).await.expect("a table")
    }

    /// Works both queues off, moving the clock to when the next message comes up.
    pub(crate) async fn run_until_idle(&self) {
        for _ in 0..500 {
            let Some(next) = self.work_off().await else { return };
            self.clock.advance(next.since(self.clock.now()));
        }
        panic!("it does not come to rest: {:?}", self.steps().await);
    }

    /// The same for this long, also where something does not end.
    pub(crate) async fn runs_for(&self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            let next = self.work_off().await.unwrap_or(end).min(end);
            self.clock.advance(next.since(self.clock.now()));
        }
    }

    /// Works off what can be received of both queues; when the next message comes up.
    async fn work_off(&self) -> Option<Timestamp> {
        let limits = Limits::default();
        let lifecycle = |event: SqsEvent| async move {
            Ok::<SqsBatchResponse, Infallible>(tenant_reconcile::handle(&self.app, event, "a-request").await.1)
        };
        let refresh = |event: SqsEvent| async move {
            Ok::<SqsBatchResponse, Infallible>(
                scheduled_refresh::process_batch(&self.refresh, event, "a-request").await.1,
            )
        };
        Pump::new(&self.sqs, LIFECYCLE, &self.clock, limits, lifecycle).drain().await;
        Pump::new(&self.sqs, REFRESH, &self.clock, limits, refresh).drain().await;
        let waiting = [LIFECYCLE, REFRESH].map(|queue| self.sqs.messages(queue)).concat();
        waiting.iter().map(|message| message.visible_at).min()
    }

    /// Time passes, with a sweep every ten minutes.
    pub(crate) async fn lives_on(&self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.clock.advance(10 * MINUTE);
            reconcile_sweep::queue_due(&self.sweep, "sweep").await;
            self.run_until_idle().await;
        }
    }

    pub(crate) async fn row(&self) -> Tenant {
        self.store.tenant(self.tenant).await.expect("a table").expect("a tenant")
    }

    pub(crate) async fn tombstone(&self) -> Tombstone {
        match self.store.tenant_record(self.tenant).await.expect("a table") {
            Some(TenantRecord::Deleted(left)) => *left,
            other => panic!("not a tombstone: {other:?}"),
        }
    }

    /// What was done, the oldest first: step and outcome.
    pub(crate) async fn steps(&self) -> Vec<String> {
        let mut steps = self.store.last_steps(self.tenant, 500, self.clock.now()).await.expect("a table");
        steps.reverse();
        let said = |step: StepRecord| match step.detail {
            Some(detail) => format!("{}: {} ({detail})", step.step, step.outcome),
            None => format!("{}: {}", step.step, step.outcome),
        };
        steps.into_iter().map(said).collect()
    }

    pub(crate) fn names(&self) -> Names {
        Names::derive(&key(), self.tenant)
    }

    pub(crate) fn container(&self) -> AppView {
        self.azure.arm.app(&self.names().resource).expect("a container app")
    }

    pub(crate) fn arm_calls(&self) -> usize {
        self.journal.entries_of(ARM).len()
    }

    /// The bot's messages to Ana.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.telegram.texts_to(ANA)
    }

    pub(crate) fn dead_letters(&self) -> usize {
        self.sqs.messages(LIFECYCLE_DLQ).len()
    }

    /// Everything that is intended of a paying tenant is there, once.
    pub(crate) async fn assert_active(&self) {
        use nbhd::domain::route::RouteStatus;
        use nbhd::domain::tenant::Lifecycle;
        let row = self.row().await;
        let why = || format!("{:#?} {:?}", row.reconcile.resources, row.reconcile.last_error);
        assert_eq!(row.lifecycle, Lifecycle::Active, "{:#?} {}", self.steps().await, why());
        assert_eq!(row.reconcile.lease, None);
        let route = self.store.load_route(ChatId(ANA)).await.expect("a table").expect("a route");
        assert_eq!((route.status, route.tenant_id), (RouteStatus::Active, self.tenant));
        let apps = self.azure.arm.apps();
        assert_eq!(apps.len(), 1, "{apps:?}");
        assert!(!apps[0].is_stopped);
        assert_eq!(self.azure.arm.resources().len(), 5);
        let keys: Vec<_> = self.gateway.keys();
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert!(!keys[0].disabled);
        let principal = row.reconcile.resources.secret_reader.expect("a role");
        assert_eq!(self.azure.arm.readers(VAULT, &self.names().secret), [principal]);
        assert!(self.azure.arm.secret_value(&apps[0], "runtime").is_some(), "the container reads its secret");
        assert_eq!(self.azure.arm.overlaps(), 0);
    }

    /// No vendor holds anything.
    pub(crate) fn assert_nothing_is_left(&self) {
        assert_eq!(self.azure.arm.resources(), []);
        assert_eq!(self.gateway.keys().len(), 0);
        assert_eq!(self.azure.vault.names(), Vec::<String>::new());
    }

    /// Nothing is left of the tenant but a receipt.
    pub(crate) async fn assert_gone(&self) {
        self.assert_nothing_is_left();
        assert!(self.store.load_route(ChatId(ANA)).await.expect("a table").is_none());
        let left = self.tombstone().await;
        assert_eq!(left.receipt.len(), nbhd::domain::plan::Part::ALL.len(), "{left:?}");
        let subscription = self.azure.arm.group().subscription_id;
        assert_eq!(self.store.tenants_in(&subscription).await.expect("a table"), 0);
    }
}

pub(crate) fn key() -> IdentityKey {
    IdentityKey::new(&SecretString::from(TENANT_ID_KEY)).expect("long enough")
}

pub(crate) fn image(digit: char) -> String {
    format!("nbhd.azurecr.io/openclaw@sha256:{}", digit.to_string().repeat(64))
}
