//! API Gateway's HTTP API in front of a function, with its limits and habits: a request becomes an event, goes through
//! the functions' own adapter, and the answer comes back as a response.
//!
//! What AWS documents of it:
//! - <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
//! - <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html>
//!
//! Where AWS is silent, the report of somebody who met the habit stands beside it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nbhd::clock::{Clock, Timestamp};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// The largest request API Gateway takes.
pub const MAX_REQUEST_BYTES: usize = 10 << 20;
/// The largest event and the largest answer of a function, binary bodies counted as base64.
pub const MAX_PAYLOAD_BYTES: usize = 6 << 20;
/// The most bytes of a request's first line and its headers' values together.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
pub const MAX_HEADER_BYTES: usize = 10_240;
/// The longest a function may take.
pub const MAX_DURATION: Duration = Duration::from_secs(30);

/// `functions`, each mounted at its routes, as API Gateway would serve them.
pub fn wrap(functions: Router, clock: &Clock) -> Router {
    Router::new().fallback(serve).with_state((functions, clock.clone()))
}

async fn serve(State((functions, clock)): State<(Router, Clock)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if header_bytes(&head) > MAX_HEADER_BYTES {
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
    let answer = serde_json::to_vec(&nbhd::web::answer_event(functions, event).await).ok()?;
    if answer.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    response(&serde_json::from_slice(&answer).ok()?)
}

/// The request as payload format 2.0.
fn event(head: &Parts, body: &[u8], now: Timestamp) -> Value {
    let path = decode_path(head.uri.path());
    let request_id = uuid::Uuid::new_v4().to_string();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        // As it was sent: <https://github.com/ministackorg/ministack/issues/1035>; also what an encoder would have
        // escaped: <https://github.com/brefphp/bref/issues/2159>
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "headers": event_headers(&head.headers, &request_id),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "local.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "local",
            "http": {
                "method": head.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": join_values(&head.headers, &header::USER_AGENT, ","),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.rfc3339(),
            "timeEpoch": now.millis(),
        },
        "isBase64Encoded": false,
    });
    let cookies = join_values(&head.headers, &header::COOKIE, "; ");
    let cookies: Vec<_> = cookies.split("; ").filter(|cookie| !cookie.is_empty()).collect();
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !body.is_empty() {
        // Nobody reports what becomes of a text that is not UTF-8; base64 keeps it.
        let text = is_text(&head.headers).then(|| std::str::from_utf8(body).ok()).flatten();
        event["isBase64Encoded"] = text.is_none().into();
        event["body"] = text.map_or_else(|| BASE64_STANDARD.encode(body), str::to_owned).into();
    }
    event
}

/// The path with its escapes decoded, `%2F` too (<https://github.com/fastify/aws-lambda-fastify/issues/169>,
/// <https://github.com/honojs/hono/issues/2156>), up to the first decoded question mark
/// (<https://github.com/middleapi/standard-server/pull/93>). A slash at its end stays
/// (<https://github.com/floci-io/floci/issues/2136>). Nobody reports what becomes of bytes that are not UTF-8.
fn decode_path(path: &str) -> String {
    let path = percent_decode_str(path).decode_utf8_lossy();
    path.split('?').next().unwrap_or_default().to_owned()
}

/// The headers by their names in lower case, each with all its values in one line; the cookies stand elsewhere. What
/// the sender says of forwarding is replaced, and `template.yaml` has every integration overwrite the request's id.
fn event_headers(sent: &HeaderMap, request_id: &str) -> Map<String, Value> {
    let kept = sent.keys().filter(|name| **name != header::COOKIE && !name.as_str().starts_with("x-forwarded-"));
    let kept = kept.map(|name| (name.to_string(), join_values(sent, name, ",")));
    let own = [
        ("x-amzn-trace-id", format!("Root={request_id}")),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-request-id", request_id.to_owned()),
    ];
    kept.chain(own.map(|(name, value)| (name.to_owned(), value))).map(|(name, value)| (name, value.into())).collect()
}

/// Payload format 2.0 back to HTTP. A body that is called base64 is decoded whatever its type
/// (<https://github.com/ministackorg/ministack/pull/766>), and each cookie becomes a header. There is no field for
/// several values of a header.
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

fn header_bytes(head: &Parts) -> usize {
    let line = format!("{} {} HTTP/1.1", head.method, head.uri.path_and_query().map_or("/", |target| target.as_str()));
    line.len() + head.headers.values().map(HeaderValue::len).sum::<usize>()
}

/// Every value of a header in one line, as API Gateway hands it on.
fn join_values(headers: &HeaderMap, name: &HeaderName, separator: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(separator)
}

