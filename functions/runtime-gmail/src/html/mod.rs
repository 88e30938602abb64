//! Converts a mail's HTML to text, in time and memory that are linear in its length, whoever wrote it.
//!
//! This renderer is written by hand for two reasons. First, release builds have `panic = "abort"`: a panic ends the
//! sandbox, and with it the requests that wait for it, so a mail must not be able to make a renderer panic, and no one
//! can catch a panic of a library. Second, the libraries build the tree that the HTML standard describes, which takes
//! quadratic time or worse for nested or unclosed tags: 300 kB of mail can keep a function busy for half a minute. So
//! there is no tree here. The tokenizer's tags are handled as they come, and the text is written at once.

mod lines;

use std::borrow::Cow;

use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

use lines::{Block, Lines};

/// HTML past this many bytes is ignored. Gmail's own page cuts a message at 102 kB.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// Links with longer addresses are written as plain text: such addresses track clicks.
const MAX_HREF: usize = 500;

/// The text of a document, with lists, quotes and links (as footnotes); tables are read cell by cell. It also decodes a
/// single line with HTML entities, such as Gmail's snippets.
pub(crate) fn to_text(html: &str) -> String {
    let mut document = Document::default();
    let mut tokenizer = Tokenizer::new(&html[..html.floor_char_boundary(MAX_BYTES)]);
    while let Some(Ok(token)) = tokenizer.next() {
        match token {
            Token::String(text) => document.write(&to_text_lossy(&text)),
            Token::StartTag(tag) => {
                document.handle_tag(&to_text_lossy(&tag.name), Some(&tag));
                if document.in_hidden {
                    // The content is not markup until the element's own end tag.
                    tokenizer.set_state(State::RawText);
                }
            }
            Token::EndTag(tag) => document.handle_tag(&to_text_lossy(&tag.name), None),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    document.lines.finish()
}

#[derive(Default)]
struct Document {
    lines: Lines,
    in_hidden: bool,
}

impl Document {
    fn write(&mut self, text: &str) {
        if !self.in_hidden {
            self.lines.write(text);
        }
    }

    /// Handles a tag; `start` is `None` for an end tag.
    fn handle_tag(&mut self, name: &str, start: Option<&StartTag<()>>) {
        let opens = start.is_some();
        match name {
            "style" | "script" | "title" => self.in_hidden = opens,
            "p" => self.lines.begin_paragraph(),
            "br" => self.lines.end_line(),
            "hr" if opens => self.write_rule(),
            "li" if opens => self.lines.begin_item(),
            "li" | "tr" | "td" | "th" | "dt" | "dd" | "option" => self.lines.begin_line(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.handle_heading(name, opens),
            "div" | "table" | "center" | "section" | "article" | "header" | "footer" | "dl" => {
                self.lines.begin_line();
                self.handle_block(Block::Plain, opens);
            }
            "blockquote" => self.handle_paragraph(Block::Quote, opens),
            "pre" => self.handle_paragraph(Block::Verbatim, opens),
            "ul" => self.handle_paragraph(Block::list(), opens),
            "ol" => self.handle_paragraph(Block::ordered_list(), opens),
            "a" => self.handle_link(start),
            "img" => self.write(&start.and_then(|tag| attribute(tag, "alt")).unwrap_or_default()),
            _ => {}
        }
    }

    fn handle_block(&mut self, block: Block, opens: bool) {
        match opens {
            true => self.lines.open_block(block),
            false => self.lines.close_block(&block),
        }
    }

    fn handle_paragraph(&mut self, block: Block, opens: bool) {
        self.lines.begin_paragraph();
        self.handle_block(block, opens);
    }

    fn handle_heading(&mut self, name: &str, opens: bool) {
        let level = name.bytes().last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
        match opens {
            true => self.lines.begin_heading(level),
            false => self.lines.end_heading(),
        }
    }

    fn write_rule(&mut self) {
        self.lines.begin_line();
        self.write("---");
        self.lines.begin_line();
    }

    fn handle_link(&mut self, start: Option<&StartTag<()>>) {
        let is_shown =
            |href: &Cow<'_, str>| href.len() <= MAX_HREF && (href.starts_with("http") || href.starts_with("mailto:"));
        self.lines.close_link();
        if let Some(href) = start.and_then(|tag| attribute(tag, "href")).filter(is_shown) {
            self.lines.open_link(href.chars().filter(|c| !c.is_control()).collect());
        }
    }
}

fn attribute<'t>(tag: &'t StartTag<()>, name: &str) -> Option<Cow<'t, str>> {
    tag.attributes.get(name.as_bytes()).map(|value| to_text_lossy(value))
}

/// The tokenizer returns bytes, which are UTF-8 because its input is.
fn to_text_lossy(text: &HtmlString) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
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
        assert_eq!(to_text("Tom &amp; Ann&#39;s &lt;b&gt; 5 € &quot;ok&quot;"), "Tom & Ann's <b> 5 € \"ok\"");
    }

    #[test]
    fn a_text_keeps_its_shape() {
        for (html, text) in [
            ("<p>a<p>b<br>c<br><br>d<div>e</div>", "a\n\nb\nc\n\nd\ne"),
            ("  a \n <b> b</b>c <i>d </i> e", "a bc d e"),
            ("<h3>One<br>two</h3>x", "### One\ntwo\n\nx"),
            ("a<hr>b", "a\n---\nb"),
            ("<ol><li>a<li>b<ul><li>c</ul><li>d</ol>e", "1. a\n2. b\n\n  * c\n\n3. d\n\ne"),
            ("<ul><li><p>a<p>b<li><blockquote>c</ul>d", "* a\n\n  b\n\n* > c\n\nd"),
            ("<blockquote>a<br>b<blockquote>c</blockquote>d</blockquote>e", "> a\n> b\n\n> > c\n\n> d\n\ne"),
            ("<pre>a\n  b\tc\n\nd</pre>e  f", "a\n  b\tc\n\nd\n\ne f"),
            (
                "<a href=http:x>a </a>b<a href=mailto:y><p>c</a><a href=http:z></a>",
                "[a][1] b\n\n[c][2]\n\n[1]: http:x\n[2]: mailto:y",
            ),
            ("<li>a</div></ul></h1></a></blockquote>b", "a\n\nb"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
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
            prop_assert!(to_text(&html).len() <= 4 * lines::MAX_DEPTH * (html.len() + 1));
        }
    }
}
