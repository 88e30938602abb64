//! What a vault holds, and what it answers; no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A vault keeps what is softly deleted 7 to 90 days.
const RETENTION_DAYS: u32 = 90;
/// <https://learn.microsoft.com/azure/key-vault/secrets/about-secrets>
const MAX_VALUE_BYTES: usize = 25 * 1024;

#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_name: BTreeMap<String, Secret>,
    /// For how many requests a deletion or recovery stays in progress.
    pub(super) settling_requests: u32,
    /// Whether purge protection is enabled.
    pub(super) is_protected: bool,
}

#[derive(Debug, Default)]
pub(super) struct Secret {
    pub(super) versions: Vec<Version>,
    deleted: Option<Timestamp>,
    /// A change in progress and for how many more requests.
    settling: Option<(&'static str, u32)>,
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: String,
    pub(super) enabled: bool,
    created: Timestamp,
    updated: Timestamp,
    details: Details,
}

/// `SecretSetParameters` and `SecretUpdateParameters`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameters {
    value: Option<String>,
    content_type: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    attributes: Option<Attributes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

#[derive(Debug, Default)]
struct Details {
    content_type: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

/// An error answer: `KeyVaultError`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) inner: Option<&'static str>,
    pub(super) message: &'static str,
}

const NOT_FOUND: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    code: "SecretNotFound",
    inner: None,
    message: "A secret with this name or version was not found in this key vault.",
};

/// <https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview#purge-protection>
const PURGE_PROTECTED: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: "Forbidden",
    inner: None,
    message: "Operation \"purge\" is not allowed because purge protection is enabled for this vault.",
};

pub(super) const fn bad_parameter(message: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, code: "BadParameter", inner: None, message }
}

const fn conflict(inner: &'static str) -> Refusal {
    let message = "The secret is deleted, or a deletion or recovery of it is in progress.";
    Refusal { status: StatusCode::CONFLICT, code: "Conflict", inner: Some(inner), message }
}

impl Secrets {
    pub(super) fn find_active(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name).filter(|secret| secret.deleted.is_none())
    }

    pub(super) fn find_deleted(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name).filter(|secret| secret.deleted.is_some())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    pub(super) fn put(&mut self, name: &str, value: &str, now: Timestamp) -> String {
        let secret = self.by_name.entry(name.to_owned()).or_default();
        secret.add(Parameters { value: Some(value.to_owned()), ..Parameters::default() }, now).id.clone()
    }

    pub(super) fn disable(&mut self, name: &str, id: &str) {
        if let Some(version) = self.by_name.get_mut(name).and_then(|secret| secret.version_mut(Some(id))) {
            version.enabled = false;
        }
    }

    pub(super) fn get(&self, base: &str, name: &str, version: Option<&str>) -> Result<Value, Refusal> {
        let version = self.find_active(name).and_then(|secret| secret.version(version)).ok_or(NOT_FOUND)?;
        if !version.enabled {
            let (status, message) = (StatusCode::FORBIDDEN, "Operation get is not allowed on a disabled secret.");
            return Err(Refusal { status, code: "Forbidden", inner: Some("SecretDisabled"), message });
        }
        let mut bundle = version.bundle(base, name);
        bundle.insert("value".to_owned(), json!(version.value));
        Ok(Value::Object(bundle))
    }

    pub(super) fn set(&mut self, base: &str, name: &str, given: Parameters, now: Timestamp) -> Result<Value, Refusal> {
        let Some(value) = given.value.clone() else { return Err(bad_parameter("Property value is required.")) };
        if value.len() > MAX_VALUE_BYTES {
            return Err(bad_parameter("The property \"value\" exceeds the maximum length of 25600 bytes."));
        }
        self.check_settled(name)?;
        if self.find_deleted(name).is_some() {
            return Err(conflict("ObjectIsDeletedButRecoverable"));
        }
        let version = self.by_name.entry(name.to_owned()).or_default().add(given, now);
        let mut bundle = version.bundle(base, name);
        bundle.insert("value".to_owned(), json!(value));
        Ok(Value::Object(bundle))
    }

    pub(super) fn update(
        &mut self,
        base: &str,
        name: &str,
        version: Option<&str>,
        given: Parameters,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        if given.value.is_some() {
            return Err(bad_parameter("The value of a version cannot be changed."));
        }
        let secret = self.by_name.get_mut(name).filter(|secret| secret.deleted.is_none()).ok_or(NOT_FOUND)?;
        let version = secret.version_mut(version).ok_or(NOT_FOUND)?;
        version.apply(given);
        version.updated = now;
        Ok(Value::Object(version.bundle(base, name)))
    }

    pub(super) fn delete(&mut self, base: &str, name: &str, now: Timestamp) -> Result<Value, Refusal> {
        self.check_settled(name)?;
        let settling_requests = self.settling_requests;
        let secret = self.by_name.get_mut(name).filter(|secret| secret.deleted.is_none()).ok_or(NOT_FOUND)?;
        secret.deleted = Some(now);
        secret.settling = (settling_requests > 0).then_some(("ObjectIsBeingDeleted", settling_requests));
        Ok(secret.deleted_bundle(base, name))
    }

    pub(super) fn get_deleted(&mut self, base: &str, name: &str) -> Result<Value, Refusal> {
        self.check_settled(name).map_err(|_| NOT_FOUND)?;
        self.find_deleted(name).map(|secret| secret.deleted_bundle(base, name)).ok_or(NOT_FOUND)
    }

    pub(super) fn purge(&mut self, name: &str) -> Result<(), Refusal> {
        self.check_settled(name)?;
        self.find_deleted(name).ok_or(NOT_FOUND)?;
        if self.is_protected {
            return Err(PURGE_PROTECTED);
        }
        self.by_name.remove(name);
        Ok(())
    }

    pub(super) fn recover(&mut self, base: &str, name: &str) -> Result<Value, Refusal> {
        self.check_settled(name)?;
        let settling_requests = self.settling_requests;
        let secret = self.by_name.get_mut(name).filter(|secret| secret.deleted.is_some()).ok_or(NOT_FOUND)?;
        secret.deleted = None;
        secret.settling = (settling_requests > 0).then_some(("ObjectIsBeingRecovered", settling_requests));
        let latest = secret.versions.last().ok_or(NOT_FOUND)?;
        Ok(Value::Object(latest.bundle(base, name)))
    }

    pub(super) fn list(&self, base: &str) -> Vec<Value> {
        let live = self.by_name.iter().filter(|(_, secret)| secret.deleted.is_none());
        live.filter_map(|(name, secret)| Some(secret.versions.last()?.item(base, name))).collect()
    }

    pub(super) fn list_versions(&self, base: &str, name: &str) -> Vec<Value> {
        let versions = self.find_active(name).map(|secret| secret.versions.as_slice()).unwrap_or_default();
        versions.iter().map(|version| Value::Object(version.bundle(base, name))).collect()
    }

    pub(super) fn list_deleted(&self, base: &str) -> Vec<Value> {
        let deleted = self.by_name.iter().filter(|(_, secret)| secret.deleted.is_some());
        deleted.map(|(name, secret)| secret.deleted_bundle(base, name)).collect()
    }

    /// Counts a request towards the end of a change in progress; while it lasts, the request is refused.
    fn check_settled(&mut self, name: &str) -> Result<(), Refusal> {
        let Some(secret) = self.by_name.get_mut(name) else { return Ok(()) };
        let Some((change, left)) = secret.settling else { return Ok(()) };
        secret.settling = (left > 1).then_some((change, left - 1));
        Err(conflict(change))
    }
}

