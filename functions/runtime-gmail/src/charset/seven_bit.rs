//! Character sets that write every character in ASCII bytes, and change its meaning by escapes or by pairs of marks.

use encoding_rs::{EUC_KR, Encoding, GBK, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};
use mail_parser::decoders::charsets::map::charset_decoder;

const ESCAPE: u8 = 0x1b;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;

/// Decodes ASCII bytes: by the escapes of ISO 2022 in them, whatever the label says; else as UTF-16, HZ or UTF-7 if the
/// label names one; else as they are.
pub(super) fn decode(bytes: &[u8], label: &str) -> String {
    let names = |names: &[&str]| names.iter().any(|name| label.eq_ignore_ascii_case(name));
    let contains = |escape: &[u8]| bytes.windows(escape.len()).any(|window| window == escape);
    let has_escape = bytes.contains(&ESCAPE);
    if has_escape && contains(b"\x1b$)C") {
        return decode_shifted(bytes, EUC_KR);
    }
    if has_escape && (contains(b"\x1b$)A") || contains(b"\x1b$)G") || contains(b"\x1b$*H")) {
        return decode_shifted(bytes, GBK);
    }
    if has_escape && [b"\x1b$B", b"\x1b$@", b"\x1b(J", b"\x1b(I"].iter().any(|escape| contains(*escape)) {
        return ISO_2022_JP.decode_without_bom_handling(bytes).0.into_owned();
    }
    // RFC 1557 designates the set once, at the start; some senders leave that out.
    if names(&["iso-2022-kr", "csiso2022kr"]) && bytes.contains(&SHIFT_OUT) {
        return decode_shifted(bytes, EUC_KR);
    }
    if let Some(encoding) = utf_16(label).filter(|_| bytes.contains(&0)) {
        return decode_utf_16(bytes, encoding);
    }
    if names(&["hz-gb-2312", "hz"]) {
        return decode_hz(bytes);
    }
    let utf_7 = names(&["utf-7", "unicode-1-1-utf-7", "csunicode11utf7"]).then(|| charset_decoder(b"utf-7")).flatten();
    utf_7.map_or_else(|| UTF_8.decode_without_bom_handling(bytes).0.into_owned(), |decoder| decoder(bytes))
}

/// The UTF-16 that a label names. Without an order of bytes, RFC 2781 takes the larger end first.
pub(super) fn utf_16(label: &str) -> Option<&'static Encoding> {
    let is = |name: &str| label.eq_ignore_ascii_case(name);
    match () {
        () if is("utf-16le") => Some(UTF_16LE),
        () if is("utf-16") || is("utf-16be") || is("csutf16") || is("iso-10646-ucs-2") => Some(UTF_16BE),
        () => None,
    }
}

/// Decodes UTF-16 without a mark, in the order in which more of the first bytes of its characters are zero.
pub(super) fn decode_utf_16(bytes: &[u8], named: &'static Encoding) -> String {
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let encoding = match zeros(0).cmp(&zeros(1)) {
        std::cmp::Ordering::Less => UTF_16LE,
        std::cmp::Ordering::Equal => named,
        std::cmp::Ordering::Greater => UTF_16BE,
    };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// ISO-2022-KR (RFC 1557) and ISO-2022-CN (RFC 1922): between the shifts, two bytes are one character of a set whose
/// eight-bit form is `set`. Of the Chinese sets, only GB 2312 has such a form here; others become U+FFFD.
fn decode_shifted(bytes: &[u8], set: &'static Encoding) -> String {
    let mut eight_bit = Vec::with_capacity(bytes.len());
    let (mut is_shifted, mut is_known) = (false, true);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            // `ESC $ ) F` and `ESC $ * F` designate a set by their last byte; `ESC N` takes the next one from another.
            ESCAPE if matches!(after, [b'$', b')' | b'*', _, ..]) => {
                is_known = matches!(after[2], b'A' | b'C') || after[1] == b'*';
                rest = &after[3..];
            }
            ESCAPE if matches!(after, [b'N', _, _, ..]) => {
                eight_bit.push(0xff);
                rest = &after[3..];
            }
            SHIFT_OUT => is_shifted = true,
            SHIFT_IN => is_shifted = false,
            // A line end ends the shift (RFC 1922).
            b'\n' => {
                is_shifted = false;
                eight_bit.push(byte);
            }
            0x21..=0x7e if is_shifted => match after {
                [second @ 0x21..=0x7e, ..] if is_known => {
                    eight_bit.extend([byte | 0x80, second | 0x80]);
                    rest = &after[1..];
                }
                [_, ..] => {
                    eight_bit.push(0xff);
                    rest = &after[1..];
                }
                [] => eight_bit.push(0xff),
            },
            byte => eight_bit.push(byte),
        }
    }
    set.decode_without_bom_handling(&eight_bit).0.into_owned()
}

