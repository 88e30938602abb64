//! Passing a request on to another server on this machine.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Sends requests to the server at one base URL, whatever host they were meant for.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Body>,
    base_url: String,
}

impl Upstream {
    /// The server at `base_url` (`http://host:port`).
    pub(crate) fn new(base_url: impl Into<String>) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base_url: base_url.into() }
    }

    /// The upstream's answer, or 502 when there is none.
    pub(crate) async fn forward(&self, mut request: Request) -> Response {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("{}{path}", self.base_url).parse::<Uri>() else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        *request.uri_mut() = uri;
        match self.client.request(request).await {
            Ok(answer) => answer.map(Body::new),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}
