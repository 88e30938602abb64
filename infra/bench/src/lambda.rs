//! The Runtime API as one warm function sees it: it is handed an event, and its answer is taken.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::routing::{get, post};
use nbhd::clock::Clock;
use nbhd_sim::server::Server;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::artifact::Artifact;
use crate::process::{Process, Setting};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A running function that waits for its next event.
pub(crate) struct Function {
    process: Process,
    polls: mpsc::Receiver<Poll>,
    answers: mpsc::Receiver<Answer>,
    /// The poll under way.
    poll: Poll,
    _api: Server,
}

/// What an invocation gave and took.
pub(crate) struct Invocation {
    /// The function's answer.
    pub(crate) answer: Value,
    /// From the event's handing out to the answer's arrival.
    pub(crate) took: Duration,
    /// The CPU time of the function's process, from one poll to the next.
    pub(crate) cpu: Duration,
}

/// Takes the event that a poll waits for.
type Poll = oneshot::Sender<String>;

struct Answer {
    /// `response`, or `error`.
    kind: String,
    body: Bytes,
    at: Instant,
}

#[derive(Clone)]
struct Api {
    polls: mpsc::Sender<Poll>,
    answers: mpsc::Sender<Answer>,
}

impl Function {
    /// Starts the function; its first event finds it as a cold start leaves it.
    pub(crate) async fn start(artifact: &Artifact, settings: &[Setting]) -> anyhow::Result<Self> {
        Self::start_command(Command::new(&artifact.path), artifact.function.name, settings).await
    }

    /// Starts a command that runs the function `name`.
    pub(crate) async fn start_command(command: Command, name: &str, settings: &[Setting]) -> anyhow::Result<Self> {
        let (polled, mut polls) = mpsc::channel(1);
        let (answered, answers) = mpsc::channel(1);
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_invocation))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(receive_result))
            .layer(DefaultBodyLimit::disable())
            .with_state(Api { polls: polled, answers: answered });
        let api = Server::start(router).await?;
        let process = Process::spawn_command(command, api.address(), settings)
            .with_context(|| format!("`{name}` could not be started"))?;
        let poll = timeout(TIMEOUT, polls.recv()).await.with_context(|| format!("`{name}` polls not"))?;
        Ok(Self { process, polls, answers, poll: poll.context("the Runtime API stopped")?, _api: api })
    }

    /// Hands the function an event, waits for its answer and for its next poll.
    pub(crate) async fn invoke(&mut self, event: &Value) -> anyhow::Result<Invocation> {
        let before = self.process.cpu()?;
        let (unused, _) = oneshot::channel();
        let poll = std::mem::replace(&mut self.poll, unused);
        let handed_out = Instant::now();
        poll.send(event.to_string()).ok().context("the function's poll was given up")?;
        let answer = timeout(TIMEOUT, self.answers.recv()).await.context("no answer in 30 s")?;
        let answer = answer.context("the Runtime API stopped")?;
        self.poll = timeout(TIMEOUT, self.polls.recv()).await?.context("no poll after an answer")?;
        let cpu = self.process.cpu()?.saturating_sub(before);
        let body = String::from_utf8_lossy(&answer.body);
        if answer.kind != "response" {
            bail!("the function failed: {body}");
        }
        let answered = serde_json::from_str(&body)?;
        Ok(Invocation { answer: answered, took: answer.at.duration_since(handed_out), cpu })
    }

    /// Ends the Runtime API, and waits for the function to end because of that.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let Self { mut process, _api: api, .. } = self;
        drop(api);
        Ok(tokio::task::spawn_blocking(move || process.wait()).await??)
    }

    /// The most memory it ever held, in MiB.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<f64> {
        self.process.peak_memory()
    }
}

async fn next_invocation(State(api): State<Api>) -> Result<([(HeaderName, String); 3], String), StatusCode> {
    let (poll, event) = oneshot::channel();
    api.polls.send(poll).await.map_err(|_| StatusCode::GONE)?;
    let event = event.await.map_err(|_| StatusCode::GONE)?;
    let deadline = Clock::System.now().millis() + 30_000;
    let header = HeaderName::from_static;
    let headers = [
        (header("lambda-runtime-aws-request-id"), "bench".to_owned()),
        (header("lambda-runtime-deadline-ms"), deadline.to_string()),
        (header("lambda-runtime-invoked-function-arn"), "arn:aws:lambda:us-east-1:1:function:bench".to_owned()),
    ];
    Ok((headers, event))
}

async fn receive_result(State(api): State<Api>, Path((_, kind)): Path<(String, String)>, body: Bytes) -> StatusCode {
    // Nobody waits for the answer to an event that was given up.
    let _ = api.answers.send(Answer { kind, body, at: Instant::now() }).await;
    StatusCode::ACCEPTED
}

/// An HTTP request as API Gateway hands it over.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
pub(crate) fn http_event(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "bench", "domainName": "api.example.com", "domainPrefix": "api",
            "requestId": "bench", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_i64,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench",
            },
        },
        "body": body,
        "isBase64Encoded": false,
    })
}
