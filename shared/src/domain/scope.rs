//! Google's OAuth scopes, which decide what a tenant's assistant may read.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The scopes of the account's identity, requested with every consent so that the result page can name the account.
pub const IDENTITY: [&str; 2] = ["openid", "email"];

/// The scopes that Google granted: the `scope` of the token response, not of the request, because a person can untick
/// each one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantedScopes(BTreeSet<String>);

impl GrantedScopes {
    /// Parses the space-separated list of a token response.
    pub fn parse(list: &str) -> Self {
        Self(list.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Whether any of `scopes` was granted.
    pub fn contains_any(&self, scopes: &[&str]) -> bool {
        scopes.iter().any(|scope| self.0.contains(*scope))
    }
}

impl<S: Into<String>> FromIterator<S> for GrantedScopes {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for GrantedScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for GrantedScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantedScopes({self})")
    }
}
