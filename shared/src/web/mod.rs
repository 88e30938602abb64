//! What the HTTP functions share: the way from Lambda's events and back, JSON errors, pages, and a log line for each
//! request.

mod error_page;
mod lambda;
mod page;

pub use error_page::ErrorPage;
pub use lambda::{Error, answer_event, run};
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
const MAX_REQUEST_ID_CHARACTERS: usize = 64;

/// An error as `{error, detail}`: `code` is for programs and stable, `detail` is for people and names no internals.
pub fn json_error(status: StatusCode, code: &str, detail: &str) -> Response {
    (status, axum::Json(json!({ "error": code, "detail": detail }))).into_response()
}

/// Whether a browser sent the request from a page of `origin`: our own forms do, forms of other sites do not.
///
/// A page cannot forge fetch metadata; browsers without it still send `Origin` with every POST.
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site>
pub fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(sender)) => sender == origin,
        (None, None) => false,
    }
}

/// Whether a browser asks for a page before anybody opens it, and perhaps nobody will.
///
/// It does so for a prefetch, a prerendering or a preview. An answer that is no success is thrown away, and the page is
/// asked for anew when it is opened.
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Purpose>
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    // The last three are what browsers sent before there was a standard.
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].into_iter().flat_map(|name| headers.get_all(name)).any(|value| {
        let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
        ["prefetch", "prerender", "preview"].iter().any(|purpose| value.contains(purpose))
    })
}

/// The answer to a prefetch of an address whose opening has an effect: none, so that opening it has.
pub fn decline_prefetch() -> Response {
    tracing::info!(
        code = "prefetch_declined",
        "browser asked for a page ahead of time; it asks anew when it is opened"
    );
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CACHE_CONTROL, "no-store")]).into_response()
}

/// Logs one line for each request, with the function, the request's id, status and duration. It never holds the path,
/// because the relay's holds a capability. Handlers add the tenant by [`record_tenant`].
pub fn log_requests(function: &'static str, router: Router) -> Router {
    router.layer(from_fn(move |request, next| log_request(function, request, next)))
}

async fn log_request(function: &'static str, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_graphic).take(MAX_REQUEST_ID_CHARACTERS).collect();
    let span = tracing::info_span!("request", function, request_id = id, tenant_id = tracing::field::Empty);
    let started = Instant::now();
    async move {
        let response = next.run(request).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status = response.status().as_u16(), duration_ms, "request was answered");
        response
    }
    .instrument(span)
    .await
}

/// Adds the tenant to all further log lines of the request.
pub fn record_tenant(tenant: crate::domain::ids::TenantId) {
    tracing::Span::current().record("tenant_id", tracing::field::display(tenant));
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_prefetch_is_known_by_every_header_that_browsers_send() {
        let sent = |name: &'static str, value: &'static str| {
            is_prefetch(&HeaderMap::from_iter([(
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]))
        };
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("sec-purpose", "prefetch;anonymous-client-ip"),
            ("purpose", "Prefetch"),
            ("x-purpose", "preview"),
            ("x-moz", "prefetch"),
        ] {
            assert!(sent(name, value), "{name}: {value}");
        }
        assert!(!sent("sec-purpose", "") && !sent("sec-fetch-mode", "navigate"));
        assert!(!is_prefetch(&HeaderMap::new()));
    }

    #[test]
    fn only_our_own_pages_are_of_the_same_origin() {
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
