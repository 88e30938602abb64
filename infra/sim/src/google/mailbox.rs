//! A mailbox: real mail in, Gmail's resources out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use nbhd::clock::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::payload;
pub use super::payload::{TextForm, TextHabits};
use super::query::Query;

/// Messages written for this project: several charsets, a thread, attachments and a calendar invitation.
pub const SAMPLES: [&[u8]; 8] = [
    include_bytes!("../../mail/budget-review.eml"),
    include_bytes!("../../mail/budget-review-reply.eml"),
    include_bytes!("../../mail/train-to-lyon.eml"),
    include_bytes!("../../mail/invoice-attached.eml"),
    include_bytes!("../../mail/gruesse-aus-muenchen.eml"),
    include_bytes!("../../mail/tokyo-reservation.eml"),
    include_bytes!("../../mail/novosti.eml"),
    include_bytes!("../../mail/dinner-invitation.eml"),
];

/// One account's mail, newest first.
#[derive(Clone, Debug, Default)]
pub struct Mailbox {
    messages: Vec<Message>,
    arrivals: u64,
    habits: TextHabits,
}

/// One message as the mailbox keeps it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Gmail's identifier, 16 hexadecimal digits.
    pub id: String,
    /// The identifier of the first message of the conversation.
    pub thread_id: String,
    /// Such as `INBOX` and `UNREAD`.
    pub labels: Vec<String>,
    /// When Gmail took it in.
    pub internal_date: Timestamp,
    pub(super) payload: Value,
    pub(super) text: String,
    pub(super) message_id: Option<String>,
    attachments: BTreeMap<String, Vec<u8>>,
    size: usize,
    history_id: u64,
}

/// The `format` in which a message is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Minimal,
    Metadata,
    Full,
}

impl Mailbox {
    /// Decides how the texts of messages that arrive from now on are handed out.
    pub fn hands_out_texts(&mut self, habits: TextHabits) {
        self.habits = habits;
    }

    /// Forgets the content of every attachment, as if each had been deleted since its message was read.
    pub fn loses_attachments(&mut self) {
        self.messages.iter_mut().for_each(|message| message.attachments.clear());
    }

    /// A message that arrives at `now`, unread, in the inbox; returns its identifier.
    pub fn receives(&mut self, raw: &[u8], now: Timestamp) -> String {
        self.add(raw, payload::parse(raw, self.habits), now, &["INBOX", "UNREAD"])
    }

