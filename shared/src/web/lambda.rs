//! Takes a function's requests from API Gateway: an event becomes a request, and the router's response its answer.
//!
//! `lambda_http` brings an adapter of its own, which we do not use. It unwraps the URI that it builds from the raw path
//! and query and from two headers, and the body's base64, so that a stranger could end the process (release builds have
//! `panic = "abort"`); and it takes the path for an encoded one, in which it resolves `..`. Here, whatever is no HTTP
//! request is answered with 400, and nothing else is decided.
//!
//! The events: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::{LambdaEvent, Service as _, lambda_runtime, service_fn};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json_error;

pub use lambda_http::Error;

/// What stands for itself in a path: `pchar` without escapes, and the slash (RFC 3986, 3.3).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What stands for itself in a query that is encoded already.
const QUERY: &AsciiSet = &PATH.remove(b'?').remove(b'%');

/// Serves API Gateway's requests by `router` until Lambda ends the process.
///
/// # Errors
/// [`Error`] when Lambda's runtime API fails.
pub async fn run(router: Router) -> Result<(), Error> {
    let serve = async |event: LambdaEvent<Box<RawValue>>| {
        Ok::<_, Error>(answer_event(router.clone(), event.payload.get()).await)
    };
    lambda_runtime::run(service_fn(serve)).await
}

/// Answers an event of payload format 2.0, which is one HTTP request. One that is none gets 400, whoever sent it.
pub async fn answer_event(mut router: Router, event: &str) -> ApiGatewayV2httpResponse {
    let response = match parse_request(event) {
        Ok(request) => {
            // A router is always ready, so it can be called at once.
            let Ok(response) = router.call(request).await;
            response
        }
        Err(part) => {
            // What the part holds is a stranger's, and may be somebody's secret.
            tracing::warn!(code = "request_unreadable", part, "an event is no HTTP request; its sender got 400");
            json_error(StatusCode::BAD_REQUEST, "bad_request", "This is not a valid HTTP request.")
        }
    };
    to_answer(response).await
}

/// What our functions need of an event; the fields of API Gateway's own may be null or missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: String,
    raw_query_string: Option<String>,
    cookies: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
    request_context: RequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct RequestContext {
    http: HttpDescription,
}

#[derive(Deserialize)]
struct HttpDescription {
    method: String,
}

/// Builds the request of an event, or says which part of it is not HTTP.
fn parse_request(event: &str) -> Result<Request, &'static str> {
    let Event { raw_path, raw_query_string, cookies, headers, request_context, body, is_base64_encoded } =
        serde_json::from_str(event).map_err(|_| "event")?;
    let body = match body {
        Some(text) if is_base64_encoded => BASE64_STANDARD.decode(text).map_err(|_| "body")?,
        body => body.unwrap_or_default().into_bytes(),
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::from_bytes(request_context.http.method.as_bytes()).map_err(|_| "method")?;
    *request.uri_mut() = parse_uri(&raw_path, raw_query_string.as_deref().unwrap_or_default()).ok_or("path")?;
    *request.headers_mut() =
        parse_headers(headers.unwrap_or_default(), &cookies.unwrap_or_default()).ok_or("headers")?;
    Ok(request)
}

/// Encodes the path again, which API Gateway has decoded once, so that a router which decodes it sees what API Gateway
/// saw. A slash that was sent as `%2F` separates segments from then on: nothing tells it from one that did before.
/// The query comes as it was sent; what may not stand in one is encoded.
fn parse_uri(path: &str, query: &str) -> Option<Uri> {
    if !path.starts_with('/') {
        return None;
    }
    let path = utf8_percent_encode(path, PATH);
    let uri = match query {
        "" => path.to_string(),
        query => format!("{path}?{}", utf8_percent_encode(query, QUERY)),
    };
    Uri::try_from(uri).ok()
}

fn parse_headers(named: BTreeMap<String, String>, cookies: &[String]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in named {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        // A map of headers has a largest size.
        headers.try_append(name, HeaderValue::try_from(value).ok()?).ok()?;
    }
    if !cookies.is_empty() {
        headers.try_insert(header::COOKIE, HeaderValue::try_from(cookies.join("; ")).ok()?).ok()?;
    }
    Some(headers)
}

