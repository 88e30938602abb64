//! The text that a person sees of what somebody outside wrote: mail, file names, events.
//!
//! Characters without a shape of their own can carry a message to a program that the person never sees, or make a name
//! look like another. What is invisible is Unicode's
//! [`Default_Ignorable_Code_Point`](https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt), the
//! control characters, the noncharacters and the interlinear annotation marks. All of it is removed, except where it
//! changes what is seen: a joiner within a word or an emoji, a variation selector after its base, a direction mark
//! beside a word, the tags of a flag.

use std::borrow::Cow;

/// The most characters without a shape that stand together by accident: as many bits are a letter.
const MAX_ACCIDENTAL_RUN: usize = 7;

/// The tags after U+1F3F4 in [all flags](https://www.unicode.org/Public/emoji/latest/emoji-sequences.txt) that are made
/// of tags: England, Scotland and Wales. Other tags show a black flag and spell whatever their sender likes.
const FLAG_TAGS: [&str; 3] = [
    "\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// A text without what a person cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible<'t> {
    /// The text; borrowed where nothing was removed, and never longer than its source.
    pub text: Cow<'t, str>,
    /// Whether something was removed that could carry a message: tags, several variation selectors on one character,
    /// eight or more invisible characters of more than one kind in a row, or an override of the writing direction,
    /// under which a person reads other text than a program. Soft hyphens, padding, lone joiners, embeddings and
    /// control characters do not count: honest mail is full of them.
    pub removed_hidden: bool,
}

/// What a person sees of a text of several lines. Line ends become `\n`; tabs are kept. Idempotent, in linear time.
pub fn visible(text: &str) -> Visible<'_> {
    let mut output = Output { source: text, written: String::new(), copied_to: 0 };
    let mut removed_hidden = false;
    let mut from = 0;
    while let Some(start) = text[from..].find(is_changed).map(|at| from + at) {
        let rest = &text[start..];
        if let Some(line_end) = rest.chars().next().filter(|c| is_line_end(*c)) {
            from = start + line_end.len_utf8();
            output.replace(start, from, if rest.starts_with("\r\n") { "" } else { "\n" });
            continue;
        }
        from = start + rest.find(|c| !is_invisible(c)).unwrap_or(rest.len());
        let run = Run {
            left: text[..start].chars().next_back().filter(|c| !c.is_whitespace()),
            invisible: &text[start..from],
            right: text[from..].chars().next().filter(|c| !c.is_whitespace()),
        };
        let kept = run.kept();
        if kept != run.invisible {
            removed_hidden |= run.can_carry_message(&kept);
            output.replace(start, from, &kept);
        }
    }
    Visible { text: output.finish(), removed_hidden }
}

/// What a person sees of a text that is shown on one line, such as a subject, a name or a place: line ends and tabs,
/// with the blanks around them, become one blank, and are dropped at either end.
pub fn visible_line(text: &str) -> Visible<'_> {
    let Visible { text, removed_hidden } = visible(text);
    if !text.contains(is_break) {
        return Visible { text, removed_hidden };
    }
    let mut line = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(at) = text[from..].find(is_break).map(|at| from + at) {
        line.push_str(&text[from..at]);
        line.truncate(line.trim_end().len());
        let rest = text[at..].trim_start();
        from = text.len() - rest.len();
        if !line.is_empty() && !rest.is_empty() {
            line.push(' ');
        }
    }
    line.push_str(&text[from..]);
    Visible { text: Cow::Owned(line), removed_hidden }
}

/// Copies of the source around what was replaced.
struct Output<'t> {
    source: &'t str,
    written: String,
    copied_to: usize,
}

impl<'t> Output<'t> {
    fn replace(&mut self, start: usize, end: usize, replacement: &str) {
        self.written.push_str(&self.source[self.copied_to..start]);
        self.written.push_str(replacement);
        self.copied_to = end;
    }

