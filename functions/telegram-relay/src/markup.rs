//! Takes links into Telegram itself (`tg:`) out of marked-up text.
//!
//! A link to `tg://user?id=…` makes Telegram name that person if the shared bot knows them, which would tell a runtime
//! who else has an assistant. Telegram parses the markup, so it is read here with its own grammar, and what does not
//! keep to that is refused as Telegram refuses it. <https://core.telegram.org/bots/api#formatting-options>

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::answer::Refusal;

/// The scheme of links into Telegram; Telegram reads it without regard to case.
const SCHEME: &str = "tg:";

/// What follows [`SCHEME`] in `MarkdownV2` where it names no person: an emoji of its own or a time.
const HARMLESS: [&str; 2] = ["//emoji?id=", "//time?"];

/// Telegram's words for markup that it cannot read: programs then send the same text without.
const UNREADABLE: &str = "can't parse entities: the markup is not of its form";

/// Whether texts of this mode can be cleaned; Telegram knows no others.
pub(crate) fn is_mode(mode: &str) -> bool {
    Mode::parse(mode).is_some()
}

/// How a text is marked up.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Plain,
    Html,
    Markdown,
}

impl Mode {
    /// Reads a mode without regard to case, as Telegram does.
    fn parse(mode: &str) -> Option<Self> {
        match mode.to_ascii_lowercase().as_str() {
            "" | "none" => Some(Self::Plain),
            "html" => Some(Self::Html),
            "markdown" | "markdownv2" => Some(Self::Markdown),
            _ => None,
        }
    }
}

/// Cleans each text of a call, or of an object in it, for which a parse mode is given.
///
/// # Errors
/// A [`Refusal`] in Telegram's words when a text is not of its form.
pub(crate) fn clean_texts(fields: &mut Map<String, Value>) -> Result<(), Refusal> {
    let modes = fields.iter().filter_map(|(name, mode)| {
        let text = name.strip_suffix("parse_mode")?.trim_end_matches('_');
        Some((text.to_owned(), Mode::parse(mode.as_str()?)?))
    });
    for (text, mode) in modes.collect::<Vec<_>>() {
        // `parse_mode` alone is about the one of these that the method has.
        let names = if text.is_empty() { vec!["text", "caption"] } else { vec![text.as_str()] };
        for name in names {
            if let Some(Value::String(text)) = fields.get_mut(name) {
                *text = clean_text(text, mode)?.into_owned();
            }
        }
    }
    Ok(())
}

fn clean_text(text: &str, mode: Mode) -> Result<Cow<'_, str>, Refusal> {
    match mode {
        Mode::Plain => Ok(Cow::Borrowed(text)),
        Mode::Html => clean_html(text).map(Cow::Owned).ok_or_else(|| Refusal::bad_request(UNREADABLE)),
        Mode::Markdown => Ok(Cow::Owned(clean_markdown(text))),
    }
}

/// Leaves out the tags of links into Telegram, and of links whose address is their text; the text itself stays. `None`
/// when a tag is not of Telegram's grammar.
fn clean_html(html: &str) -> Option<String> {
    let mut kept = String::new();
    // Of each open tag, whether it is left out.
    let mut open = Vec::new();
    let mut rest = html;
    while let Some((text, from_tag)) = rest.find('<').and_then(|start| rest.split_at_checked(start)) {
        kept.push_str(text);
        let (tag, after, is_left_out) = if from_tag.starts_with("</") {
            let (tag, after) = from_tag.split_at_checked(from_tag.find('>')? + 1)?;
            (tag, after, open.pop()?)
        } else {
            let mut reader = TagReader { rest: from_tag.strip_prefix('<')? };
            let is_left_out = reader.read_tag()?;
            open.push(is_left_out);
            (from_tag.strip_suffix(reader.rest)?, reader.rest, is_left_out)
        };
        if !is_left_out {
            kept.push_str(tag);
        }
        rest = after;
    }
    Some(kept + rest)
}

/// Reads a start tag from behind its `<` on.
struct TagReader<'a> {
    rest: &'a str,
}

impl<'a> TagReader<'a> {
    /// Reads to behind the `>`; whether it is a link that has to be left out.
    fn read_tag(&mut self) -> Option<bool> {
        let name = self.take_while(is_name_character);
        if name.is_empty() || !self.rest.starts_with(|next| is_space(next) || next == '>') {
            return None;
        }
        // Of several addresses Telegram takes the last.
        let mut address = None;
        loop {
            self.take_while(is_space);
            if self.take('>') {
                break;
            }
            let (attribute, value) = self.read_attribute()?;
            if attribute.eq_ignore_ascii_case("href") {
                address = Some(value);
            }
        }
        let leads_elsewhere = address.is_some_and(|address| !address.is_empty() && !is_into_telegram(&address));
        Some(name.eq_ignore_ascii_case("a") && !leads_elsewhere)
    }

