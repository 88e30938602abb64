//! Converts a mail's HTML to text, in time and memory that are linear in its length, whoever wrote it.
//!
//! This renderer is written by hand for two reasons. First, release builds have `panic = "abort"`: a panic ends the
//! sandbox, and with it the requests that wait for it, so a mail must not be able to make a renderer panic, and no one
//! can catch a panic of a library. Second, the libraries build the tree that the HTML standard describes, which takes
//! quadratic time or worse for nested or unclosed tags: 300 kB of mail can keep a function busy for half a minute. So
//! there is no tree here. The tokenizer's tags are handled as they come, and the text is written at once. What is kept
//! of the open elements is bounded, and tells only what a person can see.

mod color;
mod elements;
mod lines;
mod links;
mod sheet;
mod style;

use std::borrow::Cow;

use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

use color::Color;
use elements::Elements;
use lines::{Block, Lines};
use sheet::Sheet;
use style::Style;

/// HTML past this many bytes is ignored, so that no mail keeps a function busy: what a document costs is linear in its
/// bytes. Styles and embedded pictures before the text make honest mail long; Gmail itself takes in 50 MB.
pub(crate) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The text of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Html {
    pub(crate) text: String,
    /// Whether the document has more text.
    pub(crate) is_cut: bool,
    /// Whether it has words that a person does not see, which were left out.
    pub(crate) removed_hidden: bool,
}