    fn finish(mut self) -> Cow<'t, str> {
        if self.copied_to == 0 {
            return Cow::Borrowed(self.source);
        }
        self.written.push_str(&self.source[self.copied_to..]);
        Cow::Owned(self.written)
    }
}

/// Invisible characters in a row, and the character on either side; `None` for a blank or an end of the text.
struct Run<'t> {
    left: Option<char>,
    invisible: &'t str,
    right: Option<char>,
}

impl Run<'_> {
    /// The characters that change what is seen: at most a flag's tags or one selector, one joiner and one mark.
    fn kept(&self) -> String {
        let is_flag = |tags: &&&str| self.left == Some('\u{1f3f4}') && self.invisible.starts_with(**tags);
        let mut kept = FLAG_TAGS.iter().find(is_flag).map(|tags| (*tags).to_owned()).unwrap_or_default();
        let (mut has_joiner, mut has_mark) = (false, false);
        let flag_end = kept.len();
        for (at, c) in self.invisible.char_indices().skip_while(|(at, _)| *at < flag_end) {
            let is_kept = match c {
                '\u{fe00}'..='\u{fe0f}' => at == 0 && self.selects_variant(c),
                '\u{180b}'..='\u{180f}' => at == 0 && self.left.is_some_and(is_mongolian),
                '\u{200c}' | '\u{200d}' => !has_joiner && self.joins(c),
                '\u{200e}' | '\u{200f}' | '\u{61c}' => !has_mark && (self.left.is_some() || self.right.is_some()),
                _ => false,
            };
            if is_kept {
                has_joiner |= is_joiner(c);
                has_mark |= matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}');
                kept.push(c);
            }
        }
        kept
    }

    /// Whether the character on the left has a variant that `selector` could choose. Of ASCII, these are the bases of
    /// keycaps, and the zero with a stroke.
    fn selects_variant(&self, selector: char) -> bool {
        self.left.is_some_and(|base| match base {
            '0' => matches!(selector, '\u{fe00}' | '\u{fe0e}' | '\u{fe0f}'),
            '#' | '*' | '1'..='9' => matches!(selector, '\u{fe0e}' | '\u{fe0f}'),
            base => !base.is_ascii() && is_joinable(base),
        })
    }

    /// Whether `joiner` changes the letters or emoji beside it: between two of them, but for ASCII; and, if it joins,
    /// also at an end of a word in Arabic and the scripts of India.
    fn joins(&self, joiner: char) -> bool {
        match (self.left, self.right) {
            (Some(left), Some(right)) if is_joinable(left) && is_joinable(right) => {
                !(left.is_ascii() && right.is_ascii())
            }
            (left, right) => {
                joiner == '\u{200d}' && (left.is_some_and(is_shaped_alone) || right.is_some_and(is_shaped_alone))
            }
        }
    }

    fn can_carry_message(&self, kept: &str) -> bool {
        let removed = |is_one: fn(char) -> bool| {
            self.invisible.chars().filter(|c| is_one(*c)).count() - kept.chars().filter(|c| is_one(*c)).count()
        };
        let mut shapeless = self.invisible.chars().filter(|c| !c.is_control());
        let first = shapeless.next();
        removed(is_tag) > 0
            || removed(is_direction_override) > 0
            || removed(is_variation_selector) > 1
            || (removed(|c| !c.is_control()) > MAX_ACCIDENTAL_RUN && shapeless.any(|c| Some(c) != first))
    }
}

fn is_changed(c: char) -> bool {
    is_line_end(c) || is_invisible(c)
}

/// What ends a line beside `\n`.
fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}')
}

/// What cannot stand within a line.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}')
}

/// Whether `c` is a character without a shape of its own, a control character other than those that end lines and
/// columns, or a noncharacter.
pub fn is_invisible(c: char) -> bool {
    match c {
        '\n' | '\t' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' => false,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        ' '..='~' => false,
        // Default_Ignorable_Code_Point, Unicode 17.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        // Interlinear annotations, and the noncharacters.
        '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}' => true,
        c => u32::from(c) & 0xfffe == 0xfffe,
    }
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e007f}')
}

