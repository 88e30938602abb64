//! What goes out.

use nbhd_front::Front;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret as _;

use super::support::{Answer, Seen, TENANT, World};

/// Real secrets, none of which `OpenClaw` ever sees.
const REAL: [&str; 6] = ["internal-new", "internal-old", "webhook-new", "relay-new", "gateway-real", "model-real"];

fn bot(front: &Front) -> String {
    format!("http://{}/bot{}", front.doors, front.local.relay_token.expose_secret())
}

fn endpoint(world: &World, front: &Front, path: &str) -> RequestBuilder {
    let request = world.http.get(format!("http://{}/api/v1/integrations/runtime/{path}", front.doors));
    let key = front.local.internal_key.expose_secret();
    request.header("x-nbhd-internal-key", key).header("x-nbhd-tenant-id", TENANT)
}

fn chat(world: &World, front: &Front) -> RequestBuilder {
    let request = world.http.post(format!("http://{}/v1/chat/completions", front.doors));
    request.bearer_auth(front.local.model_key.expose_secret())
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_call_of_the_bot_api_goes_on_to_the_relay_with_the_real_token() {
    let world = World::new().await;
    let front = world.start().await;
    let call = world.http.post(format!("{}/sendMessage?disable_notification=true", bot(&front)));
    let call = call.header("content-type", "application/json").body("{\"text\":\"hi\"}");
    let call = call.header("x-forwarded-for", "1.2.3.4").header("authorization", "Bearer x").header("cookie", "a=b");
    let answer = call.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.text().await.expect("a body").as_str()), (200, "{\"ok\":true}"));
    assert_eq!(status(world.http.get(format!("{}/getMe", bot(&front)))).await, 200);
    let file = bot(&front).replace("/bot", "/file/bot") + "/k1-1800000000000-c2ln/photos/file_1.jpg";
    assert_eq!(status(world.http.get(&file)).await, 200);

    let seen = world.control_plane.seen();
    let relay = format!("/telegram/relay/{TENANT}");
    assert_eq!(seen[0].path, format!("{relay}/bot42:relay-new/sendMessage?disable_notification=true"));
    assert_eq!((seen[0].method.as_str(), &seen[0].body[..]), ("POST", &b"{\"text\":\"hi\"}"[..]));
    let mut headers: Vec<_> = seen[0].headers.keys().map(ToString::to_string).collect();
    headers.sort();
    assert_eq!(headers, ["accept", "content-length", "content-type", "host", "user-agent"]);
    assert_eq!(seen[0].headers["user-agent"], "nbhd");
    assert_eq!((seen[1].method.as_str(), &*seen[1].path), ("GET", &*format!("{relay}/bot42:relay-new/getMe")));
    assert_eq!(seen[2].path, format!("{relay}/file/bot42:relay-new/k1-1800000000000-c2ln/photos/file_1.jpg"));
}

#[tokio::test]
async fn the_four_endpoints_are_read_with_the_real_key_and_nothing_else_is() {
    let world = World::new().await;
    let front = world.start().await;
    for path in
        ["gmail/messages/?q=a%20b", "gmail/messages/18c0ffee", "google-calendar/events", "google-calendar/freebusy/"]
    {
        assert_eq!(status(endpoint(&world, &front, &format!("{TENANT}/{path}"))).await, 200, "{path}");
    }
    let seen = world.control_plane.seen();
    let runtime = format!("/api/v1/integrations/runtime/{TENANT}");
    assert_eq!(seen[0].path, format!("{runtime}/gmail/messages/?q=a%20b"));
    assert_eq!(seen[1].path, format!("{runtime}/gmail/messages/18c0ffee/"));
    for seen in &seen {
        assert_eq!(
            (&seen.headers["x-nbhd-internal-key"], &seen.headers["x-nbhd-tenant-id"]),
            (&"internal-new".parse().expect("a value"), &TENANT.parse().expect("a value"))
        );
    }
    let other = TENANT.replace('6', "7");
    for path in [
        &format!("{other}/gmail/messages/"),
        &format!("{TENANT}/gmail/messages/a/b/"),
        &format!("{TENANT}/gmail/messages/a%2Fb/"),
        &format!("{TENANT}/gmail/messages/..%2F..%2Freports/"),
        &format!("{TENANT}/gmail/messages//"),
        &format!("{TENANT}/gmail/messages/%2e%2e/"),
        &format!("{TENANT}/gmail/send/"),
        &format!("{TENANT}/reports/"),
        &format!("{TENANT}/google-calendar/events/1/"),
        "gmail/messages/",
    ] {
        assert_eq!(status(endpoint(&world, &front, path)).await, 404, "{path}");
    }
    assert_eq!(world.control_plane.seen().len(), 4);
}

