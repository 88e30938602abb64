//! RFC 5322 bytes as Gmail's
//! [`MessagePart`](https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#messagepart)
//! tree.
//!
//! Gmail undoes the transfer encoding of a part, and mostly its character set too: `body.data` is UTF-8 while the
//! part's `Content-Type` and a document's `meta` still name the sender's. Reports that show the bytes:
//! <https://github.com/openclaw/gogcli/issues/446>, <https://github.com/macro-inc/macro/issues/6133>. Raw bytes in the
//! named set are the [other form](TextForm::Raw). Mail that keeps no rule still becomes a tree.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{Encoding, Header, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use nbhd::clock::Timestamp;
use serde_json::{Value, json};

/// Attached messages are opened this deep; below it they stay closed attachments.
const MAX_DEPTH: usize = 20;

/// How Gmail hands out texts.
#[derive(Clone, Copy, Debug)]
pub struct TextHabits {
    /// In which character set.
    pub form: TextForm,
    /// A text of more bytes is kept apart from its message, behind an `attachmentId`. Gmail documents that a body can
    /// be ("When present, contains the ID of an external attachment"), and not from which size on; this one is ours.
    /// <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages.attachments#MessagePartBody>
    pub apart_above: usize,
}

/// The character set of a text's `body.data`; the headers name the sender's in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// UTF-8, where the named set is known and the bytes are of it.
    Utf8,
    /// The sender's bytes.
    Raw,
}

impl Default for TextHabits {
    fn default() -> Self {
        Self { form: TextForm::Utf8, apart_above: 512 * 1024 }
    }
}

/// What a mailbox keeps of a message beside its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    /// The `payload` of `format=full`.
    pub(super) payload: Value,
    /// The first words of the text, without markup.
    pub(super) text: String,
    /// The `Date` header, when it names a moment since 1970.
    pub(super) date: Option<Timestamp>,
    /// `Message-ID` without its brackets.
    pub(super) message_id: Option<String>,
    /// The identifiers in `References` and `In-Reply-To`.
    pub(super) references: Vec<String>,
    /// What `messages.attachments.get` gives, by attachment id.
    pub(super) attachments: BTreeMap<String, Vec<u8>>,
}

/// Reads `raw`, which need not be well-formed.
pub(super) fn parse(raw: &[u8], habits: TextHabits) -> Parsed {
    let Some(message) = MessageParser::default().parse(raw) else {
        let payload = json!({
            "partId": "", "mimeType": "text/plain", "filename": "", "headers": [], "body": inline_body(raw),
        });
        return Parsed { payload, text: String::from_utf8_lossy(raw).into_owned(), ..Parsed::default() };
    };
    let mut tree = Tree { habits, attachments: BTreeMap::new() };
    Parsed {
        payload: tree.node(&message, 0, "", 0),
        text: message.body_text(0).map(std::borrow::Cow::into_owned).unwrap_or_default(),
        date: message.date().filter(|date| date.is_valid() && date.to_timestamp() > 0).map(moment),
        message_id: message.message_id().map(str::to_owned),
        references: [message.references(), message.in_reply_to()].into_iter().flat_map(identifiers).collect(),
        attachments: tree.attachments,
    }
}

fn moment(date: &mail_parser::DateTime) -> Timestamp {
    Timestamp::from_seconds(date.to_timestamp())
}

fn identifiers(header: &HeaderValue<'_>) -> Vec<String> {
    header.as_text_list().unwrap_or_default().iter().map(|id| id.clone().into_owned()).collect()
}

/// A tree that is being built, and what stays outside of it.
struct Tree {
    habits: TextHabits,
    attachments: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    fn node(&mut self, message: &Message<'_>, part_index: usize, part_id: &str, depth: usize) -> Value {
        let Some(part) = message.parts.get(part_index) else { return Value::Null };
        let raw = message.raw_message.as_ref();
        let filename = part.attachment_name().unwrap_or_default();
        let mut node = json!({
            "partId": part_id,
            "mimeType": mime_type(part),
            "filename": filename,
            "headers": part.headers.iter().map(|header| header_field(header, raw)).collect::<Vec<_>>(),
        });
        let mut parts = Vec::new();
        node["body"] = match &part.body {
            PartType::Multipart(children) => {
                for (place, id) in children.iter().enumerate() {
                    parts.extend(self.node_below(message, *id as usize, part_id, place, depth));
                }
                json!({ "size": 0 })
            }
            PartType::Message(attached) => {
                parts.extend(self.node_below(attached, 0, part_id, 0, depth));
                self.attached_body(part_id, slice(raw, part).to_vec())
            }
            PartType::Text(_) | PartType::Html(_) if filename.is_empty() && !is_attachment(part) => {
                let text = self.text_of(part, transfer_decoded(raw, part));
                match text.len() > self.habits.apart_above {
                    true => self.attached_body(part_id, text),
                    false => inline_body(&text),
                }
            }
            PartType::Text(_) | PartType::Html(_) => self.attached_body(part_id, transfer_decoded(raw, part)),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => self.attached_body(part_id, bytes.to_vec()),
        };
        if !parts.is_empty() {
            node["parts"] = Value::Array(parts);
        }
        node
    }

