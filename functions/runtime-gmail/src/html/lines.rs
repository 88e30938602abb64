//! Writes a text line by line, with the prefixes of lists and quotes, and with links as footnotes.

use std::fmt::Write as _;
use std::mem::{discriminant, take};

use nbhd::domain::visible::is_invisible;

/// Blocks nested deeper than this keep their text and lose their prefixes.
pub(super) const MAX_DEPTH: usize = 30;

/// A block of lines; blocks nest.
#[derive(Debug)]
pub(super) enum Block {
    /// A block without a prefix.
    Plain,
    /// Preformatted text: white space and line ends are kept.
    Verbatim,
    /// A quotation.
    Quote,
    /// A list of items, each with a marker.
    List {
        /// The number of the next item; `None` in an unordered list.
        next: Option<u32>,
        /// The prefix of the item's first line, until that is written.
        marker: String,
    },
}

/// The text written so far, and what is written before the next character.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    /// How many characters that a person sees were read.
    visible_chars: usize,
    /// Line ends before the next character: one, or two around an empty line.
    pending_line_ends: u8,
    /// Whether white space was read since the last character.
    pending_space: bool,
    /// The level of a heading whose text has not begun; 0 if there is none.
    pending_heading: usize,
    link: Option<Link>,
    footnotes: Vec<String>,
    open_blocks: Vec<Block>,
    /// Blocks that were opened past [`MAX_DEPTH`] and not closed yet.
    unopened_blocks: usize,
}

#[derive(Debug)]
struct Link {
    href: String,
    /// Whether some of its text was written.
    has_text: bool,
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
        let verbatim = self.open_blocks.iter().any(|block| matches!(block, Block::Verbatim));
        for c in text.chars() {
            match c {
                '\n' if verbatim => self.end_line(),
                ' ' | '\t' if verbatim => self.push_char(c),
                ' ' | '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => self.pending_space |= c.is_whitespace(),
                c => self.push_char(c),
            }
        }
    }

    /// How many characters that a person sees were written, without prefixes and footnotes.
    pub(super) fn visible_chars(&self) -> usize {
        self.visible_chars
    }

    /// Ends a line, even an empty one.
    pub(super) fn end_line(&mut self) {
        self.require_line_ends(self.pending_line_ends + 1);
    }

    /// Makes the next character begin a line.
    pub(super) fn begin_line(&mut self) {
        self.require_line_ends(1);
    }

    /// Makes the next character begin a line after an empty one.
    pub(super) fn begin_paragraph(&mut self) {
        self.require_line_ends(2);
    }

    pub(super) fn begin_heading(&mut self, level: usize) {
        self.begin_paragraph();
        self.pending_heading = level;
    }

    pub(super) fn end_heading(&mut self) {
        self.begin_paragraph();
        self.pending_heading = 0;
    }

    /// Begins an item of the innermost list and closes the blocks that its last item left open.
    pub(super) fn begin_item(&mut self) {
        self.begin_line();
        let list = self.open_blocks.iter().rposition(|block| matches!(block, Block::List { .. }));
        let Some(list) = list.filter(|_| self.unopened_blocks == 0) else { return };
        self.open_blocks.truncate(list + 1);
        if let Some(Block::List { next, marker }) = self.open_blocks.last_mut() {
            *marker = next.map_or_else(|| "* ".to_owned(), |number| format!("{number}. "));
            *next = next.map(|number| number.saturating_add(1));
        }
    }

    pub(super) fn open_block(&mut self, block: Block) {
        if self.open_blocks.len() < MAX_DEPTH && self.unopened_blocks == 0 {
            self.open_blocks.push(block);
        } else {
            self.unopened_blocks += 1;
        }
    }

    /// Closes the innermost block of this kind and the blocks that were left open within it.
    pub(super) fn close_block(&mut self, block: &Block) {
        if self.unopened_blocks > 0 {
            self.unopened_blocks -= 1;
        } else if let Some(index) = self.open_blocks.iter().rposition(|open| discriminant(open) == discriminant(block))
        {
            self.open_blocks.truncate(index);
        }
    }

    pub(super) fn open_link(&mut self, href: String) {
        self.close_link();
        self.link = Some(Link { href, has_text: false });
    }

    /// Closes the open link; a link without text is not written.
    pub(super) fn close_link(&mut self) {
        if let Some(Link { href, has_text: true }) = self.link.take() {
            self.footnotes.push(href);
            let _ = write!(self.text, "][{}]", self.footnotes.len());
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.close_link();
        for (index, href) in self.footnotes.iter().enumerate() {
            let separator = if index == 0 { "\n\n" } else { "\n" };
            let _ = write!(self.text, "{separator}[{}]: {href}", index + 1);
        }
        self.text
    }

    fn require_line_ends(&mut self, ends: u8) {
        self.pending_line_ends = self.pending_line_ends.max(ends).min(2);
        self.pending_space = false;
    }

    fn push_char(&mut self, c: char) {
        if self.pending_line_ends > 0 || self.text.is_empty() {
            self.start_line();
        } else if self.pending_space {
            self.text.push(' ');
        }
        self.pending_space = false;
        if let Some(link) = self.link.as_mut().filter(|link| !link.has_text) {
            link.has_text = true;
            self.text.push('[');
        }
        self.text.push(c);
        self.visible_chars += usize::from(!is_invisible(c));
    }

    fn start_line(&mut self) {
        if !self.text.is_empty() {
            self.text.extend((0..self.pending_line_ends).map(|_| '\n'));
        }
        self.pending_line_ends = 0;
        for block in &mut self.open_blocks {
            match block {
                Block::Plain | Block::Verbatim => {}
                Block::Quote => self.text.push_str("> "),
                Block::List { marker, .. } if marker.is_empty() => self.text.push_str("  "),
                Block::List { marker, .. } => self.text.push_str(&take(marker)),
            }
        }
        if self.pending_heading > 0 {
            self.text.extend((0..take(&mut self.pending_heading)).map(|_| '#'));
            self.text.push(' ');
        }
    }
}
