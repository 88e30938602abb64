//! Whether a payment makes a removed tenant live again.

use crate::clock::Timestamp;
use crate::domain::due::{Due, Kind};
use crate::domain::subscription::Entitlement;
use crate::domain::tenant::{Tenant, Tombstone};
use crate::providers::stripe::CustomerSnapshot;

/// What a snapshot from Stripe means for a removed tenant.
#[derive(Debug)]
pub enum Reactivation {
    /// The tenant lives again and is due at once: write it over the tombstone.
    Tenant(Box<Tenant>),
    /// No subscription entitles to a running assistant: the tenant stays removed.
    NotEntitled,
    /// A subscription does, but its metadata names another tenant or none, or no chat: nobody knows whose it is.
    Unmatched,
}

impl Reactivation {
    /// Decides by a fresh snapshot of the customer of `tombstone`.
    pub fn decide(tombstone: &Tombstone, snapshot: CustomerSnapshot, now: Timestamp) -> Self {
        let CustomerSnapshot { subscription, tenant_id, chat_id, has_trialed, is_customer_deleted: _ } = snapshot;
        let runs = |entitlement| matches!(entitlement, Entitlement::Run { .. });
        let Some(subscription) = subscription.filter(|known| runs(known.entitlement(now))) else {
            return Self::NotEntitled;
        };
        let Some(chat) = chat_id.filter(|_| tenant_id == Some(tombstone.tenant_id)) else { return Self::Unmatched };
        let tenant = tombstone.reactivate(chat, Some(subscription), now);
        let due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, now));
        let trial_spent = tenant.trial_spent || has_trialed;
        Self::Tenant(Box::new(Tenant { trial_spent, due, ..tenant }))
    }
}
