//! A relay behind API Gateway, between the simulated table and the simulated Telegram, and runtimes that call it.

use std::ops::Deref;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::domain::generation::Generation;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::providers::telegram::Bot;
use nbhd::store::Store;
use nbhd_sim::gateway;
use nbhd_sim::rights::env_of;
use nbhd_sim::telegram::BOT_API;
use nbhd_sim::testbed::{BOT_ID, RUNTIME_KEYS, Testbed, generation};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(super) const ANA: i64 = 1001;
pub(super) const BEN: i64 = 2002;

pub(super) struct World {
    testbed: Testbed,
    /// The bot as we ourselves speak through it.
    pub(super) bot: Bot,
    store: Store,
    router: Router,
}

impl Deref for World {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

/// A tenant's runtime, which knows its tenant and holds its capability.
#[derive(Clone)]
pub(super) struct Runtime {
    pub(super) tenant: TenantId,
    pub(super) capability: String,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::start_with(|env| env).await
    }

    /// The same, with other settings.
    pub(super) async fn start_with(change: impl FnOnce(Env) -> Env) -> Self {
        let testbed = Testbed::start(Clock::manual(Timestamp::from_seconds(1_795_000_000))).await.expect("a test bed");
        let (env, clock) = (change(testbed.env()), &testbed.clock);
        let app = telegram_relay::App::new(&env_of("telegram-relay", &env), clock.clone()).expect("complete settings");
        let http = nbhd::http::client(&env).expect("complete settings");
        let bot = Bot::new(&env, http).expect("complete settings");
        let store = Store::from_env(&env).expect("complete settings");
        let router = gateway::wrap(telegram_relay::router(app), clock);
        Self { testbed, bot, store, router }
    }

    /// An active tenant whose person has started the bot.
    pub(super) async fn tenant(&self, chat: i64) -> Runtime {
        self.telegram.knows(chat, "Person");
        let new = Tenant::new(TenantId::random(), ChatId(chat));
        let tenant = Tenant { lifecycle: Lifecycle::Active, generation: generation(1), ..new };
        self.store.save_tenant(&tenant, None).await.expect("saved");
        Runtime { tenant: tenant.tenant_id, capability: capability(tenant.tenant_id, generation(1)) }
    }

    pub(super) async fn change(&self, runtime: &Runtime, change: impl FnOnce(Tenant) -> Tenant) {
        let tenant = self.store.tenant(runtime.tenant).await.expect("readable").expect("there");
        let version = tenant.version;
        self.store.save_tenant(&change(tenant), Some(version)).await.expect("saved");
    }

    /// Calls a method with parameters in JSON.
    pub(super) async fn post(&self, runtime: &Runtime, method: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call(runtime, method, "application/json", body).await
    }

    /// Calls a method with parameters in a form.
    pub(super) async fn form(&self, runtime: &Runtime, method: &str, pairs: &[(&str, &str)]) -> Answer {
        self.call(runtime, method, "application/x-www-form-urlencoded", encoded(pairs)).await
    }

    /// Calls a method with parameters in the query.
    pub(super) async fn query(&self, runtime: &Runtime, method: &str, pairs: &[(&str, &str)]) -> Answer {
        let path = format!("{}?{}", runtime.path(method), encoded(pairs));
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(super) async fn multipart(&self, runtime: &Runtime, method: &str, form: Multipart) -> Answer {
        self.call(runtime, method, "multipart/form-data; boundary=B", form.end()).await
    }

    /// Calls a method, after a rest that no limit is in the way of.
    pub(super) async fn call(
        &self,
        runtime: &Runtime,
        method: &str,
        content_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        self.clock.advance(Duration::from_secs(1));
        let request = Request::post(runtime.path(method)).header(header::CONTENT_TYPE, content_type);
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// Downloads what `getFile` answered.
    pub(super) async fn download(&self, runtime: &Runtime, file_path: &str) -> Answer {
        let path = format!("/telegram/relay/{}/file/bot{}/{file_path}", runtime.tenant, runtime.token());
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("in memory");
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Every call that reached Telegram: method and body, `null` where that is not JSON.
    pub(super) fn calls(&self) -> Vec<(String, Value)> {
        let calls = self.journal.entries_of(BOT_API).into_iter();
        calls
            .map(|call| {
                let method = call.path_only().rsplit('/').next().unwrap_or_default().to_owned();
                (method, serde_json::from_slice(&call.request).unwrap_or_default())
            })
            .collect()
    }
}

impl Runtime {
    /// The same tenant's runtime with the capability of another generation.
    pub(super) fn at_generation(&self, generation: Generation) -> Self {
        Self { tenant: self.tenant, capability: capability(self.tenant, generation) }
    }

    pub(super) fn token(&self) -> String {
        format!("{BOT_ID}:{}", self.capability)
    }

    pub(super) fn path(&self, method: &str) -> String {
        format!("/telegram/relay/{}/bot{}/{method}", self.tenant, self.token())
    }
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The result of a call that succeeded.
    pub(super) fn result(&self) -> Value {
        let answer = self.json();
        assert_eq!((self.status, &answer["ok"]), (StatusCode::OK, &json!(true)), "{answer}");
        answer["result"].clone()
    }

    /// A refusal in Telegram's own shape.
    pub(super) fn assert_refused(&self, status: StatusCode, description: &str) {
        let answer = self.json();
        let shape = json!({"ok": false, "error_code": status.as_u16(), "description": description});
        let told = |field: &str| answer[field] == shape[field];
        assert!(
            self.status == status && ["ok", "error_code", "description"].into_iter().all(told),
            "{} {answer}, not {shape}",
            self.status
        );
        let fields = answer.as_object().expect("an object").keys();
        assert!(fields.into_iter().all(|field| field == "parameters" || shape.get(field).is_some()));
    }
}

/// A multipart body with the boundary `B`.
#[derive(Default)]
pub(super) struct Multipart(Vec<u8>);

impl Multipart {
    pub(super) fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("name=\"{name}\""), value.as_bytes())
    }

    pub(super) fn file(self, name: &str, file_name: &str, content: &[u8]) -> Self {
        let file_name = file_name.replace('"', "\\\"");
        self.part(&format!("name=\"{name}\"; filename=\"{file_name}\""), content)
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"--B--\r\n");
        self.0
    }

    fn part(mut self, names: &str, content: &[u8]) -> Self {
        self.0.extend_from_slice(format!("--B\r\nContent-Disposition: form-data; {names}\r\n\r\n").as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }
}

fn capability(tenant: TenantId, generation: Generation) -> String {
    let keys = SecretKeys::parse(&SecretString::from(RUNTIME_KEYS)).expect("a list");
    keys.relay_capability(tenant, generation).expect("listed").expose_secret().to_owned()
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