    fn read_attribute(&mut self) -> Option<(&'a str, String)> {
        let name = self.take_while(|next| !is_space(next) && !matches!(next, '=' | '>' | '<' | '"' | '\''));
        if name.is_empty() {
            return None;
        }
        self.take_while(is_space);
        if !self.take('=') {
            return Some((name, String::new()));
        }
        self.take_while(is_space);
        for quote in ['"', '\''] {
            if self.take(quote) {
                let value = self.take_while(|next| next != quote);
                return self.take(quote).then(|| (name, decode(value)));
            }
        }
        let value = self.take_while(is_name_character);
        self.rest.starts_with(|next| is_space(next) || next == '>').then(|| (name, value.to_owned()))
    }

    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|next| !is_taken(next)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        taken
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn is_name_character(next: char) -> bool {
    next.is_ascii_alphanumeric() || matches!(next, '-' | '.')
}

fn is_space(next: char) -> bool {
    matches!(next, ' ' | '\t' | '\r' | '\n' | '\0' | '\u{b}')
}

/// Whether an address leads into Telegram, whatever invisible characters stand in it.
fn is_into_telegram(address: &str) -> bool {
    let plain: String = address.chars().filter(char::is_ascii_graphic).take(SCHEME.len()).collect();
    plain.eq_ignore_ascii_case(SCHEME)
}

/// The value of an attribute with its entities read: the four names that Telegram knows, and numbers.
fn decode(value: &str) -> String {
    let mut decoded = String::new();
    let mut rest = value;
    while let Some((text, from_entity)) = rest.find('&').and_then(|start| rest.split_at_checked(start)) {
        decoded.push_str(text);
        let plain = || ('&', from_entity.strip_prefix('&').unwrap_or_default());
        let (character, after) = read_entity(from_entity).unwrap_or_else(plain);
        decoded.push(character);
        rest = after;
    }
    decoded + rest
}

/// Reads an entity, with or without its semicolon.
fn read_entity(text: &str) -> Option<(char, &str)> {
    let name = text.strip_prefix('&')?;
    let end = name.find(|next: char| !next.is_ascii_alphanumeric() && next != '#').unwrap_or(name.len());
    let (name, after) = name.split_at_checked(end)?;
    let (character, after) = match name.strip_prefix('#') {
        Some(number) => {
            let (digits, radix) = number.strip_prefix(['x', 'X']).map_or((number, 10), |digits| (digits, 16));
            let end = digits.find(|next: char| !next.is_digit(radix)).unwrap_or(digits.len());
            let (digits, rest) = digits.split_at_checked(end)?;
            let character = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
            // What follows the digits is text, and stands in `text` right before `after`.
            (character, text.get(text.len() - after.len() - rest.len()..)?)
        }
        None => match name {
            "lt" => ('<', after),
            "gt" => ('>', after),
            "amp" => ('&', after),
            "quot" => ('"', after),
            _ => return None,
        },
    };
    Some((character, after.strip_prefix(';').unwrap_or(after)))
}

/// Puts a space into each [`SCHEME`], also into one that marks or escapes stand in, so that it is no address any more:
/// in Markdown, text and address are hard to tell apart, and the text of a link may be its address.
fn clean_markdown(text: &str) -> String {
    let mut kept = String::new();
    // How much of the scheme was just read, marks left out.
    let mut read = String::new();
    for (at, character) in text.char_indices() {
        if !is_mark(character) {
            read.push(character.to_ascii_lowercase());
            while !SCHEME.starts_with(&read) {
                read.remove(0);
            }
        }
        if read == SCHEME {
            let after = text.get(at + 1..).unwrap_or_default();
            if !HARMLESS.iter().any(|harmless| after.starts_with(harmless)) {
                kept.push(' ');
            }
            read.clear();
        }
        kept.push(character);
    }
    kept
}

/// Whether Telegram may leave out a character of Markdown.
fn is_mark(character: char) -> bool {
    character.is_ascii_punctuation() && character != ':' || character.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_into_telegram_loses_its_tags_and_keeps_its_text() {
        for link in [
            r#"<a href="tg://user?id=2002">Ben</a>"#,
            r"<a href='tg://user?id=2002'>Ben</a>",
            r#"<A HREF = "TG://USER?ID=2002" >Ben</A >"#,
            r#"<a href="tg:user?id=2002">Ben</a>"#,
            r#"<a href="tg://openmessage?user_id=2002">Ben</a>"#,
            r#"<a href="&#116;&#x67;&#58;//user?id=2002">Ben</a>"#,
            r#"<a href="&#0116g&#x3a//user?id=2002">Ben</a>"#,
            r#"<a href="https://a.example" href="tg://user?id=2002">Ben</a>"#,
            "<a\n\thref=\"tg://user?id=2002\"\n>Ben</a>",
            "<a href=\" \u{200b}tg://user?id=2002\">Ben</a>",
            r#"<a class=">" href="tg://user?id=2002">Ben</a>"#,
            "<a>Ben</a>",
            r#"<a href="">Ben</a>"#,
            "<a href>Ben</a>",
        ] {
            let html = format!("<b>Ask {link}</b> &amp; <a href=\"https://a.example/?a=1&amp;b=2\">read</a>");
            let expected = "<b>Ask Ben</b> &amp; <a href=\"https://a.example/?a=1&amp;b=2\">read</a>";
            assert_eq!(clean_html(&html).as_deref(), Some(expected), "{link}");
        }
        let nested = "<a><b>tg://us</b>er?id=2002</a>";
        assert_eq!(clean_html(nested).as_deref(), Some("<b>tg://us</b>er?id=2002"));
    }

    #[test]
    fn other_markup_stays_as_it_is() {
        for html in [
            "",
            "5 &lt; 7, tg://user?id=1 and \"<b>bold</b>\"",
            "<pre><code class=\"language-rust\">a &gt; b</code></pre>",
            "<blockquote expandable>long</blockquote><span class=\"tg-spoiler\">x</span>",
            "<tg-emoji emoji-id=\"5368324170671202286\">👍</tg-emoji>",
            "<a href=\"https://a.example/tg:x\">x</a><a href=\"example.com\">y</a>",
        ] {
            assert_eq!(clean_html(html).as_deref(), Some(html));
        }
    }

    #[test]
    fn what_keeps_to_no_grammar_is_refused_as_telegram_refuses_it() {
        for html in [
            "5 < 7",
            "<a href=\"tg://user?id=1>x</a>",
            "<a href=tg://user?id=1>x</a>",
            "<a/href=\"tg://user?id=1\">x</a>",
            "<a =\"x\">y</a>",
            "<>x</>",
            "</a>",
            "<a href='x\">y</a>",
            "<b",
            "<a <a href=\"tg://user?id=1\">x</a></a>",
        ] {
            assert_eq!(clean_html(html), None, "{html}");
        }
        let mut fields = json!({"text": "5 < 7", "parse_mode": "HTML"}).as_object().expect("an object").clone();
        let refusal = clean_texts(&mut fields).expect_err("not of its form");
        assert!(format!("{refusal:?}").contains("Bad Request: can't parse entities"));
        assert!(!is_mode("html5"), "nobody knows how Telegram would read it");
    }

    #[test]
    fn in_markdown_the_scheme_is_broken_wherever_it_could_be_an_address() {
        for (text, expected) in [
            ("[Ben](tg://user?id=2002)", "[Ben](tg ://user?id=2002)"),
            ("[Ben](TG:user?id=2002)", "[Ben](TG :user?id=2002)"),
            (r"[Ben](\t\g\:\//user?id=2002)", r"[Ben](\t\g\ :\//user?id=2002)"),
            ("[*t*_g_||:||//user?id=2002]", "[*t*_g_|| :||//user?id=2002]"),
            ("[ttg:tg:](x)", "[ttg :tg :](x)"),
            ("![👍](tg://emoji?id=5) ![soon](tg://time?unix=1)", "![👍](tg://emoji?id=5) ![soon](tg://time?unix=1)"),
            ("*bold* [a](https://a.example) té: t g:", "*bold* [a](https://a.example) té: t g:"),
        ] {
            assert_eq!(clean_markdown(text), expected);
        }
    }

    #[test]
    fn each_text_is_read_by_its_own_mode() {
        let (html, markdown) = ("<a href='tg://user?id=1'>a</a>", "[a](tg://user?id=1)");
        let mut fields = json!({
            "text": html, "parse_mode": "hTmL", "quote": markdown, "quote_parse_mode": "MarkdownV2",
            "question": markdown, "question_parse_mode": "Markdown", "explanation": html, "explanation_parse_mode": "",
            "caption": html,
        });
        clean_texts(fields.as_object_mut().expect("an object")).expect("of its form");
        assert_eq!((&fields["text"], &fields["caption"]), (&json!("a"), &json!("a")));
        assert_eq!((&fields["quote"], &fields["question"]), (&json!("[a](tg ://user?id=1)"), &fields["quote"]));
        assert_eq!(fields["explanation"], html);
    }

    proptest! {
        #[test]
        fn no_start_tag_that_is_left_leads_into_telegram(
            html in "(<a|</a>|<b|>| |href=|\"|'|tg:|&#116;|g|:|&#x3a;|=|x){0,24}",
        ) {
            if let Some(left) = clean_html(&html) {
                // Reading it again finds nothing more.
                prop_assert_eq!(clean_html(&left), Some(left.clone()));
            }
        }

        #[test]
        fn markdown_is_read_the_same_again(text in "(t|g|T|G|:|/|\\\\|\\*|tg:|//emoji\\?id=| |é){0,24}") {
            let once = clean_markdown(&text);
            prop_assert_eq!(clean_markdown(&once), once.clone());
            prop_assert_eq!(once.replace(' ', ""), text.replace(' ', ""));
        }
    }
}
