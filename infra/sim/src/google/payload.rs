//! RFC 5322 bytes as Gmail's
//! [`MessagePart`](https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#messagepart)
//! tree.
//!
//! Gmail undoes the transfer encoding of a part and nothing more: `body.data` is base64url of the part in its own
//! charset, which only the part's `Content-Type` names. Mail that keeps no rule still becomes a tree.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{Encoding, Header, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use nbhd::clock::Timestamp;
use serde_json::{Value, json};

/// Attached messages are opened this deep; below it they stay closed attachments.
const MAX_DEPTH: usize = 20;

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
}

/// Reads `raw`, which need not be well-formed.
pub(super) fn parse(raw: &[u8]) -> Parsed {
    let Some(message) = MessageParser::default().parse(raw) else {
        let payload = json!({
            "partId": "", "mimeType": "text/plain", "filename": "", "headers": [], "body": inline_body(raw),
        });
        return Parsed { payload, text: String::from_utf8_lossy(raw).into_owned(), ..Parsed::default() };
    };
    Parsed {
        payload: node(&message, 0, "", 0),
        text: message.body_text(0).map(std::borrow::Cow::into_owned).unwrap_or_default(),
        date: message.date().filter(|date| date.is_valid() && date.to_timestamp() > 0).map(moment),
        message_id: message.message_id().map(str::to_owned),
        references: [message.references(), message.in_reply_to()].into_iter().flat_map(identifiers).collect(),
    }
}

fn moment(date: &mail_parser::DateTime) -> Timestamp {
    Timestamp::from_seconds(date.to_timestamp())
}

fn identifiers(header: &HeaderValue<'_>) -> Vec<String> {
    header.as_text_list().unwrap_or_default().iter().map(|id| id.clone().into_owned()).collect()
}

fn node(message: &Message<'_>, part_index: usize, part_id: &str, depth: usize) -> Value {
    let Some(part) = message.parts.get(part_index) else { return Value::Null };
    let raw = message.raw_message.as_ref();
    let filename = part.attachment_name().unwrap_or_default();
    let mut node = json!({
        "partId": part_id,
        "mimeType": mime_type(part),
        "filename": filename,
        "headers": part.headers.iter().map(|header| header_field(header, raw)).collect::<Vec<_>>(),
    });
    let (body, parts) = match &part.body {
        PartType::Multipart(children) => {
            let child = |(place, id): (usize, &u32)| node_below(message, *id as usize, part_id, place, depth);
            (json!({ "size": 0 }), children.iter().enumerate().filter_map(child).collect())
        }
        PartType::Message(attached) => {
            let root = node_below(attached, 0, part_id, 0, depth);
            (attached_body(part_id, slice(raw, part).len()), root.into_iter().collect())
        }
        PartType::Text(_) | PartType::Html(_) if filename.is_empty() && !is_attachment(part) => {
            (inline_body(&transfer_decoded(raw, part)), Vec::new())
        }
        PartType::Text(_) | PartType::Html(_) => {
            (attached_body(part_id, transfer_decoded(raw, part).len()), Vec::new())
        }
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
            (attached_body(part_id, bytes.len()), Vec::<Value>::new())
        }
    };
    node["body"] = body;
    if !parts.is_empty() {
        node["parts"] = Value::Array(parts);
    }
    node
}

fn node_below(message: &Message<'_>, index: usize, parent: &str, place: usize, depth: usize) -> Option<Value> {
    let id = if parent.is_empty() { place.to_string() } else { format!("{parent}.{place}") };
    (depth < MAX_DEPTH).then(|| node(message, index, &id, depth + 1))
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

fn attached_body(part_id: &str, size: usize) -> Value {
    json!({ "attachmentId": format!("ANGjdJ-{part_id}"), "size": size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::google::mailbox::SAMPLES;

    fn leaves<'p>(node: &'p Value, found: &mut Vec<&'p Value>) {
        match node["parts"].as_array() {
            Some(parts) => parts.iter().for_each(|part| leaves(part, found)),
            None => found.push(node),
        }
    }

    fn text_of(sample: &str) -> Vec<u8> {
        let raw = SAMPLES.iter().find(|raw| String::from_utf8_lossy(raw).contains(sample)).expect("a sample");
        let payload = parse(raw).payload;
        let mut found = Vec::new();
        leaves(&payload, &mut found);
        let data = found.iter().find_map(|part| part["body"]["data"].as_str()).expect("text");
        URL_SAFE.decode(data).expect("base64url")
    }

    #[test]
    fn body_data_keeps_the_charset_of_its_part() {
        for (sample, charset, text) in [
            ("charset=iso-8859-15", encoding_rs::ISO_8859_15, "89 € die Nacht"),
            ("charset=iso-2022-jp", encoding_rs::ISO_2022_JP, "ご予約ありがとうございます"),
            ("charset=koi8-r", encoding_rs::KOI8_R, "встреча читателей"),
            ("charset=windows-1252", encoding_rs::WINDOWS_1252, "boiler’s service report"),
        ] {
            let bytes = text_of(sample);
            assert!(charset.decode(&bytes).0.contains(text), "{sample}");
            assert!(!String::from_utf8_lossy(&bytes).contains(text), "{sample} is not UTF-8");
        }
    }

    #[test]
    fn headers_are_unfolded_and_decoded() {
        let subjects: Vec<_> = SAMPLES
            .iter()
            .map(|raw| parse(raw).payload)
            .flat_map(|payload| payload["headers"].as_array().cloned().unwrap_or_default())
            .filter(|field| field["name"] == "Subject")
            .map(|field| field["value"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(subjects.len(), SAMPLES.len());
        for subject in ["Grüße aus München", "ご予約の確認", "Новости недели", "Dinner on Saturday 🍝"]
        {
            assert!(subjects.iter().any(|known| known == subject), "{subject}: {subjects:?}");
        }
    }

    #[test]
    fn attachments_are_named_and_measured_but_not_inlined() {
        let raw = SAMPLES.iter().find(|raw| String::from_utf8_lossy(raw).contains("2026-0417")).expect("a sample");
        let payload = parse(raw).payload;
        let mut parts = Vec::new();
        leaves(&payload, &mut parts);
        let shown: Vec<_> = parts
            .iter()
            .map(|part| (part["partId"].as_str(), part["filename"].as_str(), part["body"]["attachmentId"].is_string()))
            .collect();
        assert_eq!(
            shown,
            [
                (Some("0.0.0"), Some(""), false),
                (Some("0.0.1"), Some(""), false),
                (Some("0.1"), Some("logo.png"), true),
                (Some("1"), Some("Invoice 2026-0417.pdf"), true),
                (Some("2"), Some("Service report – boiler n° 2.txt"), true),
            ]
        );
        assert!(parts.iter().all(|part| part["body"]["size"].as_u64().is_some_and(|size| size > 0)));
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_tree(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&raw).payload["mimeType"].is_string());
        }

        #[test]
        fn damaged_mail_becomes_a_tree(
            sample in 0..SAMPLES.len(),
            at in 0usize..2_000,
            with in ".{0,12}",
            cut in 0usize..200,
        ) {
            let mut raw = SAMPLES[sample].to_vec();
            let at = at.min(raw.len());
            raw.splice(at..(at + cut).min(raw.len()), with.bytes());
            prop_assert!(parse(&raw).payload["mimeType"].is_string());
        }
    }
}
