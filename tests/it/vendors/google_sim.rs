//! The simulated Google refuses what Google refuses: its consent page, its tokens, its mailbox.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nbhd_sim::google::{Endpoint, Failure, Rotation, Scopes};
use serde_json::{Value, json};

use crate::vendors::google_world::{CALENDAR, GMAIL, PERSON, REDIRECT, World};

const BOTH: &str = "openid email https://www.googleapis.com/auth/gmail.readonly \
                    https://www.googleapis.com/auth/calendar.readonly";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The S256 challenge RFC 7636 (appendix B) gives for it.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

#[tokio::test]
async fn a_request_google_would_not_show_a_page_for_gets_an_error_page() {
    let world = World::start().await;
    for (changes, error) in [
        (("client_id", "somebody-else"), "invalid_client"),
        (("client_id", ""), "invalid_request"),
        (("redirect_uri", "https://evil.example/"), "redirect_uri_mismatch"),
        (("redirect_uri", "https://nbhd.example/oauth/google/callback/"), "redirect_uri_mismatch"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "https://www.googleapis.com/auth/everything"), "invalid_scope"),
        (("code_challenge", "plain"), "invalid_request"),
    ] {
        let url = world.consent_url(BOTH, &[changes]);
        let refusal = world.google.consents(&url, PERSON, &Scopes::All).expect_err(error);
        assert_eq!(refusal.error, error);
    }
}

#[tokio::test]
async fn an_embedded_browser_is_refused_and_a_real_one_is_not() {
    let world = World::start().await;
    for (agent, status) in [
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 Version/4.0 Chrome/119 Mobile", 403),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile", 403),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1", 200),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119 Safari/537.36", 200),
    ] {
        let request = world.http.get(world.consent_url(BOTH, &[])).header("user-agent", agent);
        assert_eq!(request.send().await.expect("a page").status(), status, "{agent}");
    }
}

#[tokio::test]
async fn a_browser_clicks_through_the_page() {
    let world = World::start().await;
    let url = world.consent_url(BOTH, &[("state", "s-1")]);
    let page = world.http.get(&url).send().await.expect("a page").text().await.expect("text");
    for shown in ["Nora Lindqvist", PERSON, GMAIL, CALENDAR, "Continue", "Cancel"] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    let path = url.strip_prefix(&world.google.base_url()).expect("its own address");
    let choose = async |form: &[(&str, &str)]| {
        world.form(path, form).await;
        let entry = world.journal.entries_of("google").pop().expect("an entry");
        entry.answer_headers.into_iter().find(|(name, _)| name == "location").map(|(_, to)| to)
    };
    let back = choose(&[("account", PERSON), ("scope", GMAIL), ("decision", "allow")]).await.expect("sent back");
    assert!(back.starts_with(&format!("{REDIRECT}?state=s-1&code=4%2F0A")), "{back}");
    assert!(back.contains("gmail.readonly") && !back.contains("calendar.readonly"), "{back}");
    let back = choose(&[("account", PERSON), ("scope", GMAIL), ("decision", "deny")]).await;
    assert_eq!(back.as_deref(), Some(format!("{REDIRECT}?state=s-1&error=access_denied").as_str()));
    assert_eq!(choose(&[("account", "nobody@example.com"), ("decision", "allow")]).await, None);
}

#[tokio::test]
async fn what_is_not_ticked_is_not_granted() {
    let world = World::start().await;
    let back = world.consents(&world.consent_url(BOTH, &[]), &Scopes::Only(vec!["calendar.readonly"]));
    let (_, tokens) = world.exchange(&back["code"]).await;
    assert_eq!(tokens["scope"], format!("{CALENDAR} https://www.googleapis.com/auth/userinfo.email openid"));
    let token = tokens["access_token"].as_str().expect("a token");
    let (status, refused) = world.get(token, "/gmail/v1/users/me/messages").await;
    assert_eq!(
        (status, &refused["error"]["errors"][0]["reason"]),
        (StatusCode::FORBIDDEN, &json!("insufficientPermissions"))
    );
    assert_eq!(world.get(token, "/calendar/v3/calendars/primary").await.0, StatusCode::OK);

    let back = world.consents(&world.consent_url(BOTH, &[]), &Scopes::Only(vec![]));
    assert_eq!(back["error"], "access_denied", "ticking nothing is denying");
}

