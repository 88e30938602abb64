//! Serves HTTP on a listener.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What breaks a body off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// An answer, whole or as a stream.
pub type Response = hyper::Response<UnsyncBoxBody<Bytes, BodyError>>;

/// Whoever has not sent the head of a request by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The same of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// More connections than this are closed unread.
const MOST_CONNECTIONS: usize = 512;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than allowed.
    TooLarge,
    /// It did not come whole, or not in time.
    Broken,
}

/// Answers every request on `listener` until the task is dropped, and with it every connection.
pub async fn serve<A>(listener: TcpListener, answer: impl Fn(Request<Incoming>) -> A + Clone + Send + 'static)
where
    A: Future<Output = Response> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if connections.len() >= MOST_CONNECTIONS {
                    continue;
                }
                // Without it, an answer in two parts waits for the caller's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let mut connection = http1::Builder::new();
                connection.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
                connections.spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Unread::Broken),
    }
}

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Response {
    respond(status, Bytes::new())
}

/// An answer with this body.
pub(crate) fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