    /// Messages of another mailbox, each dated by its own `Date` header; those without one are the oldest.
    pub fn imports<'r>(&mut self, messages: impl IntoIterator<Item = &'r [u8]>) {
        let found = messages.into_iter().map(|raw| FoundMail { raw: raw.to_vec(), labels: vec!["INBOX", "UNREAD"] });
        self.import(found.collect());
    }

    /// Every `.eml` file and every Maildir below `folder`; returns how many messages were taken in.
    ///
    /// # Errors
    /// When the folder, or a file in it, cannot be read.
    pub fn imports_folder(&mut self, folder: &Path) -> io::Result<usize> {
        let mut found = Vec::new();
        collect(folder, &mut found)?;
        let count = found.len();
        self.import(found);
        Ok(count)
    }

    /// Every message, newest first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages a search finds, newest first.
    pub(super) fn search(
        &self,
        query: &Query,
        labels: &[String],
        with_spam_and_trash: bool,
        now: Timestamp,
    ) -> Vec<&Message> {
        let visible = |message: &&Message| {
            with_spam_and_trash
                || query.names_spam_or_trash()
                || !message.is_labelled("SPAM") && !message.is_labelled("TRASH")
        };
        let labelled = |message: &&Message| labels.iter().all(|label| message.is_labelled(label));
        self.messages.iter().filter(visible).filter(labelled).filter(|message| query.matches(message, now)).collect()
    }

    /// The message of this identifier.
    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id)
    }

    /// The messages of a conversation, oldest first.
    pub(super) fn thread(&self, id: &str) -> Vec<&Message> {
        self.messages.iter().rev().filter(|message| message.thread_id == id).collect()
    }

    fn import(&mut self, found: Vec<FoundMail>) {
        let mut read: Vec<_> = found
            .into_iter()
            .zip(0..)
            .map(|(found, seconds)| {
                let parsed = payload::parse(&found.raw, self.habits);
                (parsed.date.unwrap_or_else(|| Timestamp::from_seconds(seconds)), parsed, found)
            })
            .collect();
        // The oldest first, so that a reply finds the conversation it belongs to.
        read.sort_by_key(|(date, _, _)| *date);
        for (date, parsed, found) in read {
            self.add(&found.raw, parsed, date, &found.labels);
        }
    }

    fn add(&mut self, raw: &[u8], parsed: payload::Parsed, internal_date: Timestamp, labels: &[&str]) -> String {
        self.arrivals += 1;
        let id = identifier(raw, self.arrivals);
        let thread_id = self.conversation_of(&parsed).unwrap_or_else(|| id.clone());
        let message = Message {
            id: id.clone(),
            thread_id,
            labels: labels.iter().map(ToString::to_string).collect(),
            internal_date,
            payload: parsed.payload,
            text: parsed.text,
            message_id: parsed.message_id,
            attachments: parsed.attachments,
            size: raw.len(),
            history_id: 1_000 + self.arrivals,
        };
        let place = self.messages.partition_point(|known| known.internal_date > internal_date);
        self.messages.insert(place, message);
        id
    }

    /// By what a message answers, or else by a reply's subject.
    fn conversation_of(&self, parsed: &payload::Parsed) -> Option<String> {
        let answers = |known: &&Message| known.message_id.as_ref().is_some_and(|id| parsed.references.contains(id));
        let subject = header(&parsed.payload, "Subject").unwrap_or_default();
        let bare = mail_parser::parsers::fields::thread::thread_name(subject);
        let same_subject = |known: &&Message| {
            let known = header(&known.payload, "Subject").unwrap_or_default();
            mail_parser::parsers::fields::thread::thread_name(known) == bare
        };
        let is_reply = parsed.references.is_empty() && !bare.is_empty() && bare.len() < subject.trim().len();
        let by_reference = self.messages.iter().find(answers);
        let found = by_reference.or_else(|| self.messages.iter().find(|known| is_reply && same_subject(known)))?;
        Some(found.thread_id.clone())
    }
}

impl Message {
    /// Whether it carries `label`.
    pub fn is_labelled(&self, label: &str) -> bool {
        self.labels.iter().any(|known| known.eq_ignore_ascii_case(label))
    }

    /// The first header of this name, decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.payload, name)
    }

    /// Whether Gmail hands out both in the same bytes.
    pub fn has_same_payload(&self, other: &Self) -> bool {
        self.payload == other.payload && self.attachments == other.attachments
    }

    /// The character sets that its text parts name, in lower case.
    pub fn charsets(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut parts = vec![&self.payload];
        while let Some(part) = parts.pop() {
            parts.extend(part["parts"].as_array().into_iter().flatten());
            let content_type = header(part, "Content-Type").unwrap_or_default().to_lowercase();
            if content_type.trim_start().starts_with("text/")
                && let Some((_, charset)) = content_type.split_once("charset=")
            {
                let charset = charset.trim_start_matches(['"', ' ']).split(['"', ';', ' ', '\r', '\n', '\t']).next();
                found.extend(charset.map(str::to_owned).filter(|name| !name.is_empty()));
            }
        }
        found
    }

    /// Gmail's [`Message`](https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages)
    /// resource.
    pub(super) fn resource(&self, format: Format, metadata_headers: &[String]) -> Value {
        let mut resource = json!({
            "id": self.id,
            "threadId": self.thread_id,
            "labelIds": self.labels,
            "snippet": snippet(&self.text),
            "historyId": self.history_id.to_string(),
            "internalDate": self.internal_date.millis().to_string(),
            "sizeEstimate": self.size,
        });
        match format {
            Format::Minimal => {}
            Format::Metadata => resource["payload"] = self.head(metadata_headers),
            Format::Full => resource["payload"] = self.payload.clone(),
        }
        resource
    }

    /// What `messages.attachments.get` answers; `None` for an id that this message does not have.
    /// <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages.attachments>
    pub(super) fn attachment(&self, id: &str) -> Option<Value> {
        let bytes = self.attachments.get(id)?;
        Some(json!({ "size": bytes.len(), "data": URL_SAFE.encode(bytes) }))
    }

    fn head(&self, names: &[String]) -> Value {
        let wanted = |field: &&Value| {
            let name = field["name"].as_str().unwrap_or_default();
            names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let headers: Vec<_> = self.payload["headers"].as_array().into_iter().flatten().filter(wanted).collect();
        json!({ "mimeType": self.payload["mimeType"], "headers": headers })
    }
}

