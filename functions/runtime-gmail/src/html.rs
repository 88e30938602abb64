//! Text out of a mail's HTML, within bounds that hold whoever wrote it.
//!
//! The HTML standard's tree construction takes quadratic time and worse for nested or unclosed tags, and `html2text`
//! makes room for any number a `colspan` names: 300 kB of mail can hold a function for half a minute. So the document
//! is first reduced, tag by tag, to the few that shape its text, with bounded nesting; what remains is cheap to render.

use std::cell::RefCell;
use std::panic::catch_unwind;

use html2text::config;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

/// HTML past this many bytes is not looked at. Gmail's own page cuts a message at 102 kB.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// Blocks nested deeper keep their text and lose their shape.
const MAX_DEPTH: usize = 30;

/// Longer addresses are for counting clicks, not for reading.
const MAX_HREF: usize = 500;

/// Lines are wrapped here, in columns.
const WIDTH: usize = 100;

/// The text of a document: lists, quotes and links (as footnotes) kept, tables read cell by cell.
pub(crate) fn to_text(html: &str) -> String {
    let reduced = reduce(&html[..html.floor_char_boundary(MAX_BYTES)]);
    catch_unwind(|| render(&reduced.html)).ok().flatten().unwrap_or(reduced.text)
}

/// A line of text whose special characters are written as HTML's entities, such as Gmail's snippets.
pub(crate) fn unescape(line: &str) -> String {
    reduce(line).text
}

fn render(html: &str) -> Option<String> {
    config::plain_no_decorate()
        .link_footnotes(true)
        .no_link_wrapping()
        .raw_mode(true)
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), WIDTH)
        .ok()
}