#[tokio::test]
async fn a_model_is_asked_with_the_real_key_and_its_answer_streams() {
    let world = World::new().await;
    let front = world.start().await;
    world.control_plane.answers(|_| {
        let headers = vec![
            ("content-type", "text/event-stream".to_owned()),
            ("set-cookie", "a=b".to_owned()),
            ("x-request-id", "r".to_owned()),
        ];
        (200, headers, "data: 1\n\ndata: [DONE]\n\n".to_owned())
    });
    let call = chat(&world, &front).header("content-type", "application/json").body("{\"stream\":true}");
    let answer = call.header("openai-organization", "x").send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert!(["set-cookie", "x-request-id"].iter().all(|name| !answer.headers().contains_key(*name)));
    assert_eq!(answer.text().await.expect("a body"), "data: 1\n\ndata: [DONE]\n\n");
    let seen = world.control_plane.seen();
    assert_eq!(
        (&*seen[0].path, &seen[0].headers["authorization"]),
        ("/api/v1/chat/completions", &"Bearer model-real".parse().expect("a value"))
    );
    assert!(!seen[0].headers.contains_key("openai-organization"));
}

#[tokio::test]
async fn the_beginning_of_an_answer_arrives_before_its_end() {
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::Frame;
    let world = World::new().await;
    let (pieces, stream) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let stream = std::sync::Mutex::new(Some(stream));
    let stream = std::sync::Arc::new(stream);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut settings = world.settings();
    settings.models_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let server = tokio::spawn(nbhd_front::server::serve(listener, move |_| {
        let stream = stream.lock().expect("whole").take().expect("one request");
        let pieces = futures::stream::unfold(stream, |mut stream| async {
            let piece = stream.recv().await?;
            let frame = Frame::data(bytes::Bytes::from(piece));
            Some((Ok::<_, nbhd_front::server::BodyError>(frame), stream))
        });
        async { nbhd_front::server::Response::new(StreamBody::new(pieces).boxed_unsync()) }
    }));
    let means = nbhd_front::Means {
        http: world.http.clone(),
        clock: world.clock.clone(),
        waiter: nbhd::clock::Waiter::Timer,
        effects: nbhd_front::share::Effects::default(),
    };
    let front = Front::start(&settings, means).await.expect("a front");
    pieces.send("first").expect("the server reads");
    let mut answer = chat(&world, &front).body("{}").send().await.expect("an answer");
    assert_eq!(answer.chunk().await.expect("whole").as_deref(), Some(&b"first"[..]));
    pieces.send("last").expect("the server reads");
    drop(pieces);
    assert_eq!(answer.chunk().await.expect("whole").as_deref(), Some(&b"last"[..]));
    assert_eq!(answer.chunk().await.expect("whole"), None);
    server.abort();
}

