//! Reads Gmail's tree of message parts into the text and the list of attachments that a runtime gets.
//!
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#MessagePart>

mod part;
mod placeholder;

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use nbhd::domain::visible::{Visible, visible};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::header::{self, Line};
use crate::{charset, html, invitation};
use part::{Content, Leaf, Node};

/// The most text of a message that is returned, in characters (Unicode scalar values).
pub const MAX_CHARS: usize = 20_000;

/// The most bytes of one message's text that are decoded, before all that is no text is left out.
const MAX_TEXT_BYTES: usize = html::MAX_BYTES;

/// A text that Gmail keeps apart from its message is fetched up to this many bytes.
const MAX_FETCHED_BYTES: u64 = 5 * 1024 * 1024;

/// The most texts that are fetched for one message. Gmail gives small ones within the message.
const MAX_FETCHED: usize = 3;

/// The text that a person would read of a message, and its attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Body {
    /// At most [`MAX_CHARS`] characters of plain text; empty when the message has none.
    pub body_text: String,
    /// Whether the message has more text than `body_text`.
    pub body_truncated: bool,
    /// What `body_text` was read from; `None` when it is empty.
    pub body_source: Option<Source>,
    /// Every part that is not the text.
    pub attachments: Vec<Attachment>,
    /// Whether something that a person cannot see was left out. It is shown with the message's other texts.
    #[serde(skip)]
    pub hidden_text_removed: bool,
}

/// A kind of part that a text is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The events of an invitation, line by line.
    Calendar,
    /// The sender's own plain text.
    Plain,
    /// Our reading of HTML, in part or in whole.
    Html,
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

/// The contents of parts that Gmail keeps apart, as base64 by their attachment id; `None` for one that is gone.
pub(crate) type Fetched = BTreeMap<String, Option<String>>;

/// A body, as far as it can be read without what is missing.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) body: Body,
    /// The attachment ids of texts that have to be fetched first.
    pub(crate) missing: Vec<String>,
}

/// Parses the `payload` of a message in format `full`. Parts that do not have Gmail's form are ignored; a text that is
/// not in the payload counts as cut.
pub fn parse(payload: &RawValue) -> Body {
    let mut fetched = Fetched::new();
    loop {
        let Reading { body, missing } = read(payload, &fetched);
        if missing.is_empty() {
            return body;
        }
        fetched.extend(missing.into_iter().map(|id| (id, None)));
    }
}

/// As [`parse`], with what was fetched so far. Nothing is missing any more once [`MAX_FETCHED`] texts were fetched.
pub(crate) fn read(payload: &RawValue, fetched: &Fetched) -> Reading {
    let Some(root) = Node::parse(payload) else { return Reading::default() };
    let mut reader =
        Reader { fetched, missing: Vec::new(), bytes_left: MAX_TEXT_BYTES, is_truncated: false, removed_hidden: false };
    let leaves = root.leaves();
    let mut text_leaf: Option<&Leaf<'_>> = None;
    let mut text = reader.read_node(&root);
    // A message without a text of its own may have one as a file, or an invitation that says it all.
    for leaf in leaves.iter().filter(|leaf| leaf.is_named_text()).chain(leaves.iter().filter(|leaf| leaf.is_calendar()))
    {
        if text.is_none() {
            text = reader.read_leaf(leaf);
            text_leaf = text.is_some().then_some(leaf);
        }
    }
    let is_listed = |leaf: &&&Leaf<'_>| {
        let is_text = text_leaf.is_some_and(|text| std::ptr::eq(text, **leaf));
        !leaf.is_text() && !(is_text && (leaf.content != Content::Calendar || leaf.part.filename.is_empty()))
    };
    let attachments = leaves.iter().filter(is_listed).map(|leaf| reader.attachment(leaf)).collect();
    let Text { source, content, .. } = text.unwrap_or_default();
    let Visible { text: visible, removed_hidden } = visible(&content);
    let (body_text, is_cut) = truncate(visible.trim_end().trim_start_matches('\n'));
    let body = Body {
        body_source: source.filter(|_| !body_text.is_empty()),
        body_text,
        body_truncated: is_cut || reader.is_truncated,
        attachments,
        hidden_text_removed: removed_hidden || reader.removed_hidden,
    };
    Reading { body, missing: reader.missing }
}

/// Text found in a part.
#[derive(Default)]
struct Text {
    source: Option<Source>,
    content: String,
    /// Whether its content has yet to be fetched.
    is_missing: bool,
}

struct Reader<'f> {
    fetched: &'f Fetched,
    missing: Vec<String>,
    bytes_left: usize,
    is_truncated: bool,
    removed_hidden: bool,
}

/// The bytes of a part.
enum Bytes {
    Known(Vec<u8>),
    Missing,
    /// They are too many, or gone.
    Unavailable,
}

