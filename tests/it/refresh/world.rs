//! What the tests of connections share: a table, the refresh queue, a vault and Google, and a person who has connected.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp, Waiter};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider, SubjectHash};
use nbhd::domain::refresh;
use nbhd::domain::scope::GrantedScopes;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::access_token::Broker;
use nbhd::flows::stored_token::StoredToken;
use nbhd::store::Store;
use nbhd_sim::azure::Azure;
use nbhd_sim::google::Google;
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::rights::env_of;
use nbhd_sim::sqs::REFRESH;
use nbhd_sim::testbed::Testbed;
use scheduled_refresh::{App, Report};
use secrecy::ExposeSecret as _;

pub(crate) const ADA: &str = "ada@example.com";
pub(crate) const WORK: &str = "ada@work.example";
pub(crate) const CHAT: ChatId = ChatId(1001);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) azure: Azure,
    pub(crate) google: Google,
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    /// Nobody has connected anything.
    pub(crate) async fn start() -> Self {
        // Kept, not printed between the tests' names.
        let _ = nbhd::telemetry::capture();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let mut testbed = Testbed::start(clock).await.expect("a test bed");
        let azure = testbed.start_azure().await.expect("Azure");
        let google = testbed.start_google().await.expect("Google");
        for account in [ADA, WORK] {
            google.has_account(account, "Ada", "Europe/London");
        }
        testbed.telegram.knows(CHAT.0, "Ada");
        let env = testbed.env();
        let store = Store::from_env(&env).expect("complete settings");
        let tenant = Tenant { lifecycle: Lifecycle::Active, ..Tenant::new(TenantId::random(), CHAT) };
        store.save_tenant(&tenant, None).await.expect("a new tenant");
        Self { testbed, azure, google, env, store, tenant: tenant.tenant_id }
    }

    /// Ada has connected Gmail just now.
    pub(crate) async fn connected() -> Self {
        let world = Self::start().await;
        world.connects(Provider::Gmail, ADA).await;
        world
    }

    /// The person connects a service: Google's consent, the vault, the row.
    pub(crate) async fn connects(&self, provider: Provider, account: &str) -> Integration {
        let (access, refresh) = self.google.has_consented(account, &[provider.scope()]);
        let now = self.clock.now();
        let token = StoredToken {
            access_token: access.into(),
            expires_at: now + HOUR,
            refresh_token: refresh.into(),
            granted: GrantedScopes::parse(provider.scope()),
            account: Some(account.to_owned()),
            subject: Some(SubjectHash::from_subject(account)),
        };
        let subject = token.subject.clone().expect("just set");
        self.store.note_account_connection(&subject, self.tenant, provider).await.expect("a table");
        let name = Integration::secret_name(self.tenant, provider);
        let secret_version = self.azure.vault.put(&name, token.to_secret().expose_secret());
        let read = self.store.load_integration(self.tenant, provider).await.expect("a table");
        let row = Integration {
            granted: token.granted,
            account: token.account,
            subject: token.subject.clone(),
            expires_at: Some(token.expires_at),
            secret_version,
            ..Integration::new(self.tenant, provider, now)
        };
        self.save(&refresh::with_next_renewal(row, now), read.map(|row| row.version)).await
    }

    /// The row of Ada's Gmail.
    pub(crate) async fn row(&self) -> Integration {
        self.row_of(Provider::Gmail).await
    }

    pub(crate) async fn row_of(&self, provider: Provider) -> Integration {
        self.store.load_integration(self.tenant, provider).await.expect("a table").expect("a row")
    }

    /// Changes the row of Ada's Gmail behind everyone's back.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Integration)) -> Integration {
        let mut row = self.row().await;
        change(&mut row);
        self.save(&row, Some(row.version)).await
    }

    async fn save(&self, row: &Integration, read_version: Option<u64>) -> Integration {
        self.store.save_integration(row, read_version).await.expect("nobody else writes")
    }

    /// The name of the secret of Ada's Gmail.
    pub(crate) fn secret_name(&self) -> String {
        Integration::secret_name(self.tenant, Provider::Gmail)
    }

    /// A process of its own, which waits by moving the clock.
    pub(crate) fn broker(&self) -> Broker {
        let clock = self.clock.clone();
        self.broker_with_waiter(Waiter::hook(move |duration| {
            clock.advance(duration);
            async {}
        }))
    }

    pub(crate) fn broker_with_waiter(&self, waiter: Waiter) -> Broker {
        let http = nbhd::http::client(&self.env).expect("a client");
        let broker = Broker::from_env(&self.env, &http, self.store.clone(), self.clock.clone());
        broker.expect("complete settings").with_waiter(waiter)
    }

    /// Runs the schedule once, in a process of its own: what is due is put on the queue.
    pub(crate) async fn tick(&self) -> Report {
        scheduled_refresh::enqueue_due(&self.app(), "tick").await
    }

    /// What the queue holds is worked off, each job by a process of its own, as often as it can be received now.
    pub(crate) async fn run_jobs(&self) -> Report {
        self.run_jobs_in(|| Arc::new(self.app())).await
    }

    /// The same by the processes that `process` gives.
    pub(crate) async fn run_jobs_in(&self, process: impl Fn() -> Arc<App>) -> Report {
        let total = Mutex::new(Report::default());
        let pump = Pump::new(&self.sqs, REFRESH, &self.clock, Limits::default(), |event| {
            let (app, total) = (process(), &total);
            async move {
                let (report, response) = scheduled_refresh::process_batch(&app, event, "work").await;
                total.lock().expect("no panic").add(report);
                Ok::<_, Infallible>(response)
            }
        });
        pump.drain().await;
        total.into_inner().expect("no panic")
    }

    /// A process of `scheduled-refresh`.
    pub(crate) fn app(&self) -> App {
        App::from_env(&env_of("scheduled-refresh", &self.env), self.clock.clone()).expect("complete settings")
    }
}
