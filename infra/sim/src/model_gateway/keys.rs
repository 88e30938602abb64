//! The account's keys: what each may cost, and what it did cost.

use nbhd::clock::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{KeySummary, random};

/// Every key belongs to the account's one workspace.
const WORKSPACE: &str = "0df9e665-d932-5740-b2c7-b52af166bc11";
const CREATOR: &str = "user_2yOPcMpKoQhcd4bVgSMlELRaIah";

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Oldest first.
    keys: Vec<Key>,
    pub(super) issued: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Key {
    hash: String,
    label: String,
    name: String,
    pub(super) disabled: bool,
    limit_micros: Option<u64>,
    limit_reset: Option<Reset>,
    created_at: Timestamp,
    updated_at: Option<Timestamp>,
    /// Each cost in millionths of a USD, with its time.
    costs: Vec<(Timestamp, u64)>,
}

/// When a limit is reset: at midnight UTC, weeks on Monday.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reset {
    Daily,
    Weekly,
    Monthly,
}

/// The fields of a request about a key; the outer `None` is an absent field, the inner one `null`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    pub(super) name: Option<String>,
    disabled: Option<bool>,
    #[serde(default, deserialize_with = "deserialize_present")]
    limit: Option<Option<f64>>,
    #[serde(default, deserialize_with = "deserialize_present")]
    limit_reset: Option<Option<Reset>>,
}

impl Parameters {
    pub(super) fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// The first field that is not valid, if one is.
    pub(super) fn find_fault(&self) -> Option<&'static str> {
        match self {
            Self { name: Some(name), .. } if name.is_empty() => Some("name: Too small: expected string to have >=1"),
            Self { limit: Some(Some(limit)), .. } if *limit < 0.0 => Some("limit: Too small: expected number >=0"),
            Self { .. } => None,
        }
    }
}

impl Keys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Makes a key; returns its hash and its credential.
    pub(super) fn create(&mut self, given: Parameters, now: Timestamp) -> (String, String) {
        let credential = credential();
        let mut key = Key {
            hash: hash(&credential),
            label: format!("{}...{}", &credential[..12], &credential[credential.len() - 3..]),
            name: String::new(),
            disabled: false,
            limit_micros: None,
            limit_reset: None,
            created_at: now,
            updated_at: None,
            costs: Vec::new(),
        };
        key.apply(given);
        let hash = key.hash.clone();
        self.keys.push(key);
        self.issued.push(credential.clone());
        (hash, credential)
    }

    /// A page of the list, youngest first; without keys made after `seen_until`.
    pub(super) fn page(
        &self,
        offset: usize,
        size: usize,
        with_disabled: bool,
        seen_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<Value> {
        let listed = self.keys.iter().rev().filter(|key| with_disabled || !key.disabled);
        let listed = listed.filter(|key| seen_until.is_none_or(|until| key.created_at <= until));
        listed.skip(offset).take(size).map(|key| key.to_json(now)).collect()
    }

    pub(super) fn get_mut(&mut self, hash: &str) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.hash == hash)
    }

    pub(super) fn find_by_credential(&mut self, credential: &str) -> Option<&mut Key> {
        self.get_mut(&hash(credential))
    }

    pub(super) fn lose_youngest(&mut self, count: usize) {
        self.keys.truncate(self.keys.len().saturating_sub(count));
    }

    /// Whether there is a key, and it was made by `seen_until`.
    pub(super) fn is_seen(&self, hash: &str, seen_until: Option<Timestamp>) -> bool {
        let key = self.keys.iter().find(|key| key.hash == hash);
        key.is_some_and(|key| seen_until.is_none_or(|until| key.created_at <= until))
    }

    pub(super) fn delete(&mut self, hash: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.hash != hash);
        self.keys.len() < before
    }
}

impl Key {
    pub(super) fn update(&mut self, given: Parameters, now: Timestamp) {
        self.apply(given);
        self.updated_at = Some(now);
    }

