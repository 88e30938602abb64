//! What a vendor posts to a webhook of ours.

use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::journal::{Entry, Journal};

/// An answer later than this counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Posts `body` to `url` and returns the answer, if there is one; both stand in the journal under `simulator`.
pub(crate) async fn post(
    journal: &Journal,
    simulator: &'static str,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Option<(StatusCode, Bytes)> {
    let place = journal.record(Entry::new(simulator, "POST", url, &headers, body.clone()));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.parse().ok()?;
    *request.headers_mut() = headers;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let (head, body) = client.request(request).await.ok()?.into_parts();
        Some((head, body.collect().await.ok()?.to_bytes()))
    };
    let (head, body) = tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok()??;
    journal.record_answer(place, head.status, &head.headers, body.clone());
    Some((head.status, body))
}
