//! What every HTTP function answers with: JSON errors, pages, and one log line a request.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use tracing::Instrument as _;

/// API Gateway sets this header to its own request id (see `template.yaml`).
const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 64;

/// No scripts, no frames, nothing from elsewhere; the one style sheet is inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action *; \
                                       frame-ancestors 'none'; base-uri 'none'";

/// An error as `{error, detail}`: `code` for programs, `detail` for a person, never internals.
pub fn json_error(status: StatusCode, code: &str, detail: &str) -> Response {
    (status, axum::Json(json!({ "error": code, "detail": detail }))).into_response()
}

/// A page that nobody stores, frames or learns the address of. `body` is HTML; escape what people wrote with
/// [`escape`].
pub fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Text made safe inside HTML, in an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
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
    use super::*;

    #[test]
    fn escaped_text_closes_nothing() {
        assert_eq!(escape("<a href=\"'&\">"), "&lt;a href=&quot;&#39;&amp;&quot;&gt;");
    }
}
