//! Stripe: customers, Checkout, the customer portal, subscriptions with a clock, invoices and signed events, on one
//! loopback port.
//!
//! Absent on purpose: taxes, coupons but for a promotion code of 100 %, prorations, a quantity and payment methods as
//! objects of their own. See [`billing`] for what time does.

pub mod billing;
#[cfg(feature = "contracts")]
pub mod contract;
pub mod events;
pub mod faults;
pub mod state;

mod api;
mod calls;
mod form;
mod idempotency;
mod objects;
mod pages;
mod params;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use nbhd::clock::{Clock, Timestamp};
use uuid::Uuid;

pub use billing::SubscriptionStart;
pub use events::{Delivery, Disorder, Event};
pub use faults::{Endpoint, Failure};
pub use state::{AfterDunning, Card, Invoice, InvoiceStatus, Metadata, Session, SessionStatus, Subscription};

use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;
use state::{Price, State};

/// The version of the API whose shapes are written here.
pub const API_VERSION: &str = "2026-10-28.endive";
/// The name under which calls and pages stand in the journal.
pub const API: &str = "stripe";
/// The name under which deliveries to the webhook stand in the journal.
pub const EVENTS: &str = "stripe-events";

/// The price behind `STRIPE_PRICE_BASIC`.
pub const BASIC: &str = "price_1SimBasic";
/// The price behind `STRIPE_PRICE_PLUS`.
pub const PLUS: &str = "price_1SimPlus";

/// The simulator; clones are the same Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    /// How it fails on demand.
    pub faults: Faults<Endpoint, Failure>,
    server: Arc<Server>,
    world: World,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct World {
    clock: Clock,
    journal: Journal,
    key: String,
    state: Arc<Mutex<State>>,
    faults: Faults<Endpoint, Failure>,
}

