//! Settings whose values are parameters of SSM, some of which nobody has made.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd_sim::server::Server;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const KNOWN: &str = "/nbhd/known-";
const VALUE: &str = "123456:a-value-of-at-least-32-bytes-for-keys";

#[tokio::test]
async fn a_setting_whose_parameter_does_not_exist_is_not_set() {
    let names: Vec<String> = (0..12).map(|number| format!("KNOWN_{number}")).collect();
    let known = names.iter().map(|name| (name.clone(), format!("ssm:{KNOWN}{name}")));
    let pairs: Vec<_> = known.chain([("MISSING".to_owned(), "ssm:/nbhd/nobody-made-this".to_owned())]).collect();
    nbhd::telemetry::capture();
    let env = resolved(pairs).await.expect("the others are there");

    assert!(names.iter().all(|name| env.optional(name) == Some(VALUE)));
    let error = env.required("MISSING", "what it should hold").expect_err("not set");
    assert_eq!(error.to_string(), "`MISSING` is not set: what it should hold");
    let log = nbhd::telemetry::capture();
    let line = log.lines().find(|line| line.contains("\"setting\":\"MISSING\"")).expect("a line");
    assert!(line.contains("parameter_missing") && !line.contains("nobody-made-this"), "{line}");
}

#[tokio::test]
async fn a_function_that_can_do_without_a_parameter_starts_without_it_and_says_503() {
    let secret = |name: &str, parameter: &str| (name.to_owned(), format!("ssm:{parameter}"));
    let plain = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pairs = [
        plain("TABLE_NAME", "nbhd"),
        plain("INBOUND_QUEUE_URL", "http://127.0.0.1:9/inbound.fifo"),
        plain("REFRESH_QUEUE_URL", "http://127.0.0.1:9/refresh"),
        plain("TELEGRAM_BOT_USERNAME", "nbhd_bot"),
        plain("PUBLIC_BASE_URL", "https://control.example"),
        secret("LINK_SIGNING_KEYS", "/nbhd/known-link-keys"),
        secret("TELEGRAM_WEBHOOK_SECRETS", "/nbhd/nobody-made-this"),
    ];
    let env = resolved(pairs.clone()).await.expect("resolved");
    let router = telegram_webhook::router(telegram_webhook::App::new(&env, Clock::System).expect("it starts"));
    let update = Request::post("/telegram/webhook").body(Body::from("{}")).expect("a request");
    assert_eq!(router.oneshot(update).await.expect("infallible").status(), StatusCode::SERVICE_UNAVAILABLE);

    let unsigned = pairs.into_iter().filter(|(name, _)| name != "LINK_SIGNING_KEYS");
    let env =
        resolved(unsigned.chain([secret("LINK_SIGNING_KEYS", "/nbhd/nobody-made-this")])).await.expect("resolved");
    let error = telegram_webhook::App::new(&env, Clock::System).err().expect("it cannot sign links");
    assert!(error.to_string().starts_with("`LINK_SIGNING_KEYS` is not set"), "{error}");
}

#[tokio::test]
async fn a_parameter_store_that_fails_stops_the_function_by_the_settings_names_and_its_reason() {
    let answers = [
        (StatusCode::INTERNAL_SERVER_ERROR, "", "refused"),
        (StatusCode::BAD_REQUEST, r#"{"__type":"com.amazonaws.ssm#AccessDenied","message":"m"}"#, "AccessDenied"),
        (StatusCode::BAD_REQUEST, r#"{"__type":"ThrottlingException"}"#, "ThrottlingException"),
        (StatusCode::OK, "<html>", "unreadable answer"),
    ];
    for (status, body, reason) in answers {
        let store = Server::start(Router::new().fallback(async move || (status, body))).await.expect("a port");
        let error = settings(&store, [("SECRET", "ssm:/nbhd/known-secret")]).resolve().await.err().expect("no start");
        let said = format!("the SSM parameters behind `SECRET` could not be read: {reason}");
        assert_eq!(error.to_string(), said);
    }
    let store = Server::start(Router::new()).await.expect("a port");
    let env =
        settings(&store, [("SECRET", "ssm:/nbhd/known-secret")]).with("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:1");
    let error = env.resolve().await.err().expect("nobody is there");
    assert!(error.to_string().ends_with(": unreachable"), "{error}");
}

/// These settings, as a parameter store that knows some of the parameters resolves them.
async fn resolved(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Env, ConfigError> {
    let store = Server::start(Router::new().route("/", post(get_parameters))).await.expect("a free port");
    settings(&store, pairs).resolve().await
}

fn settings<K: Into<String>, V: Into<String>>(store: &Server, pairs: impl IntoIterator<Item = (K, V)>) -> Env {
    let lambda = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let env = lambda.into_iter().fold(Env::from_pairs(pairs), |env, name| env.with(name, "local"));
    env.with("AWS_ENDPOINT_URL_SSM", store.base_url())
}

/// At most ten names a call, and those that are not there in a list of their own.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
async fn get_parameters(headers: HeaderMap, body: String) -> Result<Json<Value>, StatusCode> {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if !says("x-amz-target", "AmazonSSM.GetParameters") || !says("content-type", "application/x-amz-json-1.1") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let request: Value = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let names: Vec<String> = serde_json::from_value(request["Names"].clone()).map_err(|_| StatusCode::BAD_REQUEST)?;
    if !(1..=10).contains(&names.len()) || request["WithDecryption"] != true {
        return Err(StatusCode::BAD_REQUEST);
    }
    let (known, invalid): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(KNOWN));
    let parameters: Vec<_> = known.into_iter().map(|name| json!({ "Name": name, "Value": VALUE })).collect();
    Ok(Json(json!({ "Parameters": parameters, "InvalidParameters": invalid })))
}