impl Reader<'_> {
    fn read_node(&mut self, node: &Node<'_>) -> Option<Text> {
        match node {
            Node::Leaf(leaf) => leaf.is_text().then(|| self.read_leaf(leaf)).flatten(),
            Node::Alternative(versions) => self.read_alternative(versions),
            Node::Sequence(parts) => self.read_sequence(parts),
        }
    }

    /// Reads the best of several versions that has text; of equal ones the last, which the sender likes best.
    fn read_alternative(&mut self, versions: &[Node<'_>]) -> Option<Text> {
        let mut ranked: Vec<_> = versions.iter().rev().filter_map(|version| Some((version.rank()?, version))).collect();
        // A stable sort: the last of equals stays the first.
        ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut ranked = ranked.into_iter();
        let (rank, best) = ranked.by_ref().find_map(|(rank, version)| Some((rank, self.read_node(version)?)))?;
        if rank <= Content::Html || best.is_missing {
            return Some(best);
        }
        let Some((_, html)) = ranked.find(|(rank, _)| *rank == Content::Html) else { return Some(best) };
        // What is wrong with a version that is not given does not count.
        let missing = self.missing.len();
        let (is_truncated, removed_hidden) = (self.is_truncated, self.removed_hidden);
        let instead = self.read_node(html).filter(|html| match html.is_missing {
            true => placeholder::may_point(&best.content),
            false => placeholder::is_placeholder(&best.content, &html.content),
        });
        if instead.is_none() {
            self.missing.truncate(missing);
            (self.is_truncated, self.removed_hidden) = (is_truncated, removed_hidden);
        }
        Some(instead.unwrap_or(best))
    }

    /// Reads the texts of a sequence of parts in order.
    fn read_sequence(&mut self, parts: &[Node<'_>]) -> Option<Text> {
        let texts: Vec<Text> = parts.iter().filter_map(|part| self.read_node(part)).collect();
        let contents: Vec<_> = texts.iter().map(|text| text.content.trim_end()).collect();
        (!texts.is_empty()).then(|| Text {
            source: texts.iter().filter_map(|text| text.source).max(),
            content: contents.join("\n\n"),
            is_missing: texts.iter().any(|text| text.is_missing),
        })
    }

    /// Reads a part as text; `None` if it is blank.
    fn read_leaf(&mut self, leaf: &Leaf<'_>) -> Option<Text> {
        let bytes = match self.bytes_of(leaf) {
            Bytes::Known(bytes) => bytes,
            Bytes::Missing => return Some(Text { is_missing: true, ..Text::default() }),
            Bytes::Unavailable => {
                self.is_truncated = true;
                return None;
            }
        };
        let label = leaf.parameter("charset");
        let label = label.or_else(|| (leaf.content == Content::Html).then(|| charset::from_meta(&bytes)).flatten());
        let text = charset::decode(&bytes, label.as_deref());
        let (source, content) = match leaf.content {
            Content::Html => {
                let html = html::read(&text, MAX_CHARS);
                self.is_truncated |= html.is_cut;
                self.removed_hidden |= html.removed_hidden;
                (Source::Html, html.text)
            }
            Content::Calendar => {
                let invitation = invitation::read(&text, leaf.parameter("method").as_deref())?;
                self.is_truncated |= invitation.is_cut;
                (Source::Calendar, invitation.text)
            }
            Content::File | Content::Enriched | Content::OtherText | Content::Plain => (Source::Plain, text),
        };
        let is_blank = visible(&content).text.trim().is_empty();
        (!is_blank).then_some(Text { source: Some(source), content, is_missing: false })
    }

    fn bytes_of(&mut self, leaf: &Leaf<'_>) -> Bytes {
        let body = &leaf.part.body;
        let data: Cow<'_, str> = match (&body.data, &body.attachment_id) {
            (Some(data), _) if !data.is_empty() => Cow::Borrowed(data),
            (_, Some(id)) => match self.fetched.get(&**id) {
                Some(Some(data)) => Cow::Borrowed(data),
                Some(None) => return Bytes::Unavailable,
                None if body.size > MAX_FETCHED_BYTES || self.fetched.len() + self.missing.len() >= MAX_FETCHED => {
                    return Bytes::Unavailable;
                }
                None => {
                    self.missing.push(id.clone().into_owned());
                    return Bytes::Missing;
                }
            },
            _ => return Bytes::Known(Vec::new()),
        };
        let mut bytes = decode_base64(&data);
        self.is_truncated |= bytes.len() > self.bytes_left;
        bytes.truncate(self.bytes_left);
        self.bytes_left -= bytes.len();
        Bytes::Known(bytes)
    }

    fn attachment(&mut self, leaf: &Leaf<'_>) -> Attachment {
        let Line { text: filename, removed_hidden } = header::decode_filename(&leaf.part.filename);
        let Line { text: mime_type, .. } = header::decode(&leaf.part.mime_type);
        self.removed_hidden |= removed_hidden;
        Attachment { filename, mime_type, size: leaf.part.body.size }
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

/// The first [`MAX_CHARS`] characters of `text`, and whether it has more.
fn truncate(text: &str) -> (String, bool) {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.to_owned(), false),
    }
}

#[cfg(test)]
mod tests;
