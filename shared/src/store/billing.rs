//! What Stripe changes: the tenant's row, the event that was processed, and the tenant of each Stripe id.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::transaction::TransactionOutcome;
use super::{Error, Item, Store, encode, keys};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::tenant::{Tenant, TenantRecord};

/// How long an event's outcome is kept; Stripe resends an event for three days.
/// <https://docs.stripe.com/webhooks#automatic-retries>
const EVENT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How the processing of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// The tenant's row holds what Stripe said when the event was processed.
    Applied,
    /// The event's customer belongs to no tenant of ours.
    Unmatched,
    /// Nor does the event's customer, who was deleted.
    CustomerDeleted,
}

/// What Stripe says about one tenant, to be written in one transaction.
#[derive(Clone, Debug)]
pub struct BillingUpdate<'a> {
    /// The row to write.
    pub tenant: Tenant,
    /// The version the row was read with; `None` when it must not exist yet.
    pub read_version: Option<u64>,
    /// The ids of the tenant's customer and subscription; concurrent transactions may name the same ids.
    pub stripe_ids: Vec<&'a str>,
    /// The event that caused the update; `None` when an operator or the reconciler caused it.
    pub event: Option<&'a str>,
}

/// How writing a [`BillingUpdate`] ended.
#[derive(Debug, PartialEq, Eq)]
pub enum BillingOutcome {
    /// The row was written; this is the row with its new version.
    Saved(Box<Tenant>),
    /// The event was processed before, and nothing was written.
    Duplicate,
}

#[derive(Serialize, Deserialize)]
struct Customer {
    tenant_id: TenantId,
}

#[derive(Serialize)]
struct Event {
    outcome: EventOutcome,
    ttl: i64,
}

impl Store {
    /// Writes an update, all or nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is not as it was read: read it and ask Stripe again. [`Error::Unavailable`].
    pub async fn save_billing(&self, update: BillingUpdate<'_>, now: Timestamp) -> Result<BillingOutcome, Error> {
        let BillingUpdate { tenant, read_version, stripe_ids, event } = update;
        let saved = Tenant { version: read_version.map_or(1, |version| version + 1), ..tenant };
        let key = keys::tenant(saved.tenant_id);
        let mut items = vec![self.versioned_put(&key, encode("tenant", &saved)?, read_version)?];
        let mut event_position = None;
        if let Some(event) = event {
            event_position = Some(items.len());
            items.push(self.versioned_put(
                &keys::stripe_event(event),
                event_item(EventOutcome::Applied, now)?,
                None,
            )?);
        }
        let customer = encode("customer", &Customer { tenant_id: saved.tenant_id })?;
        for id in stripe_ids {
            items.push(self.plain_put(&keys::stripe(id), customer.clone())?);
        }
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(BillingOutcome::Saved(Box::new(saved))),
            TransactionOutcome::Rejected(failed)
                if event_position.is_some_and(|position| failed.contains(&position)) =>
            {
                Ok(BillingOutcome::Duplicate)
            }
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }

    /// Writes a row that no longer has its customer, and removes the mapping of the customer's ids, all or nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is not as it was read. [`Error::Unavailable`].
    pub async fn forget_customer(&self, record: TenantRecord, stripe_ids: &[&str]) -> Result<(), Error> {
        let (key, read_version) = (keys::tenant(record.tenant_id()), record.version());
        let item = match record.with_version(read_version + 1) {
            TenantRecord::Live(tenant) => encode("tenant", &*tenant)?,
            TenantRecord::Deleted(tombstone) => encode("tombstone", &*tombstone)?,
        };
        let mut items = vec![self.versioned_put(&key, item, Some(read_version))?];
        for id in stripe_ids {
            items.push(self.plain_delete(&keys::stripe(id))?);
        }
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(()),
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }

    /// Records an event that changes no tenant; idempotent.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn record_event(&self, event: &str, outcome: EventOutcome, now: Timestamp) -> Result<(), Error> {
        match self.replace(&keys::stripe_event(event), event_item(outcome, now)?, None).await {
            Ok(()) | Err(Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Finds the tenant of a Stripe customer or subscription; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn find_tenant(&self, stripe_id: &str) -> Result<Option<TenantId>, Error> {
        let row: Option<Customer> = self.read("customer", &keys::stripe(stripe_id)).await?;
        Ok(row.map(|row| row.tenant_id))
    }
}

fn event_item(outcome: EventOutcome, now: Timestamp) -> Result<Item, Error> {
    encode("event", &Event { outcome, ttl: (now + EVENT_RETENTION).seconds() })
}
