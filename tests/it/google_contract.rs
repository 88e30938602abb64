//! What is sent to Google, and what its simulator answers, is what Google's discovery documents describe.

use axum::http::{HeaderMap, StatusCode};
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd_sim::contracts;
use nbhd_sim::google::calendar::Event;
use nbhd_sim::google::contract::check;
use nbhd_sim::google::{Endpoint, Failure, Google, Scopes};
use nbhd_sim::journal::{Entry, Journal};
use serde_json::{Value, json};

const PERSON: &str = "nora@example.com";
const REDIRECT: &str = "https://nbhd.example/oauth/google/callback";
const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);
const EVERYTHING: &str = "openid email https://www.googleapis.com/auth/gmail.readonly \
                          https://www.googleapis.com/auth/calendar.readonly";

#[tokio::test]
async fn every_answer_of_the_simulator_is_one_google_describes() {
    let world = World::start().await;
    world.fill();
    let token = world.access_token().await;
    let get = |path: String| world.get(&token, path);

    for path in
        ["", "?q=is:unread&maxResults=3", "?maxResults=2&fields=messages(id,threadId),nextPageToken", "?q=nothing"]
    {
        get(format!("/gmail/v1/users/me/messages{path}")).await;
    }
    let ids = world.google.mailbox(PERSON, |mailbox| {
        mailbox.messages().iter().map(|message| (message.id.clone(), message.thread_id.clone())).collect::<Vec<_>>()
    });
    for (id, thread) in &ids {
        get(format!("/gmail/v1/users/me/messages/{id}")).await;
        get(format!("/gmail/v1/users/me/messages/{id}?format=metadata&metadataHeaders=From&metadataHeaders=Date"))
            .await;
        get(format!("/gmail/v1/users/me/messages/{id}?format=minimal")).await;
        get(format!("/gmail/v1/users/me/threads/{thread}?format=full")).await;
    }
    for path in ["/gmail/v1/users/me/messages/none", "/gmail/v1/users/me/messages/1", "/gmail/v1/users/else/messages"] {
        get(path.to_owned()).await;
    }
    get("/calendar/v3/calendars/primary".to_owned()).await;
    get("/calendar/v3/calendars/unknown/events".to_owned()).await;
    let range = "timeMin=2026-11-01T00:00:00Z&timeMax=2026-12-01T00:00:00Z";
    get(format!("/calendar/v3/calendars/primary/events?{range}&singleEvents=true&orderBy=startTime&maxResults=2"))
        .await;
    get(format!("/calendar/v3/calendars/primary/events?{range}&showDeleted=true&pageToken=2")).await;
    get("/calendar/v3/calendars/primary/events?orderBy=startTime".to_owned()).await;
    get("/oauth2/v2/userinfo".to_owned()).await;
    let asked = json!({
        "timeMin": "2026-11-21T00:00:00Z", "timeMax": "2026-11-22T00:00:00Z",
        "items": [{ "id": "primary" }, { "id": "nobody@example.com" }],
    });
    world.post(&token, "/calendar/v3/freeBusy", asked).await;
    world.get("ya29.unknown", "/gmail/v1/users/me/messages".to_owned()).await;

    let Some(report) = check(&world.journal) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.held, 4 + 4 * ids.len() + 3 + 5 + 1 + 1 + 1);
}

#[tokio::test]
async fn every_message_of_the_corpus_is_answered_as_google_describes() {
    let Some(corpus) = contracts::mail_dir() else { return };
    let world = World::start().await;
    let count = world.google.fills_mailbox(PERSON, Some(&corpus)).expect("the corpus can be read");
    let token = world.access_token().await;
    let ids = world
        .google
        .mailbox(PERSON, |mailbox| mailbox.messages().iter().map(|message| message.id.clone()).collect::<Vec<_>>());
    assert_eq!(ids.len(), count, "none was dropped");
    for id in ids {
        let (status, _) = world.get(&token, format!("/gmail/v1/users/me/messages/{id}")).await;
        assert_eq!(status, StatusCode::OK);
    }
    let Some(report) = check(&world.journal) else { return };
    assert_eq!((report.violations, report.held), (Vec::new(), count));
}

