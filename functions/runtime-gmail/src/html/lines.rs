//! A text as it is written: its lines, what stands before each, and its links as footnotes.

use std::fmt::Write as _;
use std::mem::{discriminant, take};

/// Blocks nested deeper keep their text and lose their shape.
pub(super) const MAX_DEPTH: usize = 30;

/// What lines can be inside of, one within the other.
#[derive(Debug)]
pub(super) enum Block {
    /// Nothing that shows.
    Plain,
    /// White space and line ends are as they were written.
    Verbatim,
    /// Somebody else's words.
    Quote,
    /// Items, each with a marker.
    List {
        /// The number of its next item, in an ordered list.
        next: Option<u32>,
        /// What stands before the item's first line.
        marker: String,
    },
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    /// Line ends before the next character: one, or two around an empty line.
    ends: u8,
    /// White space was read since the last character.
    space: bool,
    /// The level of a heading whose text has not begun.
    heading: usize,
    link: Option<Link>,
    footnotes: Vec<String>,
    open: Vec<Block>,
    /// Blocks that were opened past [`MAX_DEPTH`] and not closed yet.
    too_deep: usize,
}

#[derive(Debug)]
struct Link {
    href: String,
    /// Some of its text was written.
    shown: bool,
}

impl Block {
    pub(super) fn list() -> Self {
        Self::List { next: None, marker: String::new() }
    }

    pub(super) fn ordered_list() -> Self {
        Self::List { next: Some(1), marker: String::new() }
    }
}

impl Lines {
    pub(super) fn write(&mut self, text: &str) {
        let verbatim = self.open.iter().any(|block| matches!(block, Block::Verbatim));
        for c in text.chars() {
            match c {
                '\n' if verbatim => self.end_line(),
                ' ' | '\t' if verbatim => self.put(c),
                ' ' | '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => self.space |= c.is_whitespace(),
                c => self.put(c),
            }
        }
    }

    /// Ends a line, be it an empty one.
    pub(super) fn end_line(&mut self) {
        self.separate(self.ends + 1);
    }

    /// What follows stands on a line of its own.
    pub(super) fn begin_line(&mut self) {
        self.separate(1);
    }

    /// What follows stands behind an empty line.
    pub(super) fn begin_paragraph(&mut self) {
        self.separate(2);
    }

    pub(super) fn begin_heading(&mut self, level: usize) {
        self.begin_paragraph();
        self.heading = level;
    }

    pub(super) fn end_heading(&mut self) {
        self.begin_paragraph();
        self.heading = 0;
    }

    /// Begins an item of the innermost list, and ends whatever its last one left open.
    pub(super) fn begin_item(&mut self) {
        self.begin_line();
        let list = self.open.iter().rposition(|block| matches!(block, Block::List { .. }));
        let Some(list) = list.filter(|_| self.too_deep == 0) else { return };
        self.open.truncate(list + 1);
        if let Some(Block::List { next, marker }) = self.open.last_mut() {
            *marker = next.map_or_else(|| "* ".to_owned(), |number| format!("{number}. "));
            *next = next.map(|number| number.saturating_add(1));
        }
    }

    pub(super) fn open(&mut self, block: Block) {
        if self.open.len() < MAX_DEPTH && self.too_deep == 0 {
            self.open.push(block);
        } else {
            self.too_deep += 1;
        }
    }

    /// Closes the innermost block of this kind, and whatever was left open within it.
    pub(super) fn close(&mut self, block: &Block) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if let Some(place) = self.open.iter().rposition(|open| discriminant(open) == discriminant(block)) {
            self.open.truncate(place);
        }
    }

    pub(super) fn open_link(&mut self, href: String) {
        self.close_link();
        self.link = Some(Link { href, shown: false });
    }

    /// A link around nothing that could be read is not written.
    pub(super) fn close_link(&mut self) {
        if let Some(Link { href, shown: true }) = self.link.take() {
            self.footnotes.push(href);
            let _ = write!(self.text, "][{}]", self.footnotes.len());
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.close_link();
        for (place, href) in self.footnotes.iter().enumerate() {
            let separator = if place == 0 { "\n\n" } else { "\n" };
            let _ = write!(self.text, "{separator}[{}]: {href}", place + 1);
        }
        self.text
    }

    fn separate(&mut self, ends: u8) {
        self.ends = self.ends.max(ends).min(2);
        self.space = false;
    }

    fn put(&mut self, c: char) {
        if self.ends > 0 || self.text.is_empty() {
            self.start_line();
        } else if self.space {
            self.text.push(' ');
        }
        self.space = false;
        if let Some(link) = self.link.as_mut().filter(|link| !link.shown) {
            link.shown = true;
            self.text.push('[');
        }
        self.text.push(c);
    }

    fn start_line(&mut self) {
        if !self.text.is_empty() {
            self.text.extend((0..self.ends).map(|_| '\n'));
        }
        self.ends = 0;
        for block in &mut self.open {
            match block {
                Block::Plain | Block::Verbatim => {}
                Block::Quote => self.text.push_str("> "),
                Block::List { marker, .. } if marker.is_empty() => self.text.push_str("  "),
                Block::List { marker, .. } => self.text.push_str(&take(marker)),
            }
        }
        if self.heading > 0 {
            self.text.extend((0..take(&mut self.heading)).map(|_| '#'));
            self.text.push(' ');
        }
    }
}
