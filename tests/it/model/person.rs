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
use nbhd::store::BillingUpdate;
use nbhd_sim::stripe::{self, BASIC, Card, PLUS, Stripe};

use super::history::{Act, Beginning, Event, EventKind};
use super::world::{DAY, HOUR, World};

/// A person, their tenant, and what is known to have happened to them.
pub(super) struct Person {
    pub(super) number: usize,
    pub(super) chat: ChatId,
    pub(super) tenant: TenantId,
    pub(super) names: Names,
    pub(super) customer: Option<String>,
    /// Until when an operator gave them an assistant.
    pub(super) gift_until: Option<Timestamp>,
    /// The pages at Stripe that they were sent to.
    pub(super) pages: Vec<String>,
    /// Whether none of Stripe's events about them ever arrives.
    pub(super) gets_no_events: bool,
    /// Everything Stripe would have answered, in order, without repeats.
    pub(super) truths: Vec<Option<Subscription>>,
    /// The oldest of them that the row may still hold: a later word was taken down, and said to be.
    pub(super) floor: usize,
    /// For each event, which truth was the newest when it was first posted.
    pub(super) first_posted: BTreeMap<String, usize>,
    /// How often a message went out from work that was cut short, and may so go out again.
    pub(super) excused: usize,
    pub(super) story: Vec<String>,
    /// What happened so far; while an invocation is held, what happens meanwhile is the last list.
    pub(super) recording: Vec<Vec<Event>>,
}

impl Person {
    pub(super) const fn new(number: usize, chat: ChatId, tenant: TenantId, names: Names, gets_no_events: bool) -> Self {
        Self {
            number,
            chat,
            tenant,
            names,
            customer: None,
            gift_until: None,
            pages: Vec::new(),
            gets_no_events,
            truths: Vec::new(),
            floor: 0,
            first_posted: BTreeMap::new(),
            excused: 0,
            story: Vec::new(),
            recording: Vec::new(),
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
        past_due_since: None,
        ends_at: (counts.cancel_at_period_end && !is_over).then(|| second(counts.period.1)),
    })
}

impl World {
    /// Takes down what Stripe would say now; its place among everything it would have said.
    pub(super) fn record_truth(&self, number: usize) -> usize {
        self.with(number, |person| {
            let now = person.customer.as_ref().and_then(|customer| truth(&self.stripe, customer));
            if person.truths.last() != Some(&now) {
                person.truths.push(now);
            }
            person.truths.len() - 1
        })
    }

    /// Something happens to a person: at Stripe by their own hand, or by an operator's.
    pub(super) async fn act(&self, number: usize) {
        if let Some(act) = self.draw_act(number) {
            self.record_event(number, EventKind::Act(act));
            self.perform(number, act).await;
        }
        self.record_truth(number);
    }

    /// What a person does now; `None`: nothing.
    fn draw_act(&self, number: usize) -> Option<Act> {
        match self.chance.below(100) {
            0..12 => return Some(self.draw_gift(number)),
            12..32 => return Some(self.draw_google(number)),
            _ => {}
        }
        let customer = self.with(number, |person| person.customer.clone());
        let status = customer.as_ref().and_then(|customer| truth(&self.stripe, customer)).map(|known| known.status);
        match (status, customer) {
            (None | Some(Status::Canceled | Status::IncompleteExpired), customer) => {
                if customer.is_some() && self.chance.percent(55) {
                    return None;
                }
                Some(if self.chance.percent(40) { self.draw_checking_out() } else { self.draw_checkout() })
            }
            (Some(status), Some(_)) if self.chance.percent(86) => self.draw_move(status),
            (Some(_), _) if self.chance.percent(50) => Some(Act::KeysAreRotated),
            (Some(_), _) => Some(Act::HoldIsToggled),
        }
    }

    fn draw_checkout(&self) -> Act {
        let card_works = !self.chance.percent(25);
        let beginning = match self.chance.below(10) {
            0..4 => Beginning::Paid,
            4..6 => Beginning::TrialOfHours(1),
            6..8 => Beginning::TrialOfHours(self.chance.choice(&[24, 7 * 24])),
            8 => Beginning::Incomplete,
            _ => return Act::TurnsBack { card_works },
        };
        Act::Subscribes { plus: self.chance.choice(&[false, true]), card_works, beginning }
    }

    fn draw_move(&self, status: Status) -> Option<Act> {
        Some(match (status, self.chance.below(100)) {
            (Status::Active | Status::Trialing, 0..25) => Act::CardFails,
            (Status::Active | Status::Trialing, 25..40) | (_, 85..) => Act::Cancels,
            (Status::Active | Status::Trialing, 40..50) => Act::CancelsAtPeriodEnd,
            (Status::Active | Status::Trialing, 50..55) => Act::StaysAfterAll,
            (Status::Active | Status::Trialing, 55..63) => Act::Pauses,
            (Status::Active | Status::Trialing, 63..68) => Act::Disputes,
            (Status::Active | Status::Trialing, 68..73) => Act::CardWorks,
            (Status::Paused, 0..50) => Act::Resumes,
            (Status::PastDue | Status::Unpaid | Status::Incomplete, 0..50) => Act::PaysWhatIsOpen,
            _ => return None,
        })
    }

