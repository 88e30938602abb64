//! A server between a function and a vendor that changes what is asked, and so breaks a promise the code relies on.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use nbhd_sim::server::Server;
use serde_json::Value;

/// What is done to a request's headers and its JSON body (`null` for any other): its method and path say which request
/// it is.
type Change = dyn Fn(&str, &str, &mut HeaderMap, &mut Value) + Send + Sync;

/// Starts a server that passes everything on to `upstream` (`http://host:port`), changed by `change`.
pub(super) async fn start(
    upstream: &str,
    change: impl Fn(&str, &str, &mut HeaderMap, &mut Value) + Send + Sync + 'static,
) -> Server {
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let upstream: Arc<str> = upstream.into();
    let change: Arc<Change> = Arc::new(change);
    let router = Router::new().fallback(move |request| {
        let (http, upstream, change) = (http.clone(), Arc::clone(&upstream), Arc::clone(&change));
        async move {
            let answer = forward(&http, &upstream, &*change, request).await;
            answer.unwrap_or_else(|status| status.into_response())
        }
    });
    Server::start(router).await.expect("a free port")
}

async fn forward(
    http: &reqwest::Client,
    upstream: &str,
    change: &Change,
    request: Request,
) -> Result<Response, StatusCode> {
    let (head, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut headers = head.headers;
    let mut json = serde_json::from_slice(&body).unwrap_or_default();
    change(head.method.as_str(), head.uri.path(), &mut headers, &mut json);
    if !json.is_null() {
        body = json.to_string().into();
    }
    for name in [header::HOST, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    let url = format!("{upstream}{}", head.uri.path_and_query().map_or("/", |path| path.as_str()));
    let request = http.request(head.method, url).headers(headers).body(body);
    let answer = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let body = answer.bytes().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}
