//! Row, word, transaction, nudge. Each may be the last thing that happens: the event comes again, or the row is due.

use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::subscription::Entitlement;
use nbhd::domain::tenant::{Lifecycle, Tenant, TenantRecord};
use nbhd::flows::comeback::Comeback;
use nbhd::providers;
use nbhd::providers::stripe::{Client, Event, Word};
use nbhd::queue::{self, LifecycleJob};
use nbhd::store::{self, BillingOutcome, BillingUpdate, EventOutcome};
use nbhd::telemetry::metric;
use nbhd::web::record_tenant;

use crate::App;

/// The reconciler writes the row between its steps, seconds apart; nobody writes it so often in a row.
const ATTEMPTS: usize = 4;

/// Why an event could not be dealt with now. What was done so far is done again when it comes again.
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
    pub(crate) async fn deal_with(&self, stripe: &Client, event: &Event) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.attempt(stripe, event).await {
                // Somebody changed the row after it was read: what Stripe said may be older than theirs, so ask anew.
                Err(Error::Store(store::Error::Conflict)) if attempt < ATTEMPTS => attempt += 1,
                ended => return ended,
            }
        }
    }

    async fn attempt(&self, stripe: &Client, event: &Event) -> Result<(), Error> {
        let now = self.clock.now();
        let Some((tenant_id, customer, record)) = self.whose(event).await? else {
            return self.unmatched(event, now).await;
        };
        record_tenant(tenant_id);
        // After the row was read, so that whoever writes between the two is noticed.
        let known = match &record {
            TenantRecord::Live(tenant) => tenant.subscription.clone(),
            TenantRecord::Deleted(_) => None,
        };
        let word = stripe.word(customer, known.as_ref()).await?;
        let read_version = Some(record.version());
        let tenant = match record {
            TenantRecord::Live(tenant) => told(*tenant, word, now),
            TenantRecord::Deleted(tombstone) => match Comeback::of(&tombstone, word, now) {
                Comeback::As(tenant) => *tenant,
                Comeback::NotYet => {
                    return Ok(self.store.record_event(&event.id, EventOutcome::Applied, now).await?);
                }
                Comeback::AsNobody => return self.unmatched(event, now).await,
            },
        };
        let subscription = tenant.subscription.as_ref().map(|known| known.id.clone());
        let stripe_ids: Vec<&str> = std::iter::once(customer).chain(subscription.as_deref()).collect();
        let is_due = tenant.due.as_ref().is_some_and(|due| due.at <= now);
        let is_news = tenant.subscription != known;
        let billing = BillingUpdate { tenant, read_version, stripe_ids, event: Some(&event.id) };
        match self.store.save_billing(billing.clone(), now).await? {
            BillingOutcome::Saved(_) => tracing::info!(event = event.id, "Stripe's word is written down"),
            // Dealt with before; but since then something happened of which nothing arrived.
            BillingOutcome::Duplicate if is_news => {
                self.store.save_billing(BillingUpdate { event: None, ..billing }, now).await?;
            }
            BillingOutcome::Duplicate if !is_due => return Ok(()),
            BillingOutcome::Duplicate => {}
        }
        Ok(self.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await?)
    }

    /// The tenant that the event's object names, or else the one we remember for its customer; only if that customer is
    /// its own.
    async fn whose<'e>(&self, event: &'e Event) -> Result<Option<(TenantId, &'e str, TenantRecord)>, Error> {
        let Some(customer) = event.customer.as_deref() else { return Ok(None) };
        let tenant_id = match event.tenant_id {
            Some(id) => Some(id),
            None => self.store.find_tenant(customer).await?,
        };
        let Some(tenant_id) = tenant_id else { return Ok(None) };
        let record = self.store.tenant_record(tenant_id).await?;
        Ok(record.filter(|row| row.customer() == Some(customer)).map(|row| (tenant_id, customer, row)))
    }

    async fn unmatched(&self, event: &Event, now: Timestamp) -> Result<(), Error> {
        self.store.record_event(&event.id, EventOutcome::Unmatched, now).await?;
        metric("StripeEventsUnmatched", 1);
        tracing::error!(code = "unmatched", event = event.id, "somebody pays, or paid, who is no tenant of ours");
        Ok(())
    }
}

/// The row with Stripe's word on it. It is due at once when that is news, or not yet so: the nudge may be lost.
fn told(tenant: Tenant, word: Word, now: Timestamp) -> Tenant {
    let is_news = word.subscription.is_some() && word.subscription != tenant.subscription;
    let told = Tenant { subscription: word.subscription.or(tenant.subscription), ..tenant };
    if is_news || !has_converged(&told, now) { due_at_once(told, now) } else { told }
}

fn due_at_once(tenant: Tenant, now: Timestamp) -> Tenant {
    Tenant { due: Some(Due::new(Kind::Reconcile, tenant.tenant_id, now)), ..tenant }
}

/// Whether the tenant is where its subscription wants it, so that there is nothing to do.
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
