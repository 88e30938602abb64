//! The webhook of a container, as observed on OpenClaw behind its front: durable acknowledgement before the turn, 401
//! on a wrong secret (429 over 120 a minute), repeats acknowledged and dropped, 400 on bad JSON, 500 without an update
//! id, 404 elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use nbhd::domain::lenient_json::replace_lone_surrogates;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::service_fn;

use super::{Failure, Inner};

const PATH: &str = "/telegram-webhook";
const SECRET: &str = "x-telegram-bot-api-secret-token";
const ACCEPTED: &str = "x-openclaw-delivery-accepted";
const FRONT: &str = "x-nbhd-front";
const MINUTE: Duration = Duration::from_secs(60);
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST_UNAUTHORISED: usize = 120;
const MAX_UPDATE_BYTES: usize = 1 << 20;

/// An answer that something in between gave.
#[derive(Clone, Copy)]
struct FromEdge;

/// Serves the webhook until the task is dropped; turns run one after the other beside it.
pub(super) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let (turns, mut waiting) = tokio::sync::mpsc::unbounded_channel::<Value>();
    let mut connections = JoinSet::new();
    let worker = Arc::clone(&inner);
    connections.spawn(async move {
        while let Some(update) = waiting.recv().await {
            worker.assistant.answer_update(&update).await;
            worker.busy.send_modify(|turns| *turns -= 1);
        }
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (inner, turns) = (Arc::clone(&inner), turns.clone());
        let service = TowerToHyperService::new(service_fn(move |request| {
            let (inner, turns) = (Arc::clone(&inner), turns.clone());
            async move { answer_marked(&inner, request, |update| drop(turns.send(update))).await }
        }));
        connections.spawn(async move {
            // An error is a connection that closed without an answer: a failure asked for, or a caller that went away.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Every answer of the front's own has its mark; one of the edge in front of it has none.
async fn answer_marked<B>(inner: &Inner, request: Request<B>, turn: impl Fn(Value)) -> io::Result<Response<Body>>
where
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let mut response = answer(inner, request, turn).await?;
    if response.extensions_mut().remove::<FromEdge>().is_none() {
        let state = if inner.state().starting { "starting" } else { "ready" };
        response.headers_mut().insert(FRONT, header::HeaderValue::from_static(state));
    }
    Ok(response)
}

/// An `Err` closes the connection without an answer.
async fn answer<B>(inner: &Inner, request: Request<B>, turn: impl Fn(Value)) -> io::Result<Response<Body>>
where
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    inner.state().attempts += 1;
    if inner.state().stopped {
        return Err(connection_reset());
    }
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/healthz") if inner.state().starting => return Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
        (&Method::GET, "/healthz") => return Ok(status(StatusCode::OK)),
        (&Method::POST, PATH) => {}
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    }
    if !is_authorised(inner, &head.headers) {
        return Ok(status(unauthorised(inner)));
    }
    let Ok(body) = to_bytes(Body::new(body), MAX_UPDATE_BYTES).await else {
        return Ok(status(StatusCode::PAYLOAD_TOO_LARGE));
    };
    // JavaScript's strings hold half of a surrogate pair.
    let text = String::from_utf8_lossy(&body);
    let Ok(update) = serde_json::from_str::<Value>(&replace_lone_surrogates(&text)) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let Some(update_id) = update["update_id"].as_i64() else {
        return Ok(status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    match inner.faults.take(update_id) {
        None => {}
        Some(Failure::ConnectionLost) => return Err(connection_reset()),
        Some(Failure::Status(code)) => {
            return Ok(status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
        }
        Some(Failure::EdgeStatus(code)) => {
            let mut response = status(StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY));
            response.extensions_mut().insert(FromEdge);
            return Ok(response);
        }
        Some(Failure::Throttled(seconds)) => {
            let mut response = status(StatusCode::TOO_MANY_REQUESTS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            return Ok(response);
        }
        Some(Failure::Hang) => std::future::pending().await,
        Some(Failure::NotDurable) => return Ok(status(StatusCode::OK)),
        Some(Failure::AnswerLost) => {
            accept_update(inner, update_id, (body, update), turn);
            return Err(connection_reset());
        }
    }
    accept_update(inner, update_id, (body, update), turn);
    let interruption = inner.state().interruption.clone();
    interruption.on_effect("runtime").await;
    let mut response = status(StatusCode::OK);
    response.headers_mut().insert(ACCEPTED, header::HeaderValue::from_static("durable"));
    Ok(response)
}

/// Takes an update once; a repeat starts no second turn.
fn accept_update(inner: &Inner, update_id: i64, (body, update): (Bytes, Value), turn: impl Fn(Value)) {
    let now = inner.clock.now();
    let mut state = inner.state();
    state.accepted.retain(|_, at| now.since(*at) < REMEMBERED);
    if state.accepted.insert(update_id, now).is_none() {
        state.log.push(body);
        inner.busy.send_modify(|turns| *turns += 1);
        turn(update);
    }
}

fn is_authorised(inner: &Inner, headers: &HeaderMap) -> bool {
    headers.get(SECRET).is_some_and(|secret| secret.as_bytes() == inner.settings.webhook_secret.as_bytes())
}

fn unauthorised(inner: &Inner) -> StatusCode {
    let now = inner.clock.now();
    let mut state = inner.state();
    state.unauthorised.retain(|at| now.since(*at) < MINUTE);
    state.unauthorised.push(now);
    if state.unauthorised.len() > MOST_UNAUTHORISED { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn connection_reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
