//! Gmail's tree of message parts, and which of them can be the text.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::charset;

/// Parts nested deeper than this are ignored; mail programs stop at five or so.
pub(super) const MAX_DEPTH: usize = 30;

/// The most parts of one message that are read.
pub(super) const MAX_PARTS: usize = 1_000;

/// A part as Gmail gives it. Its children stay raw JSON until they are read, so that no JSON parser recurses into a
/// hostile depth of nesting.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) mime_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) filename: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "headers_with_values")]
    headers: Vec<Header<'a>>,
    #[serde(borrow)]
    pub(super) body: PartBody<'a>,
    #[serde(borrow)]
    parts: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// The content of a part: `data`, or what `messages.attachments.get` gives for `attachment_id`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartBody<'a> {
    #[serde(borrow)]
    pub(super) attachment_id: Option<Cow<'a, str>>,
    pub(super) size: u64,
    #[serde(borrow)]
    pub(super) data: Option<Cow<'a, str>>,
}

/// A part and what is below it.
pub(super) enum Node<'a> {
    /// A part without parts.
    Leaf(Leaf<'a>),
    /// Versions of the same content, the last of which the sender likes best.
    Alternative(Vec<Self>),
    /// Parts in a row.
    Sequence(Vec<Self>),
}

/// A part without parts that are read.
pub(super) struct Leaf<'a> {
    pub(super) part: Part<'a>,
    pub(super) content: Content,
    /// Whether it stands in the message as text does, without a name and not declared as an attachment.
    pub(super) is_inline: bool,
}

/// What a part holds; of several versions, the greatest is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// Nothing that is text.
    File,
    /// iCalendar: text if there is no other.
    Calendar,
    /// Text with markup of its own, which can be read as it is.
    Enriched,
    Html,
    /// Text that was written to be read as it is, such as Markdown.
    OtherText,
    Plain,
}

impl<'a> Node<'a> {
    /// Parses a part and all below it, within [`MAX_DEPTH`] and [`MAX_PARTS`]; `None` for what is not of Gmail's form.
    pub(super) fn parse(payload: &'a RawValue) -> Option<Self> {
        let mut parts_left = MAX_PARTS;
        Self::parse_within(payload, 0, &mut parts_left)
    }

    fn parse_within(raw: &'a RawValue, depth: usize, parts_left: &mut usize) -> Option<Self> {
        if depth > MAX_DEPTH || *parts_left == 0 {
            return None;
        }
        *parts_left -= 1;
        let mut part: Part<'a> = serde_json::from_str(raw.get()).ok()?;
        let mime_type = part.mime_type.to_ascii_lowercase();
        if !mime_type.starts_with("multipart/") {
            return Some(Self::Leaf(Leaf::new(part, &mime_type)));
        }
        let parts = std::mem::take(&mut part.parts);
        let nodes = parts.into_iter().filter_map(|part| Self::parse_within(part, depth + 1, parts_left)).collect();
        Some(if mime_type == "multipart/alternative" { Self::Alternative(nodes) } else { Self::Sequence(nodes) })
    }

    /// All leaves, in order.
    pub(super) fn leaves(&self) -> Vec<&Leaf<'a>> {
        match self {
            Self::Leaf(leaf) => vec![leaf],
            Self::Alternative(nodes) | Self::Sequence(nodes) => nodes.iter().flat_map(Self::leaves).collect(),
        }
    }

    /// How good a version of a text this is: a row of texts is as good as the worst of them. `None` without text.
    pub(super) fn rank(&self) -> Option<Content> {
        match self {
            Self::Leaf(leaf) => leaf.is_text().then_some(leaf.content),
            Self::Alternative(nodes) => nodes.iter().filter_map(Self::rank).max(),
            Self::Sequence(nodes) => nodes.iter().filter_map(Self::rank).min(),
        }
    }
}

impl<'a> Leaf<'a> {
    fn new(part: Part<'a>, mime_type: &str) -> Self {
        let is_inline = part.filename.is_empty() && part.disposition() != Disposition::Attachment;
        let content = match mime_type {
            // RFC 2045, 5.2: a part that names no type is plain text.
            "text/plain" | "text" | "" => Content::Plain,
            "text/html" => Content::Html,
            "text/calendar" | "text/x-vcalendar" | "application/ics" => Content::Calendar,
            "text/enriched" | "text/richtext" => Content::Enriched,
            // Written for programs.
            "text/vcard"
            | "text/x-vcard"
            | "text/directory"
            | "text/css"
            | "text/javascript"
            | "text/ecmascript"
            | "text/xml"
            | "text/rtf"
            | "text/x-amp-html"
            | "text/rfc822-headers"
            | "text/sgml" => Content::File,
            // RFC 2046, 4.1.4: any other kind of text can be shown as it is.
            other if other.starts_with("text/") => Content::OtherText,
            _ => Content::File,
        };
        Self { part, content, is_inline }
    }

    /// Whether it is text of the message itself.
    pub(super) fn is_text(&self) -> bool {
        self.is_inline && self.content >= Content::Enriched
    }

    /// Whether it is a text with a name that its sender wants to be seen within the message.
    pub(super) fn is_named_text(&self) -> bool {
        !self.is_text() && self.content >= Content::Enriched && self.part.disposition() != Disposition::Attachment
    }

    /// Whether it is an invitation, within the message or as a file.
    pub(super) fn is_calendar(&self) -> bool {
        self.content == Content::Calendar
    }

    /// A parameter of the part's `Content-Type`.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        charset::content_type_parameter(self.part.header("Content-Type")?, name)
    }
}

#[derive(PartialEq, Eq)]
enum Disposition {
    Attachment,
    Other,
}

impl Part<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let is_named =
            |header: &&Header<'_>| header.name.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name));
        self.headers.iter().find(is_named)?.value.as_deref()
    }

    fn disposition(&self) -> Disposition {
        let disposition = self.header("Content-Disposition").unwrap_or_default().trim_start();
        match disposition.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("attachment")) {
            true => Disposition::Attachment,
            false => Disposition::Other,
        }
    }
}

/// A header that is null costs only itself.
fn headers_with_values<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Header<'a>>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