    fn node_below(
        &mut self,
        message: &Message<'_>,
        index: usize,
        parent: &str,
        place: usize,
        depth: usize,
    ) -> Option<Value> {
        let id = if parent.is_empty() { place.to_string() } else { format!("{parent}.{place}") };
        (depth < MAX_DEPTH).then(|| self.node(message, index, &id, depth + 1))
    }

    fn attached_body(&mut self, part_id: &str, bytes: Vec<u8>) -> Value {
        let id = format!("ANGjdJ-{part_id}");
        let body = json!({ "attachmentId": id, "size": bytes.len() });
        self.attachments.insert(id, bytes);
        body
    }

    /// The text in the form that Gmail hands out. Bytes that are not of the set they name stay as they are.
    fn text_of(&self, part: &MessagePart<'_>, bytes: Vec<u8>) -> Vec<u8> {
        let named = part.content_type().and_then(|kind| kind.attribute("charset")).map(str::to_owned);
        let charset = named.or_else(|| meta_charset(&bytes).filter(|_| matches!(part.body, PartType::Html(_))));
        let decoder = charset.as_deref().filter(|name| !name.is_empty()).map(str::as_bytes).and_then(charset_decoder);
        match decoder.filter(|_| self.habits.form == TextForm::Utf8).map(|decoder| decoder(&bytes)) {
            Some(text) if !text.contains('\u{fffd}') => text.into_bytes(),
            _ => bytes,
        }
    }
}

/// What a document says of its own character set: `<meta charset=…>` or `content="text/html; charset=…"`.
fn meta_charset(html: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&html[..html.len().min(1024)]).to_lowercase();
    let meta =
        head.split("<meta").skip(1).find_map(|meta| meta.split('>').next()?.split_once("charset="))?.1.to_owned();
    meta.split(['"', '\'', ' ', ';', '/']).find(|name| !name.is_empty()).map(str::to_owned)
}

/// A declared multipart whose parts cannot be found is read as plain text (RFC 2045, 5.2).
fn mime_type(part: &MessagePart<'_>) -> String {
    let declared = part.content_type().map(|kind| {
        let subtype = kind.subtype().unwrap_or("plain");
        format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase()
    });
    match (declared, &part.body) {
        (_, PartType::Message(_)) => "message/rfc822".to_owned(),
        (None, PartType::Multipart(_)) => "multipart/mixed".to_owned(),
        (Some(declared), PartType::Text(_) | PartType::Html(_)) if !declared.starts_with("text/") => {
            "text/plain".to_owned()
        }
        (Some(declared), _) => declared,
        (None, _) => "text/plain".to_owned(),
    }
}

/// Gmail hands out header values unfolded and with their encoded words decoded.
fn header_field(header: &Header<'_>, raw: &[u8]) -> Value {
    let name = raw.get(header.offset_field as usize..(header.offset_start as usize).saturating_sub(1));
    let name = name.map(String::from_utf8_lossy).map(|name| name.trim().to_owned());
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| header.name().to_owned());
    let value = raw.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default();
    json!({ "name": name, "value": unfolded(value) })
}

fn unfolded(value: &[u8]) -> String {
    let mut line = value.trim_ascii_end().to_vec();
    line.push(b'\n');
    MessageStream::new(&line).parse_unstructured().into_text().unwrap_or_default().into_owned()
}

fn is_attachment(part: &MessagePart<'_>) -> bool {
    part.content_disposition().is_some_and(|disposition| disposition.is_attachment())
}

fn transfer_decoded(raw: &[u8], part: &MessagePart<'_>) -> Vec<u8> {
    let bytes = slice(raw, part);
    let decoded = match part.encoding {
        Encoding::Base64 => base64_decode(bytes),
        Encoding::QuotedPrintable => quoted_printable_decode(bytes),
        Encoding::None => None,
    };
    decoded.unwrap_or_else(|| bytes.to_vec())
}

fn slice<'r>(raw: &'r [u8], part: &MessagePart<'_>) -> &'r [u8] {
    raw.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default()
}

fn inline_body(bytes: &[u8]) -> Value {
    json!({ "size": bytes.len(), "data": URL_SAFE.encode(bytes) })
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
