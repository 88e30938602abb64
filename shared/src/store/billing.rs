//! What Stripe's word changes: the tenant's row, the event that brought it, and whose customer is whose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::transaction::Transacted;
use super::{Error, Item, Store, encode, keys};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::tenant::Tenant;

/// How long an event is remembered; Stripe sends one for three days.
/// <https://docs.stripe.com/webhooks#automatic-retries>
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// Stripe's present word about its tenant is on the row.
    Applied,
    /// No tenant of ours has its customer.
    Unmatched,
}

/// Stripe's word about one tenant, to be written in one transaction.
#[derive(Clone, Debug)]
pub struct Billing<'a> {
    /// The row as it shall be.
    pub tenant: Tenant,
    /// The version it was read with (`None`: there was none).
    pub read_version: Option<u64>,
    /// Ids of its customer and subscription; the same two transactions may both name them.
    pub stripe_ids: Vec<&'a str>,
    /// The event that made us ask, if one did.
    pub event: Option<&'a str>,
}

/// How writing it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is written; the row with its new version.
    Done(Box<Tenant>),
    /// The event was dealt with before, and nothing was written.
    Repeated,
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
    /// Writes Stripe's word, all or nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is not as it was read: read it anew, ask Stripe anew. [`Error::Unavailable`].
    pub async fn save_billing(&self, billing: Billing<'_>, now: Timestamp) -> Result<Recorded, Error> {
        let Billing { tenant, read_version, stripe_ids, event } = billing;
        let saved = Tenant { version: read_version.map_or(1, |version| version + 1), ..tenant };
        let key = keys::tenant(saved.tenant_id);
        let mut items = vec![self.replacing(&key, encode("tenant", &saved)?, read_version)?];
        if let Some(event) = event {
            items.push(self.replacing(&keys::stripe_event(event), seen(EventOutcome::Applied, now)?, None)?);
        }
        let customer = encode("customer", &Customer { tenant_id: saved.tenant_id })?;
        for id in stripe_ids {
            items.push(self.putting(&keys::stripe(id), customer.clone())?);
        }
        match self.transact(items).await? {
            Transacted::Done => Ok(Recorded::Done(Box::new(saved))),
            Transacted::Refused(failed) if event.is_some() && failed.contains(&1) => Ok(Recorded::Repeated),
            Transacted::Refused(_) => Err(Error::Conflict),
        }
    }

    /// Records an event that changes no tenant; recording it again is no matter.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn record_event(&self, event: &str, outcome: EventOutcome, now: Timestamp) -> Result<(), Error> {
        match self.replace(&keys::stripe_event(event), seen(outcome, now)?, None).await {
            Ok(()) | Err(Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The tenant of a Stripe customer or subscription; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenant_of(&self, stripe_id: &str) -> Result<Option<TenantId>, Error> {
        let row: Option<Customer> = self.read("customer", &keys::stripe(stripe_id)).await?;
        Ok(row.map(|row| row.tenant_id))
    }
}

fn seen(outcome: EventOutcome, now: Timestamp) -> Result<Item, Error> {
    encode("event", &Event { outcome, ttl: (now + REMEMBERED).seconds() })
}
