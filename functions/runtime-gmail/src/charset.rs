//! Decodes bytes and headers into text, whether or not they name their character set.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::HeaderValue;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;

/// Decodes `bytes` by their byte order mark, else by the character set that `label` names, else as UTF-8 if they are
/// valid UTF-8, else as Windows-1252. Bytes that cannot be decoded become U+FFFD.
pub(crate) fn decode(bytes: &[u8], label: Option<&str>) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned();
    }
    let label = label.map(str::trim).filter(|label| !is_uninformative(label)).unwrap_or_default();
    if let Some(encoding) = Encoding::for_label_no_replacement(label.as_bytes()) {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    // UTF-7 and the code pages of DOS, which mail still carries and the web's list of encodings leaves out.
    if let Some(decoder) = charset_decoder(label.as_bytes()).filter(|_| !label.is_empty()) {
        return decoder(bytes);
    }
    let encoding =
        if UTF_8.decode_without_bom_handling_and_without_replacement(bytes).is_some() { UTF_8 } else { WINDOWS_1252 };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// Whether a label is one that programs write by default; the bytes then say more about the character set.
fn is_uninformative(label: &str) -> bool {
    ["us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "8bit", "binary"]
        .iter()
        .any(|known| label.eq_ignore_ascii_case(known))
}

/// The `charset` parameter of a `Content-Type` header, quoted, commented or split as RFC 2231 allows.
pub(crate) fn from_content_type(header: &str) -> Option<String> {
    let line = format!("{header}\n");
    match MessageStream::new(line.as_bytes()).parse_content_type() {
        HeaderValue::ContentType(content_type) => content_type.attribute("charset").map(str::to_owned),
        HeaderValue::Address(_)
        | HeaderValue::Text(_)
        | HeaderValue::TextList(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => None,
    }
}

/// Decodes a header. Gmail decodes encoded words (RFC 2047) itself, but leaves those that it finds malformed.
pub(crate) fn decode_header(raw: &str) -> String {
    if !raw.contains("=?") {
        return raw.to_owned();
    }
    let line = format!("{raw}\n");
    match MessageStream::new(line.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        HeaderValue::TextList(lines) => lines.join(" "),
        HeaderValue::Address(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::ContentType(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_character_set_is_read_by_its_label() {
        let cases: &[(&[u8], &str, &str)] = &[
            (b"Gr\xfc\xdfe", "iso-8859-1", "Grüße"),
            (b"Gr\xc3\xbc\xc3\x9fe", "UTF-8", "Grüße"),
            (b"\x8b\x9e\x93s", "shift_jis", "京都"),
            (b"\x1b$B5~ET\x1b(B", "ISO-2022-JP", "京都"),
            (b"\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r", "Привет"),
            (b"\xcf\xf0\xe8\xe2\xe5\xf2", "windows-1251", "Привет"),
            (b"\xc4\xe3\xba\xc3", "gb2312", "你好"),
            (b"\xbe\xc8\xb3\xe7", "euc-kr", "안녕"),
            (b"\xa4", "iso-8859-15", "€"),
            (b"Gr+APwA3w-e", "utf-7", "Grüße"),
            (b"\x81", "ibm850", "ü"),
        ];
        for (bytes, label, text) in cases {
            assert_eq!(decode(bytes, Some(label)), *text, "{label}");
        }
    }

    #[test]
    fn a_label_that_says_nothing_leaves_it_to_the_bytes() {
        for label in [None, Some("us-ascii"), Some("x-unknown"), Some("no-such-charset"), Some("")] {
            assert_eq!(decode("Grüße".as_bytes(), label), "Grüße", "{label:?}");
            assert_eq!(decode(b"Gr\xfc\xdfe \x93", label), "Grüße “", "{label:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_outranks_the_label() {
        assert_eq!(decode(b"\xff\xfeh\0i\0", Some("iso-8859-1")), "hi");
        assert_eq!(decode(b"\xef\xbb\xbfhi", None), "hi");
    }

    #[test]
    fn the_label_is_found_in_every_spelling() {
        for header in [
            "text/plain; charset=koi8-r",
            "text/plain;format=flowed; CHARSET=\"koi8-r\"",
            "text/plain; charset*=us-ascii'en'koi8-r",
            "text/plain; charset=koi8-r (Russian)",
        ] {
            assert_eq!(from_content_type(header).map(|l| l.to_lowercase()).as_deref(), Some("koi8-r"), "{header}");
        }
        assert_eq!(from_content_type("text/plain"), None);
        assert_eq!(from_content_type(""), None);
    }

    #[test]
    fn encoded_words_that_gmail_left_are_read() {
        assert_eq!(decode_header("=?iso-8859-1?Q?Gr=FC=DFe?= an =?utf-8?b?w4RsbGU=?="), "Grüße an Älle");
        assert_eq!(decode_header("Straße, 5 =? 6"), "Straße, 5 =? 6");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, label: Option<String>, line: String) {
            decode(&bytes, label.as_deref());
            from_content_type(&line);
            decode_header(&format!("=?{line}"));
            decode_header(&format!("=?utf-8?q?{line}?="));
        }
    }
}
