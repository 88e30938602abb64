//! The whole system with a runtime of our own, and everything it gives off.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::ChatId;
use nbhd::telemetry;
use nbhd_local::{Options, Subscriber, World};
use nbhd_sim::google::calendar::Event;
use nbhd_sim::journal::Journal;
use nbhd_sim::server::Server;
use serde_json::Value;

use super::search::{Emission, Marker, Sink, journalled, unique};

pub(crate) const CHAT: i64 = 4_001;
const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

/// How the runtime answers a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Durably.
    Takes,
    /// With this status, and with everything it was sent.
    Echoes(u16),
}

/// What people and vendors write, one unmistakable text each.
pub(crate) struct Texts {
    pub(crate) account: String,
    pub(crate) subject: String,
    pub(crate) sender: String,
    pub(crate) body: String,
    pub(crate) attachment: String,
    pub(crate) summary: String,
    pub(crate) location: String,
    pub(crate) attendee: String,
}

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) subscriber: Subscriber,
    pub(crate) texts: Texts,
    pub(crate) http: reqwest::Client,
    pub(crate) markers: Vec<Marker>,
    mood: Arc<Mutex<Mood>>,
    seen: BTreeSet<(String, String)>,
    _runtime: Server,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        telemetry::capture();
        let name: &'static str = unique("name").leak();
        let options = Options { person: (CHAT, name), ..Options::with_clock(Clock::manual(NOON)) };
        let world = World::start(options).await.expect("the world starts");
        let subscriber = world.subscribes(ChatId(CHAT)).await.expect("a subscriber");
        let mood = Arc::new(Mutex::new(Mood::Takes));
        let runtime = Router::new().fallback(deliver).with_state(Arc::clone(&mood));
        let runtime = Server::start(world.journal.wrap("runtime", runtime)).await.expect("a free port");
        let store = world.store().expect("a store");
        let mut route = store.load_route(ChatId(CHAT)).await.expect("the table").expect("a route");
        route.runtime_url = Some(runtime.base_url());
        store.put_route(&route).await.expect("the table");

        let texts = Texts::new();
        texts.fill(&world);
        let http = nbhd::http::client_with_roots(None).expect("a client");
        let markers = vec![Marker::new(
            "the person's name in Telegram",
            name,
            &[Sink::Inbound, Sink::DeadLetter, Sink::Runtime, Sink::Telegram, Sink::Relay, Sink::Browser],
        )];
        Self { world, subscriber, texts, http, markers, mood, seen: BTreeSet::new(), _runtime: runtime }
    }

    pub(crate) fn runtime(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Adds a marker called `name` and returns its text.
    pub(crate) fn add_marker(&mut self, name: &'static str, belongs: &'static [Sink]) -> String {
        let text = unique("text");
        self.markers.push(Marker::new(name, text.clone(), belongs));
        text
    }

    /// Carries everything to its end, and remembers what the table holds then.
    pub(crate) async fn run_until_idle(&mut self) {
        self.world.run_until_idle().await;
        self.look_at_the_table();
    }

    pub(crate) fn look_at_the_table(&mut self) {
        for item in self.world.table.items().expect("the table can be read") {
            let place = format!("{} {}", item["pk"]["S"], item["sk"]["S"]);
            self.seen.insert((place, item.to_string()));
        }
    }

    /// Everything given off so far.
    pub(crate) fn emissions(&self) -> Vec<Emission> {
        let mut emissions = journalled(&self.world.journal);
        let items = self.seen.iter().cloned();
        emissions.extend(items.map(|(place, text)| Emission { sink: Sink::Table, place, text }));
        let log = telemetry::capture();
        let lines = log.lines().map(str::to_owned);
        emissions.extend(lines.map(|text| Emission { sink: Sink::Log, place: text.clone(), text }));
        emissions
    }

    /// A call of a runtime endpoint, with the tenant's key unless `headers` says otherwise.
    pub(crate) async fn tool(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        let tenant = self.subscriber.tenant_id.to_string();
        let address = format!("{}/api/v1/integrations/runtime/{tenant}/{path}", self.world.base_url());
        let mut request = self.http.get(address);
        for (name, value) in
            [("x-nbhd-internal-key", self.subscriber.secrets.internal_key.as_str()), ("x-nbhd-tenant-id", &tenant)]
        {
            let given = headers.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
            request = request.header(name, given.unwrap_or(value));
        }
        answer(request).await
    }

    /// A call of the relay with `body` as it is.
    pub(crate) async fn relay(&self, method: &str, kind: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let address = format!("{}/bot{}/{method}", self.subscriber.secrets.api_root, self.subscriber.secrets.bot_token);
        answer(self.http.post(address).header("content-type", kind).body(body)).await
    }

    /// An update posted to the webhook under `secret`.
    pub(crate) async fn webhook(&self, secret: &str, body: String) -> StatusCode {
        let request = self.http.post(format!("{}/telegram/webhook", self.world.base_url()));
        answer(request.header("x-telegram-bot-api-secret-token", secret).body(body)).await.0
    }

    /// Adds the secrets that the vendors and the system itself made.
    pub(crate) fn add_credentials(&mut self) {
        use Sink::{
            Browser, Entra, Google, ModelGateway, Runtime, Stripe, Table, Telegram, TelegramAddress, Tools, Vault,
        };
        let secrets = self.subscriber.secrets.clone();
        let part = |token: &str| token.rsplit(':').next().unwrap_or_default().to_owned();
        let texts = &self.texts;
        self.markers.extend([
            Marker::new("the bot's token", part(&self.setting("TELEGRAM_BOT_TOKEN")), &[TelegramAddress]),
            Marker::new("the webhook's secret", self.setting("TELEGRAM_WEBHOOK_SECRETS"), &[]),
            Marker::new("the key of ids and names", self.setting("TENANT_ID_KEY"), &[]),
            Marker::new("the runtime key", part(&self.setting("RUNTIME_KEYS")), &[]),
            Marker::new("the key of links", part(&self.setting("LINK_SIGNING_KEYS")), &[]),
            Marker::new("our secret at Google", self.setting("GOOGLE_CLIENT_SECRET"), &[Google]),
            Marker::new("our key at Stripe", self.setting("STRIPE_SECRET_KEY"), &[Stripe]),
            Marker::new("the secret of Stripe's events", self.setting("STRIPE_WEBHOOK_SECRET"), &[]),
            Marker::new("the runtime's webhook secret", secrets.webhook_secret, &[Runtime, Vault]),
            Marker::new("the relay capability", part(&secrets.bot_token), &[Vault]),
            Marker::new("the tenant's internal key", secrets.internal_key, &[Vault]),
            Marker::new("our key at the model gateway", self.setting("MODEL_GATEWAY_MANAGEMENT_KEY"), &[ModelGateway]),
            Marker::new("the account's address", &texts.account, &[Browser, Table, Telegram]).may(&[Vault, Tools]),
            Marker::new("a mail's subject", &texts.subject, &[Tools]),
            Marker::new("a mail's sender", &texts.sender, &[Tools]),
            Marker::new("a mail's text", &texts.body, &[Tools]),
            Marker::new("an attachment's name", &texts.attachment, &[Tools]),
            Marker::new("an event's summary", &texts.summary, &[Tools]),
            Marker::new("an event's place", &texts.location, &[Tools]),
            Marker::new("an event's guest", &texts.attendee, &[]),
        ]);
        for token in self.world.google.issued() {
            let random = token[token.len() - 32..].to_owned();
            self.markers.push(match token.split_at(token.len() - 32).0 {
                "4/0A" => Marker::new("an authorization code", random, &[]).may(&[Google]),
                "1//0" => Marker::new("a refresh token", random, &[]).may(&[Google, Vault]),
                _ => Marker::new("an access token", random, &[]).may(&[Google, Vault]),
            });
        }
        for word in self.world.azure.sts.issued() {
            let signature = word.rsplit('.').next().unwrap_or_default();
            self.markers.push(Marker::new("AWS's word for us", signature, &[Entra]));
        }
        // The management key is among them, added above.
        let management = self.setting("MODEL_GATEWAY_MANAGEMENT_KEY");
        for key in self.world.gateway.issued().into_iter().filter(|key| *key != management) {
            self.markers.push(Marker::new("the tenant's model key", key, &[Vault]));
        }
        let made = made_up(&self.world.journal);
        assert!(made.len() > 100, "links, states, cookies, verifiers and tokens of Entra: {}", made.len());
        self.markers.extend(made);
    }

    /// A setting of the functions.
    pub(crate) fn setting(&self, name: &str) -> String {
        self.world.env.optional(name).unwrap_or_else(|| panic!("`{name}` is set")).to_owned()
    }
}

