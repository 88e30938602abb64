//! From Gmail's tree of message parts to the text and the list of attachments that a runtime gets.
//!
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#MessagePart>

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{charset, html};

/// How much of a message's text is given, in characters (Unicode scalar values).
pub const MAX_CHARS: usize = 20_000;

/// Parts nested deeper than this are passed over; mail programs stop at five or so.
const MAX_DEPTH: usize = 30;

/// No more than this many parts of one message are looked at.
const MAX_PARTS: usize = 1_000;

/// No more than this many bytes of a part are decoded: in no character set do [`MAX_CHARS`] take more.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// What a person would read of a message, and what hangs on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Body {
    /// At most [`MAX_CHARS`] characters of plain text; empty when the message has none.
    pub body_text: String,
    /// Whether the message has more text than that.
    pub body_truncated: bool,
    /// Every part that is not the text.
    pub attachments: Vec<Attachment>,
}

/// A part that is listed and never fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// As the sender named it; empty when it has no name.
    pub filename: String,
    /// Such as `application/pdf`.
    pub mime_type: String,
    /// In bytes.
    pub size: u64,
}

/// Reads the `payload` of a message in format `full`. What is not of Gmail's form is passed over, never an error.
pub fn read(payload: &RawValue) -> Body {
    let mut reader = Reader { parts_left: MAX_PARTS, html_left: html::MAX_BYTES, cut: false, attachments: Vec::new() };
    let text = reader.part(payload, 0, true).map(|text| text.content).unwrap_or_default();
    let (body_text, cut) = shorten(&tidy(&text));
    Body { body_text, body_truncated: cut || reader.cut, attachments: reader.attachments }
}

/// A part as Gmail writes it. Children stay unread text until their turn comes, so that no depth of nesting, however
/// hostile, is walked by a recursive parser.
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

enum Kind {
    Plain,
    Html,
    Alternative,
    Multipart,
    Attached,
}

impl Part<'_> {
    fn kind(&self) -> Kind {
        let mime_type = self.mime_type.to_ascii_lowercase();
        let is_attached = !self.filename.is_empty() || self.body.attachment_id.is_some() || self.says_attachment();
        match mime_type.as_str() {
            "multipart/alternative" => Kind::Alternative,
            multipart if multipart.starts_with("multipart/") => Kind::Multipart,
            _ if is_attached => Kind::Attached,
            // RFC 2045, 5.2: a part that names no type is plain text.
            "text/plain" | "text" | "" => Kind::Plain,
            "text/html" => Kind::Html,
            _ => Kind::Attached,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &*header.value)
    }

    fn says_attachment(&self) -> bool {
        let disposition = self.header("Content-Disposition").unwrap_or_default().trim_start();
        disposition.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("attachment"))
    }
}

struct Reader {
    parts_left: usize,
    html_left: usize,
    cut: bool,
    attachments: Vec<Attachment>,
}

impl Reader {
    /// The text of a part and of those below it, if `wanted`; attachments are noted either way.
    fn part(&mut self, raw: &RawValue, depth: usize, wanted: bool) -> Option<Text> {
        if depth > MAX_DEPTH || self.parts_left == 0 {
            return None;
        }
        self.parts_left -= 1;
        let part: Part<'_> = serde_json::from_str(raw.get()).ok()?;
        match part.kind() {
            Kind::Alternative => self.best_of(&part.parts, depth, wanted),
            Kind::Multipart => self.all_of(&part.parts, depth, wanted),
            Kind::Plain => wanted.then(|| self.plain(&part)).flatten(),
            Kind::Html => wanted.then(|| self.html(&part)).flatten(),
            Kind::Attached => {
                self.attach(&part);
                None
            }
        }
    }

    /// The first plain text among versions of the same content, else the last HTML: the sender's best.
    fn best_of(&mut self, versions: &[&RawValue], depth: usize, wanted: bool) -> Option<Text> {
        versions.iter().fold(None, |best: Option<Text>, version| {
            let has_plain = best.as_ref().is_some_and(|text| text.is_plain);
            self.part(version, depth + 1, wanted && !has_plain).or(best)
        })
    }

    /// All texts of a sequence of parts, in order.
    fn all_of(&mut self, parts: &[&RawValue], depth: usize, wanted: bool) -> Option<Text> {
        let mut texts = Vec::new();
        for part in parts {
            texts.extend(self.part(part, depth + 1, wanted));
        }
        let is_plain = texts.iter().all(|text| text.is_plain);
        let contents: Vec<_> = texts.iter().map(|text| text.content.trim_end()).collect();
        (!texts.is_empty()).then(|| Text { is_plain, content: contents.join("\n\n") })
    }

    fn plain(&mut self, part: &Part<'_>) -> Option<Text> {
        let label = part.header("Content-Type").and_then(charset::of_content_type);
        let content = charset::decode(&self.bytes(part, MAX_TEXT_BYTES), label.as_deref());
        (!content.trim().is_empty()).then_some(Text { is_plain: true, content })
    }

    fn html(&mut self, part: &Part<'_>) -> Option<Text> {
        let bytes = self.bytes(part, self.html_left);
        self.html_left -= bytes.len();
        let label = part.header("Content-Type").and_then(charset::of_content_type).or_else(|| meta_charset(&bytes));
        let content = html::to_text(&charset::decode(&bytes, label.as_deref()));
        (!content.trim().is_empty()).then_some(Text { is_plain: false, content })
    }

    fn bytes(&mut self, part: &Part<'_>, limit: usize) -> Vec<u8> {
        let mut bytes = part.body.data.as_deref().map(decode_base64).unwrap_or_default();
        self.cut |= bytes.len() > limit;
        bytes.truncate(limit);
        bytes
    }

    fn attach(&mut self, part: &Part<'_>) {
        self.attachments.push(Attachment {
            filename: charset::header(&part.filename),
            mime_type: part.mime_type.clone().into_owned(),
            size: part.body.size,
        });
    }
}

/// Decodes base64 of either alphabet, padded or not, passing over what is not of it.
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

/// Lines end in `\n`, and control characters, which no reader should obey, are gone.
fn tidy(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let visible: String = lines.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
    visible.trim_end().trim_start_matches('\n').to_owned()
}

/// At most [`MAX_CHARS`] characters of `text`, and whether any were cut off.
fn shorten(text: &str) -> (String, bool) {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.to_owned(), false),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
