//! The query parameters of a runtime's request: each is known, given at most once, and within its bounds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use url::form_urlencoded;

use super::Problem;
use crate::clock::Timestamp;

const RFC_3339: &str = "must be a date-time with an offset, such as `2026-11-21T08:00:00Z` (write `+` as `%2B`)";
/// How many characters of an unknown name an error repeats.
const MAX_NAME: usize = 40;

/// The query parameters of a request; an empty value counts as absent.
#[derive(Debug, Default)]
pub struct QueryParameters(BTreeMap<&'static str, String>);

impl QueryParameters {
    /// Parses a query that may name `known` and nothing else.
    ///
    /// # Errors
    /// [`Problem::Invalid`] naming a parameter that is unknown or given twice.
    pub fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(known) = known.iter().find(|known| **known == name) else {
                let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
                return Err(Problem::invalid(&name, "is not a parameter of this request"));
            };
            if parsed.0.insert(known, value.into_owned()).is_some() {
                return Err(Problem::invalid(known, "must be given once"));
            }
        }
        parsed.0.retain(|_, value| !value.is_empty());
        Ok(parsed)
    }

    /// A text of at most `max_chars` characters.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is longer.
    pub fn text(&self, name: &'static str, max_chars: usize) -> Result<Option<&str>, Problem> {
        match self.0.get(name) {
            Some(text) if text.chars().count() > max_chars => {
                Err(Problem::invalid(name, &format!("must have at most {max_chars} characters")))
            }
            text => Ok(text.map(String::as_str)),
        }
    }

    /// A whole number within `bounds`.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is not.
    pub fn number(&self, name: &'static str, default: u32, bounds: RangeInclusive<u32>) -> Result<u32, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_decimal && bounds.contains(number)).ok_or_else(|| {
            let rule = format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
            Problem::invalid(name, &rule)
        })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is neither.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, Problem> {
        match self.0.get(name).map(String::as_str) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(Problem::invalid(name, "must be `true` or `false`")),
        }
    }

    /// A point in time: RFC 3339 with an offset.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is not one.
    pub fn timestamp(&self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| Problem::invalid(name, RFC_3339))
    }
}