impl Texts {
    fn new() -> Self {
        Self {
            account: format!("{}@example.com", unique("account")),
            subject: unique("subject"),
            sender: unique("sender"),
            body: unique("body"),
            attachment: unique("attachment"),
            summary: unique("summary"),
            location: unique("location"),
            attendee: unique("attendee"),
        }
    }

    fn fill(&self, world: &World) {
        let Self { account, subject, sender, body, attachment, summary, location, attendee } = self;
        world.google.has_account(account, "Somebody", "Europe/Zurich");
        let mail = format!(
            "From: {sender}@example.com\r\nTo: {account}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{body}\r\n\
             --b\r\nContent-Type: application/pdf; name=\"{attachment}.pdf\"\r\n\r\nx\r\n--b--\r\n"
        );
        world.google.delivers(account, mail.as_bytes());
        world.google.calendar(account, |calendar| {
            let event = Event::timed(summary, "2026-11-21T14:00:00Z", "2026-11-21T15:00:00Z").with_location(location);
            calendar.add(event.with_attendees(&[&format!("{attendee}@example.com")]));
        });
    }
}

async fn deliver(
    axum::extract::State(mood): axum::extract::State<Arc<Mutex<Mood>>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
    match mood {
        Mood::Takes => (StatusCode::OK, [("x-openclaw-delivery-accepted", "durable")]).into_response(),
        Mood::Echoes(status) => {
            let echo = format!("{method} {headers:?} {}", String::from_utf8_lossy(&body));
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), echo).into_response()
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}