#[tokio::test]
async fn what_is_on_no_list_and_what_has_no_token_look_alike_and_go_nowhere() {
    let world = World::new().await;
    let front = world.start().await;
    let doors = format!("http://{}", front.doors);
    let (relay, internal, model) = (
        front.local.relay_token.expose_secret(),
        front.local.internal_key.expose_secret(),
        front.local.model_key.expose_secret(),
    );
    let get = |path: &str| world.http.get(format!("{doors}{path}"));
    let with = |method: Method, path: &str| world.http.request(method, format!("{doors}{path}")).body("{}");
    let completions = "/v1/chat/completions";
    let requests = [
        get("/"),
        get("/healthz"),
        get(&format!("/bot{relay}/")),
        get(&format!("/bot{relay}/logOut")),
        get(&format!("/bot{relay}/getUpdates")),
        get(&format!("/bot{relay}/sendMessage/x")),
        get(&format!("/bot{relay}/sendMessage%2F..%2FlogOut")),
        with(Method::DELETE, &format!("/bot{relay}/sendMessage")),
        get("/bot42:relay-new/getMe"),
        get(&format!("/bot{internal}/getMe")),
        get(&format!("/bot{relay}x/getMe")),
        get(&format!("/file/bot{relay}/")),
        get(&format!("/file/bot{relay}/a//b")),
        get(&format!("/file/bot{relay}/a/..%2Fb")),
        get(&format!("/file/bot{relay}/a/b?c=d")),
        with(Method::POST, &format!("/file/bot{relay}/a/b.jpg")),
        with(Method::POST, completions),
        with(Method::POST, completions).bearer_auth("model-real"),
        with(Method::POST, completions).bearer_auth(internal),
        with(Method::POST, completions).header("authorization", format!("bearer {model}")),
        with(Method::POST, completions).bearer_auth(model).bearer_auth(model),
        with(Method::GET, completions).bearer_auth(model),
        with(Method::POST, "/v1/chat/completions/").bearer_auth(model),
        with(Method::POST, "/v1/chat/completions?a=b").bearer_auth(model),
        with(Method::POST, "/v1/embeddings").bearer_auth(model),
        with(Method::GET, "/v1/keys").bearer_auth(model),
        get(&format!("/api/v1/integrations/runtime/{TENANT}/gmail/messages/")),
        endpoint(&world, &front, &format!("{TENANT}/gmail/messages/")).header("x-nbhd-internal-key", "internal-new"),
        with(Method::POST, &format!("/api/v1/integrations/runtime/{TENANT}/gmail/messages/"))
            .header("x-nbhd-internal-key", internal)
            .header("x-nbhd-tenant-id", TENANT),
    ];
    for (place, request) in requests.into_iter().enumerate() {
        let answer = request.send().await.expect("an answer");
        let mut headers: Vec<_> = answer.headers().keys().map(ToString::to_string).collect();
        headers.sort();
        assert_eq!(
            (answer.status().as_u16(), headers),
            (404, vec!["content-length".to_owned(), "date".to_owned()]),
            "{place}"
        );
        assert_eq!(answer.text().await.expect("a body"), "", "{place}");
    }
    assert!(world.control_plane.seen().is_empty());
    // A raw path with dots, which a client would have resolved.
    for path in [
        format!("/file/bot{relay}/../../x"),
        format!("/file/bot{relay}/a/%2E%2e/b"),
        format!("/bot{relay}/%2e%2e/getMe"),
        format!("/api/v1/integrations/runtime/{TENANT}/gmail/messages/../../x"),
        format!("/bot{relay}/../getMe"),
        format!("/file/bot{relay}/./x"),
    ] {
        assert!(raw_get(&front, &path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(world.control_plane.seen().is_empty());
}

async fn raw_get(front: &Front, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(front.doors).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: doors\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn no_redirect_is_followed_or_passed_back_and_large_bodies_are_refused() {
    let world = World::new().await;
    let front = world.start().await;
    let elsewhere = world.openclaw.url();
    world.control_plane.answers(move |_| (302, vec![("location", elsewhere.clone())], String::new()));
    let answer = chat(&world, &front).body("{}").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("location")), (502, false));
    assert!(world.openclaw.seen().is_empty());
    let large = world.http.post(format!("{}/sendPhoto", bot(&front))).body(vec![b'x'; (5 << 20) + 1]);
    assert_eq!(status(large).await, 413);
    assert_eq!(status(endpoint(&world, &front, &format!("{TENANT}/gmail/messages/")).body("x")).await, 413);
    assert_eq!(world.control_plane.seen().len(), 1);
}

#[tokio::test]
async fn a_relay_that_cannot_be_reached_asks_for_a_repeat_and_one_that_breaks_off_does_not() {
    let world = World::new().await;
    let broken = |_: &Seen| -> Answer { (0, Vec::new(), String::new()) };
    world.control_plane.answers(broken);
    let front = world.start().await;
    assert_eq!(status(world.http.post(format!("{}/sendMessage", bot(&front))).body("{}")).await, 502);
    assert_eq!(status(chat(&world, &front).body("{}")).await, 502);

    let mut settings = world.settings();
    settings.api_base_url = "http://127.0.0.1:1".to_owned();
    let means = nbhd_front::Means {
        http: world.http.clone(),
        clock: world.clock.clone(),
        waiter: nbhd::clock::Waiter::Timer,
        effects: nbhd_front::share::Effects::default(),
    };
    let front = Front::start(&settings, means).await.expect("a front");
    let answer = world.http.post(format!("{}/sendMessage", bot(&front))).body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 429);
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    assert_eq!((answer["error_code"].as_u64(), answer["parameters"]["retry_after"].as_u64()), (Some(429), Some(2)));
}

#[tokio::test]
async fn no_answer_and_no_log_line_holds_a_secret_or_a_word_of_a_message() {
    nbhd::telemetry::capture();
    let world = World::new().await;
    let front = world.start().await;
    world.openclaw.answers(|seen| {
        if super::support::is_update(seen) { (400, vec![], String::new()) } else { super::support::durable() }
    });
    world.control_plane.answers(|_| (0, Vec::new(), String::new()));
    assert!(world.deliver(&front, 1).await);
    front.permit_turns(true);
    world.openclaw.sees(3, super::support::is_update).await;
    let failed = [
        chat(&world, &front).body("{}"),
        world.http.post(format!("{}/sendMessage", bot(&front))).body("{}"),
        endpoint(&world, &front, &format!("{TENANT}/gmail/messages/")),
        world.http.get(format!("http://{}/bot42:relay-new/getMe", front.doors)),
    ];
    for request in failed {
        let answer = request.send().await.expect("an answer").text().await.expect("a body");
        assert_eq!(answer, "");
    }
    world.control_plane.sees(7, |_| true).await;
    let (log, local) = (nbhd::telemetry::capture(), &front.local);
    assert!(log.contains("update_skipped") && log.contains("door_unanswered"));
    let made = [&local.relay_token, &local.internal_key, &local.model_key, &local.webhook_secret];
    for secret in made.map(|secret| secret.expose_secret()).into_iter().chain(REAL).chain(["a secret word"]) {
        assert!(!log.contains(secret), "{secret}");
    }
    assert!(!format!("{front:?} {:?}", world.settings()).contains("-new"));
}