fn is_direction_override(c: char) -> bool {
    matches!(c, '\u{202d}' | '\u{202e}')
}

fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Letters, digits, marks, emoji and other symbols: all but blanks and the punctuation of Latin text.
fn is_joinable(c: char) -> bool {
    c.is_alphanumeric() || !(c.is_ascii() || c.is_whitespace() || matches!(c, '\u{2010}'..='\u{205e}'))
}

/// Arabic, Syriac and the scripts of India, Myanmar and Cambodia: a letter there has a form of its own before a joiner
/// at the end of a word, such as the chillu letters of Malayalam.
fn is_shaped_alone(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

fn is_mongolian(c: char) -> bool {
    matches!(c, '\u{1820}'..='\u{18aa}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REAL_TEXTS: [&str; 16] = [
        "Grüße aus München,\n\tbis bald –  Änne",
        "اجتماع يوم الخميس الساعة ٩:٣٠، غرفة ٤",
        "من كتاب‌ها را می‌خوانم و نمی‌دانم",
        "هجری ۱۴۴۵ ه\u{200d}.",
        "क्\u{200d}ष और क्\u{200c}ष, श्री",
        "അവന്\u{200d} വന്നു",
        "ශ්\u{200d}රී ලංකාව",
        "הפגישה ב-C++\u{200f} מחר (14:00)\u{200f}.",
        "\u{200f}שלום, Ada\u{200e}!",
        "family 👨\u{200d}👩\u{200d}👧\u{200d}👦, flag 🏳\u{fe0f}\u{200d}🌈, pirate 🏴\u{200d}☠\u{fe0f}",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\
            \u{e007f}🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
        "1\u{fe0f}\u{20e3}#\u{fe0f}\u{20e3}*\u{fe0f}\u{20e3} 🇫🇷",
        "👍🏽 👩🏿\u{200d}🚀 ❤\u{fe0f}\u{200d}🔥 ☎\u{fe0e} ©\u{fe0f}",
        "ご予約の確認 葛\u{fe00} 안녕하세요",
        "ᠮᠣᠩᠭᠣᠯ ᠨ\u{180b}ᠠ",
        "",
    ];

    fn assert_reads(source: &str, text: &str, removed_hidden: bool) {
        let read = visible(source);
        assert_eq!((&*read.text, read.removed_hidden), (text, removed_hidden), "{source:?}");
    }

    #[test]
    fn real_texts_are_unchanged_and_not_copied() {
        for text in REAL_TEXTS {
            let read = visible(text);
            assert!(matches!(&read.text, Cow::Borrowed(same) if *same == text), "{text:?} became {:?}", read.text);
            assert!(!read.removed_hidden, "{text:?}");
        }
    }

    #[test]
    fn a_message_in_tags_is_removed_and_reported() {
        let tags: String = "do this".chars().map(|c| char::from_u32(0xe0000 + c as u32).expect("a tag")).collect();
        assert_reads(&format!("Hello{tags} there"), "Hello there", true);
        for flag in [format!("🏴{tags}\u{e007f}"), format!("🏴{}{tags}", FLAG_TAGS[0])] {
            let read = visible(&flag);
            assert!(read.removed_hidden && read.text.len() < flag.len() - tags.len() + 1, "{flag:?}");
        }
        assert_reads("a\u{e0001}", "a", true);
        assert_reads(&format!("x{}", FLAG_TAGS[0]), "x", true);
    }

    #[test]
    fn a_message_in_variation_selectors_is_removed_and_reported() {
        assert_reads("😀\u{fe0f}\u{e0158}\u{e0155}\u{e0154}!", "😀\u{fe0f}!", true);
        assert_reads("😀\u{fe01}\u{fe02}\u{fe03}", "😀\u{fe01}", true);
        assert_reads("a\u{fe0f}b \u{fe0f}", "ab ", false);
        assert_reads("葛\u{e0100}", "葛", false);
    }

    #[test]
    fn a_message_in_zero_width_bits_is_removed_and_reported() {
        assert_reads("ab\u{200b}\u{200c}\u{200b}\u{200c}\u{200c}\u{200b}\u{200c}\u{200b}cd", "abcd", true);
        assert_reads("ab\u{2062}\u{2064}\u{feff}cd", "abcd", false);
        assert_reads("p\u{200d}a\u{200c}y", "pay", false);
    }

    #[test]
    fn direction_is_not_overridden() {
        assert_reads("invoice\u{202e}fdp.exe", "invoicefdp.exe", true);
        assert_reads("\u{2068}Ana\u{2069} \u{202b}שלום\u{202c}", "Ana שלום", false);
        assert_reads("a\u{200e}\u{200f}\u{200e}b \u{200f} c", "a\u{200e}b  c", false);
    }

    #[test]
    fn padding_is_removed() {
        assert_reads(&"\u{34f} \u{200c} \u{a0} \u{ad}".repeat(100), &"  \u{a0} ".repeat(100), false);
        for c in
            "\u{ad}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{2060}\u{2065}\u{206a}\u{3164}\u{ffa0}\u{fff9}\u{1d173}\
            \u{fdd0}\u{1ffff}\0\u{1b}\u{7f}\u{9b}\u{e0fff}"
                .chars()
        {
            assert_reads(&format!("a{c}b"), "ab", false);
        }
    }

    #[test]
    fn line_ends_become_one_kind() {
        assert_reads("a\r\nb\rc\u{b}d\u{85}\te\n", "a\nb\nc\nd\n\te\n", false);
    }

    #[test]
    fn a_line_is_one_line() {
        for (source, line) in [
            ("Re:\r\n\t Budget", "Re: Budget"),
            ("\n a \u{2028} b\t", "a b"),
            ("a  b ", "a  b "),
            ("\r\n", ""),
            ("a\r\nb.pdf", "a b.pdf"),
            ("a\u{200b}\u{2029}\u{feff} \u{1b}b", "a b"),
        ] {
            assert_eq!(visible_line(source).text, line, "{source:?}");
        }
        assert!(matches!(visible_line("Dinner 🍝").text, Cow::Borrowed(_)));
    }

    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            (0usize..REAL_TEXTS.len(), 0usize..40).prop_map(|(text, n)| REAL_TEXTS[text].chars().take(n).collect()),
            prop::sample::select(vec![
                "\u{200b}",
                "\u{200c}",
                "\u{200d}",
                "\u{200e}",
                "\u{200f}",
                "\u{fe0f}",
                "\u{fe01}",
                "\u{e0100}",
                "a",
                "\u{e0067}",
                "\u{e007f}",
                "🏴",
                "👩",
                " ",
                "\n",
                "\r",
                "\u{202e}",
                "ه",
                "\u{180b}",
                "\u{34f}",
                FLAG_TAGS[1],
            ])
            .prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_visible_stays_so(source in any_text()) {
            for read in [visible, visible_line] {
                let Visible { text, .. } = read(&source);
                prop_assert!(text.len() <= source.len());
                let again = read(&text);
                prop_assert_eq!(&again.text, &text);
                prop_assert!(!again.removed_hidden);
            }
            prop_assert!(!visible_line(&source).text.contains(['\n', '\r', '\t']));
        }

        #[test]
        fn visible_characters_are_all_kept(source in any_text()) {
            let is_shown = |c: &char| !is_invisible(*c) && !c.is_whitespace();
            let shown = |text: &str| text.chars().filter(is_shown).collect::<String>();
            prop_assert_eq!(shown(&visible(&source).text), shown(&source));
            let plain = shown(&source);
            prop_assert!(matches!(visible(&plain).text, Cow::Borrowed(_)));
        }
    }
}