fn reduce(html: &str) -> Reduced {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(Reducer::default(), TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

#[derive(Default)]
struct Reducer(RefCell<Reduced>);

/// A document without what does not shape its text.
#[derive(Debug, Default)]
struct Reduced {
    html: String,
    /// The characters alone, for when the rest cannot be rendered.
    text: String,
    depth: usize,
    /// Blocks that were opened past [`MAX_DEPTH`] and not closed yet.
    too_deep: usize,
    in_hidden: bool,
}

impl TokenSink for Reducer {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut reduced = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => reduced.write(&text),
            Token::TagToken(tag) => return reduced.tag(&tag),
            Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::NullCharacterToken
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

impl Reduced {
    fn write(&mut self, text: &str) {
        if self.in_hidden {
            return;
        }
        for c in text.chars().filter(|c| c.is_whitespace() || !c.is_control()) {
            self.text.push(c);
            push_escaped(&mut self.html, c);
        }
    }

    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let opens = tag.kind == TagKind::StartTag;
        match &*tag.name {
            "style" | "script" | "title" => {
                self.in_hidden = opens;
                if opens {
                    return TokenSinkResult::RawData(RawKind::Rawtext);
                }
            }
            // These end where the next one begins, so they add no depth of their own.
            name @ ("p" | "br" | "hr" | "li" | "tr" | "td" | "th") => self.mark(name, opens),
            "dt" | "dd" | "option" => self.mark("br", opens),
            name @ ("div" | "blockquote" | "ul" | "ol" | "table" | "pre" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6") => {
                self.block(name, opens);
            }
            "center" | "section" | "article" | "header" | "footer" | "dl" => self.block("div", opens),
            "a" => self.link(tag, opens),
            "img" => self.write(attribute(tag, "alt").unwrap_or_default()),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn block(&mut self, name: &str, opens: bool) {
        match (opens, self.too_deep) {
            (true, 0) if self.depth < MAX_DEPTH => self.depth += 1,
            (true, _) => return self.too_deep += 1,
            (false, 0) => self.depth = self.depth.saturating_sub(1),
            (false, _) => return self.too_deep -= 1,
        }
        self.mark(name, opens);
    }

    fn mark(&mut self, name: &str, opens: bool) {
        self.text.push('\n');
        self.html.push_str(if opens { "<" } else { "</" });
        self.html.push_str(name);
        self.html.push('>');
    }

    fn link(&mut self, tag: &Tag, opens: bool) {
        if !opens {
            return self.html.push_str("</a>");
        }
        let is_shown =
            |href: &&str| href.len() <= MAX_HREF && (href.starts_with("http") || href.starts_with("mailto:"));
        if let Some(href) = attribute(tag, "href").filter(is_shown) {
            self.html.push_str("<a href=\"");
            href.chars().filter(|c| !c.is_control()).for_each(|c| push_escaped(&mut self.html, c));
            self.html.push_str("\">");
        }
    }
}

fn push_escaped(html: &mut String, c: char) {
    match c {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        c => html.push(c),
    }
}

fn attribute<'t>(tag: &'t Tag, name: &str) -> Option<&'t str> {
    tag.attrs.iter().find(|attr| &*attr.name.local == name).map(|attr| &*attr.value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mail_reads_as_a_person_would_read_it() {
        let html = "<title>hidden</title><style>p{content:hidden}</style><h1>Invoice</h1><p>Dear&nbsp;<b>Ada</b>,<br>\
            see <a href='https://x.test/1?a=1&amp;b=2'>this</a> <a href='javascript:x'>or</a> 1 &lt; 2\
            <table><tr><td>Total<td>5 €</table><ul><li>one<li>two</ul><blockquote>old</blockquote><img alt='a logo'>";
        let text = to_text(html);
        for line in [
            "# Invoice",
            "Dear\u{a0}Ada,",
            "see [this][1] or 1 < 2",
            "Total",
            "5 €",
            "* one",
            "> old",
            "a logo",
            "[1]: https://x.test/1?a=1&b=2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} in {text:?}");
        }
        assert!(!text.contains("hidden") && !text.contains("javascript"), "{text}");
    }

    #[test]
    fn entities_are_read() {
        assert_eq!(unescape("Tom &amp; Ann&#39;s &lt;b&gt; 5 € &quot;ok&quot;"), "Tom & Ann's <b> 5 € \"ok\"");
    }

    #[test]
    fn text_at_any_depth_is_kept() {
        let deep =
            ["div", "b", "table><tr><td", "ul><li", "blockquote", "a href=http:x><b><i", "dl><dd", "svg><td", "li><h1"];
        for tag in deep {
            let text = to_text(&format!("<p>first</p>{}last", format!("<{tag}>").repeat(10_000)));
            assert!(text.contains("first") && text.contains("last"), "{tag}");
        }
    }

    #[test]
    fn what_costs_a_parser_most_costs_little() {
        let fonts: String = (0..10_000).map(|i| format!("<font a={i}><p>x")).collect();
        assert_eq!(to_text(&fonts).matches('x').count(), 10_000);
        let cells = "<td colspan=4294967295>x<td rowspan=4000000>y".repeat(1_000);
        let text = to_text(&format!("<table><tr>{cells}</table>"));
        assert_eq!(text.matches('x').count(), 1_000);
        assert!(text.len() < 20_000);
    }

    proptest! {
        #[test]
        fn nothing_panics_or_outgrows_its_source(
            pieces in prop::collection::vec(
                prop_oneof![
                    any::<String>(),
                    prop::sample::select(vec![
                        "<table>", "<tr>", "<td colspan=9>", "<td rowspan=0>", "</td>", "</table>", "<ol start=-9>",
                        "<li>",
                        "<pre>", "\u{1}\u{7f}\u{ad}", "<blockquote>", "<sup>", "<a href=http:x>", "<img alt='a b'>",
                        "<h1>",
                        "</p>", "<dl><dt>", "漢字🎉", "&#xD800;", "<hr>", "<br>", "<style>", "<!--", "<svg>", "<s>",
                        "<em>",
                        "</div>", "</title>", "<![CDATA[", "<title>",
                    ]).prop_map(str::to_owned),
                ],
                0..60,
            ),
        ) {
            let html = pieces.concat();
            let rendered = render(&reduce(&html).html);
            prop_assert!(rendered.is_some_and(|text| text.len() <= (WIDTH + 4 * MAX_DEPTH) * (html.len() + 1)));
        }
    }
}
