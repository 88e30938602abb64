//! A Google with one person, and what a plain HTTP client does with it.

use std::collections::HashMap;

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd_sim::google::calendar::Event;
use nbhd_sim::google::{Google, Scopes};
use nbhd_sim::journal::Journal;
use serde_json::Value;
use url::form_urlencoded::Serializer;

pub(crate) const PERSON: &str = "nora@example.com";
pub(crate) const REDIRECT: &str = "https://nbhd.example/oauth/google/callback";
pub(crate) const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
pub(crate) const CALENDAR: &str = "https://www.googleapis.com/auth/calendar.readonly";
const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

pub(crate) struct World {
    pub(crate) google: Google,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) async fn start() -> Self {
        let (journal, clock) = (Journal::new(), Clock::manual(NOON));
        let google = Google::start(clock.clone(), &journal).await.expect("a free port");
        google.has_account(PERSON, "Nora Lindqvist", "Europe/Zurich");
        google.allows_redirect_to(REDIRECT);
        let http = nbhd::http::client(&Env::from_pairs::<&str, &str>([])).expect("a client");
        Self { google, journal, clock, http }
    }

    pub(crate) fn fill_account(&self) {
        self.google.fills_mailbox(PERSON, None).expect("the samples are compiled in");
        self.google.calendar(PERSON, |calendar| {
            let timed = |name, from: &str, to: &str| {
                Event::timed(name, &format!("2026-11-21T{from}+01:00"), &format!("2026-11-21T{to}+01:00"))
            };
            calendar.add(
                timed("Dentist", "09:00:00", "09:45:00")
                    .with_location("Limmatquai 4")
                    .with_attendees(&["dentist@example.com"]),
            );
            calendar.add(timed("Overlap", "09:30:00", "10:00:00").with_status("tentative"));
            calendar.add(timed("Called off", "11:00:00", "12:00:00").with_status("cancelled"));
            calendar.add(timed("", "15:00:00", "16:00:00").without_title());
            calendar.add(Event::all_day("Market day", "2026-11-21", "2026-11-22"));
        });
    }

    /// The consent address for `scopes`, with `changes` to its parameters; an empty value takes one away.
    pub(crate) fn consent_url(&self, scopes: &str, changes: &[(&str, &str)]) -> String {
        let client_id = self.google.client().id;
        let mut parameters = vec![
            ("client_id", client_id.as_str()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", scopes),
            ("access_type", "offline"),
        ];
        parameters.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
        format!("{}/o/oauth2/v2/auth?{query}", self.google.base_url())
    }

    /// What the browser brings back from a consent.
    pub(crate) fn consents(&self, url: &str, scopes: &Scopes) -> HashMap<String, String> {
        let back = self.google.consents(url, PERSON, scopes).expect("Google sends the browser back");
        url::Url::parse(&back).expect("an address").query_pairs().into_owned().collect()
    }

    /// One call of the token endpoint, as our client unless `form` says otherwise.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let client = self.google.client();
        let mut parameters =
            vec![("client_id", client.id.as_str()), ("client_secret", &client.secret), ("redirect_uri", REDIRECT)];
        parameters.retain(|(name, _)| form.iter().all(|(given, _)| given != name));
        parameters.extend(form);
        self.form("/token", &parameters).await
    }

    pub(crate) async fn exchange(&self, code: &str) -> (StatusCode, Value) {
        self.token(&[("grant_type", "authorization_code"), ("code", code)]).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> (StatusCode, Value) {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// The tokens of a consent to everything in `scopes`.
    pub(crate) async fn connect(&self, scopes: &str, changes: &[(&str, &str)]) -> Value {
        let back = self.consents(&self.consent_url(scopes, changes), &Scopes::All);
        let (status, tokens) = self.exchange(&back["code"]).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        tokens
    }

    pub(crate) async fn access_token(&self) -> String {
        let tokens = self.connect(&format!("openid email {GMAIL} {CALENDAR}"), &[]).await;
        tokens["access_token"].as_str().expect("an access token").to_owned()
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(format!("{}{path}", self.google.base_url())).bearer_auth(token)).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}{path}", self.google.base_url())).bearer_auth(token);
        answer(request.body(body.to_string())).await
    }

    pub(crate) async fn form(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}{path}", self.google.base_url()));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        answer(request.body(Serializer::new(String::new()).extend_pairs(form).finish())).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}
