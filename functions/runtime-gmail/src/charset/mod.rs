//! Decodes the bytes of a text part, whatever its header says about them.

mod seven_bit;

use encoding_rs::{EUC_KR, Encoding, GBK, UTF_8, WINDOWS_1252};
use mail_parser::HeaderValue;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;

/// How many times more characters of UTF-8 than other bytes make a text UTF-8 although its label names another set. In
/// Chinese and Korean sets some pairs of bytes look like a character of UTF-8, never that many of them.
const CERTAIN: usize = 8;

/// Decodes `bytes`; what cannot be decoded becomes U+FFFD.
///
/// Gmail gives a part in UTF-8 whatever character set its header or a `meta` element names, and leaves both as they
/// were; raw bytes in the named set occur too. So the bytes are asked first: a byte order mark, then valid UTF-8, then
/// the escapes of ISO 2022, and only then `label`. Bytes that neither are UTF-8 nor have a useful label are
/// Windows-1252. A few broken bytes in a text of UTF-8 do not make it another.
pub(crate) fn decode(bytes: &[u8], label: Option<&str>) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned();
    }
    let label = label.map(str::trim).filter(|label| !is_uninformative(label)).unwrap_or_default();
    if bytes.is_ascii() {
        return seven_bit::decode(bytes, label);
    }
    let utf_8 = Utf8Share::of(bytes);
    match decode_labelled(bytes, label, &utf_8) {
        Some(text) => text,
        None if utf_8.valid > utf_8.broken => String::from_utf8_lossy(bytes).into_owned(),
        None => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// The text in the character set that `label` names; `None` for UTF-8, for no usable label, and for bytes that are
/// UTF-8 all the same.
fn decode_labelled(bytes: &[u8], label: &str, utf_8: &Utf8Share) -> Option<String> {
    if let Some(encoding) = seven_bit::utf_16(label).filter(|_| utf_8.broken > 0 || bytes.contains(&0)) {
        return Some(seven_bit::decode_utf_16(bytes, encoding));
    }
    if utf_8.valid > utf_8.broken * CERTAIN {
        return None;
    }
    let encoding = match label.to_ascii_lowercase().as_str() {
        // The eight-bit forms of these, which the web's list of encodings leaves out.
        "iso-2022-kr" | "csiso2022kr" => Some(EUC_KR),
        "iso-2022-cn" | "iso-2022-cn-ext" | "hz-gb-2312" | "hz" => Some(GBK),
        _ => Encoding::for_label_no_replacement(label.as_bytes()),
    };
    match encoding {
        Some(encoding) if encoding == UTF_8 => None,
        Some(encoding) => Some(encoding.decode_without_bom_handling(bytes).0.into_owned()),
        // UTF-7 and the code pages of DOS, which mail still carries and that list leaves out too.
        None => charset_decoder(label.as_bytes()).filter(|_| !label.is_empty()).map(|decoder| decoder(bytes)),
    }
}

/// How much of a text is UTF-8.
struct Utf8Share {
    /// Characters of two bytes and more.
    valid: usize,
    /// Sequences that are no characters. One that the end of the bytes cuts off does not count.
    broken: usize,
}

impl Utf8Share {
    fn of(bytes: &[u8]) -> Self {
        let mut share = Self { valid: 0, broken: 0 };
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            share.valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
            let is_cut_off = chunks.peek().is_none()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            share.broken += usize::from(!chunk.invalid().is_empty() && !is_cut_off);
        }
        share
    }
}

