//! One person's history at Stripe, and what Stripe would have said of it at each moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::names::Names;
use nbhd::domain::subscription::{Status, Subscription, Tier};
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::queue::LifecycleJob;
use nbhd::store::Billing;
use nbhd_sim::stripe::{BASIC, Beginning, Card, PLUS, Stripe};

use super::world::{DAY, HOUR, World};

/// A person, their tenant, and what is known to have happened to them.
pub(super) struct Person {
    pub(super) number: usize,
    pub(super) chat: ChatId,
    pub(super) tenant: TenantId,
    pub(super) names: Names,
    pub(super) customer: Option<String>,
    /// Whether none of Stripe's events about them ever arrives.
    pub(super) is_deaf: bool,
    /// Everything Stripe would have answered, in order, without repeats.
    pub(super) truths: Vec<Option<Subscription>>,
    /// The oldest of them that the row may still hold: a later word was taken down, and said to be.
    pub(super) floor: usize,
    /// For each event, which truth was the newest when it was first posted.
    pub(super) first_posted: BTreeMap<String, usize>,
    /// How often a message went out from work that was cut short, and may so go out again.
    pub(super) excused: usize,
    pub(super) story: Vec<String>,
}

impl Person {
    pub(super) const fn new(number: usize, chat: ChatId, tenant: TenantId, names: Names, is_deaf: bool) -> Self {
        Self {
            number,
            chat,
            tenant,
            names,
            customer: None,
            is_deaf,
            truths: Vec::new(),
            floor: 0,
            first_posted: BTreeMap::new(),
            excused: 0,
            story: Vec::new(),
        }
    }
}

/// What Stripe says of a customer, told apart from how the code under test reads it: the subscription that counts by
/// the rule of the design (what runs, then what is past due, then what can be resumed, then what waits for its first
/// payment, then what ended; the newest of equals).
fn truth(stripe: &Stripe, customer: &str) -> Option<Subscription> {
    let known = stripe.subscriptions(customer);
    let rank = |status: &str| match status {
        "active" | "trialing" => 0,
        "past_due" => 1,
        "paused" | "unpaid" => 2,
        "incomplete" => 3,
        _ => 4,
    };
    let second = |at: Timestamp| Timestamp::from_seconds(at.seconds());
    let counts = known.iter().min_by_key(|one| (rank(one.status), Reverse((one.created.seconds(), &one.id))))?;
    let status: Status = counts.status.parse().expect("a status that is known");
    let is_over = matches!(status, Status::Canceled | Status::IncompleteExpired);
    let open = || stripe.open_invoices(&counts.id).first().map(|invoice| second(invoice.created));
    Some(Subscription {
        id: counts.id.clone(),
        status,
        tier: if counts.price == PLUS { Tier::Plus } else { Tier::Basic },
        unpaid_since: (status == Status::PastDue).then(open).flatten(),
        ended_at: counts.ended_at.filter(|_| is_over).map(second),
        current_period_end: Some(second(counts.period.1)),
        cancel_at_period_end: counts.cancel_at_period_end,
    })
}

impl World {
    /// Takes down what Stripe would say now; its place among everything it would have said.
    pub(super) fn hears(&self, number: usize) -> usize {
        self.with(number, |person| {
            let now = person.customer.as_ref().and_then(|customer| truth(&self.stripe, customer));
            if person.truths.last() != Some(&now) {
                person.truths.push(now);
            }
            person.truths.len() - 1
        })
    }

    /// Something happens to a person: at Stripe by their own hand, or by an operator's.
    pub(super) async fn acts(&self, number: usize) {
        let customer = self.with(number, |person| person.customer.clone());
        let status = customer.as_ref().and_then(|customer| truth(&self.stripe, customer)).map(|known| known.status);
        let did = match (status, customer) {
            (None | Some(Status::Canceled | Status::IncompleteExpired), _) => self.comes_or_stays_away(number).await,
            (Some(_), Some(customer)) if self.chance.percent(86) => self.moves_on(&customer, status),
            (Some(_), _) => self.is_operated_on(number).await,
        };
        self.hears(number);
        self.notes(number, format!("{did}; Stripe: {:?}", self.with(number, |person| person.truths.last().cloned())));
    }