async fn to_answer(response: Response) -> ApiGatewayV2httpResponse {
    let (head, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    // A body that is handed on from somewhere else may break off.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        answer.status_code = StatusCode::BAD_GATEWAY.as_u16().into();
        return answer;
    };
    let body = to_answer_body(&head.headers, body.into());
    answer.status_code = head.status.as_u16().into();
    answer.is_base64_encoded = matches!(body, lambda_http::Body::Binary(_));
    answer.body = Some(body);
    answer.cookies = head.headers.get_all(header::SET_COOKIE).iter().map(to_text).collect();
    answer.headers = join_values(&head.headers);
    answer
}

/// The text that we write ourselves as it is, and everything else as base64: a stranger's text could outgrow Lambda's
/// 6 MB of an answer, since a control character takes six bytes in JSON.
fn to_answer_body(headers: &HeaderMap, body: Vec<u8>) -> lambda_http::Body {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_ours = [b"application/json".as_slice(), b"text/html"].iter().any(|text| content_type.starts_with(text));
    match String::from_utf8(body) {
        Ok(text) if is_ours || text.is_empty() => text.into(),
        Ok(text) => text.into_bytes().into(),
        Err(not_text) => not_text.into_bytes().into(),
    }
}

/// Each header in one line, which format 2.0 demands, without the cookies.
fn join_values(headers: &HeaderMap) -> HeaderMap {
    let names = headers.keys().filter(|name| **name != header::SET_COOKIE);
    names
        .filter_map(|name| {
            let values: Vec<_> = headers.get_all(name).iter().map(to_text).collect();
            Some((name.clone(), HeaderValue::try_from(values.join(", ")).ok()?))
        })
        .collect()
}

