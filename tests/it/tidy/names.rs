//! The words that may name no item: each sent its reader to the doc comment, or had a standard word beside it.

use super::Source;

/// Past forms and participles, in any place of a name.
const PARTICIPLES: Words = Words {
    anywhere: &["told", "said", "begun", "vouched", "departs", "gave_up", "given_up"],
    alone: &["written", "gone"],
};

/// Pronouns, prepositions and adverbs as whole names.
const POINTERS: Words = Words { anywhere: &["whose"], alone: &["why", "there", "up", "own", "well"] };

/// Pictures of ours for what the field has a word for: redeliver, dead-letter, reactivate, observe, throttle …
const PICTURES: Words = Words {
    anywhere: &["comeback", "bury", "buried", "revived", "obey", "put_off"],
    alone: &["word", "arrow", "rest", "aim", "settle", "look", "reach", "facts", "squares"],
};

/// Modules of tests that were named for a picture: they are `mutants`, `faults`, `load` and `observer`.
const TEST_MODULES: [&str; 4] = ["plants", "weather", "storm", "watch"];

struct Words {
    /// No part of a name.
    anywhere: &'static [&'static str],
    /// No whole name; parts of longer ones they may be.
    alone: &'static [&'static str],
}

impl Words {
    fn forbid(&self, name: &str) -> bool {
        let framed = format!("_{name}_");
        self.alone.contains(&name) || self.anywhere.iter().any(|word| framed.contains(&format!("_{word}_")))
    }
}

pub(super) fn named_by_participle(source: &Source) -> Vec<usize> {
    lines_naming(source, |item| PARTICIPLES.forbid(&item.name))
}

pub(super) fn named_by_pointer(source: &Source) -> Vec<usize> {
    lines_naming(source, |item| POINTERS.forbid(&item.name))
}

pub(super) fn named_by_picture(source: &Source) -> Vec<usize> {
    lines_naming(source, |item| PICTURES.forbid(&item.name))
}

pub(super) fn test_module_named_by_picture(source: &Source) -> Vec<usize> {
    let is_test = source.path.starts_with("tests/");
    lines_naming(source, |item| is_test && item.keyword == "mod" && TEST_MODULES.contains(&item.name.as_str()))
}

/// An item that a source defines.
struct Item {
    /// Its line, from 1.
    line: usize,
    /// What begins its definition; a variant has none.
    keyword: &'static str,
    /// Its name in lower case, word by word: `NotYet` is `not_yet`.
    name: String,
}

fn lines_naming(source: &Source, is_forbidden: impl Fn(&Item) -> bool) -> Vec<usize> {
    const HELD: [&str; 5] = ["shared/src/", "functions/", "infra/", "runtime/", "tests/"];
    if !source.path.ends_with(".rs") || !HELD.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    items(&source.text).into_iter().filter(is_forbidden).map(|item| item.line).collect()
}

/// Every function, type, variant, constant and module, as rustfmt lays them out. The name of a test is a sentence, and
/// may use any word.
fn items(text: &str) -> Vec<Item> {
    const KEYWORDS: [&str; 9] = ["fn", "struct", "enum", "union", "mod", "trait", "type", "const", "static"];
    let mut items = Vec::new();
    // How far the enum around a line is indented.
    let mut enum_indent = None;
    let mut is_test = false;
    for (place, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code.starts_with('#') {
            is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
            continue;
        }
        let mut words = code.split([' ', '(', '<', ':', ';', '{', ',', '=']).filter(|word| !word.is_empty()).peekable();
        while words.next_if(|word| ["pub", "crate)", "super)", "async", "unsafe"].contains(word)).is_some() {}
        if code.starts_with("const fn") || code.contains(" const fn ") {
            words.next();
        }
        let keyword = words.peek().and_then(|word| KEYWORDS.into_iter().find(|keyword| keyword == word));
        let found = match (keyword, enum_indent) {
            (Some(keyword), _) => words.nth(1).map(|name| (keyword, name)),
            (None, Some(outer)) if indent == outer + 4 && code.starts_with(char::is_uppercase) => {
                words.next().map(|name| ("", name))
            }
            (None, _) => None,
        };
        if let Some((keyword, name)) = found.filter(|_| !is_test) {
            items.push(Item { line: place + 1, keyword, name: to_words(name) });
        }
        if keyword == Some("enum") && code.ends_with('{') {
            enum_indent = Some(indent);
        } else if enum_indent == Some(indent) && code.starts_with('}') {
            enum_indent = None;
        }
        is_test &= code.is_empty() || code.starts_with("//");
    }
    items
}

/// `NotYet`, `NOT_YET` and `not_yet` as `not_yet`.
fn to_words(name: &str) -> String {
    let is_constant = !name.contains(char::is_lowercase);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !is_constant && !words.is_empty() {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
