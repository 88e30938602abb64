//! What a log line must carry, read off the macros of `tracing`.

use super::Source;

const LEVELS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];

/// A call of one of `tracing`'s macros.
struct Event<'t> {
    /// Its first line, from 1.
    line: usize,
    /// Whether it is a `warn!` or an `error!`.
    is_alarming: bool,
    arguments: Vec<&'t str>,
}

pub(super) fn message_of_few_words(source: &Source) -> Vec<usize> {
    let is_short = |event: &Event<'_>| {
        let message = event.arguments.iter().find_map(|argument| argument.strip_prefix('"')).unwrap_or_default();
        // A placeholder may stand for nothing that a reader understands.
        message.split_whitespace().filter(|word| word.contains(char::is_alphabetic) && !word.contains('{')).count() < 3
    };
    events(source).into_iter().filter(is_short).map(|event| event.line).collect()
}

pub(super) fn alarm_without_code(source: &Source) -> Vec<usize> {
    let is_nameless = |event: &Event<'_>| event.is_alarming && event.code().is_none();
    events(source).into_iter().filter(is_nameless).map(|event| event.line).collect()
}

/// The codes of a source's `warn!` and `error!`, as they are written (a literal has its quotes), with their lines.
pub(crate) fn alarming_codes(source: &Source) -> Vec<(usize, &str)> {
    let alarming = events(source).into_iter().filter(|event| event.is_alarming);
    alarming.filter_map(|event| Some((event.line, event.code()?))).collect()
}

impl<'t> Event<'t> {
    /// What is written for its `code`: an expression, or `code` itself for a variable of that name.
    fn code(&self) -> Option<&'t str> {
        let value = |argument: &&'t str| match argument.strip_prefix("code =") {
            None if *argument == "code" => Some("code"),
            value => value.map(str::trim),
        };
        self.arguments.iter().find_map(value)
    }
}

fn events(source: &Source) -> Vec<Event<'_>> {
    if !source.is_production() || !source.path.contains("/src/") || !source.path.ends_with(".rs") {
        return Vec::new();
    }
    let text = source.text.as_str();
    let starts = LEVELS.iter().flat_map(|level| text.match_indices(level));
    let mut events: Vec<Event<'_>> = starts
        .filter(|(at, _)| !text[..*at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
        .map(|(at, level)| Event {
            line: text[..at].lines().count(),
            is_alarming: level.starts_with(['w', 'e']),
            arguments: arguments(&text[at + level.len()..]),
        })
        .collect();
    events.sort_by_key(|event| event.line);
    events
}

/// The arguments of a call up to its closing bracket; commas and brackets in literals and in brackets are theirs.
fn arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut start, mut depth, mut in_literal, mut is_escaped) = (Vec::new(), 0, 0_u32, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if in_literal => is_escaped = true,
            '"' => in_literal = !in_literal,
            _ if in_literal => {}
            ',' | ')' if depth == 0 => {
                arguments.push(text[start..at].trim());
                start = at + 1;
                if letter == ')' {
                    break;
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    arguments
}