#[tokio::test]
async fn a_code_is_good_once_for_ten_minutes_and_for_the_address_it_was_asked_with() {
    let world = World::start().await;
    let code = || world.consents(&world.consent_url(BOTH, &[]), &Scopes::All)["code"].clone();
    let first = code();
    assert_eq!(world.exchange(&first).await.0, StatusCode::OK);
    assert_eq!(world.exchange(&first).await.1["error"], "invalid_grant");

    let late = code();
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(world.exchange(&late).await.1["error"], "invalid_grant");

    let form = |redirect: &'static str, code: &str| [("redirect_uri", redirect.to_owned()), ("code", code.to_owned())];
    let [redirect, astray] = form("https://nbhd.example/elsewhere", &code());
    let grant = ("grant_type", "authorization_code");
    let (_, refused) = world.token(&[grant, (redirect.0, &redirect.1), (astray.0, &astray.1)]).await;
    assert_eq!(refused["error"], "redirect_uri_mismatch");
}

#[tokio::test]
async fn a_challenged_code_needs_its_verifier() {
    let world = World::start().await;
    let challenge = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    for (verifier, status) in [
        (Some(VERIFIER), StatusCode::OK),
        (Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXj"), StatusCode::BAD_REQUEST),
        (Some(CHALLENGE), StatusCode::BAD_REQUEST),
        (None, StatusCode::BAD_REQUEST),
    ] {
        let back = world.consents(&world.consent_url(BOTH, &challenge), &Scopes::All);
        let mut form = vec![("grant_type", "authorization_code"), ("code", &back["code"])];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        assert_eq!(world.token(&form).await.0, status, "{verifier:?}");
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_secret_in_the_form_or_the_header() {
    let world = World::start().await;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "unknown")];
    for (id, secret) in [("client_id", "client_id"), ("client_secret", "wrong")] {
        let (status, refused) = world.token(&[grant[0], grant[1], (id, secret)]).await;
        assert_eq!((status, &refused["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
    }
    let client = world.google.client();
    let request = world.http.post(format!("{}/token", world.google.base_url()));
    let request =
        request.basic_auth(client.id, Some(client.secret)).body("grant_type=refresh_token&refresh_token=unknown");
    let answer = request.send().await.expect("an answer").text().await.expect("text");
    assert!(answer.contains("invalid_grant"), "the client was known: {answer}");
    assert_eq!(world.token(&[("grant_type", "password")]).await.1["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_refresh_token_comes_with_the_first_consent_or_a_forced_one() {
    let world = World::start().await;
    let has_refresh_token = |tokens: &Value| tokens["refresh_token"].is_string();
    assert!(!has_refresh_token(&world.connect(GMAIL, &[("access_type", "online")]).await));
    world.google.person_revokes(PERSON);
    assert!(has_refresh_token(&world.connect(GMAIL, &[]).await));
    assert!(!has_refresh_token(&world.connect(GMAIL, &[]).await), "the person has consented before");
    assert!(has_refresh_token(&world.connect(GMAIL, &[("prompt", "consent")]).await));
}

#[tokio::test]
async fn a_second_connection_can_keep_what_the_first_was_granted() {
    let world = World::start().await;
    world.connect(GMAIL, &[]).await;
    assert_eq!(world.connect(CALENDAR, &[]).await["scope"], CALENDAR);
    let tokens = world.connect(CALENDAR, &[("include_granted_scopes", "true")]).await;
    assert_eq!(tokens["scope"], format!("{CALENDAR} {GMAIL}"));
}

#[tokio::test]
async fn an_access_token_lives_an_hour_and_a_refresh_token_until_it_is_revoked() {
    let world = World::start().await;
    let tokens = world.connect(BOTH, &[]).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().expect("one"), tokens["refresh_token"].as_str().expect("one"));
    assert_eq!(world.get(access, "/oauth2/v2/userinfo").await.1["email"], PERSON);
    world.clock.advance(Duration::from_secs(3_599));
    assert_eq!(world.get(access, "/oauth2/v2/userinfo").await.0, StatusCode::UNAUTHORIZED);

    let (status, renewed) = world.refresh(refresh).await;
    assert_eq!((status, renewed["refresh_token"].is_string()), (StatusCode::OK, false));
    let access = renewed["access_token"].as_str().expect("one");
    assert_eq!(world.get(access, "/oauth2/v2/userinfo").await.0, StatusCode::OK);

    let other = world.connect(CALENDAR, &[("prompt", "consent")]).await;
    assert_eq!(world.form("/revoke", &[("token", refresh)]).await.0, StatusCode::OK);
    assert_eq!(world.refresh(refresh).await.1["error"], "invalid_grant");
    let other = other["refresh_token"].as_str().expect("one");
    assert_eq!(world.refresh(other).await.1["error"], "invalid_grant", "the whole grant ends");
    assert_eq!(world.get(access, "/oauth2/v2/userinfo").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(world.form("/revoke", &[("token", refresh)]).await.1["error"], "invalid_token");
    assert!(world.google.granted_scopes(PERSON).is_empty());
}

#[tokio::test]
async fn refresh_tokens_rotate_on_demand_and_the_hundred_and_first_ends_the_oldest() {
    let world = World::start().await;
    let oldest =
        world.connect(GMAIL, &[("prompt", "consent")]).await["refresh_token"].as_str().expect("one").to_owned();
    world.google.rotates_refresh_tokens(Rotation::AtOnce);
    let rotated = world.refresh(&oldest).await.1["refresh_token"].as_str().expect("a new one").to_owned();
    assert_eq!(world.refresh(&oldest).await.1["error"], "invalid_grant");
    world.google.rotates_refresh_tokens(Rotation::Never);
    for _ in 0..100 {
        assert_eq!(world.refresh(&rotated).await.0, StatusCode::OK);
        world.connect(GMAIL, &[("prompt", "consent")]).await;
    }
    assert_eq!(world.refresh(&rotated).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn a_replaced_refresh_token_can_be_honoured_until_the_new_one_is_used() {
    let world = World::start().await;
    world.google.rotates_refresh_tokens(Rotation::WhenUsed);
    let first = world.connect(GMAIL, &[("prompt", "consent")]).await["refresh_token"].as_str().expect("one").to_owned();
    let next = async |token: &str| world.refresh(token).await.1["refresh_token"].as_str().map(str::to_owned);
    next(&first).await.expect("a new one, which gets lost");
    let second = next(&first).await.expect("honoured");
    let third = next(&second).await.expect("used");
    assert_eq!(next(&first).await, None);
    assert!(next(&third).await.is_some());
}

#[tokio::test]
async fn failures_come_when_told_and_calls_are_counted() {
    let world = World::start().await;
    let token = world.access_token().await;
    let list = async || world.get(&token, "/gmail/v1/users/me/messages").await;
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Throttled(Some(30)));
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::UsageLimit);
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Unauthorized);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (status, body) = list().await;
        seen.push((status.as_u16(), body["error"]["errors"][0]["reason"].as_str().unwrap_or_default().to_owned()));
    }
    let reasons = [(429, "rateLimitExceeded"), (403, "userRateLimitExceeded"), (401, "authError"), (200, "")];
    assert_eq!(seen, reasons.map(|(status, reason)| (status, reason.to_owned())));
    world.google.faults.fail_always(Endpoint::MessagesList, Failure::Status(503));
    assert_eq!((list().await.0, list().await.0), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    world.google.faults.recover();
    assert_eq!(list().await.0, StatusCode::OK);
    assert_eq!((world.google.calls(Endpoint::MessagesList), world.google.calls(Endpoint::Token)), (7, 1));
}

#[tokio::test]
async fn a_partial_answer_holds_nothing_that_was_not_asked_for() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    let (_, list) =
        world.get(&token, "/gmail/v1/users/me/messages?maxResults=1&fields=messages/id,nextPageToken").await;
    let id = list["messages"][0]["id"].as_str().expect("an identifier");
    assert_eq!(list["messages"][0], json!({ "id": id }));
    assert!(list["nextPageToken"].is_string() && list.get("resultSizeEstimate").is_none());
    let path =
        format!("/gmail/v1/users/me/messages/{id}?format=metadata&metadataHeaders=subject&fields=payload/headers");
    let (_, message) = world.get(&token, &path).await;
    assert_eq!(message, json!({ "payload": { "headers": [{ "name": "Subject", "value": "Dinner on Saturday 🍝" }] } }));
    let (status, _) = world.get(&token, "/gmail/v1/users/me/messages?fields=messages(").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn searches_find_what_gmail_would_find() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    for (search, found) in [
        ("", 8),
        ("from:okafor", 1),
        ("subject:\"budget review\"", 2),
        ("heating", 2),
        ("heating -from:okafor", 1),
        ("from:okafor OR from:sofia", 2),
        ("has:attachment", 2),
        ("filename:pdf", 1),
        ("is:unread", 8),
        ("is:read", 0),
        ("in:trash", 0),
        ("after:2026/11/20", 3),
        ("before:2026/11/18", 2),
        ("newer_than:2d", 4),
        ("rfc822msgid:digest-47@biblioteka.example", 1),
        ("читателей", 1),
    ] {
        let query = url::form_urlencoded::byte_serialize(search.as_bytes()).collect::<String>();
        let (_, list) = world.get(&token, &format!("/gmail/v1/users/me/messages?q={query}")).await;
        assert_eq!(list["messages"].as_array().map_or(0, Vec::len), found, "{search}");
    }
}

#[tokio::test]
async fn a_reply_joins_the_conversation_it_answers() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    let (_, list) = world.get(&token, "/gmail/v1/users/me/messages?q=subject:budget").await;
    let (reply, first) = (&list["messages"][0], &list["messages"][1]);
    assert_eq!((&reply["threadId"], &first["threadId"]), (&first["id"], &first["id"]));
    let path = format!("/gmail/v1/users/me/threads/{}?format=minimal", first["id"].as_str().expect("one"));
    let (_, thread) = world.get(&token, &path).await;
    assert_eq!((&thread["messages"][0]["id"], &thread["messages"][1]["id"]), (&first["id"], &reply["id"]));
}

#[tokio::test]
async fn a_maildir_keeps_its_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, subject) in [
        ("cur/1.host:2,S", "seen"),
        ("cur/2.host:2,FS", "flagged"),
        ("new/3.host", "new"),
        ("tmp/4", "half"),
        (".Junk/cur/5.host:2,S", "junk"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, format!("Subject: {subject}\r\n\r\ntext\r\n")).expect("a file");
    }
    std::fs::write(folder.path().join("beside.eml"), "Subject: beside\n\ntext\n").expect("a file");
    let world = World::start().await;
    std::fs::create_dir_all(folder.path().join(".Junk/new")).expect("a folder");
    assert_eq!(world.google.fills_mailbox(PERSON, Some(folder.path())).expect("read"), 5);
    let token = world.access_token().await;
    for (search, subject) in
        [("is:starred", "flagged"), ("is:unread subject:new", "new"), ("subject:beside", "beside"), ("in:spam", "junk")]
    {
        let query = search.replace(' ', "+");
        let (_, list) = world.get(&token, &format!("/gmail/v1/users/me/messages?q={query}")).await;
        let [message] = list["messages"].as_array().expect("a list").as_slice() else { panic!("one: {list}") };
        let path = format!("/gmail/v1/users/me/messages/{}", message["id"].as_str().expect("one"));
        let (_, message) = world.get(&token, &path).await;
        assert_eq!(message["payload"]["headers"][0]["value"], subject);
        let data = message["payload"]["body"]["data"].as_str().expect("data").trim_end_matches('=');
        assert!(URL_SAFE_NO_PAD.decode(data).expect("base64url").starts_with(b"text"));
    }
}

#[tokio::test]
async fn free_and_busy_are_told_for_each_calendar() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    let asked = json!({
        "timeMin": "2026-11-21T00:00:00Z", "timeMax": "2026-11-22T00:00:00Z",
        "items": [{ "id": "primary" }, { "id": "nobody@example.com" }],
    });
    let (_, answer) = world.post(&token, "/calendar/v3/freeBusy", asked.clone()).await;
    let busy = json!([
        { "start": "2026-11-21T08:00:00Z", "end": "2026-11-21T09:00:00Z" },
        { "start": "2026-11-21T14:00:00Z", "end": "2026-11-21T15:00:00Z" },
    ]);
    assert_eq!(answer["calendars"]["primary"]["busy"], busy);
    assert_eq!(answer["calendars"]["nobody@example.com"]["errors"][0]["reason"], "notFound");
    world.google.calendar(PERSON, |calendar| calendar.free_busy_error = Some("internalError"));
    let (_, answer) = world.post(&token, "/calendar/v3/freeBusy", asked).await;
    assert_eq!(answer["calendars"]["primary"]["errors"][0]["reason"], "internalError");
}

