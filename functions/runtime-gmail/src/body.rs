//! Reads Gmail's tree of message parts into the text and the list of attachments that a runtime gets.
//!
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#MessagePart>

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{charset, html};

/// The most text of a message that is returned, in characters (Unicode scalar values).
pub const MAX_CHARS: usize = 20_000;

/// Parts nested deeper than this are ignored; mail programs stop at five or so.
const MAX_DEPTH: usize = 30;

/// The most parts of one message that are read.
const MAX_PARTS: usize = 1_000;

/// The most bytes of a part that are decoded; [`MAX_CHARS`] characters take fewer in every character set.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// The text that a person would read of a message, and its attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Body {
    /// At most [`MAX_CHARS`] characters of plain text; empty when the message has none.
    pub body_text: String,
    /// Whether the message has more text than `body_text`.
    pub body_truncated: bool,
    /// Every part that is not the text.
    pub attachments: Vec<Attachment>,
}

/// A part that is listed and never fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The name that the sender gave; empty if there is none.
    pub filename: String,
    /// The media type, such as `application/pdf`.
    pub mime_type: String,
    /// The size in bytes.
    pub size: u64,
}

/// Parses the `payload` of a message in format `full`. Parts that do not have Gmail's form are ignored.
pub fn parse(payload: &RawValue) -> Body {
    let mut reader =
        Reader { parts_left: MAX_PARTS, html_left: html::MAX_BYTES, is_truncated: false, attachments: Vec::new() };
    let text = reader.read_part(payload, 0, true).map(|text| text.content).unwrap_or_default();
    let (body_text, is_cut) = truncate(&normalize(&text));
    Body { body_text, body_truncated: is_cut || reader.is_truncated, attachments: reader.attachments }
}

/// A part as Gmail gives it. Its children stay raw JSON until they are read, so that no JSON parser recurses into a
/// hostile depth of nesting.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Part<'a> {
    #[serde(borrow)]
    mime_type: Cow<'a, str>,
    #[serde(borrow)]
    filename: Cow<'a, str>,
    #[serde(borrow)]
    headers: Vec<Header<'a>>,
    #[serde(borrow)]
    body: PartBody<'a>,
    #[serde(borrow)]
    parts: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartBody<'a> {
    #[serde(borrow)]
    attachment_id: Option<Cow<'a, str>>,
    size: u64,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

/// Text found in a part, and whether it is the sender's own plain text or our reading of HTML.
struct Text {
    is_plain: bool,
    content: String,
}

enum PartKind {
    Plain,
    Html,
    Alternative,
    Multipart,
    Attached,
}

impl Part<'_> {
    fn kind(&self) -> PartKind {
        let mime_type = self.mime_type.to_ascii_lowercase();
        let is_attached =
            !self.filename.is_empty() || self.body.attachment_id.is_some() || self.has_attachment_disposition();
        match mime_type.as_str() {
            "multipart/alternative" => PartKind::Alternative,
            multipart if multipart.starts_with("multipart/") => PartKind::Multipart,
            _ if is_attached => PartKind::Attached,
            // RFC 2045, 5.2: a part that names no type is plain text.
            "text/plain" | "text" | "" => PartKind::Plain,
            "text/html" => PartKind::Html,
            _ => PartKind::Attached,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &*header.value)
    }

    fn has_attachment_disposition(&self) -> bool {
        let disposition = self.header("Content-Disposition").unwrap_or_default().trim_start();
        disposition.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("attachment"))
    }
}

struct Reader {
    parts_left: usize,
    html_left: usize,
    is_truncated: bool,
    attachments: Vec<Attachment>,
}

impl Reader {
    /// Reads the text of a part and of those below it if `needs_text`; attachments are listed either way.
    fn read_part(&mut self, raw: &RawValue, depth: usize, needs_text: bool) -> Option<Text> {
        if depth > MAX_DEPTH || self.parts_left == 0 {
            return None;
        }
        self.parts_left -= 1;
        let part: Part<'_> = serde_json::from_str(raw.get()).ok()?;
        match part.kind() {
            PartKind::Alternative => self.read_alternative(&part.parts, depth, needs_text),
            PartKind::Multipart => self.read_sequence(&part.parts, depth, needs_text),
            PartKind::Plain => needs_text.then(|| self.read_plain(&part)).flatten(),
            PartKind::Html => needs_text.then(|| self.read_html(&part)).flatten(),
            PartKind::Attached => {
                self.add_attachment(&part);
                None
            }
        }
    }

    /// Reads versions of the same content: the first plain text, else the last HTML, which the sender prefers.
    fn read_alternative(&mut self, versions: &[&RawValue], depth: usize, needs_text: bool) -> Option<Text> {
        versions.iter().fold(None, |best: Option<Text>, version| {
            let has_plain = best.as_ref().is_some_and(|text| text.is_plain);
            self.read_part(version, depth + 1, needs_text && !has_plain).or(best)
        })
    }

    /// Reads the texts of a sequence of parts in order.
    fn read_sequence(&mut self, parts: &[&RawValue], depth: usize, needs_text: bool) -> Option<Text> {
        let mut texts = Vec::new();
        for part in parts {
            texts.extend(self.read_part(part, depth + 1, needs_text));
        }
        let is_plain = texts.iter().all(|text| text.is_plain);
        let contents: Vec<_> = texts.iter().map(|text| text.content.trim_end()).collect();
        (!texts.is_empty()).then(|| Text { is_plain, content: contents.join("\n\n") })
    }

    fn read_plain(&mut self, part: &Part<'_>) -> Option<Text> {
        let label = part.header("Content-Type").and_then(charset::from_content_type);
        let content = charset::decode(&self.decode_data(part, MAX_TEXT_BYTES), label.as_deref());
        (!content.trim().is_empty()).then_some(Text { is_plain: true, content })
    }

    fn read_html(&mut self, part: &Part<'_>) -> Option<Text> {
        let bytes = self.decode_data(part, self.html_left);
        self.html_left -= bytes.len();
        let label = part.header("Content-Type").and_then(charset::from_content_type).or_else(|| meta_charset(&bytes));
        let content = html::to_text(&charset::decode(&bytes, label.as_deref()));
        (!content.trim().is_empty()).then_some(Text { is_plain: false, content })
    }

    fn decode_data(&mut self, part: &Part<'_>, limit: usize) -> Vec<u8> {
        let mut bytes = part.body.data.as_deref().map(decode_base64).unwrap_or_default();
        self.is_truncated |= bytes.len() > limit;
        bytes.truncate(limit);
        bytes
    }

    fn add_attachment(&mut self, part: &Part<'_>) {
        self.attachments.push(Attachment {
            filename: charset::decode_header(&part.filename),
            mime_type: part.mime_type.clone().into_owned(),
            size: part.body.size,
        });
    }
}

/// Decodes base64 of either alphabet, padded or not; other characters are ignored.
fn decode_base64(data: &str) -> Vec<u8> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut digits: Vec<u8> = data
        .bytes()
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => Some(byte),
            _ => None,
        })
        .collect();
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).unwrap_or_default()
}

/// The character set that a document names in its own head, for parts whose header names none.
fn meta_charset(html: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&html[..html.len().min(1024)]).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset=")?;
    let label = rest.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(label.len());
    (end > 0).then(|| label[..end].to_owned())
}

/// Makes line ends `\n` and removes control characters, which a terminal might obey.
fn normalize(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let visible: String = lines.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
    visible.trim_end().trim_start_matches('\n').to_owned()
}

/// The first [`MAX_CHARS`] characters of `text`, and whether it has more.
fn truncate(text: &str) -> (String, bool) {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.to_owned(), false),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
