//! Events, and how they reach a webhook: at least once, in any order, for three days.
//!
//! See <https://docs.stripe.com/webhooks> and <https://docs.stripe.com/webhooks/signature>.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use nbhd::clock::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use super::state::State;
use super::{API_VERSION, EVENTS, Stripe};
use crate::outgoing;

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// When a delivery that was not accepted is tried again, and then every twelve hours.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
];
const LATER_BACKOFF: Duration = Duration::from_secs(12 * 3600);
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);

/// How often [`Stripe::keep_delivering`] looks for something due.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long a secret still signs after it was rolled.
const OLD_SECRET_SIGNS: Duration = Duration::from_secs(24 * 3600);

/// What goes wrong with deliveries; it follows from the seed alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disorder {
    /// The seed of the random numbers.
    pub seed: u64,
    /// How many of a hundred events are delivered twice.
    pub duplicates: u8,
    /// How many of a hundred events are never delivered.
    pub losses: u8,
    /// The longest delay of an event; events that are due at the same time come in any order.
    pub delay: Duration,
}

/// One attempt at delivering one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `evt_…`.
    pub event: String,
    /// Such as `invoice.paid`.
    pub kind: String,
    /// The webhook's status; `None` when it did not answer.
    pub status: Option<u16>,
}

impl Delivery {
    /// Whether Stripe takes the event as delivered.
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// An event as it is posted.
#[derive(Clone, Debug)]
pub struct Event {
    /// `evt_…`.
    pub id: String,
    /// Such as `invoice.paid`.
    pub kind: String,
    /// Its body as it is posted.
    pub body: Bytes,
}

/// Every event, the endpoint they go to, and what is still to be delivered.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) events: Vec<Event>,
    pub(super) pending: Vec<Pending>,
    pub(super) url: Option<String>,
    /// Signing secrets with the end of each; the newest first.
    pub(super) secrets: Vec<(String, Option<Timestamp>)>,
    disorder: Option<Disorder>,
    chance: u64,
    posted: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    number: u64,
    event: Event,
    since: Timestamp,
    pub(super) due: Timestamp,
    attempts: usize,
}

impl Outbox {
    pub(super) fn set_disorder(&mut self, disorder: Option<Disorder>) {
        self.disorder = disorder;
        self.chance = disorder.map_or(0, |disorder| disorder.seed);
    }

    fn queue(&mut self, event: Event, at: Timestamp) {
        self.events.push(event.clone());
        let Some(disorder) = self.disorder else {
            return self.post(event, at, at);
        };
        if self.percent() < u64::from(disorder.losses) {
            return;
        }
        for _ in 0..=usize::from(self.percent() < u64::from(disorder.duplicates)) {
            let seconds = self.random() % (disorder.delay.as_secs() + 1);
            self.post(event.clone(), at, at + Duration::from_secs(seconds));
        }
    }

    fn post(&mut self, event: Event, since: Timestamp, due: Timestamp) {
        self.posted += 1;
        self.pending.push(Pending { number: self.posted, event, since, due, attempts: 0 });
    }

    /// What is due, in the order in which it goes out.
    fn due(&mut self, now: Timestamp) -> Vec<Pending> {
        self.pending.retain(|pending| now.since(pending.since) < GIVE_UP_AFTER);
        let mut due: Vec<_> = self.pending.iter().filter(|pending| pending.due <= now).cloned().collect();
        if self.disorder.is_some() {
            for last in (1..due.len()).rev() {
                let other = usize::try_from(self.random()).unwrap_or(0) % (last + 1);
                due.swap(last, other);
            }
        }
        due
    }

    fn percent(&mut self) -> u64 {
        self.random() % 100
    }

    /// `SplitMix64`: small, and the same everywhere.
    fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) >> 1
    }
}

impl State {
    /// Records an event about `object` and queues it.
    pub(super) fn emit(&mut self, kind: &str, object: Value, at: Timestamp) {
        let id = self.next_id("evt");
        let event = json!({
            "id": id, "object": "event", "api_version": API_VERSION, "created": at.seconds(),
            "data": { "object": object }, "livemode": false, "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null }, "type": kind,
        });
        self.outbox.queue(Event { id, kind: kind.to_owned(), body: event.to_string().into() }, at);
    }
}

impl Stripe {
    /// Delivers what is due now and returns the attempts; what is not accepted is due again later.
    pub async fn deliver(&self) -> Vec<Delivery> {
        let now = self.clock().now();
        let (url, due, secrets) = {
            let mut state = self.lock_current();
            let Some(url) = state.outbox.url.clone() else { return Vec::new() };
            let valid = |(_, until): &&(String, Option<Timestamp>)| until.is_none_or(|until| now < until);
            let secrets: Vec<_> = state.outbox.secrets.iter().filter(valid).map(|(secret, _)| secret.clone()).collect();
            (url, state.outbox.due(now), secrets)
        };
        let mut attempts = Vec::new();
        for pending in due {
            let headers = headers(&secrets, now, &pending.event.body);
            let answer = outgoing::post(self.journal(), EVENTS, &url, headers, pending.event.body.clone()).await;
            let status = answer.map(|(status, _)| status.as_u16());
            let attempt = Delivery { event: pending.event.id.clone(), kind: pending.event.kind.clone(), status };
            let mut state = self.lock();
            if attempt.is_accepted() {
                state.outbox.pending.retain(|kept| kept.number != pending.number);
            } else if let Some(kept) = state.outbox.pending.iter_mut().find(|kept| kept.number == pending.number) {
                kept.due = now + BACKOFF.get(kept.attempts).copied().unwrap_or(LATER_BACKOFF);
                kept.attempts += 1;
            }
            drop(state);
            attempts.push(attempt);
        }
        attempts
    }

    /// Delivers events as they are queued, until the returned task is aborted.
    pub fn keep_delivering(&self) -> tokio::task::JoinHandle<()> {
        let stripe = self.clone();
        tokio::spawn(async move {
            loop {
                stripe.deliver().await;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        })
    }

    /// When the next delivery is due, or time changes a subscription next.
    pub fn next_due(&self) -> Option<Timestamp> {
        let state = self.lock();
        let deliveries = state.outbox.pending.iter().map(|pending| pending.due).min();
        deliveries.into_iter().chain(state.next_change_at()).min()
    }
}

/// What goes with an event's bytes.
fn headers(secrets: &[String], now: Timestamp, body: &[u8]) -> HeaderMap {
    let mut headers =
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))]);
    if let Ok(signature) = HeaderValue::from_str(&signature(secrets, now, body)) {
        headers.insert(SIGNATURE, signature);
    }
    headers
}

/// The `Stripe-Signature` of `body`: one `v1` a secret and, as in test mode, a `v0` that proves nothing.
pub fn signature(secrets: &[String], at: Timestamp, body: &[u8]) -> String {
    let mut text = format!("t={}", at.seconds());
    let signed = [at.seconds().to_string().as_bytes(), b".", body].concat();
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        text.push_str(",v1=");
        text.extend(hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")));
    }
    text.push_str(",v0=");
    text.push_str(&"0".repeat(64));
    text
}

pub(super) fn roll(outbox: &mut Outbox, secret: String, now: Timestamp) {
    for (_, until) in outbox.secrets.iter_mut().filter(|(_, until)| until.is_none()) {
        *until = Some(now + OLD_SECRET_SIGNS);
    }
    outbox.secrets.insert(0, (secret, None));
}
