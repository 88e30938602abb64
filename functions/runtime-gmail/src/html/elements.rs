//! The elements that are open at a place of a document, and whether a text there can be seen.
//!
//! Elements end where the HTML standard ends them, also without an end tag, so that one that is hidden neither hides
//! what follows it nor shows what is still within it.
//! <https://html.spec.whatwg.org/multipage/parsing.html#parsing-main-inbody>

use std::collections::VecDeque;

use super::color::Color;
use super::style::Style;

/// The most open elements that are kept. Past that the outermost is forgotten, and what it hides stays hidden.
const MAX_OPEN: usize = 128;

/// What the standard calls an element's category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    /// Without content.
    Void,
    /// Stays active past the end of the block it was opened in.
    Formatting,
    /// Its start ends an open paragraph.
    Block,
    /// Where the search for an element's start ends: what is outside is not ended from within.
    Scope,
    Other,
}

/// What an open element says of the text directly within it.
#[derive(Clone, Copy, Debug)]
struct Sight {
    is_removed: bool,
    is_invisible: bool,
    is_tiny: bool,
    color: Color,
    background: Color,
}

#[derive(Debug)]
struct Element {
    name: Vec<u8>,
    category: Category,
    style: Style,
    sight: Sight,
}

/// The open elements, the outermost first.
#[derive(Debug)]
pub(super) struct Elements {
    open: VecDeque<Element>,
    /// What is seen outside of the open elements.
    outside: Sight,
}

impl Sight {
    fn within(self, style: &Style) -> Self {
        Self {
            is_removed: self.is_removed || style.removes(),
            is_invisible: style.is_invisible().unwrap_or(self.is_invisible),
            is_tiny: style.is_tiny().unwrap_or(self.is_tiny),
            color: style.color().unwrap_or(self.color),
            background: style.background().unwrap_or(self.background),
        }
    }

    fn shows_text(self) -> bool {
        self.shows_pictures() && !self.is_tiny && !self.color.vanishes_on(self.background)
    }

    fn shows_pictures(self) -> bool {
        !self.is_removed && !self.is_invisible
    }
}

impl Elements {
    /// Black on `background`, and nothing open.
    pub(super) fn on_background(background: Color) -> Self {
        let outside = Sight { is_removed: false, is_invisible: false, is_tiny: false, color: Color::BLACK, background };
        Self { open: VecDeque::new(), outside }
    }

    /// Whether a text that stands here can be seen.
    pub(super) fn show_text(&self) -> bool {
        self.sight().shows_text()
    }

    /// Whether a picture or a rule of this style can be seen here: the size and the colour of text do not matter to it.
    pub(super) fn show_picture(&self, style: &Style) -> bool {
        self.sight().within(style).shows_pictures()
    }

    /// Opens an element, and ends those that cannot contain it.
    pub(super) fn open(&mut self, name: &[u8], style: Style) {
        let category = Category::of(name);
        if category == Category::Block || name == b"table" || name == b"hr" {
            self.end_block(b"p", &[]);
        }
        match name {
            b"li" => self.end_block(b"li", &["ul", "ol", "menu", "dir"]),
            b"dd" | b"dt" => {
                self.end_block(b"dd", &["dl"]);
                self.end_block(b"dt", &["dl"]);
            }
            b"option" | b"a" | b"nobr" => self.end(name),
            b"td" | b"th" => self.end_cells(&["td", "th"]),
            b"tr" => self.end_cells(&["td", "th", "caption", "tr"]),
            b"tbody" | b"thead" | b"tfoot" => {
                self.end_cells(&["td", "th", "caption", "tr", "tbody", "thead", "tfoot"]);
            }
            _ if is_heading(name) && self.open.back().is_some_and(|last| is_heading(&last.name)) => {
                self.open.pop_back();
            }
            _ => {}
        }
        match name {
            // A second one only adds to the first; its end is the document's.
            b"html" | b"body" if self.open.is_empty() => self.outside = self.outside.within(&style),
            b"html" | b"body" | b"head" => {}
            _ if category == Category::Void => {}
            _ => self.push(name.to_vec(), category, style),
        }
    }

