//! The part of Gmail's [search language](https://support.google.com/mail/answer/7190) an assistant uses.

use std::time::Duration;

use nbhd::clock::Timestamp;

use super::mailbox::Message;

const DAY: Duration = Duration::from_secs(86_400);

/// A parsed `q=`: every clause must hold, and a clause holds when one of its terms does.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    clauses: Vec<Vec<Term>>,
}

#[derive(Clone, Debug)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text(String),
    Header(&'static str, String),
    Label(String),
    Unread(bool),
    Attachment,
    Filename(String),
    MessageId(String),
    NotBefore(Timestamp),
    Before(Timestamp),
    NewerThan(Duration),
    OlderThan(Duration),
    Anywhere,
}

impl Query {
    /// Reads `text`; what is no operator is searched for as words.
    pub(super) fn parse(text: &str) -> Self {
        let mut clauses: Vec<Vec<Term>> = Vec::new();
        let mut joins_previous = false;
        for word in words(text) {
            if word == "OR" {
                joins_previous = !clauses.is_empty();
                continue;
            }
            let term = Term::parse(&word);
            match clauses.last_mut() {
                Some(clause) if joins_previous => clause.push(term),
                Some(_) | None => clauses.push(vec![term]),
            }
            joins_previous = false;
        }
        Self { clauses }
    }

    pub(super) fn matches(&self, message: &Message, now: Timestamp) -> bool {
        self.clauses.iter().all(|clause| clause.iter().any(|term| term.test.is_met_by(message, now) != term.negated))
    }

    /// Whether the search itself asks for what is otherwise left out.
    pub(super) fn names_spam_or_trash(&self) -> bool {
        let names = |test: &Test| match test {
            Test::Anywhere => true,
            Test::Label(label) => label == "spam" || label == "trash",
            Test::Text(_) | Test::Header(..) | Test::Unread(_) | Test::Attachment | Test::Filename(_) => false,
            Test::MessageId(_) | Test::NotBefore(_) | Test::Before(_) | Test::NewerThan(_) | Test::OlderThan(_) => {
                false
            }
        };
        self.clauses.iter().flatten().any(|term| names(&term.test))
    }
}

impl Term {
    fn parse(word: &str) -> Self {
        let (negated, word) = match word.strip_prefix('-') {
            Some(rest) if !rest.is_empty() => (true, rest),
            Some(_) | None => (false, word),
        };
        let operator = word.split_once(':').and_then(|(name, value)| Test::operator(&name.to_lowercase(), value));
        Self { negated, test: operator.unwrap_or_else(|| Test::Text(word.to_lowercase())) }
    }
}

impl Test {
    fn operator(name: &str, value: &str) -> Option<Self> {
        let lower = value.to_lowercase();
        Some(match (name, lower.as_str()) {
            (_, "") => return None,
            ("from", _) => Self::Header("From", lower),
            ("to", _) => Self::Header("To", lower),
            ("cc", _) => Self::Header("Cc", lower),
            ("subject", _) => Self::Header("Subject", lower),
            ("is", "unread") => Self::Unread(true),
            ("is", "read") => Self::Unread(false),
            ("in", "anywhere") => Self::Anywhere,
            ("is" | "in" | "label", _) => Self::Label(lower),
            ("category", _) => Self::Label(format!("category_{lower}")),
            ("has", "attachment") => Self::Attachment,
            ("filename", _) => Self::Filename(lower),
            ("rfc822msgid", _) => Self::MessageId(value.trim_matches(['<', '>']).to_owned()),
            ("after" | "newer", _) => Self::NotBefore(moment(&lower)?),
            ("before" | "older", _) => Self::Before(moment(&lower)?),
            ("newer_than", _) => Self::NewerThan(span(&lower)?),
            ("older_than", _) => Self::OlderThan(span(&lower)?),
            _ => return None,
        })
    }

    fn is_met_by(&self, message: &Message, now: Timestamp) -> bool {
        let header = |name: &str| message.header(name).unwrap_or_default().to_lowercase();
        match self {
            Self::Text(text) => {
                ["Subject", "From", "To", "Cc"].iter().any(|name| header(name).contains(text))
                    || message.text.to_lowercase().contains(text)
            }
            Self::Header(name, text) => header(name).contains(text),
            Self::Label(label) => message.is_labelled(label),
            Self::Unread(wanted) => message.is_labelled("UNREAD") == *wanted,
            Self::Attachment => filenames(&message.payload).next().is_some(),
            Self::Filename(name) => filenames(&message.payload).any(|known| known.to_lowercase().contains(name)),
            Self::MessageId(id) => message.message_id.as_ref() == Some(id),
            Self::NotBefore(moment) => message.internal_date >= *moment,
            Self::Before(moment) => message.internal_date < *moment,
            Self::NewerThan(span) => message.internal_date >= now - *span,
            Self::OlderThan(span) => message.internal_date < now - *span,
            Self::Anywhere => true,
        }
    }
}

/// Words, with what stands in quotes or behind `operator:"` kept together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            '(' | ')' | '{' | '}' if !quoted => {}
            space if space.is_whitespace() && !quoted => words.extend(Some(std::mem::take(&mut word))),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn filenames(payload: &serde_json::Value) -> Box<dyn Iterator<Item = &str> + '_> {
    let own = payload["filename"].as_str().filter(|name| !name.is_empty());
    Box::new(own.into_iter().chain(payload["parts"].as_array().into_iter().flatten().flat_map(filenames)))
}

/// `2026/11/21`, `2026-11-21` or epoch seconds.
fn moment(text: &str) -> Option<Timestamp> {
    let date: Vec<&str> = text.split(['/', '-']).collect();
    match date.as_slice() {
        [seconds] => seconds.parse().ok().map(Timestamp::from_seconds),
        [year, month, day] => Timestamp::parse_rfc3339(&format!("{year:0>4}-{month:0>2}-{day:0>2}T00:00:00Z")),
        _ => None,
    }
}

/// `3d`, `2m` (months of 30 days) or `1y`.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let days = match unit {
        "d" => 1,
        "m" => 30,
        "y" => 365,
        _ => return None,
    };
    DAY.checked_mul(number.parse::<u32>().ok()?.checked_mul(days)?)
}
