//! A cache of the access tokens that this process has seen, so that a warm runtime call needs no vault.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;

use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};
use crate::flows::stored_token::may_hand_out;

/// More integrations than one sandbox serves within a token's hour. When it is full, the least recently used goes.
const CAPACITY: usize = 256;

#[derive(Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<(TenantId, Provider), Entry>>,
}

struct Entry {
    token: SecretString,
    expires_at: Timestamp,
    /// The version of the secret that this token belongs to. The entry is stale once the row names another one, after
    /// a reconnect or another process's refresh.
    secret_version: String,
    used_at: Timestamp,
}

impl Cache {
    pub(super) fn get(&self, row: &Integration, now: Timestamp) -> Option<SecretString> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&(row.tenant_id, row.provider))?;
        if entry.secret_version != row.secret_version || !may_hand_out(entry.expires_at, now) {
            return None;
        }
        entry.used_at = now;
        Some(entry.token.clone())
    }

    pub(super) fn put(&self, row: &Integration, token: SecretString, expires_at: Timestamp, now: Timestamp) {
        let mut entries = self.lock();
        let key = (row.tenant_id, row.provider);
        if entries.len() >= CAPACITY && !entries.contains_key(&key) {
            let longest_unused = entries.iter().min_by_key(|(_, entry)| entry.used_at).map(|(key, _)| *key);
            longest_unused.and_then(|key| entries.remove(&key));
        }
        entries.insert(key, Entry { token, expires_at, secret_version: row.secret_version.clone(), used_at: now });
    }

    pub(super) fn remove(&self, tenant: TenantId, provider: Provider) {
        self.lock().remove(&(tenant, provider));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, Provider), Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn row(secret_version: &str) -> Integration {
        Integration {
            secret_version: secret_version.to_owned(),
            ..Integration::new(TenantId::random(), Provider::Gmail, NOW)
        }
    }

    #[test]
    fn a_token_is_kept_until_shortly_before_its_end() {
        let (cache, row) = (Cache::default(), row("1"));
        cache.put(&row, "token".into(), NOW + HOUR, NOW);
        assert!(cache.get(&row, NOW).is_some());
        assert!(cache.get(&row, NOW + HOUR - Duration::from_secs(120)).is_none());
        cache.remove(row.tenant_id, row.provider);
        assert!(cache.get(&row, NOW).is_none());
    }

    #[test]
    fn a_token_of_another_version_of_the_secret_is_not_used() {
        let (cache, row) = (Cache::default(), row("1"));
        cache.put(&row, "token".into(), NOW + HOUR, NOW);
        assert!(cache.get(&Integration { secret_version: "2".to_owned(), ..row }, NOW).is_none());
    }

    #[test]
    fn the_longest_unused_token_makes_room() {
        let cache = Cache::default();
        let rows: Vec<Integration> = (0..=CAPACITY).map(|_| row("1")).collect();
        for (place, row) in rows.iter().enumerate().take(CAPACITY) {
            cache.put(row, "token".into(), NOW + HOUR, NOW + Duration::from_millis(place as u64));
        }
        assert!(cache.get(&rows[0], NOW + Duration::from_secs(1)).is_some());
        cache.put(&rows[CAPACITY], "token".into(), NOW + HOUR, NOW + Duration::from_secs(1));
        assert!(cache.get(&rows[0], NOW).is_some() && cache.get(&rows[CAPACITY], NOW).is_some());
        assert!(cache.get(&rows[1], NOW).is_none());
        assert_eq!(cache.lock().len(), CAPACITY);
    }
}
