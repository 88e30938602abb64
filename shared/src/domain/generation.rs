//! Which key a tenant's derived secrets come from, and which set of them it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::InvalidId;

/// The longest id of a key, in bytes.
const LONGEST_ID: usize = 16;

/// The id of a secret key in a list of keys: 1 to 16 characters of `a-z0-9`. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; LONGEST_ID]);

impl KeyId {
    /// The id as it stands in settings and rows.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(LONGEST_ID);
        self.0.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl FromStr for KeyId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=LONGEST_ID).contains(&text.len()) || !text.bytes().all(is_plain) {
            return Err(InvalidId);
        }
        let mut bytes = [0; LONGEST_ID];
        bytes.iter_mut().zip(text.bytes()).for_each(|(byte, given)| *byte = given);
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One set of a tenant's derived secrets, in rows `<key id>.<number>`, such as `k2.17`.
///
/// The key is chosen and written down before anything is derived, so that whoever goes on with the work derives the
/// same, whatever the settings hold by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Generation {
    /// From 1; each set of a tenant's has the next one, in its next life too.
    pub number: u32,
    /// The runtime key that it is derived with; `None` (in rows `<number>`) while nothing is derived yet.
    pub key: Option<KeyId>,
}

impl Generation {
    /// One whose key is not chosen yet.
    pub const fn unkeyed(number: u32) -> Self {
        Self { number, key: None }
    }

    /// One of this key.
    pub const fn new(key: KeyId, number: u32) -> Self {
        Self { number, key: Some(key) }
    }

    /// The one after it, of this key.
    #[must_use]
    pub const fn next(self, key: KeyId) -> Self {
        Self::new(key, self.number.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "{key}.{}", self.number),
            None => self.number.fmt(f),
        }
    }
}

impl FromStr for Generation {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (key, number) = match text.split_once('.') {
            Some((key, number)) => (Some(key.parse()?), number),
            None => (None, text),
        };
        Ok(Self { number: number.parse().map_err(|_| InvalidId)?, key })
    }
}

impl TryFrom<String> for Generation {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Generation> for String {
    fn from(generation: Generation) -> Self {
        generation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        for id in ["k1", "2026a", "0123456789abcdef"] {
            assert_eq!(id.parse::<KeyId>().map(|id| id.to_string()), Ok(id.to_owned()));
        }
        for text in ["", "0123456789abcdefg", "K1", "k-1", "k.1", "k 1", "k\0", "ä"] {
            assert_eq!(text.parse::<KeyId>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn a_generation_is_read_back_as_it_was_written() {
        let key: KeyId = "k2".parse().expect("an id");
        for (generation, written) in [(Generation::new(key, 17), "\"k2.17\""), (Generation::unkeyed(1), "\"1\"")] {
            assert_eq!(serde_json::to_string(&generation).expect("JSON"), written);
            assert_eq!(serde_json::from_str::<Generation>(written).expect("readable"), generation);
        }
        for text in ["", "k2", "k2.", ".17", "k2.x", "k2.-1", "k2.1.1", "K.1"] {
            assert_eq!(text.parse::<Generation>(), Err(InvalidId), "{text}");
        }
        assert_eq!(Generation::unkeyed(1).next(key), Generation::new(key, 2));
    }
}