impl Secret {
    fn add(&mut self, given: Parameters, now: Timestamp) -> &Version {
        let mut version = Version {
            id: Uuid::new_v4().simple().to_string(),
            value: given.value.clone().unwrap_or_default(),
            enabled: true,
            created: now,
            updated: now,
            details: Details::default(),
        };
        version.apply(given);
        self.versions.push(version);
        &self.versions[self.versions.len() - 1]
    }

    fn version(&self, id: Option<&str>) -> Option<&Version> {
        match id {
            Some(id) => self.versions.iter().find(|version| version.id == id),
            None => self.versions.last(),
        }
    }

    fn version_mut(&mut self, id: Option<&str>) -> Option<&mut Version> {
        match id {
            Some(id) => self.versions.iter_mut().find(|version| version.id == id),
            None => self.versions.last_mut(),
        }
    }

    fn deleted_bundle(&self, base: &str, name: &str) -> Value {
        let (Some(latest), Some(deleted)) = (self.versions.last(), self.deleted) else { return json!({}) };
        let purged = deleted + Duration::from_secs(u64::from(RETENTION_DAYS) * 24 * 3600);
        let mut bundle = latest.bundle(base, name);
        bundle.insert("recoveryId".to_owned(), json!(format!("{base}/deletedsecrets/{name}")));
        bundle.insert("deletedDate".to_owned(), json!(deleted.seconds()));
        bundle.insert("scheduledPurgeDate".to_owned(), json!(purged.seconds()));
        Value::Object(bundle)
    }
}

impl Version {
    fn apply(&mut self, given: Parameters) {
        let attributes = given.attributes.unwrap_or_default();
        self.enabled = attributes.enabled.unwrap_or(self.enabled);
        self.details.nbf = attributes.nbf.or(self.details.nbf);
        self.details.exp = attributes.exp.or(self.details.exp);
        self.details.tags = given.tags.or_else(|| self.details.tags.take());
        self.details.content_type = given.content_type.or_else(|| self.details.content_type.take());
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        self.details.tags.clone().unwrap_or_default()
    }

    /// `SecretBundle` without its value.
    fn bundle(&self, base: &str, name: &str) -> Map<String, Value> {
        let mut attributes = json!({
            "enabled": self.enabled,
            "created": self.created.seconds(),
            "updated": self.updated.seconds(),
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": RETENTION_DAYS,
        });
        for (key, at) in [("nbf", self.details.nbf), ("exp", self.details.exp)] {
            if let Some(at) = at {
                attributes[key] = json!(at);
            }
        }
        let mut bundle = Map::new();
        bundle.insert("id".to_owned(), json!(format!("{base}/secrets/{name}/{}", self.id)));
        bundle.insert("attributes".to_owned(), attributes);
        if let Some(content_type) = &self.details.content_type {
            bundle.insert("contentType".to_owned(), json!(content_type));
        }
        if let Some(tags) = &self.details.tags {
            bundle.insert("tags".to_owned(), json!(tags));
        }
        bundle
    }

    /// `SecretItem` of the latest version: its identifier names no version.
    fn item(&self, base: &str, name: &str) -> Value {
        let mut item = self.bundle(base, name);
        item.insert("id".to_owned(), json!(format!("{base}/secrets/{name}")));
        Value::Object(item)
    }
}