    /// Handles an end tag.
    pub(super) fn end(&mut self, name: &[u8]) {
        match name {
            b"html" | b"body" | b"head" => {}
            b"table" => self.truncate_at(|open| open.name == b"table", |_| false),
            b"td" | b"th" | b"tr" | b"tbody" | b"thead" | b"tfoot" | b"caption" => {
                self.truncate_at(|open| open.name == name, |open| open.name == b"table");
            }
            b"li" => self.end_block(name, &["ul", "ol", "menu", "dir"]),
            _ if is_heading(name) => self.end_any_block(|open| is_heading(&open.name), &[]),
            _ => match Category::of(name) {
                Category::Void => {}
                Category::Formatting => self.end_formatting(name),
                Category::Block | Category::Scope => self.end_block(name, &[]),
                // A block within an element such as `span` keeps it open.
                Category::Other => self.truncate_at(
                    |open| open.name == name,
                    |open| matches!(open.category, Category::Block | Category::Scope),
                ),
            },
        }
    }

    fn sight(&self) -> Sight {
        self.open.back().map_or(self.outside, |element| element.sight)
    }

    fn push(&mut self, name: Vec<u8>, category: Category, style: Style) {
        if self.open.len() == MAX_OPEN
            && let Some(outermost) = self.open.pop_front()
        {
            self.outside = outermost.sight;
        }
        let sight = self.sight().within(&style);
        self.open.push_back(Element { name, category, style, sight });
    }

    /// The innermost element that `is_sought`, if no element that `is_limit` stands around this place within it.
    fn find(&self, is_sought: impl Fn(&Element) -> bool, is_limit: impl Fn(&Element) -> bool) -> Option<usize> {
        let index = self.open.iter().rposition(|open| is_sought(open) || is_limit(open))?;
        is_sought(&self.open[index]).then_some(index)
    }

    fn truncate_at(&mut self, is_sought: impl Fn(&Element) -> bool, is_limit: impl Fn(&Element) -> bool) {
        if let Some(index) = self.find(is_sought, is_limit) {
            self.open.truncate(index);
        }
    }

    /// Ends the innermost cells, rows or groups of the innermost table, and what is within them.
    fn end_cells(&mut self, names: &[&str]) {
        while let Some(index) = self.find(|open| is_one_of(&open.name, names), |open| open.name == b"table") {
            self.open.truncate(index);
        }
    }

    fn end_block(&mut self, name: &[u8], limits: &[&str]) {
        self.end_any_block(|open| open.name == name, limits);
    }

    /// Ends a block, and opens the formatting within it anew, as the standard does.
    fn end_any_block(&mut self, is_sought: impl Fn(&Element) -> bool, limits: &[&str]) {
        let is_limit = |open: &Element| open.category == Category::Scope || is_one_of(&open.name, limits);
        let Some(index) = self.find(is_sought, is_limit) else { return };
        self.remove_from(index, |element| element.category == Category::Formatting);
    }

    /// Ends an element alone: what was opened within it stays open.
    fn end_formatting(&mut self, name: &[u8]) {
        let Some(index) = self.find(|open| open.name == name, |open| open.category == Category::Scope) else { return };
        self.remove_from(index, |_| true);
    }

    /// Removes the element at `index`, and of those within it all that are not `kept`.
    fn remove_from(&mut self, index: usize, kept: impl Fn(&Element) -> bool) {
        let within: Vec<Element> = self.open.drain(index..).skip(1).filter(kept).collect();
        for element in within {
            self.push(element.name, element.category, element.style);
        }
    }
}

impl Category {
    fn of(name: &[u8]) -> Self {
        match name {
            b"area" | b"base" | b"basefont" | b"bgsound" | b"br" | b"col" | b"embed" | b"frame" | b"hr" | b"img"
            | b"input" | b"keygen" | b"link" | b"meta" | b"param" | b"source" | b"track" | b"wbr" => Self::Void,
            b"a" | b"b" | b"big" | b"code" | b"em" | b"font" | b"i" | b"nobr" | b"s" | b"small" | b"strike"
            | b"strong" | b"tt" | b"u" => Self::Formatting,
            b"applet" | b"button" | b"caption" | b"marquee" | b"object" | b"select" | b"table" | b"td"
            | b"template" | b"th" => Self::Scope,
            b"address" | b"article" | b"aside" | b"blockquote" | b"center" | b"dd" | b"details" | b"dialog"
            | b"dir" | b"div" | b"dl" | b"dt" | b"fieldset" | b"figcaption" | b"figure" | b"footer" | b"form"
            | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"header" | b"hgroup" | b"li" | b"listing" | b"main"
            | b"menu" | b"nav" | b"ol" | b"p" | b"pre" | b"section" | b"summary" | b"ul" | b"xmp" => Self::Block,
            _ => Self::Other,
        }
    }
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| known.as_bytes() == name)
}

