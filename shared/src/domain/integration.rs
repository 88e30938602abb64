//! A tenant's integration with one Google service.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::due::Due;
use super::ids::{InvalidId, TenantId};
use super::refresh_failure::Failure;
use super::scope::GrantedScopes;
use crate::clock::Timestamp;

/// A Google service that a tenant can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Gmail, read only.
    Gmail,
    /// Google Calendar, read only.
    GoogleCalendar,
}

impl Provider {
    /// All services.
    pub const ALL: [Self; 2] = [Self::Gmail, Self::GoogleCalendar];

    /// The stable name in paths, keys and responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gmail => "gmail",
            Self::GoogleCalendar => "google-calendar",
        }
    }

    /// The name that a person reads.
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::Gmail => "Gmail",
            Self::GoogleCalendar => "Google Calendar",
        }
    }

    /// The scope that we request. <https://developers.google.com/identity/protocols/oauth2/scopes>
    pub const fn scope(self) -> &'static str {
        self.accepted_scopes()[0]
    }

    /// All scopes that let us read; the first is the one we request.
    pub const fn accepted_scopes(self) -> &'static [&'static str] {
        match self {
            Self::Gmail => &[
                "https://www.googleapis.com/auth/gmail.readonly",
                "https://www.googleapis.com/auth/gmail.modify",
                "https://mail.google.com/",
            ],
            Self::GoogleCalendar => {
                &["https://www.googleapis.com/auth/calendar.readonly", "https://www.googleapis.com/auth/calendar"]
            }
        }
    }

    /// Whether the granted scopes let us read this service.
    pub fn is_readable_with(self, granted: &GrantedScopes) -> bool {
        granted.contains_any(self.accepted_scopes())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == text).ok_or(InvalidId)
    }
}

/// The most superseded versions that a row remembers, so that it stays small whatever the vault does.
const MAX_SUPERSEDED: usize = 4;

/// Whether an integration is usable, and if not, who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is usable, perhaps after a refresh; transient failures do not change that.
    Active,
    /// A permanent error of Google ended it; the person can connect again.
    Expired,
    /// Its person disconnected it, or we did.
    Revoked,
}

/// The SHA-256 of Google's id of an account, which never changes; the id itself is not kept.
/// <https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectHash(String);

impl SubjectHash {
    /// Hashes an account's id, which Google calls `sub`.
    pub fn from_subject(subject: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, subject.as_bytes())))
    }

    /// A hash that was kept.
    pub fn from_kept(hash: &str) -> Self {
        Self(hash.to_owned())
    }

    /// The hash as text: 43 characters of `A-Za-z0-9_-`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tenant's integration with one service: everything except the tokens, which only the vault holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// The tenant that it belongs to.
    pub tenant_id: TenantId,
    /// The service that it reads.
    pub provider: Provider,
    /// Whether it is usable.
    pub status: Status,
    /// The scopes that Google granted.
    pub granted: GrantedScopes,
    /// The Google account's address; `None` when Google did not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which Google account it is, whatever its address is now; `None` when Google did not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectHash>,
    /// When the access token in the vault expires; `None` when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The address of the vault that holds the secret; `None` stands for the first vault of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The vault secret's name.
    pub secret_name: String,
    /// The version of the secret that is in use; empty once the tokens are removed.
    pub secret_version: String,
    /// Superseded versions that may still be readable, oldest first; the next worker to write the secret disables them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// When the vault purges the deleted secret, if it does not let us purge it; known once the tokens are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_by: Option<Timestamp>,
    /// The number of consecutive refreshes that failed, none of them with a permanent error.
    #[serde(default)]
    pub failures: u32,
    /// Why the last refresh failed; `None` when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When a runtime last used it; recorded at most every six hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// When the lease ends of the worker that may write the secret. A mark in the past means that the lease was not
    /// ended by a write of its worker, so that the vault's latest version may not be on the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// When its person last connected it.
    pub connected_at: Timestamp,
    /// When work is due: for Active a refresh, for Expired a message to the person, for Revoked the tokens' removal.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// Increases by one with every write; each write names the version that it read.
    pub version: u64,
}

impl Integration {
    /// An integration that is connected at `now`, before its secret is written.
    pub fn new(tenant_id: TenantId, provider: Provider, now: Timestamp) -> Self {
        Self {
            tenant_id,
            provider,
            status: Status::Active,
            granted: GrantedScopes::default(),
            account: None,
            subject: None,
            expires_at: None,
            vault: None,
            secret_name: Self::secret_name(tenant_id, provider),
            secret_version: String::new(),
            superseded: Vec::new(),
            purged_by: None,
            failures: 0,
            failure: None,
            used_at: Some(now),
            lease_until: None,
            connected_at: now,
            due: None,
            version: 0,
        }
    }

    /// The name of the vault secret of a tenant's integration.
    pub fn secret_name(tenant: TenantId, provider: Provider) -> String {
        format!("google-{tenant}-{provider}")
    }

    /// Whether work is due at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due.as_ref().is_some_and(|due| due.at <= now)
    }

    /// Whether it was disconnected and its tokens were removed, so that only this row is left.
    pub fn is_removed(&self) -> bool {
        self.status == Status::Revoked && self.secret_version.is_empty()
    }

    /// Whether both may belong to the same Google account: an unknown account may be any.
    pub fn may_share_account(&self, other: &Self) -> bool {
        match (&self.subject, &other.subject) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        }
    }

    /// The row with `versions` as superseded, oldest first; only the latest four are kept.
    #[must_use]
    pub fn with_superseded(mut self, versions: Vec<String>) -> Self {
        let mut latest: Vec<String> = Vec::new();
        for version in versions.into_iter().rev().filter(|version| !version.is_empty()) {
            if latest.len() < MAX_SUPERSEDED && version != self.secret_version && !latest.contains(&version) {
                latest.push(version);
            }
        }
        latest.reverse();
        self.superseded = latest;
        self
    }

    /// Whether a worker holds the lease at `now`.
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_read_back_from_its_name() {
        for provider in Provider::ALL {
            assert_eq!(provider.as_str().parse(), Ok(provider));
            assert_eq!(serde_json::to_value(provider).expect("serializable"), provider.as_str());
        }
    }

    #[test]
    fn superseded_versions_are_the_latest_few_and_never_the_rows_own() {
        let row = Integration {
            secret_version: "6".to_owned(),
            ..Integration::new(TenantId::random(), Provider::Gmail, Timestamp::from_seconds(0))
        };
        let row = row.with_superseded(["", "1", "2", "5", "3", "4", "5", "6"].map(str::to_owned).into());
        assert_eq!(row.superseded, ["2", "3", "4", "5"]);
    }

    #[test]
    fn a_wider_scope_is_accepted_and_a_narrower_is_not() {
        assert!(Provider::Gmail.is_readable_with(&GrantedScopes::parse("openid https://mail.google.com/")));
        let metadata_only = GrantedScopes::parse("https://www.googleapis.com/auth/gmail.metadata");
        assert!(!Provider::Gmail.is_readable_with(&metadata_only));
        assert!(!Provider::GoogleCalendar.is_readable_with(&GrantedScopes::parse(Provider::Gmail.scope())));
    }
}
