//! What Stripe remembers.

use std::collections::BTreeMap;

use nbhd::clock::Timestamp;

use super::events::Outbox;
use super::idempotency::Answers;

/// Names to values, chosen by whoever made the object.
pub type Metadata = BTreeMap<String, String>;

/// What happens when the last attempt to collect a payment failed; a setting of the account.
/// See <https://docs.stripe.com/billing/revenue-recovery/smart-retries>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterDunning {
    /// The subscription becomes `unpaid`.
    #[default]
    Unpaid,
    /// It is canceled.
    Canceled,
    /// It stays `past_due`.
    PastDue,
}

/// What Stripe keeps between two calls.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) base_url: String,
    pub(super) customers: BTreeMap<String, Customer>,
    pub(super) prices: Vec<Price>,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) portals: BTreeMap<String, Portal>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) invoices: BTreeMap<String, Invoice>,
    pub(super) after_dunning: AfterDunning,
    pub(super) outbox: Outbox,
    pub(super) answers: Answers,
    counter: u64,
}

/// How a customer pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Card {
    /// No payment method.
    #[default]
    None,
    /// Charges succeed.
    Works,
    /// Charges fail.
    Fails,
}

/// A customer.
#[derive(Clone, Debug)]
pub struct Customer {
    /// `cus_…`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The metadata that its maker wrote.
    pub metadata: Metadata,
    /// Its payment method.
    pub card: Card,
    /// Whether it was deleted: it can be fetched, and nothing else.
    pub is_deleted: bool,
}

/// A price of a plan.
#[derive(Clone, Debug)]
pub struct Price {
    /// `price_…`.
    pub id: String,
    /// The plan's name.
    pub name: &'static str,
    /// In cents, a month.
    pub amount: i64,
}

/// A Checkout session's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// It can be paid.
    Open,
    /// It was paid.
    Complete,
    /// Its time ran out.
    Expired,
}

/// A Checkout session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `cs_test_…`.
    pub id: String,
    /// The identifier of the customer who pays.
    pub customer: String,
    /// The identifier of the price.
    pub price: String,
    /// Its status.
    pub status: SessionStatus,
    /// When it was made.
    pub created: Timestamp,
    /// When it can no longer be paid.
    pub expires_at: Timestamp,
    /// Where the browser goes afterwards.
    pub success_url: String,
    /// Where it goes when the person turns back.
    pub cancel_url: Option<String>,
    /// The maker's own name for it.
    pub reference: Option<String>,
    /// Whether the terms have to be agreed to.
    pub terms: bool,
    /// Whether its page takes promotion codes; `None`: its maker did not say.
    pub promotion_codes: Option<bool>,
    /// How many days of trial its subscription begins with.
    pub trial_days: Option<i64>,
    /// The metadata of the session.
    pub metadata: Metadata,
    /// The metadata of the subscription it leads to.
    pub subscription_metadata: Metadata,
    /// The subscription it led to.
    pub subscription: Option<String>,
}

/// A session of the customer portal.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) created: Timestamp,
    pub(super) return_url: Option<String>,
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// `sub_…`.
    pub id: String,
    /// `si_…`, its one item.
    pub item: String,
    /// The identifier of its customer.
    pub customer: String,
    /// The price of its item.
    pub price: String,
    /// The prices of the items that Stripe lists before that one, and after it.
    pub other_items: (Vec<String>, Vec<String>),
    /// Whether a promotion code takes off all of its price, for good.
    pub is_free: bool,
    /// `active`, `past_due` and so on.
    pub status: &'static str,
    /// When it was made.
    pub created: Timestamp,
    /// The period that runs.
    pub period: (Timestamp, Timestamp),
    /// When its trial ends.
    pub trial_end: Option<Timestamp>,
    /// Whether it ends with its period.
    pub cancel_at_period_end: bool,
    /// When it ends at a time of its own.
    pub cancel_at: Option<Timestamp>,
    /// When it was canceled, or its end decided.
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The metadata that its maker wrote.
    pub metadata: Metadata,
    /// `in_…`.
    pub latest_invoice: Option<String>,
}

/// An invoice's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceStatus {
    /// Not final yet: nothing is charged.
    Draft,
    /// Written off, and still owed.
    Uncollectible,
    /// To be paid.
    Open,
    /// Paid.
    Paid,
    /// Taken back.
    Void,
}

/// An invoice for one period of a subscription.
#[derive(Clone, Debug)]
pub struct Invoice {
    /// `in_…`.
    pub id: String,
    /// The identifier of the customer who pays.
    pub customer: String,
    /// The identifier of its subscription.
    pub subscription: String,
    /// Its status.
    pub status: InvoiceStatus,
    /// When it was made.
    pub created: Timestamp,
    /// In cents.
    pub amount: i64,
    /// `subscription_create` or `subscription_cycle`.
    pub reason: &'static str,
    /// The period that it charges for.
    pub period: (Timestamp, Timestamp),
    /// How often a charge was tried.
    pub attempts: u32,
    /// When it is tried again.
    pub next_attempt: Option<Timestamp>,
    /// When it was paid.
    pub paid_at: Option<Timestamp>,
}

impl State {
    /// An identifier that was not given before; later ones sort behind earlier ones.
    pub(super) fn next_id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}_1Sim{:012}", self.counter)
    }

    pub(super) fn price(&self, id: &str) -> Option<&Price> {
        self.prices.iter().find(|price| price.id == id)
    }

    /// The customer's subscriptions, newest first.
    pub(super) fn subscriptions_of(&self, customer: &str) -> Vec<&Subscription> {
        let mut found: Vec<_> = self.subscriptions.values().filter(|known| known.customer == customer).collect();
        found.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        found
    }

    /// The open invoices of a subscription, oldest first.
    pub(super) fn open_invoices(&self, subscription: &str) -> Vec<&Invoice> {
        let is_open =
            |invoice: &&Invoice| invoice.subscription == subscription && invoice.status == InvoiceStatus::Open;
        self.invoices.values().filter(is_open).collect()
    }
}

impl Subscription {
    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status, "canceled" | "incomplete_expired")
    }
}