    async fn comes_or_stays_away(&self, number: usize) -> &'static str {
        let is_back = self.with(number, |person| person.customer.is_some());
        if is_back && self.chance.percent(55) {
            return "stays away";
        }
        let Some(customer) = self.opens_checkout(number).await else { return "finds the page down" };
        self.stripe.set_card(&customer, if self.chance.percent(25) { Card::Fails } else { Card::Works });
        let (tenant, chat) = self.with(number, |person| (person.tenant.to_string(), person.chat.to_string()));
        let beginning = match self.chance.below(10) {
            0..4 => Beginning::Paid,
            4..6 => Beginning::Trial(HOUR),
            6..8 => Beginning::Trial(self.chance.choice(&[DAY, 7 * DAY])),
            8 => Beginning::Incomplete,
            _ => return "turns back at the checkout",
        };
        let price = self.chance.choice(&[BASIC, PLUS]);
        self.stripe.subscribes(&customer, price, beginning, &[("tenant_id", &tenant), ("chat_id", &chat)]);
        "subscribes"
    }

    /// As `billing-session` does before it sends somebody to Stripe: the row, and on it the customer.
    async fn opens_checkout(&self, number: usize) -> Option<String> {
        let (tenant_id, chat, known) =
            self.with(number, |person| (person.tenant, person.chat, person.customer.clone()));
        let (record, now) = (self.store.tenant_record(tenant_id).await.expect("a calm table"), self.clock.now());
        let due = Some(Due::new(Kind::Reconcile, tenant_id, now + DAY));
        match record {
            Some(TenantRecord::Live(_)) => return known,
            // A removed tenant stays removed until something is paid, and is asked about.
            Some(TenantRecord::Deleted(left)) => {
                let version = left.version;
                self.store.save_tombstone(&Tombstone { due, ..left }, version).await.ok()?;
                return known;
            }
            None => {}
        }
        let customer = self.stripe.has_customer(&[("tenant_id", &tenant_id.to_string())]);
        let tenant = Tenant { customer: Some(customer.clone()), due, ..Tenant::new(tenant_id, chat) };
        let billing = Billing { tenant, read_version: None, stripe_ids: vec![&customer], event: None };
        self.store.save_billing(billing, now).await.ok()?;
        self.with(number, |person| person.customer = Some(customer.clone()));
        self.hears(number);
        Some(customer)
    }

    fn moves_on(&self, customer: &str, status: Option<Status>) -> &'static str {
        let (stripe, roll) = (&self.stripe, self.chance.below(100));
        match (status, roll) {
            (Some(Status::Active | Status::Trialing), 0..25) => {
                stripe.card_fails(customer);
                "has a card that fails"
            }
            (Some(Status::Active | Status::Trialing), 25..40) => {
                stripe.cancels(customer);
                "cancels"
            }
            (Some(Status::Active | Status::Trialing), 40..50) => {
                stripe.cancels_at_period_end(customer, true);
                "cancels at the period's end"
            }
            (Some(Status::Active | Status::Trialing), 50..55) => {
                stripe.cancels_at_period_end(customer, false);
                "does not cancel after all"
            }
            (Some(Status::Active | Status::Trialing), 55..63) => {
                stripe.pauses(customer);
                "pauses"
            }
            (Some(Status::Active | Status::Trialing), 63..68) => {
                stripe.disputes(customer);
                "disputes"
            }
            (Some(Status::Active | Status::Trialing), 68..73) => {
                stripe.card_works(customer);
                "has a card that works"
            }
            (Some(Status::Paused), 0..50) => {
                stripe.resumes(customer);
                "resumes"
            }
            (Some(Status::PastDue | Status::Unpaid | Status::Incomplete), 0..50) => {
                stripe.pays_open(customer);
                "pays what is open"
            }
            (Some(_), 85..) => {
                stripe.cancels(customer);
                "cancels"
            }
            _ => "does nothing",
        }
    }

    /// As `nbhd suspend`, `resume` and `rotate-keys` do.
    async fn is_operated_on(&self, number: usize) -> &'static str {
        let tenant_id = self.with(number, |person| person.tenant);
        let rotates = self.chance.percent(50);
        for _ in 0..5 {
            let Some(tenant) = self.store.tenant(tenant_id).await.expect("a calm table") else { return "is not there" };
            let (version, held) = (tenant.version, tenant.held);
            let wanted =
                if rotates { Tenant { rotation_requested: true, ..tenant } } else { Tenant { held: !held, ..tenant } };
            if self.store.save_tenant(&wanted, Some(version)).await.is_ok() {
                self.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await.expect("a calm queue");
                return if rotates { "has its keys rotated" } else { "is suspended or resumed by an operator" };
            }
        }
        "cannot be operated on"
    }

    /// A time that makes something happen, or nothing.
    pub(super) fn a_while(&self) -> Duration {
        let whiles = [MINUTES, MINUTES, HOUR / 2, 2 * HOUR, DAY, 3 * DAY, 4 * DAY, 8 * DAY, 31 * DAY];
        self.chance.choice(&whiles)
    }
}

const MINUTES: Duration = Duration::from_secs(10 * 60);
