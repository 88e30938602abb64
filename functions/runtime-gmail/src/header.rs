//! Decodes what a sender wrote into a header: a subject, a name, the name of a file.

use std::borrow::Cow;

use encoding_rs::Encoding;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use nbhd::domain::visible::{Visible, visible_line};

use crate::charset;

/// The most characters of a file's name.
const MAX_FILENAME: usize = 200;

/// The most characters after a file's last dot that are kept when the name is shortened.
const MAX_EXTENSION: usize = 20;

/// A text of one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// As in [`Visible`].
    pub(crate) removed_hidden: bool,
}

impl Line {
    /// What a person sees of `text`, on one line.
    pub(crate) fn from_text(text: &str) -> Self {
        let Visible { text, removed_hidden } = visible_line(text);
        Self { text: text.into_owned(), removed_hidden }
    }
}

/// Decodes a header into one line. Gmail decodes encoded words (RFC 2047) itself, but leaves those that it finds
/// malformed.
pub(crate) fn decode(raw: &str) -> Line {
    Line::from_text(&decode_words(raw))
}

/// Decodes the name of a file, whichever way its sender encoded it, into one line of at most [`MAX_FILENAME`]
/// characters that keeps its extension.
pub(crate) fn decode_filename(raw: &str) -> Line {
    let decoded = decode_extended(raw).map_or_else(|| decode_words(raw), Cow::Owned);
    let Line { text, removed_hidden } = Line::from_text(&decoded);
    Line { text: shorten(text), removed_hidden }
}

fn decode_words(raw: &str) -> Cow<'_, str> {
    if !raw.contains("=?") {
        return raw.into();
    }
    // A line end would end the header.
    let line = format!("{}\n", raw.replace(['\r', '\n'], " "));
    match MessageStream::new(line.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned().into(),
        HeaderValue::TextList(lines) => lines.join(" ").into(),
        HeaderValue::Address(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::ContentType(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => raw.into(),
    }
}

/// The text of an extended value (RFC 2231), such as `utf-8'en'na%C3%AFve.pdf`; `None` for anything else.
fn decode_extended(raw: &str) -> Option<String> {
    let mut fields = raw.trim().splitn(3, '\'');
    let (charset, language, value) = (fields.next()?, fields.next()?, fields.next()?);
    Encoding::for_label(charset.as_bytes())?;
    let is_language = language.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_language.then(|| charset::decode(&percent_decoded(value), Some(charset)))
}

fn percent_decoded(value: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(byte, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn shorten(name: String) -> String {
    if name.chars().count() <= MAX_FILENAME {
        return name;
    }
    let extension = name.rfind('.').map(|dot| &name[dot..]).unwrap_or_default();
    let extension = if extension.chars().count() <= MAX_EXTENSION + 1 { extension } else { "" };
    let kept = MAX_FILENAME - 1 - extension.chars().count();
    name.chars().take(kept).chain(['…']).chain(extension.chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_words_that_gmail_left_are_read() {
        for (raw, line) in [
            ("=?iso-8859-1?Q?Gr=FC=DFe?= an =?utf-8?b?w4RsbGU=?=", "Grüße an Älle"),
            ("Straße, 5 =? 6", "Straße, 5 =? 6"),
            ("=?utf-8?q?one?=\r\n =?utf-8?q?_two?=", "one two"),
        ] {
            assert_eq!(decode(raw).text, line, "{raw}");
        }
    }

    #[test]
    fn a_header_is_one_visible_line() {
        assert_eq!(decode("Re:\r\n Budget\u{200b}"), Line { text: "Re: Budget".to_owned(), removed_hidden: false });
        let tagged = decode("=?utf-8?b?SGnzoIGh?=");
        assert_eq!((tagged.text.as_str(), tagged.removed_hidden), ("Hi", true), "a tag within an encoded word");
    }

    #[test]
    fn a_files_name_is_decoded_in_either_form() {
        for (raw, name) in [
            ("=?utf-8?Q?Men=C3=BC_M=C3=A4rz.pdf?=", "Menü März.pdf"),
            ("utf-8''Men%C3%BC%20M%C3%A4rz.pdf", "Menü März.pdf"),
            ("ISO-8859-1'de'Men%FC.pdf", "Menü.pdf"),
            ("utf-8''plain.pdf", "plain.pdf"),
            ("utf-8''100%.pdf", "100%.pdf"),
            ("it's Bob's.pdf", "it's Bob's.pdf"),
            ("50%20off.pdf", "50%20off.pdf"),
            ("report\u{202e}cod.exe", "reportcod.exe"),
            ("one\r\ntwo\t.pdf", "one two .pdf"),
            ("utf-8''a%0D%0Ab%E2%80%AE.pdf", "a b.pdf"),
        ] {
            assert_eq!(decode_filename(raw).text, name, "{raw}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = decode_filename(&format!("{}.pdf", "ü".repeat(500))).text;
        assert_eq!(name.chars().count(), MAX_FILENAME);
        assert!(name.ends_with("ü….pdf"), "{name}");
        assert_eq!(decode_filename(&format!("a.{}", "b".repeat(500))).text.chars().count(), MAX_FILENAME);
    }

    proptest! {
        #[test]
        fn every_name_is_one_short_line(raw: String, encoded in "(utf-8|koi8-r)'[a-z]{0,2}'[a-z%0-9A-F]{0,300}") {
            for raw in [raw.as_str(), &encoded, &format!("=?{raw}"), &format!("=?utf-8?q?{raw}?=")] {
                let name = decode_filename(raw).text;
                prop_assert!(name.chars().count() <= MAX_FILENAME && !name.contains(['\n', '\r', '\t']), "{name:?}");
            }
        }
    }
}