    /// Does what a person does, or an operator for them.
    pub(super) async fn perform(&self, number: usize, act: Act) {
        match act {
            Act::TurnsBack { card_works } | Act::Subscribes { card_works, .. } => {
                let Some(customer) = self.open_checkout(number).await else { return };
                self.stripe.set_card(&customer, if card_works { Card::Works } else { Card::Fails });
                if let Act::Subscribes { plus, beginning, .. } = act {
                    self.subscribe(number, &customer, plus, beginning);
                }
            }
            Act::ChecksOut { plus, end, after_stored_error } => {
                self.check_out(number, plus, end, after_stored_error).await;
            }
            Act::ConnectsGoogle => self.connect_google(number).await,
            Act::DisconnectsGoogle => self.disconnect_google(number).await,
            Act::GiftIsGiven { plus, hours } => self.give(number, plus, hours).await,
            Act::GiftIsRevoked => self.revoke(number).await,
            Act::KeysAreRotated => self.operate_on(number, true).await,
            Act::HoldIsToggled => self.operate_on(number, false).await,
            Act::CardFails
            | Act::CardWorks
            | Act::Cancels
            | Act::CancelsAtPeriodEnd
            | Act::StaysAfterAll
            | Act::Pauses
            | Act::Resumes
            | Act::Disputes
            | Act::PaysWhatIsOpen => {
                let Some(customer) = self.with(number, |person| person.customer.clone()) else { return };
                self.change_at_stripe(&customer, act);
            }
        }
        self.record_truth(number);
        self.note(number, format!("{act:?}; Stripe: {:?}", self.with(number, |person| person.truths.last().cloned())));
    }

    fn subscribe(&self, number: usize, customer: &str, plus: bool, beginning: Beginning) {
        let (tenant, chat) = self.with(number, |person| (person.tenant.to_string(), person.chat.to_string()));
        let beginning = match beginning {
            Beginning::Paid => stripe::SubscriptionStart::Paid,
            Beginning::TrialOfHours(hours) => {
                stripe::SubscriptionStart::Trial(HOUR * u32::try_from(hours).expect("at most some days"))
            }
            Beginning::Incomplete => stripe::SubscriptionStart::Incomplete,
        };
        let price = if plus { PLUS } else { BASIC };
        self.stripe.subscribes(customer, price, beginning, &[("tenant_id", &tenant), ("chat_id", &chat)]);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are done elsewhere")]
    fn change_at_stripe(&self, customer: &str, act: Act) {
        let stripe = &self.stripe;
        match act {
            Act::CardFails => stripe.card_fails(customer),
            Act::CardWorks => stripe.card_works(customer),
            Act::Cancels => stripe.cancels(customer),
            Act::CancelsAtPeriodEnd => stripe.cancels_at_period_end(customer, true),
            Act::StaysAfterAll => stripe.cancels_at_period_end(customer, false),
            Act::Pauses => stripe.pauses(customer),
            Act::Resumes => stripe.resumes(customer),
            Act::Disputes => stripe.disputes(customer),
            Act::PaysWhatIsOpen => stripe.pays_open(customer),
            _ => {}
        }
    }

    /// As `billing-session` does before it sends somebody to Stripe: the row, and on it the customer.
    async fn open_checkout(&self, number: usize) -> Option<String> {
        let (tenant_id, chat, known) =
            self.with(number, |person| (person.tenant, person.chat, person.customer.clone()));
        let (record, now) = (self.store.tenant_record(tenant_id).await.expect("a calm table"), self.clock.now());
        let (row, read_version) = match record {
            Some(TenantRecord::Live(row)) if row.customer.is_some() => return known,
            Some(TenantRecord::Live(row)) => (*row.clone(), Some(row.version)),
            // A removed tenant stays removed until something is paid, and is asked about.
            Some(TenantRecord::Deleted(left)) if left.customer.is_some() => {
                let version = left.version;
                let ask_stripe_at = Some(now + DAY);
                self.store.save_tombstone(&Tombstone { ask_stripe_at, ..*left }, version).await.ok()?;
                return known;
            }
            Some(TenantRecord::Deleted(left)) => (left.reactivate(chat, None, now), Some(left.version)),
            None => (Tenant::new(tenant_id, chat), None),
        };
        let customer = self.stripe.has_customer(&[("tenant_id", &tenant_id.to_string())]);
        let check = Due::new(Kind::Reconcile, tenant_id, now + DAY);
        let due = row.due.clone().filter(|due| due.at <= check.at).or(Some(check));
        let tenant = Tenant { customer: Some(customer.clone()), due, ..row };
        let billing = BillingUpdate { tenant, read_version, stripe_ids: vec![&customer], event: None };
        self.store.save_billing(billing, now).await.ok()?;
        self.with(number, |person| person.customer = Some(customer.clone()));
        self.record_truth(number);
        Some(customer)
    }

    /// As `nbhd suspend`, `resume` and `rotate-keys` do.
    pub(super) async fn operate_on(&self, number: usize, rotates: bool) {
        let tenant_id = self.with(number, |person| person.tenant);
        for _ in 0..5 {
            let Some(tenant) = self.store.tenant(tenant_id).await.expect("a calm table") else { return };
            let (version, held) = (tenant.version, tenant.held);
            let wanted =
                if rotates { Tenant { rotation_requested: true, ..tenant } } else { Tenant { held: !held, ..tenant } };
            if self.store.save_tenant(&wanted, Some(version)).await.is_ok() {
                self.lifecycle.send(&LifecycleJob::Reconcile { tenant_id }).await.expect("a calm queue");
                return;
            }
        }
    }

    /// A time that makes something happen, or nothing.
    pub(super) fn draw_pause(&self) -> Duration {
        let whiles = [MINUTES, MINUTES, HOUR / 2, 2 * HOUR, DAY, 3 * DAY, 4 * DAY, 8 * DAY, 31 * DAY];
        self.chance.choice(&whiles)
    }
}

const MINUTES: Duration = Duration::from_secs(10 * 60);