/// A value as JSON can hold it.
fn to_text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use axum::response::IntoResponse as _;
    use axum::routing::any;
    use serde_json::{Value, json};

    use super::*;

    /// What a handler sees of a request.
    async fn describe(uri: Uri, path: Option<Path<String>>, headers: HeaderMap, body: String) -> Response {
        let path = path.map(|Path(path)| path);
        let cookie = headers.get(header::COOKIE).map(to_text);
        axum::Json(json!({"uri": uri.to_string(), "path": path, "cookie": cookie, "body": body})).into_response()
    }

    fn event(path: &str, query: &str) -> Value {
        json!({"rawPath": path, "rawQueryString": query, "requestContext": {"http": {"method": "POST"}}})
    }

    async fn answer(event: &str) -> ApiGatewayV2httpResponse {
        let router = Router::new().route("/files/{*path}", any(describe)).fallback(any(describe));
        answer_event(router, event).await
    }

    async fn seen(event: &Value) -> Value {
        let answer = answer(&event.to_string()).await;
        assert_eq!(answer.status_code, 200, "{event}");
        serde_json::from_str(serde_json::to_value(&answer.body).expect("JSON").as_str().expect("text")).expect("JSON")
    }

    #[tokio::test]
    async fn a_decoded_path_stays_what_it_was_and_ends_where_it_ended() {
        for (raw, uri) in [
            ("/files/a b", "/files/a%20b"),
            ("/files/a?b=1", "/files/a%3Fb=1"),
            ("/files/a#b", "/files/a%23b"),
            ("/files/a%2Fb", "/files/a%252Fb"),
            ("/files/100%", "/files/100%25"),
            ("/files/../x//.", "/files/../x//."),
            ("/files/bot1:c-d_e~/f@g", "/files/bot1:c-d_e~/f@g"),
            ("/files/\"<>\\^`{|}\u{0}\n", "/files/%22%3C%3E%5C%5E%60%7B%7C%7D%00%0A"),
            ("/files/é\u{fffd}", "/files/%C3%A9%EF%BF%BD"),
        ] {
            let seen = seen(&event(raw, "")).await;
            assert_eq!(seen["uri"], uri, "{raw}");
            assert_eq!(seen["path"].as_str(), raw.strip_prefix("/files/"), "decoded once, as API Gateway did");
        }
        assert_eq!(seen(&event("//files.example/x", "")).await["uri"], "//files.example/x", "no host of a URI");
    }

    #[tokio::test]
    async fn a_query_goes_on_as_it_was_sent() {
        for (raw, query) in [
            ("a=1&a=%20+&b", "a=1&a=%20+&b"),
            ("a=%zz%", "a=%zz%"),
            ("a=/?:@!$'()*,;", "a=/?:@!$'()*,;"),
            ("a= \"<>#[]{}|\\^`\u{7f}é", "a=%20%22%3C%3E%23%5B%5D%7B%7D%7C%5C%5E%60%7F%C3%A9"),
        ] {
            assert_eq!(seen(&event("/x", raw)).await["uri"], format!("/x?{query}"), "{raw}");
        }
        let mut without = event("/x", "");
        without["rawQueryString"] = Value::Null;
        assert_eq!(seen(&without).await["uri"], "/x");
    }

    #[tokio::test]
    async fn cookies_and_bodies_arrive_whole() {
        let mut sent = event("/x", "");
        sent["cookies"] = json!(["a=1", "b=2"]);
        sent["body"] = "w6k=".into();
        sent["isBase64Encoded"] = true.into();
        let seen = seen(&sent).await;
        assert_eq!((&seen["cookie"], &seen["body"]), (&json!("a=1; b=2"), &json!("é")));
    }

    #[tokio::test]
    async fn what_is_no_request_gets_400() {
        let with = |name: &str, value: Value| {
            let mut event = event("/x", "");
            event[name] = value;
            event.to_string()
        };
        let method = |method: &str| with("requestContext", json!({"http": {"method": method}}));
        let many: BTreeMap<String, &str> = (0..40_000).map(|number| (format!("x-{number}"), "")).collect();
        for event in [
            String::new(),
            "{}".to_owned(),
            r#"{"version": "1.0", "path": "/x", "httpMethod": "GET"}"#.to_owned(),
            with("rawPath", Value::Null),
            with("rawPath", "".into()),
            with("rawPath", "x".into()),
            with("rawPath", "http://other.example/x".into()),
            with("rawPath", format!("/{}", "é".repeat(12_000)).into()),
            with("rawQueryString", "q".repeat(70_000).into()),
            with("rawQueryString", "\u{0}".into()).replace("u0000", "ud800"),
            with("headers", json!({"a b": "1"})),
            with("headers", json!({"": "1"})),
            with("headers", json!({"x-a": "1\r\nx-b: 2"})),
            with("headers", json!({"x-a": "\u{0}"})),
            with("headers", json!(many)),
            with("cookies", json!(["a=\u{1}"])),
            method(""),
            method("GET /"),
            with("requestContext", json!({})),
        ] {
            assert_eq!(answer(&event).await.status_code, 400, "{:.100}", event);
        }
        let mut not_base64 = event("/x", "");
        not_base64["body"] = "%".into();
        not_base64["isBase64Encoded"] = true.into();
        assert_eq!(answer(&not_base64.to_string()).await.status_code, 400);
    }

    #[tokio::test]
    async fn an_answer_has_a_line_for_each_header_and_its_cookies_apart() {
        let respond = || async {
            let mut response = StatusCode::ACCEPTED.into_response();
            for (name, value) in [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("vary", "x"), ("vary", "y")] {
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            response.headers_mut().append("x-latin", HeaderValue::from_bytes(b"\xe9").expect("a value"));
            response
        };
        let answer = answer_event(Router::new().fallback(respond), &event("/", "").to_string()).await;
        let answer = serde_json::to_value(answer).expect("it can always be written");
        assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(202), &json!(false)));
        assert_eq!(answer["cookies"], json!(["a=1", "b=2"]));
        assert_eq!((&answer["headers"]["vary"], &answer["headers"]["x-latin"]), (&json!("x, y"), &json!("\u{fffd}")));
    }

    #[tokio::test]
    async fn only_text_of_our_own_goes_out_as_text() {
        for (content_type, body, sent) in [
            ("application/json", b"{}".as_slice(), "{}"),
            ("text/html; charset=utf-8", "é".as_bytes(), "é"),
            ("text/plain", b"\0\0", "AAA="),
            ("application/octet-stream", b"\xff", "/w=="),
            ("application/json", b"\xff", "/w=="),
            ("image/png", b"", ""),
        ] {
            let body = body.to_vec();
            let router = Router::new().fallback(move || async move { ([("content-type", content_type)], body) });
            let answer = answer_event(router, &event("/", "").to_string()).await;
            let answer = serde_json::to_value(answer).expect("it can always be written");
            assert_eq!(answer["body"], sent, "{content_type}");
            assert_eq!(answer["isBase64Encoded"], json!(sent.ends_with('=')), "{content_type}");
        }
    }
}