/// Whether a label is one that programs write by default; the bytes then say more about the character set.
fn is_uninformative(label: &str) -> bool {
    ["us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "8bit", "binary"]
        .iter()
        .any(|known| label.eq_ignore_ascii_case(known))
}

/// A parameter of a `Content-Type` header, such as `charset`: quoted, commented or split as RFC 2231 allows.
pub(crate) fn content_type_parameter(header: &str, name: &str) -> Option<String> {
    let line = format!("{header}\n");
    match MessageStream::new(line.as_bytes()).parse_content_type() {
        HeaderValue::ContentType(content_type) => content_type.attribute(name).map(str::to_owned),
        HeaderValue::Address(_)
        | HeaderValue::Text(_)
        | HeaderValue::TextList(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => None,
    }
}

/// The character set that an HTML document names in its own head, for parts whose header names none.
pub(crate) fn from_meta(html: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&html[..html.len().min(1024)]).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset=")?;
    let label = rest.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(label.len());
    (end > 0).then(|| label[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: [(&[u8], &str, &str); 13] = [
        (b"Gr\xfc\xdfe", "iso-8859-1", "Grüße"),
        (b"Gr\xc3\xbc\xc3\x9fe", "UTF-8", "Grüße"),
        (b"\x8b\x9e\x93s", "shift_jis", "京都"),
        (b"\x1b$B5~ET\x1b(B", "ISO-2022-JP", "京都"),
        (b"\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r", "Привет"),
        (b"\xcf\xf0\xe8\xe2\xe5\xf2", "windows-1251", "Привет"),
        (b"\xc4\xe3\xba\xc3", "gb2312", "你好"),
        (b"\xbe\xc8\xb3\xe7", "euc-kr", "안녕"),
        (b"\xbe\xc8\xb3\xe7", "iso-2022-kr", "안녕"),
        (b"\xa4", "iso-8859-15", "€"),
        (b"\xc1\xe2", "iso-8859-7", "Αβ"),
        (b"\x81", "ibm850", "ü"),
        (b"\xe4\0h\0", "utf-16le", "äh"),
    ];

    #[test]
    fn each_character_set_is_read_by_its_label() {
        for (bytes, label, text) in TEXTS {
            assert_eq!(decode(bytes, Some(label)), text, "{label}");
        }
    }

    #[test]
    fn gmails_utf_8_under_the_senders_label_is_the_same_text() {
        for (_, label, text) in TEXTS {
            assert_eq!(decode(text.as_bytes(), Some(label)), text, "{label}");
        }
        assert_eq!(decode("日本語".as_bytes(), Some("utf-7")), "日本語");
        assert_eq!(decode("日本語".as_bytes(), Some("utf-16")), "日本語");
    }

    #[test]
    fn a_utf_8_label_over_other_bytes_is_windows_1252() {
        for label in ["utf-8", "UTF8", "unicode-1-1-utf-8"] {
            assert_eq!(decode(b"F\xf6\xf6sche \x96 voil\xe0", Some(label)), "Föösche – voilà", "{label}");
        }
    }

    #[test]
    fn a_broken_byte_does_not_spoil_the_others() {
        for label in [Some("utf-8"), None, Some("iso-8859-1"), Some("koi8-r"), Some("gb2312")] {
            let long = "Grüße an alle, die Flüge prüfen und später übers Ärgste hören. ".repeat(3);
            let broken = [long.as_bytes(), b"\xff", long.as_bytes()].concat();
            assert_eq!(decode(&broken, label), format!("{long}\u{fffd}{long}"), "{label:?}");
            let cut = &long.as_bytes()[..4];
            assert_eq!(decode(&[long.as_bytes(), &cut[..3]].concat(), label), format!("{long}Gr\u{fffd}"), "{label:?}");
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
            assert_eq!(
                content_type_parameter(header, "charset").map(|l| l.to_lowercase()).as_deref(),
                Some("koi8-r"),
                "{header}"
            );
        }
        assert_eq!(content_type_parameter("text/plain", "charset"), None);
        assert_eq!(content_type_parameter("", "charset"), None);
        assert_eq!(from_meta(b"<META http-equiv=x content='text/html; charset=KOI8-R'>").as_deref(), Some("koi8-r"));
        assert_eq!(from_meta(b"<p>charset</p>"), None);
    }

    proptest! {
        #[test]
        fn valid_utf_8_is_read_as_it_is_under_any_label(
            text in "[äжगあ中a-z \n]{1,60}",
            label in prop::sample::select(vec![
                "iso-2022-jp", "iso-2022-kr", "koi8-r", "windows-1252", "gb18030", "big5", "utf-7", "hz-gb-2312",
                "utf-8", "utf-16", "shift_jis", "ibm866", "macintosh", "x-user-defined", "?",
            ]),
        ) {
            prop_assert_eq!(decode(text.as_bytes(), Some(label)), text);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, label: Option<String>, line: String) {
            decode(&bytes, label.as_deref());
            for label in ["iso-2022-kr", "iso-2022-cn", "hz", "utf-16"] {
                decode(&bytes, Some(label));
                seven_bit::decode(&bytes, label);
            }
            content_type_parameter(&line, "charset");
        }
    }
}
