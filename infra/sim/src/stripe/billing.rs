//! How subscriptions and invoices change: by what a person does, and by time alone.
//!
//! A month is thirty days here, an invoice is charged in the moment it is made, and a failed charge is tried again
//! after 3, 5 and 7 days.

use std::time::Duration;

use nbhd::clock::Timestamp;

use super::objects;
use super::state::{AfterDunning, Card, Invoice, InvoiceStatus, Metadata, SessionStatus, State, Subscription};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a period lasts.
pub const MONTH: Duration = DAY.saturating_mul(30);

/// When a charge is tried again after its first, second and third failure.
pub const RETRIES: [Duration; 3] = [DAY.saturating_mul(3), DAY.saturating_mul(2), DAY.saturating_mul(2)];

/// How long a first payment may take. <https://docs.stripe.com/billing/subscriptions/overview#subscription-lifecycle>
pub const FIRST_PAYMENT_WITHIN: Duration = Duration::from_secs(23 * 60 * 60);

/// How a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStart {
    /// With a payment.
    Paid,
    /// With a trial of this length.
    Trial(Duration),
    /// With a payment that has not succeeded yet.
    Incomplete,
    /// With a promotion code that takes off all of the price, for good: every invoice is of 0 and paid as it is made.
    Free,
}

/// What time alone changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    ExpireSession(String),
    RetryCharge(String),
    ExpireIncomplete(String),
    EndPeriod(String),
    CancelAt(String),
}

