//! API Gateway's HTTP API in front of a function, with its limits: a request becomes an event, passes through the same
//! adapter as in Lambda, and the answer comes back as a response object.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Context, LambdaEvent, Service as _};
use nbhd::clock::{Clock, Timestamp};
use serde_json::{Map, Value, json};

/// The largest request API Gateway takes.
pub const MAX_REQUEST_BYTES: usize = 10 << 20;
/// The largest event and the largest answer of a function, binary bodies counted as base64.
pub const MAX_PAYLOAD_BYTES: usize = 6 << 20;
/// The most bytes of a request's headers.
pub const MAX_HEADER_BYTES: usize = 10_240;
/// The longest a function may take.
pub const MAX_DURATION: Duration = Duration::from_secs(30);

/// `functions`, each mounted at its routes, as API Gateway would serve them.
pub fn wrap(functions: Router, clock: &Clock) -> Router {
    Router::new().fallback(serve).with_state((functions, clock.clone()))
}

async fn serve(State((functions, clock)): State<(Router, Clock)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if header_bytes(&head.headers) > MAX_HEADER_BYTES {
        return error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large");
    }
    let Ok(body) = to_bytes(body, MAX_REQUEST_BYTES).await else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let event = event(&head, &body, clock.now()).to_string();
    if event.len() > MAX_PAYLOAD_BYTES {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
    }
    match tokio::time::timeout(MAX_DURATION, invoke(functions, &event)).await {
        Ok(Some(answer)) => answer,
        Ok(None) => error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

/// The function's answer, or `None` when it gave none that API Gateway can use.
async fn invoke(functions: Router, event: &str) -> Option<Response> {
    let request: LambdaRequest = serde_json::from_str(event).ok()?;
    // A router is always ready, so it can be called at once.
    let invocation = Adapter::from(functions).call(LambdaEvent::new(request, Context::default()));
    let answer = serde_json::to_vec(&invocation.await.ok()?).ok()?;
    if answer.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    response(&serde_json::from_slice(&answer).ok()?)
}

/// The request as payload format 2.0.
fn event(head: &Parts, body: &[u8], now: Timestamp) -> Value {
    let mut headers = Map::new();
    for name in head.headers.keys().filter(|name| **name != header::COOKIE) {
        headers.insert(name.to_string(), join_values(&head.headers, name, ",").into());
    }
    headers.insert("x-forwarded-for".to_owned(), "127.0.0.1".into());
    let cookies: Vec<_> = join_values(&head.headers, &header::COOKIE, "; ")
        .split("; ")
        .filter(|cookie| !cookie.is_empty())
        .map(str::to_owned)
        .collect();
    let text = is_text(&head.headers).then(|| std::str::from_utf8(body).ok()).flatten();
    let request_id = uuid::Uuid::new_v4().to_string();
    // `template.yaml` has every integration overwrite it.
    headers.insert("x-request-id".to_owned(), request_id.clone().into());
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": head.uri.path(),
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "cookies": cookies,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "local.execute-api.us-east-1.amazonaws.com",
            "http": {
                "method": head.method.as_str(),
                "path": head.uri.path(),
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": join_values(&head.headers, &header::USER_AGENT, " "),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.rfc3339(),
            "timeEpoch": now.millis(),
        },
        "body": text.map_or_else(|| BASE64_STANDARD.encode(body), str::to_owned),
        "isBase64Encoded": text.is_none(),
    })
}

/// Payload format 2.0 back to HTTP.
fn response(answer: &Value) -> Option<Response> {
    let status = u16::try_from(answer["statusCode"].as_u64()?).ok()?;
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => BASE64_STANDARD.decode(text).ok()?,
        Some(false) | None => text.as_bytes().to_vec(),
    };
    let mut response = Response::builder().status(status).body(Body::from(body)).ok()?;
    let single = answer["headers"].as_object().into_iter().flatten();
    let cookies = answer["cookies"].as_array().into_iter().flatten().map(|cookie| ("set-cookie", cookie));
    for (name, value) in single.map(|(name, value)| (name.as_str(), value)).chain(cookies) {
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        response.headers_mut().append(name.parse::<HeaderName>().ok()?, value);
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    Some(response)
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Every value of a header in one line, as API Gateway hands it on.
fn join_values(headers: &HeaderMap, name: &HeaderName, separator: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(separator)
}

/// The types whose bodies API Gateway hands on as they are; every other body is base64.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/plain");
    ["text/", "application/json", "application/xml", "application/javascript"].iter().any(|text| kind.starts_with(text))
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use bytes::Bytes;
    use tower::ServiceExt as _;

    use super::*;

    fn echo() -> Router {
        let echo = |headers: HeaderMap, uri: axum::http::Uri, body: Bytes| async move {
            let cookie = join_values(&headers, &header::COOKIE, "|");
            let seen = [("x-cookie", cookie), ("x-uri", uri.to_string()), ("set-cookie", "b=2".to_owned())];
            (seen, [("content-type", "application/octet-stream")], body)
        };
        let functions = Router::new().route("/echo/{id}", post(echo)).layer(axum::extract::DefaultBodyLimit::disable());
        wrap(functions, &Clock::System)
    }

    async fn send(request: axum::http::request::Builder, body: Vec<u8>) -> Response {
        echo().oneshot(request.method("POST").body(Body::from(body)).expect("a request")).await.expect("infallible")
    }

    #[tokio::test]
    async fn a_request_passes_through_unchanged() {
        let body: Vec<u8> = (0..=255).collect();
        let request = Request::builder().uri("/echo/a%2Fb?q=1&q=%20").header("host", "h").header("cookie", "a=1; c=3");
        let answer = send(request, body.clone()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["x-cookie"], "a=1; c=3");
        assert!(answer.headers()["x-uri"].to_str().expect("text").ends_with("/echo/a%2Fb?q=1&q=%20"));
        assert_eq!(answer.headers()["set-cookie"], "b=2");
        assert_eq!(to_bytes(answer.into_body(), usize::MAX).await.expect("a body"), body);
    }

    #[tokio::test]
    async fn what_lambda_cannot_take_is_refused() {
        // Four MiB and a half are over six MB as base64.
        let large = send(Request::builder().uri("/echo/a").header("content-type", "image/png"), vec![0; 9 << 19]).await;
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let headers = Request::builder().uri("/echo/a").header("x-long", "x".repeat(MAX_HEADER_BYTES));
        assert_eq!(send(headers, Vec::new()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
}
