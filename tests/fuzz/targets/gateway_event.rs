//! API Gateway's events, through the functions' adapter into a router. An input is an event as JSON, or its parts:
//! method, path, query, cookie, content type and another header line by line, then the body. Any event is answered, and
//! the answer can be written; what a router sees is what was sent.
#![no_main]

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use nbhd_fuzz::split_line;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    if input.starts_with(b"{") {
        if let Ok(event) = std::str::from_utf8(input) {
            let _ = answer(event);
        }
        return;
    }
    let mut lines = [""; 6];
    let mut body = input;
    for line in &mut lines {
        let Some(split) = split_line(body) else { return };
        (*line, body) = split;
    }
    let [method, path, query, cookie, content_type, other] = lines;
    let event = json!({
        "rawPath": path, "rawQueryString": query, "cookies": [cookie],
        "headers": {"content-type": content_type, "x-other": other},
        "requestContext": {"http": {"method": method}},
        "body": BASE64_STANDARD.encode(body), "isBase64Encoded": true,
    });
    let answer = answer(&event.to_string());
    if answer["statusCode"] == 400 {
        return;
    }
    let headers = &answer["headers"];
    let seen = |name: &str| headers[name].as_str().unwrap_or_default().to_owned();
    let seen_path = seen("seen-path");
    assert_eq!(percent_decode_str(&seen_path).decode_utf8_lossy(), path, "another path");
    assert!(!seen_path.contains(['?', '#', ' ']) && path.starts_with('/'));
    assert_eq!(decode_query(&seen("seen-query")), decode_query(query), "another query");
    let text = answer["body"].as_str().unwrap_or_default();
    let returned = match answer["isBase64Encoded"].as_bool() {
        Some(true) => BASE64_STANDARD.decode(text).expect("base64"),
        _ => text.as_bytes().to_vec(),
    };
    assert_eq!(returned, body, "another body");
});

fn decode_query(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn answer(event: &str) -> Value {
    let router = Router::new().fallback(echo);
    let answer = serde_json::to_value(block_on(nbhd::web::answer_event(router, event))).expect("an answer");
    assert!(answer["statusCode"] == 200 || answer["statusCode"] == 400);
    answer
}

/// Gives back the body, with the type and the header that it came with, and says where it was sent.
async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_else(|_| Bytes::new());
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for name in ["content-type", "x-other"] {
        if let Some(value) = head.headers.get(name) {
            headers.append(name, value.clone());
            headers.append("x-twice", value.clone());
        }
    }
    let query = head.uri.query().unwrap_or_default();
    for (name, value) in [("seen-path", head.uri.path()), ("seen-query", query)] {
        headers.insert(name, value.parse().expect("a URI's part is a header's value"));
    }
    response
}