impl State {
    /// Applies every change that is due up to `now`, in order.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        while let Some((at, change)) = self.next_change().filter(|(at, _)| *at <= now) {
            match change {
                Change::ExpireSession(id) => self.expire_session(&id, at),
                Change::RetryCharge(id) => self.charge(&id, at),
                Change::ExpireIncomplete(id) => {
                    self.void_invoices(&id, at);
                    self.end_subscription(&id, "incomplete_expired", at);
                }
                Change::EndPeriod(id) => self.end_period(&id, at),
                Change::CancelAt(id) => self.end_subscription(&id, "canceled", at),
            }
        }
    }

    /// When the next change is due.
    pub(super) fn next_change_at(&self) -> Option<Timestamp> {
        self.next_change().map(|(at, _)| at)
    }

    fn next_change(&self) -> Option<(Timestamp, Change)> {
        let open = self.sessions.values().filter(|session| session.status == SessionStatus::Open);
        let sessions = open.map(|session| (session.expires_at, Change::ExpireSession(session.id.clone())));
        let charges = self.invoices.values().filter(|invoice| invoice.status == InvoiceStatus::Open);
        let charges = charges.filter_map(|open| Some((open.next_attempt?, Change::RetryCharge(open.id.clone()))));
        let subscriptions = self.subscriptions.values().filter_map(|known| match known.status {
            "incomplete" => Some((known.created + FIRST_PAYMENT_WITHIN, Change::ExpireIncomplete(known.id.clone()))),
            "active" | "trialing" | "past_due" => Some((known.period.1, Change::EndPeriod(known.id.clone()))),
            _ => None,
        });
        let ends = self.subscriptions.values().filter(|known| !known.is_over());
        let ends = ends.filter_map(|known| Some((known.cancel_at?, Change::CancelAt(known.id.clone()))));
        sessions.chain(charges).chain(subscriptions).chain(ends).min()
    }

    /// A new subscription; returns its id.
    pub(super) fn subscribe(
        &mut self,
        customer: &str,
        price: &str,
        start: SubscriptionStart,
        metadata: Metadata,
        at: Timestamp,
    ) -> String {
        let (id, item) = (self.next_id("sub"), self.next_id("si"));
        let trial_end = match start {
            SubscriptionStart::Trial(length) => Some(at + length),
            SubscriptionStart::Paid | SubscriptionStart::Incomplete | SubscriptionStart::Free => None,
        };
        let status = if trial_end.is_some() { "trialing" } else { "incomplete" };
        let subscription = Subscription {
            id: id.clone(),
            item,
            customer: customer.to_owned(),
            price: price.to_owned(),
            other_items: (Vec::new(), Vec::new()),
            is_free: start == SubscriptionStart::Free,
            status,
            created: at,
            period: (at, trial_end.unwrap_or(at + MONTH)),
            trial_end,
            cancel_at_period_end: false,
            cancel_at: None,
            canceled_at: None,
            ended_at: None,
            metadata,
            latest_invoice: None,
        };
        self.subscriptions.insert(id.clone(), subscription);
        self.emit_subscription_event("created", &id, at);
        if trial_end.is_none() {
            let invoice = self.create_invoice(&id, "subscription_create", at);
            if matches!(start, SubscriptionStart::Paid | SubscriptionStart::Free) {
                self.charge(&invoice, at);
            }
        }
        id
    }

    /// The person pays what is open, with whatever card they have.
    pub(super) fn pay_open(&mut self, customer: &str, at: Timestamp) {
        let open = |invoice: &&Invoice| invoice.customer == customer && invoice.status == InvoiceStatus::Open;
        let open: Vec<_> = self.invoices.values().filter(open).map(|invoice| invoice.id.clone()).collect();
        for invoice in open {
            self.charge(&invoice, at);
        }
    }

    /// Ends a subscription now.
    pub(super) fn cancel(&mut self, id: &str, at: Timestamp) {
        if self.subscriptions.get(id).is_some_and(|known| !known.is_over()) {
            self.end_subscription(id, "canceled", at);
        }
    }

    /// Decides that a subscription ends with its period, or that it does not.
    pub(super) fn set_cancel_at_period_end(&mut self, id: &str, later: bool, at: Timestamp) {
        self.change(id, at, |known| {
            known.cancel_at_period_end = later;
            known.canceled_at = later.then_some(at);
        });
    }

    /// Decides that a subscription ends at a time that need not be the end of its period; `None`: not after all.
    pub(super) fn set_cancel_at(&mut self, id: &str, cancel_at: Option<Timestamp>, at: Timestamp) {
        self.change(id, at, |known| {
            known.cancel_at = cancel_at;
            known.canceled_at = cancel_at.map(|_| at);
        });
    }

    /// Deletes a customer, which ends its subscriptions at once. <https://docs.stripe.com/api/customers/delete>
    pub(super) fn delete_customer(&mut self, id: &str, at: Timestamp) {
        let known: Vec<String> = self.subscriptions_of(id).into_iter().map(|known| known.id.clone()).collect();
        for subscription in known {
            self.cancel(&subscription, at);
        }
        let object = objects::customer(self, id);
        if let Some(customer) = self.customers.get_mut(id) {
            customer.is_deleted = true;
            self.emit("customer.deleted", object, at);
        }
    }

    /// A trial ends without a card.
    pub(super) fn pause(&mut self, id: &str, at: Timestamp) {
        self.set(id, |known| known.status = "paused");
        self.emit_subscription_event("paused", id, at);
    }

    /// A paused subscription goes on, with a new period that is paid.
    pub(super) fn resume(&mut self, id: &str, at: Timestamp) {
        self.set(id, |known| {
            known.status = "active";
            known.period = (at, at + MONTH);
        });
        self.emit_subscription_event("resumed", id, at);
        let invoice = self.create_invoice(id, "subscription_cycle", at);
        self.charge(&invoice, at);
    }

    pub(super) fn expire_session(&mut self, id: &str, at: Timestamp) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.status = SessionStatus::Expired;
            let object = objects::session(self, id);
            self.emit("checkout.session.expired", object, at);
        }
    }

    /// Changes a subscription and tells of it.
    pub(super) fn change(&mut self, id: &str, at: Timestamp, change: impl FnOnce(&mut Subscription)) {
        self.set(id, change);
        self.emit_subscription_event("updated", id, at);
    }

    fn set(&mut self, id: &str, change: impl FnOnce(&mut Subscription)) {
        if let Some(known) = self.subscriptions.get_mut(id) {
            change(known);
        }
    }

    fn end_period(&mut self, id: &str, at: Timestamp) {
        let Some(known) = self.subscriptions.get(id) else { return };
        let without_card = self.customers.get(&known.customer).is_none_or(|customer| customer.card == Card::None);
        if known.cancel_at_period_end {
            return self.end_subscription(id, "canceled", at);
        }
        if known.status == "trialing" && without_card {
            return self.pause(id, at);
        }
        self.change(id, at, |known| {
            known.period = (at, at + MONTH);
            if known.status == "trialing" {
                known.status = "active";
            }
        });
        let invoice = self.create_invoice(id, "subscription_cycle", at);
        self.charge(&invoice, at);
    }

    fn end_subscription(&mut self, id: &str, status: &'static str, at: Timestamp) {
        self.set(id, |known| {
            known.status = status;
            known.ended_at = Some(at);
            known.canceled_at.get_or_insert(at);
        });
        // What was open stays open, and is no longer collected.
        for invoice in self.invoices.values_mut().filter(|invoice| invoice.subscription == id) {
            invoice.next_attempt = None;
        }
        let suffix = if status == "canceled" { "deleted" } else { "updated" };
        self.emit_subscription_event(suffix, id, at);
    }

    fn void_invoices(&mut self, subscription: &str, at: Timestamp) {
        let open: Vec<_> = self.open_invoices(subscription).iter().map(|invoice| invoice.id.clone()).collect();
        for id in open {
            if let Some(invoice) = self.invoices.get_mut(&id) {
                (invoice.status, invoice.next_attempt) = (InvoiceStatus::Void, None);
            }
            self.emit_invoice_event("voided", &id, at);
        }
    }

    /// An invoice for the period that runs.
    fn create_invoice(&mut self, subscription: &str, reason: &'static str, at: Timestamp) -> String {
        let id = self.next_id("in");
        let Some(known) = self.subscriptions.get_mut(subscription) else { return id };
        known.latest_invoice = Some(id.clone());
        let (customer, period, is_free) = (known.customer.clone(), known.period, known.is_free);
        let price = known.price.clone();
        let invoice = Invoice {
            id: id.clone(),
            customer,
            subscription: subscription.to_owned(),
            status: InvoiceStatus::Open,
            created: at,
            amount: self.price(&price).filter(|_| !is_free).map_or(0, |price| price.amount),
            reason,
            period,
            attempts: 0,
            next_attempt: None,
            paid_at: None,
        };
        self.invoices.insert(id.clone(), invoice);
        self.emit_invoice_event("created", &id, at);
        id
    }

    /// Tries to collect an invoice.
    fn charge(&mut self, id: &str, at: Timestamp) {
        let Some(invoice) = self.invoices.get_mut(id).filter(|invoice| invoice.status == InvoiceStatus::Open) else {
            return;
        };
        invoice.attempts += 1;
        invoice.next_attempt = None;
        let subscription = invoice.subscription.clone();
        let card_works = self.customers.get(&invoice.customer).is_some_and(|customer| customer.card == Card::Works);
        if card_works || invoice.amount == 0 {
            (invoice.status, invoice.paid_at) = (InvoiceStatus::Paid, Some(at));
            self.emit_invoice_event("paid", id, at);
            self.emit_invoice_event("payment_succeeded", id, at);
            return self.activate_if_paid(&subscription, at);
        }
        let retry = usize::try_from(invoice.attempts).ok().and_then(|attempts| RETRIES.get(attempts - 1).copied());
        let status = self.subscriptions.get(&subscription).map(|known| known.status);
        if matches!(status, Some("active" | "past_due")) {
            invoice.next_attempt = retry.map(|after| at + after);
        }
        self.emit_invoice_event("payment_failed", id, at);
        match status {
            Some("active") => self.change(&subscription, at, |known| known.status = "past_due"),
            Some("past_due") if retry.is_none() => self.end_dunning(&subscription, at),
            _ => {}
        }
    }

    fn activate_if_paid(&mut self, subscription: &str, at: Timestamp) {
        let all_paid = self.open_invoices(subscription).is_empty();
        let status = self.subscriptions.get(subscription).map(|known| known.status);
        if all_paid && matches!(status, Some("incomplete" | "past_due" | "unpaid")) {
            self.change(subscription, at, |known| known.status = "active");
        }
    }

    fn end_dunning(&mut self, subscription: &str, at: Timestamp) {
        match self.after_dunning {
            AfterDunning::Unpaid => self.change(subscription, at, |known| known.status = "unpaid"),
            AfterDunning::Canceled => self.end_subscription(subscription, "canceled", at),
            AfterDunning::PastDue => {}
        }
    }

    fn emit_subscription_event(&mut self, suffix: &str, id: &str, at: Timestamp) {
        let object = objects::subscription(self, id);
        self.emit(&format!("customer.subscription.{suffix}"), object, at);
    }

    fn emit_invoice_event(&mut self, suffix: &str, id: &str, at: Timestamp) {
        let object = objects::invoice(self, id);
        self.emit(&format!("invoice.{suffix}"), object, at);
    }
}