/// Reads the text that a person sees of a document, with lists, quotes and links (as footnotes); tables are read cell
/// by cell. It ends soon after `max_chars` characters, before the footnotes.
pub(crate) fn read(html: &str, max_chars: usize) -> Html {
    let html = &html[..html.floor_char_boundary(MAX_BYTES)];
    let mut document = Document::new(Sheet::from_html(html));
    let mut tokenizer = Tokenizer::new(html);
    let mut is_cut = false;
    while let Some(Ok(token)) = tokenizer.next() {
        match token {
            Token::String(text) => document.write(&to_text_lossy(&text)),
            Token::StartTag(tag) => {
                document.start(&tag);
                // The content is not markup until the element's own end tag.
                if let Some(state) = content_state(&tag.name) {
                    tokenizer.set_state(state);
                }
            }
            Token::EndTag(tag) => document.end(&tag.name),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
        if document.lines.visible_chars() > max_chars {
            is_cut = true;
            break;
        }
    }
    Html { text: document.lines.finish(), is_cut, removed_hidden: document.removed_hidden }
}

/// Decodes a line with HTML entities, such as Gmail's snippets.
pub(crate) fn decode_entities(line: &str) -> String {
    read(line, usize::MAX).text
}

struct Document {
    lines: Lines,
    elements: Elements,
    sheet: Sheet,
    /// Within an element whose content is never shown.
    in_hidden_content: bool,
    removed_hidden: bool,
}

impl Document {
    fn new(sheet: Sheet) -> Self {
        let background = if sheet.has_other_backgrounds { Color::Unknown } else { Color::WHITE };
        let mut elements = Elements::on_background(background);
        // Every document has a body, whether or not it has a tag for it.
        elements.open(b"body", sheet.style_of("body", "", ""));
        Self { lines: Lines::default(), elements, sheet, in_hidden_content: false, removed_hidden: false }
    }

    fn write(&mut self, text: &str) {
        if !self.in_hidden_content {
            self.write_if(self.elements.show_text(), text);
        }
    }

    fn write_if(&mut self, is_shown: bool, text: &str) {
        match is_shown {
            true => self.lines.write(text),
            false => self.removed_hidden |= text.contains(char::is_alphanumeric),
        }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let style = self.style_of(tag);
        self.elements.open(&tag.name, style);
        match tag.name.as_slice() {
            b"hr" => {
                self.lines.begin_line();
                self.write_if(self.elements.show_picture(&style), "---");
                self.lines.begin_line();
            }
            b"img" => {
                let alt = attribute(tag, "alt").unwrap_or_default();
                self.write_if(self.elements.show_picture(&style), &alt);
            }
            b"li" if self.elements.show_text() => self.lines.begin_item(),
            b"a" => self.handle_link(Some(tag)),
            name => self.handle_tag(name, true),
        }
    }

    fn end(&mut self, name: &[u8]) {
        self.elements.end(name);
        match name {
            b"hr" | b"img" => {}
            b"a" => self.handle_link(None),
            name => self.handle_tag(name, false),
        }
    }

    fn handle_tag(&mut self, name: &[u8], opens: bool) {
        match name {
            b"style" | b"script" | b"title" | b"iframe" | b"noembed" | b"noframes" => self.in_hidden_content = opens,
            b"p" => self.lines.begin_paragraph(),
            b"br" => self.lines.end_line(),
            b"li" | b"tr" | b"td" | b"th" | b"dt" | b"dd" | b"option" => self.lines.begin_line(),
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => self.handle_heading(name, opens),
            b"div" | b"table" | b"center" | b"section" | b"article" | b"header" | b"footer" | b"dl" => {
                self.lines.begin_line();
                self.handle_block(Block::Plain, opens);
            }
            b"blockquote" => self.handle_paragraph(Block::Quote, opens),
            b"pre" => self.handle_paragraph(Block::Verbatim, opens),
            b"ul" => self.handle_paragraph(Block::list(), opens),
            b"ol" => self.handle_paragraph(Block::ordered_list(), opens),
            _ => {}
        }
    }

    /// What the browser, the attributes of old HTML, the style sheets and the element itself declare, in this order.
    fn style_of(&self, tag: &StartTag<()>) -> Style {
        let mut style = Style::default();
        let (mut classes, mut id, mut inline) = (Cow::default(), Cow::default(), None);
        let name = tag.name.as_slice();
        match name {
            b"template" | b"noscript" | b"datalist" => style.set_hidden(),
            b"dialog" if attribute(tag, "open").is_none() => style.set_hidden(),
            // A link has a colour of its own.
            b"a" if attribute(tag, "href").is_some() => style.set_color(""),
            _ => {}
        }
        for (attribute, value) in &tag.attributes {
            match attribute.as_slice() {
                b"style" => inline = Some(to_text_lossy(value)),
                b"class" => classes = to_text_lossy(value),
                b"id" => id = to_text_lossy(value),
                b"hidden" => style.set_hidden(),
                b"bgcolor" => style.set_background(&to_text_lossy(value)),
                b"background" if !value.is_empty() => style.set_background_image(),
                b"color" if name == b"font" => style.set_color(&to_text_lossy(value)),
                b"text" if name == b"body" => style.set_color(&to_text_lossy(value)),
                b"size" if name == b"font" => style.set_readable_size(),
                _ => {}
            }
        }
        style.merge(&self.sheet.style_of(&to_text_lossy(&tag.name), &classes, &id));
        if let Some(inline) = inline {
            style.merge(&Style::parse(&inline));
        }
        style
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

    fn handle_heading(&mut self, name: &[u8], opens: bool) {
        let level = name.last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
        match opens {
            true => self.lines.begin_heading(level),
            false => self.lines.end_heading(),
        }
    }

    fn handle_link(&mut self, start: Option<&StartTag<()>>) {
        self.lines.close_link();
        if let Some(address) = start.and_then(|tag| attribute(tag, "href")).and_then(|href| links::address(&href)) {
            self.lines.open_link(address);
        }
    }
}

/// How the content of an element is read that is not markup.
fn content_state(name: &[u8]) -> Option<State> {
    match name {
        b"style" | b"iframe" | b"noembed" | b"noframes" | b"xmp" => Some(State::RawText),
        b"script" => Some(State::ScriptData),
        b"title" | b"textarea" => Some(State::RcData),
        _ => None,
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
#[path = "html_tests.rs"]
mod tests;
