//! What the tests of runtimes' calls share: two tenants whose Google is connected, and the two functions.

use std::ops::Deref;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::scope::GrantedScopes;
use nbhd::domain::secrets::KeyHash;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::flows::stored_token::StoredToken;
use nbhd::store::Store;
use nbhd_sim::azure::Azure;
use nbhd_sim::google::Google;
use nbhd_sim::rights::env_of;
use nbhd_sim::testbed::Testbed;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const ROOT: &str = "/api/v1/integrations/runtime";

pub(crate) struct World {
    testbed: Testbed,
    pub(crate) azure: Azure,
    pub(crate) google: Google,
    pub(crate) store: Store,
    pub(crate) ana: Runtime,
    pub(crate) bob: Runtime,
    functions: Router,
}

/// A tenant's runtime: what it knows of itself, and the account behind it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) tenant: TenantId,
    pub(crate) key: &'static str,
    pub(crate) account: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("JSON")
    }

    /// The status and the stable name of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn retry_after(&self) -> Option<&str> {
        self.headers.get("retry-after").map(|value| value.to_str().expect("ASCII"))
    }
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl World {
    /// Ana and Bob have each connected Gmail and Calendar; only Ana's account has anything in it.
    pub(crate) async fn start() -> Self {
        Self::start_with(|env| env).await
    }

    /// The same, with other settings for the functions.
    pub(crate) async fn start_with(change: impl FnOnce(Env) -> Env) -> Self {
        nbhd::telemetry::capture();
        let mut testbed = Testbed::start(Clock::manual(NOW)).await.expect("a test bed");
        let azure = testbed.start_azure().await.expect("Azure");
        let google = testbed.start_google().await.expect("Google");
        let env = change(testbed.env());
        let functions = functions(&env, &testbed.clock);
        let store = Store::from_env(&env).expect("complete settings");
        let ana = Runtime { tenant: TenantId::random(), key: "key-of-ana", account: "ana@example.com" };
        let bob = Runtime { tenant: TenantId::random(), key: "key-of-bob", account: "bob@example.com" };
        let world = Self { testbed, azure, google, store, ana, bob, functions };
        for (runtime, chat) in [(&world.ana, 1), (&world.bob, 2)] {
            world.google.has_account(runtime.account, "Someone", "Europe/Zurich");
            world.add_tenant(runtime, chat).await;
            for provider in Provider::ALL {
                world.connects(runtime, provider, &[provider.scope()]).await;
            }
        }
        world.google.fills_mailbox(world.ana.account, None).expect("the samples are compiled in");
        world.forget_calls();
        world
    }

    /// A tenant that has connected nothing.
    pub(crate) async fn add_tenant(&self, runtime: &Runtime, chat: i64) {
        let tenant = Tenant {
            lifecycle: Lifecycle::Active,
            key_hashes: vec![KeyHash::from_key(runtime.key)],
            ..Tenant::new(runtime.tenant, ChatId(chat))
        };
        self.store.save_tenant(&tenant, None).await.expect("a new tenant");
    }

    /// The person connects a service and grants `scopes`: Google's consent, the vault, the row.
    pub(crate) async fn connects(&self, runtime: &Runtime, provider: Provider, scopes: &[&str]) {
        let (access, refresh) = self.google.has_consented(runtime.account, scopes);
        let now = self.clock.now();
        let granted = GrantedScopes::parse(&scopes.join(" "));
        let account = Some(runtime.account.to_owned());
        let token = StoredToken {
            access_token: access.into(),
            expires_at: now + HOUR,
            refresh_token: refresh.into(),
            granted: granted.clone(),
            account: account.clone(),
            subject: None,
        };
        let secret_name = Integration::secret_name(runtime.tenant, provider);
        let secret_version = self.azure.vault.put(&secret_name, token.to_secret().expose_secret());
        let read = self.store.load_integration(runtime.tenant, provider).await.expect("a table");
        let row = Integration {
            granted,
            account,
            expires_at: Some(token.expires_at),
            secret_version,
            ..Integration::new(runtime.tenant, provider, now)
        };
        self.store.save_integration(&row, read.map(|row| row.version)).await.expect("nobody else writes");
    }

    /// Changes the row of Ana's connection.
    pub(crate) async fn change(&self, provider: Provider, change: impl FnOnce(&mut Integration)) {
        let read = self.store.load_integration(self.ana.tenant, provider).await.expect("a table").expect("a row");
        let mut row = read.clone();
        change(&mut row);
        self.store.save_integration(&row, Some(read.version)).await.expect("nobody else writes");
    }

    /// Changes Ana's tenant.
    pub(crate) async fn change_tenant(&self, change: impl FnOnce(&mut Tenant)) {
        let read = self.store.tenant(self.ana.tenant).await.expect("a table").expect("a row");
        let mut tenant = read.clone();
        change(&mut tenant);
        self.store.save_tenant(&tenant, Some(read.version)).await.expect("nobody else writes");
    }

    /// Ana's runtime asks for `below`, such as `gmail/messages/?q=x`.
    pub(crate) async fn get(&self, below: &str) -> Answer {
        self.get_as(&self.ana, below).await
    }

    /// A runtime asks for `below` of its own tenant.
    pub(crate) async fn get_as(&self, runtime: &Runtime, below: &str) -> Answer {
        let tenant = runtime.tenant.to_string();
        self.ask(&tenant, below, &[("x-nbhd-internal-key", runtime.key), ("x-nbhd-tenant-id", &tenant)]).await
    }

    /// A call with any path and any headers.
    pub(crate) async fn ask(&self, tenant: &str, below: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(format!("{ROOT}/{tenant}/{below}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = self.functions.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// The operations the table was asked for.
    pub(crate) fn table_calls(&self) -> Vec<String> {
        self.table.calls().into_iter().map(|call| call.operation).collect()
    }
}

/// Both functions behind one router, as API Gateway has them.
fn functions(env: &Env, clock: &Clock) -> Router {
    let gmail = runtime_gmail::App::from_env(&env_of("runtime-gmail", env), clock.clone()).expect("complete settings");
    let calendar =
        runtime_calendar::App::from_env(&env_of("runtime-calendar", env), clock.clone()).expect("complete settings");
    runtime_gmail::router(gmail).merge(runtime_calendar::router(calendar))
}
