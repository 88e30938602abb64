//! Processes one event: reads the row, fetches Stripe's snapshot, writes both in one transaction, queues a reconcile.
//!
//! The invocation may end after any of these. What is left is done when Stripe redelivers the event, or when the sweep
//! finds the row due.

use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord, Tombstone};
use nbhd::flows::reactivation::Reactivation;
use nbhd::providers;
use nbhd::providers::stripe::{Client, CustomerSnapshot, Event, report_deleted_customer};
use nbhd::queue::{self, LifecycleJob};
use nbhd::store::{self, BillingOutcome, BillingUpdate, EventOutcome};
use nbhd::telemetry::metric;
use nbhd::web::record_tenant;

use crate::App;

/// How often an event is processed anew because another writer changed the row meanwhile. The reconciler writes it
/// between its steps, seconds apart, so that so many conflicts never follow each other.
const MAX_ATTEMPTS: usize = 4;

/// Why an event could not be processed now. Every effect is idempotent and is repeated when Stripe redelivers it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("table: {0}")]
    Store(#[from] store::Error),
    #[error("queue: {0}")]
    Queue(#[from] queue::Error),
    #[error("Stripe: {0}")]
    Stripe(#[from] providers::Error),
}

impl App {
    /// Brings the event's tenant up to date with Stripe, and queues its reconcile.
    pub(crate) async fn process_event(&self, stripe: &Client, event: &Event) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.try_process(stripe, event).await {
                // The row changed after it was read: our snapshot may be older than the one on it, so fetch anew.
                Err(Error::Store(store::Error::Conflict)) if attempt < MAX_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_process(&self, stripe: &Client, event: &Event) -> Result<(), Error> {
        let now = self.clock.now();
        let Some((tenant_id, customer, record)) = self.find_tenant(event).await? else {
            return self.record_unmatched(stripe, event, now).await;
        };
        record_tenant(tenant_id);
        // Stripe is asked after the row was read, so that a write between the two is a conflict.
        let (known, trial_was_spent) = match &record {
            TenantRecord::Live(tenant) => (tenant.subscription.clone(), tenant.trial_spent),
            TenantRecord::Deleted(tombstone) => (None, tombstone.trial_spent),
        };
        let snapshot = stripe.fetch_subscription(customer, known.as_ref(), now).await?;
        if snapshot.is_customer_deleted {
            report_deleted_customer(customer);
        }
        let (read_version, spends_trial) = (Some(record.version()), snapshot.has_trialed && !trial_was_spent);
        let tenant = match record {
            TenantRecord::Live(tenant) => with_snapshot(*tenant, snapshot, now),
            TenantRecord::Deleted(tombstone) => match Reactivation::decide(&tombstone, snapshot, now) {
                Reactivation::Tenant(tenant) => *tenant,
                Reactivation::NotEntitled => {
                    if spends_trial {
                        let left = Tombstone { trial_spent: true, ..(*tombstone).clone() };
                        self.store.save_tombstone(&left, tombstone.version).await?;
                    }
                    return Ok(self.store.record_event(&event.id, EventOutcome::Applied, now).await?);
                }
                Reactivation::Unmatched => return self.record_unmatched(stripe, event, now).await,
            },
        };
        let subscription = tenant.subscription.as_ref().map(|known| known.id.clone());
        let stripe_ids: Vec<&str> = std::iter::once(customer).chain(subscription.as_deref()).collect();
        let is_due = tenant.due.as_ref().is_some_and(|due| due.at <= now);
        let is_changed = tenant.subscription != known || spends_trial;
        let billing = BillingUpdate { tenant, read_version, stripe_ids, event: Some(&event.id) };
        match self.store.save_billing(billing.clone(), now).await? {
            BillingOutcome::Saved(_) => {
                tracing::info!(event = event.id, "Stripe snapshot stored; reconcile is queued next")
            }
            // A redelivered event; but since then Stripe changed something and its event did not arrive.
            BillingOutcome::Duplicate if is_changed => {
                self.store.save_billing(BillingUpdate { event: None, ..billing }, now).await?;
            }
            BillingOutcome::Duplicate if !is_due => return Ok(()),
            BillingOutcome::Duplicate => {}
        }
        Ok(self.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await?)
    }

    /// Finds the tenant that the event's object names, or else the one that the table maps its customer to. `None`
    /// unless that tenant's row has this customer.
    async fn find_tenant<'e>(&self, event: &'e Event) -> Result<Option<(TenantId, &'e str, TenantRecord)>, Error> {
        let Some(customer) = event.customer.as_deref() else { return Ok(None) };
        let tenant_id = match event.tenant_id {
            Some(id) => Some(id),
            None => self.store.find_tenant(customer).await?,
        };
        let Some(tenant_id) = tenant_id else { return Ok(None) };
        let record = self.store.tenant_record(tenant_id).await?;
        Ok(record.filter(|row| row.customer() == Some(customer)).map(|row| (tenant_id, customer, row)))
    }

    /// Records an event whose customer is no tenant's: for a person to look at, unless nobody pays any more. A customer
    /// who was deleted, and then replaced or forgotten, has events on their way for days.
    async fn record_unmatched(&self, stripe: &Client, event: &Event, now: Timestamp) -> Result<(), Error> {
        if let Some(customer) = event.customer.as_deref()
            && stripe.is_customer_deleted(customer).await?
        {
            tracing::info!(event = event.id, "an event of a deleted customer who is no tenant's; nobody pays");
            return Ok(self.store.record_event(&event.id, EventOutcome::CustomerDeleted, now).await?);
        }
        self.store.record_event(&event.id, EventOutcome::Unmatched, now).await?;
        metric("StripeEventsUnmatched", 1);
        tracing::error!(
            code = "stripe_customer_unmatched",
            event = event.id,
            "a Stripe event matches no tenant; its customer may pay for nothing: look them up in Stripe's dashboard"
        );
        Ok(())
    }
}

/// The row with Stripe's snapshot on it. It is due at once when the subscription changed, or when the lifecycle does
/// not match it yet: the job that is queued next may be lost.
fn with_snapshot(tenant: Tenant, snapshot: CustomerSnapshot, now: Timestamp) -> Tenant {
    let is_changed = snapshot.subscription.is_some() && snapshot.subscription != tenant.subscription;
    let trial_spent = tenant.trial_spent || snapshot.has_trialed;
    let tenant = Tenant { subscription: snapshot.subscription.or(tenant.subscription), trial_spent, ..tenant };
    if is_changed || !has_converged(&tenant, now) {
        Tenant { due: Some(Due::new(Kind::Reconcile, tenant.tenant_id, now)), ..tenant }
    } else {
        tenant
    }
}

/// Whether the lifecycle is the one that the subscription entitles to, so that the reconciler has nothing to do.
fn has_converged(tenant: &Tenant, now: Timestamp) -> bool {
    match (tenant.entitlement(now), tenant.lifecycle) {
        (Entitlement::Pending, Lifecycle::Pending)
        | (Entitlement::Run { .. }, Lifecycle::Active)
        | (Entitlement::Suspend { .. }, Lifecycle::Suspended) => true,
        (Entitlement::Pending | Entitlement::Run { .. } | Entitlement::Suspend { .. } | Entitlement::Remove, _) => {
            false
        }
    }
}