#[tokio::test]
async fn events_are_ordered_paged_and_refused_as_google_does() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    let events = "/calendar/v3/calendars/primary/events";
    let (status, _) = world.get(&token, &format!("{events}?orderBy=startTime")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "ordering needs single events");
    let (status, _) = world.get(&token, &format!("{events}?timeMin=2026-11-21")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a time needs an offset");
    let day =
        "timeMin=2026-11-21T00:00:00%2B01:00&timeMax=2026-11-22T00:00:00%2B01:00&singleEvents=true&orderBy=startTime";
    let (_, page) = world.get(&token, &format!("{events}?{day}&maxResults=3")).await;
    let summaries = |page: &Value| {
        page["items"].as_array().expect("items").iter().map(|event| event["summary"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(summaries(&page), [json!("Market day"), json!("Dentist"), json!("Overlap")]);
    assert_eq!(
        (&page["items"][0]["start"], &page["timeZone"]),
        (&json!({ "date": "2026-11-21" }), &json!("Europe/Zurich"))
    );
    let next = page["nextPageToken"].as_str().expect("more");
    let (_, page) = world.get(&token, &format!("{events}?{day}&maxResults=3&pageToken={next}")).await;
    assert_eq!((summaries(&page), page.get("nextPageToken")), (vec![Value::Null], None));
}
