//! A tenant's connection to one Google service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::due::Due;
use super::ids::{InvalidId, TenantId};
use super::refresh::Failure;
use super::scope::Granted;
use crate::clock::Timestamp;

/// A service a tenant can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Gmail, read only.
    Gmail,
    /// Google Calendar, read only.
    GoogleCalendar,
}

impl Provider {
    /// Every service there is.
    pub const ALL: [Self; 2] = [Self::Gmail, Self::GoogleCalendar];

    /// The name in paths, keys and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gmail => "gmail",
            Self::GoogleCalendar => "google-calendar",
        }
    }

    /// The name a person reads.
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::Gmail => "Gmail",
            Self::GoogleCalendar => "Google Calendar",
        }
    }

    /// The scope we ask for. <https://developers.google.com/identity/protocols/oauth2/scopes>
    pub const fn scope(self) -> &'static str {
        self.accepted_scopes()[0]
    }

    /// Every scope that lets us read, the one we ask for first.
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

    /// Whether `granted` lets us read this service.
    pub fn readable_with(self, granted: &Granted) -> bool {
        granted.any_of(self.accepted_scopes())
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

/// So many superseded versions are remembered of a connection: a row stays small whatever the vault does.
const MOST_SUPERSEDED: usize = 4;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Usable, perhaps after a refresh; transient failures leave it so.
    Active,
    /// Google's final word ended it; the person can connect again.
    Expired,
    /// The person, or we, ended it.
    Revoked,
}

/// A tenant's connection to one service: everything but the tokens, which only the vault holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// To which service.
    pub provider: Provider,
    /// Where it stands.
    pub status: Status,
    /// What Google granted.
    pub granted: Granted,
    /// The Google account's address, when Google told us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When the access token in the vault ends; `None` when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The address of the vault that holds its secret; the first one's where no other was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The vault secret's name.
    pub secret_name: String,
    /// The version of that secret this row speaks of.
    pub secret_version: String,
    /// Superseded versions that may still be readable, oldest first: the next one to write its secret disables them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// When the vault destroys its secret for good, where it does not let us: known once the connection is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_by: Option<Timestamp>,
    /// Refreshes that failed in a row, none of them finally.
    #[serde(default)]
    pub failures: u32,
    /// How the last refresh failed; none when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When a runtime last used it, to within hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// Until when one worker alone may refresh it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// When it was last connected.
    pub connected_at: Timestamp,
    /// When there is work to do: Active, to refresh it; Expired, to tell the person; Revoked, to remove its tokens.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// Grows with every write; each write names the version it read.
    pub version: u64,
}

impl Integration {
    /// A connection made at `now`, before anything is known of it.
    pub fn new(tenant_id: TenantId, provider: Provider, now: Timestamp) -> Self {
        Self {
            tenant_id,
            provider,
            status: Status::Active,
            granted: Granted::default(),
            account: None,
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

    /// The vault secret of a tenant's connection.
    pub fn secret_name(tenant: TenantId, provider: Provider) -> String {
        format!("google-{tenant}-{provider}")
    }

    /// Whether there is work to do on it at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due.as_ref().is_some_and(|due| due.at <= now)
    }

    /// Whether it was disconnected and its tokens are gone: nothing is left of it but this row.
    pub fn is_removed(&self) -> bool {
        self.status == Status::Revoked && self.secret_version.is_empty()
    }

    /// Whether both may be connected to one Google account: an account we do not know may be any.
    pub fn may_share_account(&self, other: &Self) -> bool {
        match (&self.account, &other.account) {
            (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
            (None, _) | (_, None) => true,
        }
    }

    /// The row that remembers `versions` as superseded; of many, the latest few.
    #[must_use]
    pub fn superseding(mut self, versions: Vec<String>) -> Self {
        let mut latest: Vec<String> = Vec::new();
        for version in versions.into_iter().rev().filter(|version| !version.is_empty()) {
            if latest.len() < MOST_SUPERSEDED && version != self.secret_version && !latest.contains(&version) {
                latest.push(version);
            }
        }
        latest.reverse();
        self.superseded = latest;
        self
    }

    /// Whether another worker is refreshing it now.
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
        let row = row.superseding(["", "1", "2", "5", "3", "4", "5", "6"].map(str::to_owned).into());
        assert_eq!(row.superseded, ["2", "3", "4", "5"]);
    }

    #[test]
    fn a_wider_scope_is_accepted_and_a_narrower_is_not() {
        assert!(Provider::Gmail.readable_with(&Granted::parse("openid https://mail.google.com/")));
        let metadata_only = Granted::parse("https://www.googleapis.com/auth/gmail.metadata");
        assert!(!Provider::Gmail.readable_with(&metadata_only));
        assert!(!Provider::GoogleCalendar.readable_with(&Granted::parse(Provider::Gmail.scope())));
    }
}