struct FoundMail {
    raw: Vec<u8>,
    labels: Vec<&'static str>,
}

/// Folders and files in the order of their names, so that a mailbox looks the same on every run. Links to folders are
/// not followed: they can lead around in a circle.
fn collect(folder: &Path, found: &mut Vec<FoundMail>) -> io::Result<()> {
    let is_maildir = folder.join("cur").is_dir() && folder.join("new").is_dir();
    for path in sorted(folder)? {
        let name = name_of(&path);
        if path.is_dir() {
            match name.as_str() {
                _ if path.is_symlink() => {}
                "tmp" if is_maildir => {}
                "cur" | "new" if is_maildir => collect_maildir(&path, label_of(folder), found)?,
                _ => collect(&path, found)?,
            }
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")) {
            found.push(FoundMail { raw: read(&path)?, labels: vec!["INBOX", "UNREAD"] });
        }
    }
    Ok(())
}

/// See <https://cr.yp.to/proto/maildir.html> for the flags behind `:2,`.
fn collect_maildir(folder: &Path, place: &'static str, found: &mut Vec<FoundMail>) -> io::Result<()> {
    let is_new = name_of(folder) == "new";
    for path in sorted(folder)? {
        let name = name_of(&path);
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        let flags = name.rsplit_once("2,").map_or("", |(_, flags)| flags);
        let place = match flags {
            flags if flags.contains('T') => "TRASH",
            flags if flags.contains('D') => "DRAFT",
            _ => place,
        };
        let mut labels = vec![place];
        labels.extend((is_new || !flags.contains('S')).then_some("UNREAD"));
        labels.extend(flags.contains('F').then_some("STARRED"));
        found.push(FoundMail { raw: read(&path)?, labels });
    }
    Ok(())
}

/// Where the mail of a Maildir lies in Gmail, by the usual names of its subfolders, such as `.Sent`.
fn label_of(maildir: &Path) -> &'static str {
    match name_of(maildir).trim_start_matches('.').to_lowercase().as_str() {
        "sent" | "sent items" | "sent messages" => "SENT",
        "drafts" => "DRAFT",
        "trash" | "deleted items" | "deleted messages" => "TRASH",
        "spam" | "junk" => "SPAM",
        _ => "INBOX",
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| name_file(path, &error))
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| name_file(folder, &error))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The system's own message does not say which file it is about.
fn name_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}` cannot be read: {error}", path.display()))
}

fn header<'p>(payload: &'p Value, name: &str) -> Option<&'p str> {
    let mut fields = payload["headers"].as_array()?.iter();
    fields.find(|field| field["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)))?["value"].as_str()
}

/// Gmail's identifiers are 64-bit numbers; here they follow from the message, so that two runs agree.
fn identifier(raw: &[u8], arrival: u64) -> String {
    let hash = digest(&SHA256, &[&arrival.to_be_bytes(), raw].concat());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// About 200 characters of one line, escaped for HTML as Gmail hands it out.
fn snippet(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::new();
    for letter in words.chars().take(200) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
