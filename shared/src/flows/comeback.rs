//! A removed tenant whose person pays again.

use crate::clock::Timestamp;
use crate::domain::due::{Due, Kind};
use crate::domain::subscription::Entitlement;
use crate::domain::tenant::{Tenant, Tombstone};
use crate::providers::stripe::Word;

/// What Stripe's word makes of a removed tenant.
#[derive(Debug)]
pub enum Comeback {
    /// A tenant again, due at once: to be written over the tombstone.
    As(Box<Tenant>),
    /// Nothing that runs is paid for: what was removed stays so.
    NotYet,
    /// Something is, but not on a subscription of ours, so that nobody knows for which chat.
    AsNobody,
}

impl Comeback {
    /// Decides by Stripe's present word about the customer of `tombstone`.
    pub fn of(tombstone: &Tombstone, word: Word, now: Timestamp) -> Self {
        let Word { subscription, tenant_id, chat_id, .. } = word;
        let runs = |entitlement| matches!(entitlement, Entitlement::Run { .. });
        let Some(subscription) = subscription.filter(|known| runs(known.entitlement(now))) else { return Self::NotYet };
        let Some(chat) = chat_id.filter(|_| tenant_id == Some(tombstone.tenant_id)) else { return Self::AsNobody };
        let tenant = tombstone.reactivate(chat, Some(subscription), now);
        let due = Some(Due::new(Kind::Reconcile, tenant.tenant_id, now));
        Self::As(Box::new(Tenant { due, ..tenant }))
    }
}