    pub(super) fn spend(&mut self, micros: u64, now: Timestamp) {
        self.costs.push((now, micros));
    }

    /// Whether its limit is used up.
    pub(super) fn is_exhausted(&self, now: Timestamp) -> bool {
        self.remaining_micros(now) == Some(0)
    }

    pub(super) fn summary(&self) -> KeySummary {
        KeySummary {
            hash: self.hash.clone(),
            name: self.name.clone(),
            disabled: self.disabled,
            limit_micros: self.limit_micros,
            used_micros: self.used_micros(|_| true),
        }
    }

    /// The key as the API shows it.
    pub(super) fn to_json(&self, now: Timestamp) -> Value {
        json!({
            "hash": self.hash,
            "name": self.name,
            "label": self.label,
            "disabled": self.disabled,
            "limit": self.limit_micros.map(usd),
            "limit_remaining": self.remaining_micros(now).map(usd),
            "limit_reset": self.limit_reset.map(Reset::name),
            "include_byok_in_limit": false,
            "usage": usd(self.used_micros(|_| true)),
            "usage_daily": usd(self.used_since_reset(Reset::Daily, now)),
            "usage_weekly": usd(self.used_since_reset(Reset::Weekly, now)),
            "usage_monthly": usd(self.used_since_reset(Reset::Monthly, now)),
            "byok_usage": 0,
            "byok_usage_daily": 0,
            "byok_usage_weekly": 0,
            "byok_usage_monthly": 0,
            "created_at": self.created_at.rfc3339(),
            "updated_at": self.updated_at.map(Timestamp::rfc3339),
            "last_used_at": self.costs.last().map(|(at, _)| at.rfc3339()),
            "expires_at": null,
            "creator_user_id": CREATOR,
            "external_user": null,
            "workspace_id": WORKSPACE,
        })
    }

    fn apply(&mut self, given: Parameters) {
        let Parameters { name, disabled, limit, limit_reset } = given;
        self.name = name.unwrap_or_else(|| self.name.clone());
        self.disabled = disabled.unwrap_or(self.disabled);
        if let Some(limit) = limit {
            self.limit_micros = limit.map(micros);
        }
        self.limit_reset = limit_reset.unwrap_or(self.limit_reset);
    }

    fn remaining_micros(&self, now: Timestamp) -> Option<u64> {
        let used = match self.limit_reset {
            Some(reset) => self.used_since_reset(reset, now),
            None => self.used_micros(|_| true),
        };
        self.limit_micros.map(|limit| limit.saturating_sub(used))
    }

    fn used_since_reset(&self, reset: Reset, now: Timestamp) -> u64 {
        self.used_micros(|at| reset.period(at) == reset.period(now))
    }

    fn used_micros(&self, counts: impl Fn(Timestamp) -> bool) -> u64 {
        self.costs.iter().filter(|(at, _)| counts(*at)).map(|(_, micros)| micros).sum()
    }
}

impl Reset {
    fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// A text that is the same for two moments of one period.
    fn period(self, at: Timestamp) -> String {
        match self {
            Self::Daily => at.rfc3339()[..10].to_owned(),
            // The epoch was a Thursday.
            Self::Weekly => (at.seconds().div_euclid(86_400) + 3).div_euclid(7).to_string(),
            Self::Monthly => at.rfc3339()[..7].to_owned(),
        }
    }
}

pub(super) fn credential() -> String {
    format!("sk-or-v1-{}{}", random(), random())
}

pub(super) fn usd(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no key costs a billion USD")]
    let micros = micros as f64;
    micros / 1e6
}

fn micros(usd: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be no less than 0")]
    let micros = (usd * 1e6).round() as u64;
    micros
}

fn hash(credential: &str) -> String {
    let hash = digest(&SHA256, credential.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells `null` from silence.
fn deserialize_present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
