//! What every HTTP function answers with: JSON errors, pages, and one log line a request.

mod error_page;
mod page;

pub use error_page::ErrorPage;
pub use page::{ButtonStyle, Page};

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tracing::Instrument as _;

/// API Gateway sets this header to its own request id (see `template.yaml`).
const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 64;

/// An error as `{error, detail}`: `code` for programs, `detail` for a person, never internals.
pub fn json_error(status: StatusCode, code: &str, detail: &str) -> Response {
    (status, axum::Json(json!({ "error": code, "detail": detail }))).into_response()
}

/// Whether a browser sent this from a page of `origin`, as a form of ours does and a form of anyone else's does not.
///
/// Fetch metadata cannot be forged by a page; browsers without it still send `Origin` with every POST.
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site>
pub fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(sender)) => sender == origin,
        (None, None) => false,
    }
}

/// Adds one log line a request, with the function, the request's id, status and duration. Never the path: the relay's
/// holds a capability. Handlers add whose request it is by [`record_tenant`].
pub fn logged(function: &'static str, router: Router) -> Router {
    router.layer(from_fn(move |request, next| log(function, request, next)))
}

async fn log(function: &'static str, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_graphic).take(MAX_REQUEST_ID).collect();
    let span = tracing::info_span!("request", function, request_id = id, tenant_id = tracing::field::Empty);
    let started = Instant::now();
    async move {
        let response = next.run(request).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status = response.status().as_u16(), duration_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

/// Adds the tenant to the request's log lines.
pub fn record_tenant(tenant: crate::domain::ids::TenantId) {
    tracing::Span::current().record("tenant_id", tracing::field::display(tenant));
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_page_of_ours_is_of_the_same_origin() {
        let ours = "https://nbhd.example";
        let sent = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_same_origin(&headers.collect(), ours)
        };
        assert!(sent(&[("sec-fetch-site", "same-origin")]));
        assert!(sent(&[("origin", ours)]));
        assert!(!sent(&[("sec-fetch-site", "cross-site"), ("origin", ours)]));
        assert!(!sent(&[("sec-fetch-site", "same-site")]));
        assert!(!sent(&[("sec-fetch-site", "none")]));
        assert!(!sent(&[("origin", "null")]));
        assert!(!sent(&[("origin", "https://nbhd.example.evil.example")]));
        assert!(!sent(&[]));
    }
}