/// The types whose bodies API Gateway hands on as they are; every other body is base64, a form's too, and one without a
/// type: <https://github.com/ministackorg/ministack/pull/766>
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || ["application/json", "application/xml", "application/javascript"].contains(&essence.as_str())
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use bytes::Bytes;
    use tower::ServiceExt as _;

    use super::*;

    fn echo() -> Router {
        let echo = |headers: HeaderMap, uri: axum::http::Uri, body: Bytes| async move {
            let joined = |name| join_values(&headers, &HeaderName::from_static(name), "|");
            let seen = ["cookie", "x-twice", "x-forwarded-for", "x-forwarded-proto"]
                .map(|name| (format!("seen-{name}"), joined(name)));
            let uri = [("seen-uri".to_owned(), uri.to_string()), ("set-cookie".to_owned(), "b=2".to_owned())];
            let answer = seen.into_iter().chain(uri).map(|(name, value)| {
                (name.parse::<HeaderName>().expect("a name"), HeaderValue::try_from(value).expect("a value"))
            });
            (answer.collect::<HeaderMap>(), [("content-type", "application/octet-stream")], body)
        };
        let functions = Router::new().fallback(post(echo)).layer(axum::extract::DefaultBodyLimit::disable());
        wrap(functions, &Clock::System)
    }

    async fn send(request: axum::http::request::Builder, body: Vec<u8>) -> Response {
        echo().oneshot(request.method("POST").body(Body::from(body)).expect("a request")).await.expect("infallible")
    }

    fn built_event(request: axum::http::request::Builder, body: &[u8]) -> Value {
        let (head, ()) = request.body(()).expect("a request").into_parts();
        event(&head, body, Timestamp::from_seconds(0))
    }

    #[tokio::test]
    async fn a_request_passes_through_with_its_path_decoded() {
        let body: Vec<u8> = (0..=255).collect();
        let request = Request::builder()
            .uri("/echo/a%2Fb%20%2540?q=1&q=%20&r={%22a%22}")
            .header("cookie", "a=1; c=3")
            .header("X-Twice", "1")
            .header("x-twice", "2")
            .header("x-forwarded-for", "198.51.100.7")
            .header("x-forwarded-proto", "gopher");
        let answer = send(request, body.clone()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["seen-cookie"], "a=1; c=3");
        assert_eq!(answer.headers()["seen-x-twice"], "1,2");
        assert_eq!(answer.headers()["seen-x-forwarded-for"], "127.0.0.1");
        assert_eq!(answer.headers()["seen-x-forwarded-proto"], "https");
        assert_eq!(answer.headers()["seen-uri"], "/echo/a/b%20%2540?q=1&q=%20&r=%7B%22a%22%7D");
        assert_eq!(answer.headers()["set-cookie"], "b=2");
        assert_eq!(to_bytes(answer.into_body(), usize::MAX).await.expect("a body"), body);
    }

    #[test]
    fn an_event_has_the_path_decoded_and_the_query_as_sent() {
        for (sent, path, query) in [
            ("/a%2Fb", "/a/b", ""),
            ("/a%252Fb", "/a%2Fb", ""),
            ("/a%3Fb?c=%3F", "/a", "c=%3F"),
            ("/a%23b/?c=1+%2B", "/a#b/", "c=1+%2B"),
            ("/%2e%2e/%2E", "/../.", ""),
            ("/%FFa%", "/\u{fffd}a%", ""),
            ("/a?q={%22b%22}&q=|", "/a", "q={%22b%22}&q=|"),
        ] {
            let event = built_event(Request::builder().uri(sent), b"");
            assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!(path), &json!(query)), "{sent}");
            assert_eq!(event["requestContext"]["http"]["path"], path);
        }
    }

    #[test]
    fn a_body_is_text_by_its_type_alone() {
        let typed = |kind: &str| Request::builder().uri("/").header("content-type", kind);
        for (request, is_base64) in [
            (typed("application/json; charset=utf-8"), false),
            (typed("Text/Plain"), false),
            (typed("application/xml"), false),
            (typed("application/x-www-form-urlencoded"), true),
            (typed("application/problem+json"), true),
            (typed("multipart/form-data; boundary=b"), true),
            (Request::builder().uri("/"), true),
        ] {
            let event = built_event(request, b"{}");
            assert_eq!(event["isBase64Encoded"], is_base64);
            assert_eq!(event["body"], if is_base64 { "e30=" } else { "{}" });
        }
        let event = built_event(Request::builder().uri("/"), b"");
        assert_eq!((&event["isBase64Encoded"], event.get("body")), (&json!(false), None));
    }

    #[tokio::test]
    async fn what_lambda_cannot_take_is_refused() {
        // Four MiB and a half are over six MB as base64.
        let large = send(Request::builder().uri("/echo/a").header("content-type", "image/png"), vec![0; 9 << 19]).await;
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let headers = Request::builder().uri("/echo/a").header("x-long", "x".repeat(MAX_HEADER_BYTES));
        assert_eq!(send(headers, Vec::new()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let line = Request::builder().uri(format!("/echo?{}", "q".repeat(MAX_HEADER_BYTES)));
        assert_eq!(send(line, Vec::new()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
}