fn is_heading(name: &[u8]) -> bool {
    matches!(name, [b'h', b'1'..=b'6'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the place after `tags` shows text; `-` before a name is an end tag, `!` hides.
    fn shows(tags: &str) -> bool {
        let mut elements = Elements::on_background(Color::WHITE);
        for tag in tags.split(' ') {
            match tag.split_at(1) {
                ("-", name) => elements.end(name.as_bytes()),
                ("!", name) => elements.open(name.as_bytes(), Style::parse("display:none")),
                _ => elements.open(tag.as_bytes(), Style::default()),
            }
        }
        elements.show_text()
    }

    #[test]
    fn a_hidden_element_ends_where_a_browser_ends_it() {
        for tags in [
            "!div -div",
            "!div div -div -div",
            "!p p",
            "!p div",
            "!p table",
            "!li li",
            "!h1 h2",
            "!h1 -h2",
            "table tr !td td",
            "table tr !td tr",
            "table !tr tr",
            "table tr !td -table",
            "table !tr td -tr",
            "!a a",
            "!b div -b",
            "!option option",
            "ul !li ul li -ul -li",
            "!dd dt",
            "!img",
            "!br",
            "!input",
            "div !span -span",
            "div !p -div",
            "!section -section",
            "!x-y -x-y",
            "table !tbody tr td tbody",
        ] {
            assert!(shows(tags), "{tags}");
        }
    }

    #[test]
    fn a_hidden_element_stays_where_a_browser_keeps_it() {
        for tags in [
            "!div",
            "!div div -div",
            "!div -p",
            "!div -span",
            "!div p div -p",
            "!span div -span",
            "!div table tr td -div",
            "div !b -div",
            "!p b -b",
            "!table tr td -td tr",
            "!ul li li",
            "!li ul li",
            "!div table -tr",
            "!div img",
            "!div -html -body",
            "p !font p",
            "!div x-y -div2",
        ] {
            assert!(!shows(tags), "{tags}");
        }
    }

    #[test]
    fn no_depth_shows_what_is_hidden() {
        let deep = |hidden: &str, end: &str| format!("{hidden} {} {end}", ["span"; 2 * MAX_OPEN].join(" "));
        assert!(!shows(&deep("!div", "b")));
        assert!(!shows(&deep("!div", &["-span"; 3 * MAX_OPEN].join(" "))));
        assert!(!shows(&deep("div", "!div")));
        assert!(shows(&deep("div", "!div -div")));
    }

    #[test]
    fn visibility_size_and_colour_are_those_of_the_innermost_declaration() {
        let shows = |outer: &str, inner: &str| {
            let mut elements = Elements::on_background(Color::WHITE);
            elements.open(b"div", Style::parse(outer));
            elements.open(b"b", Style::parse(inner));
            elements.show_text()
        };
        for (outer, inner) in [
            ("visibility:hidden", "visibility:visible"),
            ("font-size:0", "font-size:14px"),
            ("color:#fff", "color:#333"),
            ("color:#fff", "background:#000"),
            ("background:#000;color:#fff", ""),
            ("background:url(x.png);color:#fff", ""),
        ] {
            assert!(shows(outer, inner), "{outer} / {inner}");
        }
        for (outer, inner) in [
            ("display:none", "display:block"),
            ("visibility:hidden", "display:block"),
            ("font-size:0", "font-size:1em"),
            ("color:#fff", ""),
            ("background:#eee", "color:rgb(238,238,238)"),
            ("color:#000", "background:#000"),
            ("color:transparent", ""),
        ] {
            assert!(!shows(outer, inner), "{outer} / {inner}");
        }
    }
}
