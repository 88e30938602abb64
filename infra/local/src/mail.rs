//! Lists and opens every message of the mailbox as the assistant would, and counts the outcomes of each character set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nbhd::clock::Clock;
use nbhd_sim::runtime::Settings;
use reqwest::Client;
use ring::digest;
use serde_json::Value;

use crate::story::ACCOUNT;
use crate::subscriber::Subscriber;
use crate::world::World;

/// The most messages of one list.
const PAGE: usize = 10;

/// How many messages of one character set had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The whole text was returned.
    pub read: usize,
    /// The text was cut at the limit.
    pub cut: usize,
    /// The message has no text: attachments only, or nothing at all.
    pub empty: usize,
    /// The answer was not 200.
    pub failed: usize,
}

/// The outcomes of every message, by the character sets that its text parts name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The number of messages of the mailbox.
    pub messages: usize,
    /// The number of messages that a list named.
    pub listed: usize,
    /// The outcomes by character set; a message without one is under `(none)`.
    pub charsets: BTreeMap<String, Outcomes>,
    /// How many messages had something in them that a person cannot see.
    pub hiding: usize,
    /// The SHA-256 of all texts in hexadecimal digits: it is the same for every form in which Gmail hands them out.
    pub digest: String,
}

/// Lists the whole mailbox, page by page back in time, and opens every message.
///
/// # Errors
/// When a list is not answered, or the lists do not name exactly the messages of the mailbox.
pub async fn read_mailbox(world: &World, subscriber: &Subscriber) -> anyhow::Result<Reading> {
    let messages: BTreeMap<String, BTreeSet<String>> = world.google.mailbox(ACCOUNT, |mailbox| {
        mailbox.messages().iter().map(|message| (message.id.clone(), message.charsets())).collect()
    });
    let http = nbhd::http::client_with_roots(None)?;
    let gmail = Gmail { http, runtime: &subscriber.secrets, clock: &world.clock };
    let listed = gmail.list_all(world.clock.now().seconds() + 1).await?;
    ensure!(listed == messages.keys().cloned().collect(), "the lists do not name exactly the mailbox's messages");

    let mut texts = digest::Context::new(&digest::SHA256);
    let mut reading = Reading { messages: messages.len(), listed: listed.len(), ..Reading::default() };
    for (id, charsets) in &messages {
        let opened = gmail.get(&format!("{id}/?include_thread=false")).await?;
        texts.update(id.as_bytes());
        texts.update(opened.1["body_text"].as_str().unwrap_or_default().as_bytes());
        reading.hiding += usize::from(opened.1["hidden_text_removed"] == true);
        let names = if charsets.is_empty() { vec!["(none)"] } else { charsets.iter().map(String::as_str).collect() };
        for name in names {
            reading.charsets.entry(name.to_owned()).or_default().count(&opened);
        }
    }
    reading.digest = texts.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(reading)
}

struct Gmail<'s> {
    http: Client,
    runtime: &'s Settings,
    clock: &'s Clock,
}

impl Gmail<'_> {
    async fn list_all(&self, mut before: i64) -> anyhow::Result<BTreeSet<String>> {
        let mut listed = BTreeSet::new();
        loop {
            let (status, list) = self.get(&format!("?max_results={PAGE}&q=in:anywhere%20before:{before}")).await?;
            ensure!(status == 200, "a list was answered with {status}");
            let page = list["messages"].as_array().context("a list has no messages")?;
            listed.extend(page.iter().filter_map(|message| message["id"].as_str().map(str::to_owned)));
            let dates = page.iter().filter_map(|message| message["internal_date"].as_str()?.parse::<i64>().ok());
            let Some(oldest) = dates.min().map(|millis| millis.div_euclid(1000)) else { return Ok(listed) };
            // The oldest one's second may hold more; the next page begins with it, unless it fills a page by itself.
            before = if page.len() == PAGE && oldest + 1 < before { oldest + 1 } else { oldest };
        }
    }

    /// Asks as often as a runtime may: when it is told to wait, the world's clock moves on by as much.
    async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let Settings { api_base_url, tenant_id, internal_key, .. } = self.runtime;
        let url = format!("{api_base_url}/api/v1/integrations/runtime/{tenant_id}/gmail/messages/{path}");
        loop {
            let request = self.http.get(&url).header("x-nbhd-internal-key", internal_key);
            let response = request.header("x-nbhd-tenant-id", tenant_id).send().await?;
            let wait = response.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
            let (status, body) = (response.status().as_u16(), serde_json::from_slice(&response.bytes().await?)?);
            match wait.filter(|_| status == 429) {
                Some(seconds) => self.clock.advance(Duration::from_secs(seconds)),
                None => return Ok((status, body)),
            }
        }
    }
}

impl Outcomes {
    fn count(&mut self, (status, message): &(u16, Value)) {
        let text = message["body_text"].as_str().unwrap_or_default();
        let counter = match (status, text.is_empty(), message["body_truncated"] == true) {
            (200, true, _) => &mut self.empty,
            (200, false, true) => &mut self.cut,
            (200, false, false) => &mut self.read,
            _ => &mut self.failed,
        };
        *counter += 1;
    }
}

impl Reading {
    /// The number of answers other than 200.
    pub fn failed(&self) -> usize {
        self.charsets.values().map(|outcomes| outcomes.failed).sum()
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} messages, {} listed; by the character sets their text names:", self.messages, self.listed)?;
        write!(f, "{:<20}{:>8}{:>8}{:>8}{:>8}", "charset", "read", "cut", "empty", "failed")?;
        for (charset, Outcomes { read, cut, empty, failed }) in &self.charsets {
            write!(f, "\n{charset:<20}{read:>8}{cut:>8}{empty:>8}{failed:>8}")?;
        }
        write!(f, "\n{} with hidden text; digest of the texts: {}", self.hiding, self.digest)
    }
}