/// HZ (RFC 1843): `~{` and `~}` around GB 2312, `~~` for a tilde, a tilde before a line end for nothing.
fn decode_hz(bytes: &[u8]) -> String {
    let mut eight_bit = Vec::with_capacity(bytes.len());
    let mut is_chinese = false;
    let mut rest = bytes;
    loop {
        match rest {
            [] => break,
            [b'~', b'{', after @ ..] => (is_chinese, rest) = (true, after),
            [b'~', b'}', after @ ..] => (is_chinese, rest) = (false, after),
            [b'~', b'~', after @ ..] if !is_chinese => {
                eight_bit.push(b'~');
                rest = after;
            }
            [b'~', b'\n', after @ ..] => rest = after,
            [first @ 0x21..=0x7e, second @ 0x21..=0x7e, after @ ..] if is_chinese => {
                eight_bit.extend([first | 0x80, second | 0x80]);
                rest = after;
            }
            [byte, after @ ..] => {
                is_chinese &= *byte != b'\n';
                eight_bit.push(*byte);
                rest = after;
            }
        }
    }
    GBK.decode_without_bom_handling(&eight_bit).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_outrank_the_label() {
        for label in ["iso-2022-jp", "us-ascii", "utf-8", "iso-2022-kr", ""] {
            assert_eq!(decode(b"\x1b$B5~ET\x1b(B ok", label), "京都 ok", "{label}");
            assert_eq!(decode(b"\x1b$)C\x0e>H3g\x0f ok", label), "안녕 ok", "{label}");
            assert_eq!(decode(b"\x1b$)A\x0eDc:C\x0f ok\n", label), "你好 ok\n", "{label}");
        }
    }

    #[test]
    fn shifts_need_no_designation_where_the_label_names_their_set() {
        assert_eq!(decode(b"\x0e>H3g\x0f!", "ISO-2022-KR"), "안녕!");
        assert_eq!(decode(b"\x0ea\x0f", "us-ascii"), "\u{e}a\u{f}");
        assert_eq!(decode(b"\x1b$)G\x0eDc\x0fx\x1b$*H\x1bN!!y", "iso-2022-cn"), "\u{fffd}x\u{fffd}y");
    }

    #[test]
    fn other_escapes_are_no_character_set() {
        assert_eq!(decode(b"\x1b[31mred\x1b(B", "us-ascii"), "\u{1b}[31mred\u{1b}(B");
        assert_eq!(decode(b"~{a~}", "utf-8"), "~{a~}");
    }

    #[test]
    fn the_label_names_what_bytes_do_not_show() {
        assert_eq!(decode(b"~{Dc:C~}~~ ~\nok", "HZ-GB-2312"), "你好~ ok");
        assert_eq!(decode(b"Gr+APwA3w-e", "utf-7"), "Grüße");
        assert_eq!(decode(b"\0h\0i", "utf-16"), "hi");
        assert_eq!(decode(b"h\0i\0", "utf-16"), "hi");
        assert_eq!(decode(b"h\0i\0", "utf-16le"), "hi");
        assert_eq!(decode(b"hi", "utf-16"), "hi", "Gmail's own UTF-8");
    }
}
