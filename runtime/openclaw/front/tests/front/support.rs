//! A front, what stands before it, and what stands behind it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use nbhd::clock::{Clock, Timestamp, Waiter};
use nbhd::config::Env;
use nbhd_front::server::{Response, serve};
use nbhd_front::settings::Settings;
use nbhd_front::share::{Effect, Effects, Fault};
use nbhd_front::{Front, Means};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const TENANT: &str = "6f2c9d1e-0000-8000-8000-000000000001";
pub(crate) const WEBHOOK_SECRET: &str = "webhook-new";
pub(crate) const OLDER_WEBHOOK_SECRET: &str = "webhook-old";

/// A request that a server saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a server answers: a status, headers and a body; 0 breaks the connection.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

type Answers = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// A server that records what it sees and answers as it is told.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: watch::Sender<Vec<Seen>>,
    answers: Arc<Mutex<Answers>>,
    task: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = watch::Sender::new(Vec::new());
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Arc::new(answer)));
        let (record, script) = (seen.clone(), Arc::clone(&answers));
        let handle = move |request: Request<Incoming>| {
            let (record, script) = (record.clone(), Arc::clone(&script));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let seen = Seen { method: head.method.to_string(), path, headers: head.headers, body };
                let answers = Arc::clone(&*script.lock().expect("whole"));
                let answer = answers(&seen);
                record.send_modify(|all| all.push(seen));
                response(answer)
            }
        };
        Self { address, seen, answers, task: tokio::spawn(serve(listener, handle)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answers(&self, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.answers.lock().expect("whole") = Arc::new(answer);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until it has seen so many requests that `counts`, and returns them.
    pub(crate) async fn sees(&self, count: usize, counts: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.subscribe();
        let enough = seen.wait_for(|all| all.iter().filter(|seen| counts(seen)).count() >= count);
        let all = tokio::time::timeout(Duration::from_secs(60), enough).await.expect("in time").expect("alive").clone();
        all.into_iter().filter(|seen| counts(seen)).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn response((code, headers, body): Answer) -> Response {
    if code == 0 {
        panic!("this request gets no answer");
    }
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    for (name, value) in headers {
        response.headers_mut().append(name, value.parse().expect("a value"));
    }
    response
}

pub(crate) fn answer(code: u16) -> Answer {
    (code, Vec::new(), String::new())
}

pub(crate) fn durable() -> Answer {
    (200, vec![("x-openclaw-delivery-accepted", "durable".to_owned())], String::new())
}

pub(crate) fn durable_response() -> Response {
    response(durable())
}

/// An `OpenClaw` that is up and keeps everything.
pub(crate) fn openclaw(_: &Seen) -> Answer {
    durable()
}

pub(crate) fn is_update(seen: &Seen) -> bool {
    seen.path == "/telegram-webhook"
}

pub(crate) fn id_of(body: &[u8]) -> i64 {
    let update: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    update["update_id"].as_i64().expect("an id")
}

/// What a container has around it.
pub(crate) struct World {
    pub(crate) openclaw: Peer,
    pub(crate) control_plane: Peer,
    pub(crate) clock: Clock,
    pub(crate) http: reqwest::Client,
    share: tempfile::TempDir,
    faults: Arc<Mutex<HashMap<&'static str, Fault>>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            openclaw: Peer::start(openclaw).await,
            control_plane: Peer::start(|_| (200, Vec::new(), "{\"ok\":true}".to_owned())).await,
            clock: Clock::manual(Timestamp::from_seconds(1_800_000_000)),
            http: nbhd::http::client_with_roots(None).expect("a client"),
            share: tempfile::tempdir().expect("a folder"),
            faults: Arc::default(),
        }
    }

    pub(crate) fn share(&self) -> &Path {
        self.share.path()
    }

    pub(crate) fn settings(&self) -> Settings {
        let generation = |name: &str| {
            json!({
                "internal_key": format!("internal-{name}"), "webhook_secret": format!("webhook-{name}"),
                "relay_token": format!("42:relay-{name}"), "gateway_token": "gateway-real", "model_key": "model-real",
            })
        };
        let env = Env::from_pairs([
            ("NBHD_TENANT_ID", TENANT.to_owned()),
            ("NBHD_RUNTIME_SECRET", json!([generation("new"), generation("old")]).to_string()),
            ("NBHD_API_BASE_URL", self.control_plane.url()),
            ("NBHD_MODELS_URL", format!("{}/api/v1", self.control_plane.url())),
            ("NBHD_RELEASE", "r1".to_owned()),
            ("NBHD_OPENCLAW_CONFIG", "{}".to_owned()),
            ("NBHD_SHARE", self.share.path().to_string_lossy().into_owned()),
            ("NBHD_FRONT_ADDRESS", "127.0.0.1:0".to_owned()),
            ("NBHD_DOORS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("NBHD_OPENCLAW_WEBHOOK", self.openclaw.url()),
            ("NBHD_OPENCLAW_GATEWAY", self.openclaw.url()),
        ]);
        Settings::new(&env).expect("complete")
    }

    /// From now on each of these effects goes wrong, or none.
    pub(crate) fn fail(&self, effects: &[Effect], fault: Fault) {
        let failing = effects.iter().map(|effect| (name(*effect), fault));
        *self.faults.lock().expect("whole") = failing.collect();
    }

    pub(crate) async fn start_with(&self, effects: Effects) -> Front {
        // Pauses take no time; while nothing waits, only news ends the wait.
        let waiter = Waiter::hook(|pause| async move {
            if pause >= Duration::from_secs(30) { std::future::pending().await } else { tokio::task::yield_now().await }
        });
        let means = Means { http: self.http.clone(), clock: self.clock.clone(), waiter, effects };
        Front::start(&self.settings(), means).await.expect("a front")
    }

    /// A front that has never validated its configuration.
    pub(crate) async fn start_unvalidated(&self) -> Front {
        let faults = Arc::clone(&self.faults);
        let hook = move |effect| faults.lock().expect("whole").get(name(effect)).copied().unwrap_or(Fault::None);
        self.start_with(Effects::hook(hook)).await
    }

    /// A front that takes updates, and hands none over yet.
    pub(crate) async fn start(&self) -> Front {
        let front = self.start_unvalidated().await;
        front.readiness.write_stamp().expect("written");
        front
    }

    pub(crate) async fn post(&self, front: &Front, secret: &str, body: impl Into<Bytes>) -> reqwest::Response {
        let request = self.http.post(format!("http://{}/telegram-webhook", front.address));
        let request = request.header("x-telegram-bot-api-secret-token", secret).body(body.into());
        request.send().await.expect("an answer")
    }

    /// Posts the update of this number, and whether it was acknowledged.
    pub(crate) async fn deliver(&self, front: &Front, id: i64) -> bool {
        let answer = self.post(front, WEBHOOK_SECRET, update(id)).await;
        let is_durable = header(&answer, "x-openclaw-delivery-accepted") == "durable";
        assert_eq!(is_durable, answer.status() == 200);
        is_durable
    }

    /// The numbers of the updates that `OpenClaw` was given, in order.
    pub(crate) fn handed_over(&self) -> Vec<i64> {
        self.openclaw.seen().iter().filter(|seen| is_update(seen)).map(|seen| id_of(&seen.body)).collect()
    }
}

pub(crate) fn update(id: i64) -> String {
    json!({ "update_id": id, "message": {
        "message_id": id + 500, "chat": { "id": 77, "type": "private" }, "from": { "id": 77 }, "text": "a secret word",
    }})
    .to_string()
}

pub(crate) fn header<'a>(answer: &'a reqwest::Response, name: &str) -> &'a str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn name(effect: Effect) -> &'static str {
    match effect {
        Effect::Create => "create",
        Effect::Write => "write",
        Effect::Sync => "sync",
        Effect::SyncFolder => "sync folder",
        Effect::Rename => "rename",
        Effect::Remove => "remove",
        Effect::Read => "read",
        Effect::Answer => "answer",
        Effect::HandOver => "hand over",
        Effect::Notify => "notify",
    }
}