impl Stripe {
    /// Starts a Stripe with two prices that writes into `journal` as [`API`] and [`EVENTS`].
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(clock: Clock, journal: &Journal) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let faults = Faults::default();
        let world = World { clock, journal: journal.clone(), key: random("sk_test_"), state, faults: faults.clone() };
        let server = Server::start(journal.wrap(API, router(world.clone()))).await?;
        let stripe = Self { faults, server: Arc::new(server), world };
        let mut state = stripe.lock();
        state.base_url = stripe.base_url();
        let price = |id: &str, name, amount| Price { id: id.to_owned(), name, amount };
        state.prices = vec![price(BASIC, "Basic", 2_000), price(PLUS, "Plus", 5_000)];
        state.outbox.secrets = vec![(random("whsec_"), None)];
        drop(state);
        Ok(stripe)
    }

    /// `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The settings that lead our functions here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("STRIPE_API_URL", self.base_url()),
            ("STRIPE_SECRET_KEY", self.world.key.clone()),
            ("STRIPE_WEBHOOK_SECRET", self.webhook_secret()),
            ("STRIPE_PRICE_BASIC", BASIC.to_owned()),
            ("STRIPE_PRICE_PLUS", PLUS.to_owned()),
        ]
    }

    /// The secret that signs events now.
    pub fn webhook_secret(&self) -> String {
        self.lock().outbox.secrets.first().map(|(secret, _)| secret.clone()).unwrap_or_default()
    }

    /// Makes a new signing secret and returns it; for a day the old one signs too.
    pub fn rolls_webhook_secret(&self) -> String {
        let secret = random("whsec_");
        events::roll(&mut self.lock().outbox, secret.clone(), self.world.clock.now());
        secret
    }

    /// Sets where events go.
    pub fn deliver_to(&self, url: &str) {
        self.lock().outbox.url = Some(url.to_owned());
    }

    /// Sets what goes wrong with the delivery of events that are made from now on; `None`: nothing.
    pub fn disorders_deliveries(&self, disorder: Option<Disorder>) {
        self.lock().outbox.set_disorder(disorder);
    }

    /// Applies the changes that are due by now. Every call and every page does so first.
    pub fn catch_up(&self) {
        drop(self.lock_current());
    }

    /// A customer made past the API, such as one of another product.
    pub fn has_customer(&self, metadata: &[(&str, &str)]) -> String {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut state = self.lock_current();
        let id = state.next_id("cus");
        let created = self.world.clock.now();
        let customer = state::Customer { id: id.clone(), created, metadata, card: Card::Works, is_deleted: false };
        state.customers.insert(id.clone(), customer);
        id
    }

    /// The person ticks the terms on the Checkout page at `url` and pays; returns where the browser is sent.
    ///
    /// # Errors
    /// What the page says instead.
    pub fn pays(&self, url: &str) -> Result<String, &'static str> {
        let now = self.world.clock.now();
        pages::pay(&mut self.lock_current(), last_part(url), true, Card::Works, now)
    }

    /// The person ticks the terms and enters a promotion code for all of the price, and no card.
    ///
    /// # Errors
    /// What the page says instead.
    pub fn pays_with_code(&self, url: &str) -> Result<String, &'static str> {
        let now = self.world.clock.now();
        pages::pay(&mut self.lock_current(), last_part(url), true, Card::None, now)
    }

    /// The person pays with a card that is declined; returns what the page says.
    pub fn pays_with_declined_card(&self, url: &str) -> Option<&'static str> {
        let now = self.world.clock.now();
        pages::pay(&mut self.lock_current(), last_part(url), true, Card::Fails, now).err()
    }

    /// The person turns back on the Checkout page; returns where the browser is sent.
    pub fn turns_back(&self, url: &str) -> Option<String> {
        pages::turn_back(&self.lock_current(), last_part(url)).ok()
    }

    /// A subscription made past Checkout; returns its id.
    pub fn subscribes(
        &self,
        customer: &str,
        price: &str,
        start: SubscriptionStart,
        metadata: &[(&str, &str)],
    ) -> String {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let now = self.world.clock.now();
        self.lock_current().subscribe(customer, price, start, metadata, now)
    }

    /// Charges to the customer's card fail from now on.
    pub fn card_fails(&self, customer: &str) {
        self.set_card(customer, Card::Fails);
    }

    /// Charges to the customer's card succeed from now on; what is open is paid when it is next tried.
    pub fn card_works(&self, customer: &str) {
        self.set_card(customer, Card::Works);
    }

    /// The customer's payment method from now on.
    pub fn set_card(&self, customer: &str, card: Card) {
        if let Some(customer) = self.lock_current().customers.get_mut(customer) {
            customer.card = card;
        }
    }

    /// The person enters a card that works and pays what is open, as in the portal.
    pub fn pays_open(&self, customer: &str) {
        self.card_works(customer);
        self.lock_current().pay_open(customer, self.world.clock.now());
    }

    /// The customer's newest subscription ends now.
    pub fn cancels(&self, customer: &str) {
        self.with_newest(customer, |state, id, now| state.cancel(id, now));
    }

    /// The customer's newest subscription will end with its period, or will not after all.
    pub fn cancels_at_period_end(&self, customer: &str, later: bool) {
        self.with_newest(customer, |state, id, now| state.set_cancel_at_period_end(id, later, now));
    }

    /// The customer's newest subscription will end at this time, be it before, with or after the end of its period.
    /// <https://docs.stripe.com/api/subscriptions/object#subscription_object-cancel_at>
    pub fn cancels_at(&self, customer: &str, cancel_at: Option<Timestamp>) {
        self.with_newest(customer, |state, id, now| state.set_cancel_at(id, cancel_at, now));
    }

    /// The customer's newest subscription has further items, with these prices, before and after the one it began with.
    pub fn has_other_items(&self, customer: &str, before: &[&str], after: &[&str]) {
        let owned = |prices: &[&str]| prices.iter().map(ToString::to_string).collect();
        let other_items = (owned(before), owned(after));
        self.with_newest(customer, |state, id, now| state.change(id, now, |known| known.other_items = other_items));
    }

    /// The open invoices of the customer's newest subscription become drafts, or are written off or taken back, and the
    /// subscription stays as it is.
    pub fn sets_open_invoices(&self, customer: &str, status: InvoiceStatus) {
        self.with_newest(customer, |state, id, now| {
            for invoice in state.invoices.values_mut().filter(|invoice| invoice.subscription == id) {
                if invoice.status == InvoiceStatus::Open {
                    (invoice.status, invoice.next_attempt) = (status, None);
                }
            }
            state.change(id, now, |_| {});
        });
    }

    /// The customer is deleted in the dashboard.
    pub fn deletes_customer(&self, customer: &str) {
        self.lock_current().delete_customer(customer, self.world.clock.now());
    }

    /// Another account's Stripe: the key is valid, and neither customers nor prices of ours are known.
    pub fn becomes_another_account(&self) {
        let mut state = self.lock_current();
        state.customers.clear();
        state.prices.clear();
    }

    /// The customer's newest subscription pauses, as at the end of a trial without a card.
    pub fn pauses(&self, customer: &str) {
        self.with_newest(customer, State::pause);
    }

    /// The customer's newest subscription goes on after a pause.
    pub fn resumes(&self, customer: &str) {
        self.with_newest(customer, State::resume);
    }

    /// Gives the customer's newest subscription any status, such as one that is not documented.
    pub fn has_status(&self, customer: &str, status: &'static str) {
        self.with_newest(customer, |state, id, now| state.change(id, now, |known| known.status = status));
    }

    /// The customer's bank disputes a charge.
    pub fn disputes(&self, customer: &str) {
        self.with_newest(customer, |state, _, now| {
            let (id, charge) = (state.next_id("dp"), state.next_id("ch"));
            let object = objects::dispute(&id, &charge, 2_000, now);
            state.emit("charge.dispute.created", object, now);
        });
    }

    /// Sets what happens to a subscription when the last attempt to collect failed.
    pub fn ends_dunning_with(&self, after: AfterDunning) {
        self.lock_current().after_dunning = after;
    }

    /// The customer's newest subscription, as it is now.
    pub fn subscription(&self, customer: &str) -> Option<Subscription> {
        self.subscriptions(customer).into_iter().next()
    }

    /// The customer's subscriptions, newest first.
    pub fn subscriptions(&self, customer: &str) -> Vec<Subscription> {
        self.lock_current().subscriptions_of(customer).into_iter().cloned().collect()
    }

    /// The open invoices of a subscription, oldest first.
    pub fn open_invoices(&self, subscription: &str) -> Vec<Invoice> {
        self.lock_current().open_invoices(subscription).into_iter().cloned().collect()
    }

    /// Every customer with its metadata, oldest first.
    pub fn customers(&self) -> Vec<(String, Metadata)> {
        self.lock_current().customers.values().map(|known| (known.id.clone(), known.metadata.clone())).collect()
    }

    /// Every Checkout session, oldest first.
    pub fn sessions(&self) -> Vec<Session> {
        self.lock_current().sessions.values().cloned().collect()
    }

    /// Every event there was, in the order in which it happened, delivered or not.
    pub fn events(&self) -> Vec<Event> {
        self.lock_current().outbox.events.clone()
    }

    /// The `Stripe-Signature` under which `body` would be posted now.
    pub fn signs(&self, body: &[u8]) -> String {
        events::signature(&[self.webhook_secret()], self.world.clock.now(), body)
    }

    /// How many deliveries are still to be made.
    pub fn pending(&self) -> usize {
        self.lock_current().outbox.pending.len()
    }

    /// How often `endpoint` was called.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.faults.calls(endpoint)
    }

    fn clock(&self) -> &Clock {
        &self.world.clock
    }

    fn journal(&self) -> &Journal {
        &self.world.journal
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.world.lock()
    }

    fn lock_current(&self) -> MutexGuard<'_, State> {
        self.world.lock_current()
    }

    fn with_newest(&self, customer: &str, work: impl FnOnce(&mut State, &str, Timestamp)) {
        let mut state = self.lock_current();
        let newest = state.subscriptions_of(customer).first().map(|known| known.id.clone());
        if let Some(id) = newest {
            work(&mut state, &id, self.world.clock.now());
        }
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state in which time has passed up to now.
    fn lock_current(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.catch_up(self.clock.now());
        state
    }
}

fn router(world: World) -> Router {
    Router::new()
        .route("/c/pay/{id}", get(pages::checkout).post(pages::press_checkout))
        .route("/p/session/{id}", get(pages::portal).post(pages::press_portal))
        .route("/v1/{*path}", any(api::call))
        .layer(from_fn_with_state(world.clone(), faults::inject_failure))
        .with_state(world)
}

/// The identifier at the end of a page's address.
fn last_part(url: &str) -> &str {
    url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

/// `prefix` and 128 random bits.
fn random(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}