/// Secrets that were made on the way, found where they had to appear.
fn made_up(journal: &Journal) -> Vec<Marker> {
    let mut markers = Vec::new();
    for entry in journal.entries_of("google").iter().filter(|entry| entry.path_only() == "/token") {
        let form = url::form_urlencoded::parse(&entry.request);
        let verifiers = form.filter(|(name, _)| name == "code_verifier").map(|(_, verifier)| verifier.into_owned());
        markers.extend(verifiers.map(|verifier| Marker::new("a PKCE verifier", verifier, &[Sink::Google])));
    }
    for entry in journal.entries_of("entra") {
        let answer: Value = serde_json::from_slice(&entry.answer).unwrap_or_default();
        let token = answer["access_token"].as_str();
        markers.extend(token.map(|token| Marker::new("a token of Entra's", token, &[]).may(&[Sink::Vault, Sink::Arm])));
    }
    for entry in journal.entries_of("api") {
        for (name, value) in &entry.answer_headers {
            if name == "set-cookie" {
                let secret = value.split(';').next().and_then(|pair| pair.split_once('='));
                markers.extend(secret.map(|(_, secret)| Marker::new("a cookie", secret, &[Sink::Browser])));
            }
        }
        let page = String::from_utf8_lossy(&entry.answer);
        for token in page.split("?start=").skip(1).filter_map(|rest| rest.get(..43)) {
            markers.push(Marker::new("a start token", token, &[Sink::Browser]));
        }
        // A token of ours ends in its signature: nobody can use it without.
        let text =
            [entry.path.as_bytes(), &entry.answer[..], format!("{:?}", entry.answer_headers).as_bytes()].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_.".contains(letter));
        for token in words.filter(|word| word.starts_with("eyJ") && word.split('.').count() == 3) {
            let signature = token.rsplit('.').next().unwrap_or_default();
            markers.push(Marker::new("a signed link", signature, &[]).may(&[Sink::Telegram, Sink::Browser]));
        }
    }
    markers
}
