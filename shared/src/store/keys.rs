//! Every key of the table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Item;
use crate::clock::Timestamp;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::integration::{Provider, SubjectHash};
use crate::domain::sign_in::SignInId;

pub(super) const PARTITION: &str = "pk";
pub(super) const SORT: &str = "sk";

const TENANT: &str = "TENANT#";
const INTEGRATION: &str = "INTEGRATION#";
pub(super) const LIMITS: &str = "LIMITS";
pub(super) const META: &str = "META";

/// The range of sort keys that a runtime call reads with one query: `INTEGRATION#…`, `LIMITS` and `META` are neighbours
/// in the sort order, and `STEP#…` lies outside, so that steps do not add to the query's cost.
pub(super) const RUNTIME_VIEW: (&str, &str) = (INTEGRATION, META);

/// An item's primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) partition: String,
    pub(super) sort: String,
}

impl Key {
    fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }

    /// The key in the form that requests take.
    pub(super) fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            (PARTITION.to_owned(), AttributeValue::S(self.partition.clone())),
            (SORT.to_owned(), AttributeValue::S(self.sort.clone())),
        ])
    }
}

pub(super) fn tenant_partition(id: TenantId) -> String {
    format!("{TENANT}{id}")
}

pub(super) fn tenant(id: TenantId) -> Key {
    Key::new(tenant_partition(id), META)
}

pub(super) fn integration(id: TenantId, provider: Provider) -> Key {
    Key::new(tenant_partition(id), format!("{INTEGRATION}{provider}"))
}

/// Parses the key of a tenant's or an integration's row from an item of the index; the service is `None` for a
/// tenant's.
pub(super) fn parse_row_key(item: &Item) -> Option<(TenantId, Option<Provider>)> {
    let part = |name| item.get(name)?.as_s().ok();
    let tenant = part(PARTITION)?.strip_prefix(TENANT)?.parse().ok()?;
    match part(SORT)?.as_str() {
        META => Some((tenant, None)),
        sort => Some((tenant, Some(sort.strip_prefix(INTEGRATION)?.parse().ok()?))),
    }
}

/// The state of the rate limits of a tenant's runtime.
pub(super) fn runtime_limits(id: TenantId) -> Key {
    Key::new(tenant_partition(id), LIMITS)
}

/// The prefix of every step's sort key.
pub(super) const STEPS: &str = "STEP#";

/// The step that led to a version of the tenant's row; steps sort by time.
pub(super) fn step(id: TenantId, at: Timestamp, version: u64) -> Key {
    Key::new(tenant_partition(id), format!("{STEPS}{}#{version:010}", at.rfc3339()))
}

/// The count of tenants in an Azure subscription.
pub(super) fn shard(azure_subscription: &str) -> Key {
    Key::new(format!("SHARD#{azure_subscription}"), "COUNT")
}

pub(super) fn rollout() -> Key {
    Key::new("ROLLOUT", "NEWEST")
}

/// The sort key of every inventory.
pub(super) const ORPHANS: &str = "ORPHANS";

/// What the last inventory of an Azure subscription or of the model gateway found that no row knows.
pub(super) fn inventory(of: &str) -> Key {
    Key::new(format!("INVENTORY#{of}"), ORPHANS)
}

pub(super) fn route(chat: ChatId) -> Key {
    Key::new(format!("CHAT#{chat}"), "ROUTE")
}

/// The last reply to a chat without a tenant.
pub(super) fn stranger(chat: ChatId) -> Key {
    Key::new(format!("STRANGER#{chat}"), "REPLIED")
}

/// The count of replies to all such chats in a window of time, by the window's number.
pub(super) fn strangers(window: i64) -> Key {
    Key::new("STRANGER#ALL", window.to_string())
}

/// The tenant of a Stripe customer or subscription.
pub(super) fn stripe(id: &str) -> Key {
    Key::new(format!("STRIPE#{id}"), "TENANT")
}

/// An event that was processed.
pub(super) fn stripe_event(id: &str) -> Key {
    Key::new(format!("EVENT#stripe#{id}"), "SEEN")
}

pub(super) fn nonce(jti: &str) -> Key {
    Key::new(format!("NONCE#{jti}"), "USED")
}

/// A sign-in that waits for its confirmation.
pub(super) fn sign_in(id: &SignInId) -> Key {
    Key::new(format!("START#{}", id.as_str()), "TOKEN")
}

/// The partition of a Google account.
pub(super) fn google_account(account: &SubjectHash) -> String {
    format!("GRANT#{}", account.as_str())
}

/// A connection of a Google account.
pub(super) fn account_connection(account: &SubjectHash, tenant: TenantId, provider: Provider) -> Key {
    Key::new(google_account(account), format!("{INTEGRATION}{tenant}#{provider}"))
}

/// Parses the key of such an item.
pub(super) fn parse_account_connection(item: &Item) -> Option<(TenantId, Provider)> {
    let connection = item.get(SORT)?.as_s().ok()?.strip_prefix(INTEGRATION)?;
    let (tenant, provider) = connection.split_once('#')?;
    Some((tenant.parse().ok()?, provider.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_view_holds_tenant_integrations_and_limits_and_nothing_else() {
        let id = TenantId::random();
        let within = |key: &Key| (RUNTIME_VIEW.0..=RUNTIME_VIEW.1).contains(&key.sort.as_str());
        assert!(within(&tenant(id)));
        assert!(Provider::ALL.into_iter().all(|provider| within(&integration(id, provider))));
        assert!(within(&runtime_limits(id)));
        assert_eq!(parse_row_key(&tenant(id).attributes()), Some((id, None)));
        let gmail = integration(id, Provider::Gmail);
        assert_eq!(parse_row_key(&gmail.attributes()), Some((id, Some(Provider::Gmail))));
        assert_eq!(parse_row_key(&runtime_limits(id).attributes()), None);
        assert!(!within(&Key::new(tenant_partition(id), "STEP#2026")));
    }
}