#[test]
fn the_check_finds_what_breaks_a_document() {
    let messages = "/gmail/v1/users/me/messages";
    let list = json!({ "messages": [], "resultSizeEstimate": 0 });
    for (method, path, body, answer, violation) in [
        ("GET", "/gmail/v1/users/me/inbox", json!(null), list.clone(), "no document describes"),
        ("POST", "/gmail/v1/users/me/threads/1", json!(null), list.clone(), "no document describes"),
        ("GET", &format!("{messages}?max_results=5"), json!(null), list.clone(), "`max_results` is no parameter"),
        ("GET", &format!("{messages}?maxResults=many"), json!(null), list.clone(), "`maxResults` cannot be `many`"),
        ("GET", &format!("{messages}?q=a&q=b"), json!(null), list.clone(), "`q` is given twice"),
        ("GET", &format!("{messages}?access_token=x"), json!(null), list.clone(), "puts a credential into the address"),
        (
            "GET",
            &format!("{messages}?fields=messages/subject"),
            json!(null),
            list.clone(),
            "`messages/subject`, which is no field",
        ),
        ("GET", &format!("{messages}?fields=messages("), json!(null), list.clone(), "`fields` cannot be read"),
        ("GET", &format!("{messages}/1?format=huge"), json!(null), json!({}), "`format` cannot be `huge`"),
        ("GET", messages, json!({}), list, "takes no body"),
        ("GET", messages, json!(null), json!({ "messages": [{ "subject": "x" }] }), "subject"),
        ("GET", &format!("{messages}/1"), json!(null), json!({ "internalDate": 5 }), "internalDate"),
        ("GET", &format!("{messages}/1"), json!(null), json!({ "internalDate": "today" }), "internalDate"),
        (
            "GET",
            "/calendar/v3/calendars/primary/events?timeMin=now",
            json!(null),
            json!({}),
            "`timeMin` cannot be `now`",
        ),
        ("POST", "/calendar/v3/freeBusy", json!({ "from": "x" }), json!({}), "from"),
    ] {
        let journal = Journal::new();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let place = journal.record(Entry::asked("google", method, path, &HeaderMap::new(), body.into()));
        journal.answered(place, StatusCode::OK, &HeaderMap::new(), answer.to_string().into());
        let Some(report) = check(&journal) else { return };
        let found = report.violations.iter().any(|found| found.contains(violation));
        assert!(found, "{method} {path} should break `{violation}`: {:?}", report.violations);
    }
}

#[tokio::test]
async fn an_injected_failure_is_held_to_nothing_but_its_request_is() {
    let world = World::start().await;
    let token = world.access_token().await;
    world.google.fail_next(Endpoint::MessagesList, Failure::Garbage);
    world.google.fail_next(Endpoint::MessagesList, Failure::Down(503));
    for _ in 0..2 {
        world.get(&token, "/gmail/v1/users/me/messages".to_owned()).await;
    }
    world.google.fail_next(Endpoint::MessagesList, Failure::RateLimited(Some(7)));
    world.get(&token, "/gmail/v1/users/me/messages?unknown=1".to_owned()).await;
    let Some(report) = check(&world.journal) else { return };
    assert_eq!((report.held, report.violations.len()), (3, 1), "{:?}", report.violations);
}

struct World {
    google: Google,
    journal: Journal,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        let journal = Journal::new();
        let google = Google::start(Clock::manual(NOON), &journal).await.expect("a free port");
        google.has_account(PERSON, "Nora Lindqvist", "Europe/Zurich");
        google.allows_redirect_to(REDIRECT);
        let http = nbhd::http::client(&Env::from_pairs::<&str, &str>([])).expect("a client");
        Self { google, journal, http }
    }

    fn fill(&self) {
        self.google.fills_mailbox(PERSON, None).expect("the samples are compiled in");
        self.google.calendar(PERSON, |calendar| {
            let timed = |name, from, to| {
                Event::timed(name, &format!("2026-11-21T{from}+01:00"), &format!("2026-11-21T{to}+01:00"))
            };
            calendar.add(timed("Dentist", "09:00:00", "09:45:00").at("Limmatquai 4").with(&["dentist@example.com"]));
            calendar.add(timed("Overlap", "09:30:00", "10:00:00").status("tentative"));
            calendar.add(timed("Called off", "11:00:00", "12:00:00").status("cancelled"));
            calendar.add(timed("", "15:00:00", "16:00:00").untitled());
            calendar.add(Event::all_day("Market day", "2026-11-21", "2026-11-22"));
        });
    }

    async fn access_token(&self) -> String {
        let client = self.google.client();
        let query = [
            ("client_id", client.id.as_str()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", EVERYTHING),
        ];
        let mut url = url::Url::parse(&format!("{}/o/oauth2/v2/auth", self.google.base_url())).expect("an address");
        url.query_pairs_mut().extend_pairs(query);
        let back = self.google.consents(url.as_str(), PERSON, &Scopes::All).expect("a consent");
        let back = url::Url::parse(&back).expect("an address");
        let code = back.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("client_id", &client.id),
            ("client_secret", &client.secret),
        ];
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let request = self.http.post(format!("{}/token", self.google.base_url()));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body.extend_pairs(form).finish()).send().await.expect("an answer");
        let tokens: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        tokens["access_token"].as_str().expect("an access token").to_owned()
    }

    async fn get(&self, token: &str, path: String) -> (StatusCode, Value) {
        let request = self.http.get(format!("{}{path}", self.google.base_url())).bearer_auth(token);
        answer(request).await
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}{path}", self.google.base_url())).bearer_auth(token);
        answer(request.body(body.to_string())).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}
