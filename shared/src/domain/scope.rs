//! Google's OAuth scopes, as far as they decide what a tenant may read.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The account's identity, asked for with every connection so that the result page can name the account.
pub const IDENTITY: [&str; 2] = ["openid", "email"];

/// What Google granted: the `scope` of the token answer, never what was asked for, since a person can untick each one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Granted(BTreeSet<String>);

impl Granted {
    /// Reads the space-separated list of a token answer.
    pub fn parse(list: &str) -> Self {
        Self(list.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Whether any of `scopes` was granted.
    pub fn any_of(&self, scopes: &[&str]) -> bool {
        scopes.iter().any(|scope| self.0.contains(*scope))
    }
}

impl<S: Into<String>> FromIterator<S> for Granted {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Granted({self})")
    }
}
