//! Markers, and the search for them in everything the system gave off.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nbhd_sim::journal::{Entry, Journal};
use uuid::Uuid;

/// Where something can end up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sink {
    /// Log lines and metrics.
    Log,
    /// Any item of the table, at any time.
    Table,
    /// The queue of updates on their way.
    Inbound,
    /// The queue of updates that could not be delivered.
    DeadLetter,
    /// The queue of jobs.
    Jobs,
    /// What Telegram is told, in answers to the webhook and in calls: messages to people.
    Telegram,
    /// Where a call to Telegram names the bot.
    TelegramAddress,
    /// Answers of the relay to a runtime.
    Relay,
    /// Answers of the runtime endpoints.
    Tools,
    /// Pages, redirects and cookies.
    Browser,
    /// Deliveries to a runtime.
    Runtime,
    /// Calls to Google.
    Google,
    /// Calls to AWS's STS.
    Sts,
    /// Calls to Entra.
    Entra,
    /// Calls to the vault.
    Vault,
    /// Calls to Azure's resource manager.
    Arm,
    /// Calls to the model gateway.
    ModelGateway,
    /// Calls to Stripe, and our answers to its events.
    Stripe,
}

/// One thing that was given off.
pub(crate) struct Emission {
    pub(crate) sink: Sink,
    pub(crate) place: String,
    pub(crate) text: String,
}

/// Something that has to be in each place where it belongs, may be in some others, and must be nowhere else.
pub(crate) struct Marker {
    name: String,
    text: String,
    belongs: &'static [Sink],
    may: &'static [Sink],
}

/// A text nobody would write by chance, in letters that every encoding on the way leaves alone.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}x{}", Uuid::new_v4().simple())
}

impl Marker {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>, belongs: &'static [Sink]) -> Self {
        Self { name: name.into(), text: text.into(), belongs, may: &[] }
    }

    /// It may be in these places as well.
    pub(crate) fn may(self, may: &'static [Sink]) -> Self {
        Self { may, ..self }
    }
}

/// A sentence for every marker that is where it must not be, and for every one that is not where it belongs.
pub(crate) fn complaints(markers: &[Marker], emissions: &[Emission]) -> Vec<String> {
    let mut complaints = Vec::new();
    for marker in markers {
        let found = places(marker, emissions);
        for (sink, places) in
            found.iter().filter(|(sink, _)| !marker.belongs.contains(sink) && !marker.may.contains(sink))
        {
            complaints.push(format!("{} leaked into {sink:?}: {places:?}", marker.name));
        }
        for sink in marker.belongs.iter().filter(|sink| !found.contains_key(sink)) {
            complaints.push(format!("{} was not seen in {sink:?}: the story does not exercise it", marker.name));
        }
    }
    complaints
}

/// What the journal holds of ours: our answers where we were called, our requests where we called.
pub(crate) fn journalled(journal: &Journal) -> Vec<Emission> {
    journal.entries().iter().flat_map(emissions_of).collect()
}

fn places(marker: &Marker, emissions: &[Emission]) -> BTreeMap<Sink, BTreeSet<String>> {
    let needles = encodings(&marker.text);
    let mut found: BTreeMap<Sink, BTreeSet<String>> = BTreeMap::new();
    for emission in emissions.iter().filter(|emission| needles.iter().any(|needle| emission.text.contains(needle))) {
        found.entry(emission.sink).or_default().insert(emission.place.clone());
    }
    found
}

/// The text itself, and what base64 makes of it at each of the three ways it can lie in a longer text.
fn encodings(text: &str) -> Vec<String> {
    let mut needles = vec![text.to_owned()];
    for offset in 0..3_usize {
        let padded = [&vec![0; offset], text.as_bytes()].concat();
        // Letters at either end depend on the neighbours too.
        let (first, whole) = (offset.div_ceil(3) * 4, padded.len() / 3 * 4);
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            needles.push(encoded[first..whole].to_owned());
        }
    }
    needles
}

fn emissions_of(entry: &Entry) -> Vec<Emission> {
    let place = format!("{} {}", entry.method, entry.path_only());
    let asked = |sink| vec![Emission { sink, place: place.clone(), text: request(entry) }];
    let answered = |sink| {
        let text = format!("{}{}", headers(&entry.answer_headers), String::from_utf8_lossy(&entry.answer));
        vec![Emission { sink, place: place.clone(), text }]
    };
    match entry.simulator {
        "sqs" => asked(queue_of(&entry.request)),
        "telegram" => {
            let called =
                Emission { sink: Sink::Telegram, place: "a call of a method".to_owned(), text: request(entry) };
            let address = Emission { sink: Sink::TelegramAddress, place, text: entry.path.clone() };
            vec![called, address]
        }
        "telegram-updates" => answered(Sink::Telegram),
        "runtime" => asked(Sink::Runtime),
        "google" => asked(Sink::Google),
        "sts" => asked(Sink::Sts),
        "entra" => asked(Sink::Entra),
        "key-vault" => asked(Sink::Vault),
        "arm" => asked(Sink::Arm),
        "model-gateway" => asked(Sink::ModelGateway),
        "stripe" => asked(Sink::Stripe),
        "stripe-events" => answered(Sink::Stripe),
        "api" => match entry.path_only() {
            path if path.starts_with("/telegram/webhook") => answered(Sink::Telegram),
            path if path.starts_with("/telegram/relay") => answered(Sink::Relay),
            path if path.starts_with("/api/v1") => answered(Sink::Tools),
            path if path.starts_with("/stripe/") => answered(Sink::Stripe),
            _ => answered(Sink::Browser),
        },
        other => panic!("`{other}` is in the journal, and nobody said where what it saw belongs"),
    }
}

/// A call as it was made; a call of Telegram's without its address, which is looked at on its own.
fn request(entry: &Entry) -> String {
    let address = if entry.simulator == "telegram" { "" } else { &entry.path };
    format!("{address}\n{}{}", headers(&entry.headers), String::from_utf8_lossy(&entry.request))
}

fn headers(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn queue_of(request: &[u8]) -> Sink {
    let request: serde_json::Value = serde_json::from_slice(request).unwrap_or_default();
    match request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()) {
        Some("inbound-dlq.fifo") => Sink::DeadLetter,
        Some("inbound.fifo") => Sink::Inbound,
        _ => Sink::Jobs,
    }
}
