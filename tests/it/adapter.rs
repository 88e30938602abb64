//! Hostile paths, queries and headers, by API Gateway and the functions' adapter, at the router of every HTTP function.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::TenantId;
use nbhd_local::{ROUTES, build_router};
use nbhd_sim::gateway;
use nbhd_sim::testbed::Testbed;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Pieces of paths, each with what API Gateway makes of it; a question mark ends the path.
const PIECES: [(&str, &str); 16] = [
    ("%2F", "/"),
    ("a%2Fb", "a/b"),
    ("..", ".."),
    ("%2e%2E", ".."),
    ("..%2f..", "../.."),
    (".", "."),
    ("", ""),
    ("%3Fa=b", "?"),
    ("%23a", "#a"),
    ("%252F", "%2F"),
    ("%25zz", "%zz"),
    ("%00%0a%7f", "\0\n\u{7f}"),
    ("%FF%C3", "\u{fffd}\u{fffd}"),
    ("%E2%80%AE", "\u{202e}"),
    ("%20%22%3C%3E%5C%5E%60%7B%7C%7D", " \"<>\\^`{|}"),
    ("gmail;a=b,c", "gmail;a=b,c"),
];

#[tokio::test]
async fn a_hostile_path_reaches_no_route_but_its_own() {
    let functions = start_functions().await;
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (name, router) in &functions.routers {
        for (sent, decoded) in hostile_paths(name) {
            let is_route = routes(name).any(|route| matches_route(route, &decoded));
            let api = gateway::wrap(router.clone(), &Clock::System);
            for method in [Method::GET, Method::POST] {
                let request = Request::builder().method(method).uri(&sent).body(Body::empty()).expect("a request");
                let response = api.clone().oneshot(request).await.expect("infallible");
                let status = response.status();
                let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
                let is_unrouted = status == StatusCode::NOT_FOUND && body.is_empty();
                let is_answer = status.is_client_error() || decoded == "/billing/done";
                if !is_answer || is_route == is_unrouted {
                    wrong.push(format!("{name} {sent}: {status}"));
                }
                seen.insert(status.as_u16());
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    assert!([400, 401, 403, 404, 405].iter().all(|status| seen.contains(status)), "{seen:?}");
}

#[tokio::test]
async fn no_event_ends_a_function() {
    let functions = start_functions().await;
    for (name, router) in &functions.routers {
        for route in routes(name) {
            for event in hostile_events(&fill(route, "gmail")) {
                let answer = nbhd::web::answer_event(router.clone(), &event.to_string()).await;
                let is_answer = (400..500).contains(&answer.status_code) || route == "/billing/done";
                assert!(is_answer, "{name}: {} for {event}", answer.status_code);
                serde_json::to_vec(&answer).expect("an answer that can be written");
            }
        }
    }
}

struct Functions {
    routers: BTreeMap<&'static str, Router>,
    _testbed: Testbed,
}

async fn start_functions() -> Functions {
    let _ = nbhd::telemetry::capture();
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let mut testbed = Testbed::start(clock.clone()).await.expect("a test bed");
    testbed.start_google().await.expect("Google");
    testbed.start_stripe().await.expect("Stripe");
    testbed.start_azure().await.expect("Azure");
    let env = testbed.env();
    let build = |name| build_router(name, &env, clock.clone()).expect(name).expect(name);
    let routers = ROUTES.iter().map(|(_, name)| (*name, build(name))).collect();
    Functions { routers, _testbed: testbed }
}

fn routes(function: &str) -> impl Iterator<Item = &'static str> {
    ROUTES.iter().filter(move |(_, name)| *name == function).map(|(route, _)| *route)
}

/// A route's path with the tenant of nobody, and `piece` wherever else it is open.
fn fill(route: &str, piece: &str) -> String {
    let tenant = TenantId::random().to_string();
    route.replace("{tenant_id}", &tenant).replace("{provider}", piece).replace("{proxy+}", piece)
}

/// Paths as they are sent, each with what it is after decoding.
fn hostile_paths(function: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for route in routes(function) {
        let plain = fill(route, "gmail");
        for (sent, decoded) in PIECES {
            for (sent, decoded) in [
                (fill(route, sent), fill(route, decoded)),
                (format!("{plain}/{sent}"), format!("{plain}/{decoded}")),
                (format!("{plain}{sent}"), format!("{plain}{decoded}")),
                (format!("/{sent}{plain}"), format!("/{decoded}{plain}")),
                (format!("/{}/{sent}", plain[1..].replace('/', "%2F")), format!("{plain}/{decoded}")),
            ] {
                // The tenant of one spelling is not the other's; no route depends on which it is.
                paths.push((sent, decoded.split('?').next().unwrap_or_default().to_owned()));
            }
        }
    }
    paths
}

/// Whether a router has this route for the path: a name in braces is one segment, which may be empty, and `{proxy+}` is
/// all that is left.
fn matches_route(route: &str, path: &str) -> bool {
    match (route.split_once('/'), path.split_once('/')) {
        (None, _) if route == "{proxy+}" => !path.is_empty(),
        (None, None) => route == path,
        (Some((part, route)), Some((segment, path))) => {
            (part == segment || part.starts_with('{')) && matches_route(route, path)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn hostile_events(path: &str) -> Vec<Value> {
    let plain = json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {"host": "nbhd.example"},
        "requestContext": {"domainName": "nbhd.example", "stage": "$default", "http": {"method": "GET"}},
        "isBase64Encoded": false,
    });
    let mut events = vec![plain.clone()];
    let mut with = |change: &dyn Fn(&mut Value)| {
        for method in ["GET", "POST"] {
            let mut event = plain.clone();
            event["requestContext"]["http"]["method"] = method.into();
            change(&mut event);
            events.push(event);
        }
    };
    for query in [" ", "\"", "<", ">", "link=a b", "link=%ff&link=%00", "#", "é%", "\u{7f}\0", "[{|}]\\^`"] {
        with(&|event| event["rawQueryString"] = query.into());
    }
    with(&|event| event["rawQueryString"] = "a".repeat(70_000).into());
    for path in ["", "x", "*", "/ ", "/\0", "//other.example/", "http://other.example/", "/%", "/?", "/#", "/é<>"] {
        with(&|event| event["rawPath"] = path.into());
    }
    for (name, value) in [
        ("x-forwarded-proto", "https,http"),
        ("x-forwarded-proto", "://"),
        ("host", "a b"),
        ("host", "[::1"),
        ("host", ""),
        ("cookie", "\u{1}"),
        ("content-type", "multipart/form-data"),
        ("content-length", "-1"),
        ("a b", "c"),
        ("x-line", "a\r\nb: c"),
    ] {
        with(&|event| event["headers"][name] = value.into());
    }
    with(&|event| event["requestContext"]["stage"] = "a b".into());
    with(&|event| event["requestContext"]["http"]["method"] = "GET / HTTP/1.1\r\n".into());
    with(&|event| event["requestContext"]["http"]["method"] = "BREW".into());
    with(&|event| event["cookies"] = json!(["a=\n", "b"]));
    with(&|event| event["cookies"] = Value::Null);
    with(&|event| event["headers"] = Value::Null);
    with(&|event| event["body"] = "\u{0}".into());
    with(&|event| {
        event["isBase64Encoded"] = true.into();
        event["body"] = "not base64!".into();
    });
    with(&|event| event["requestContext"] = Value::Null);
    events
}
