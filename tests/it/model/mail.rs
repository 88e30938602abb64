//! Stripe's events on their way: twice, late, in any order, or never.

use std::collections::BTreeMap;
use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd_sim::stripe::Event;
use serde_json::Value;

use super::world::{DAY, HOUR, MINUTE, World};

/// An event is posted for three days.
const MAX_RECEIVES: u32 = 16;

/// The kinds that the endpoint is subscribed to.
const KINDS: [&str; 10] = [
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_failed",
    "charge.dispute.created",
];

/// What is still to be posted, and how far Stripe's list of events was read.
#[derive(Debug, Default)]
pub(super) struct Mail {
    read: usize,
    /// How many events of a kind there were about each person.
    kinds: BTreeMap<(usize, String), usize>,
    letters: Vec<Letter>,
}

/// One posting of one event.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) event: Event,
    pub(super) number: usize,
    /// Which of its kind about this person it is, from 0.
    pub(super) nth: usize,
    due: Timestamp,
    tries: u32,
}

impl World {
    /// Decides what becomes of every event there is since it was last asked.
    pub(super) fn collect_events(&self) {
        let events = self.stripe.events();
        let now = self.clock.now();
        let customers: BTreeMap<String, usize> = {
            let people = self.people.borrow();
            people.iter().filter_map(|person| Some((person.customer.clone()?, person.number))).collect()
        };
        let read = std::mem::replace(&mut self.mail.borrow_mut().read, events.len());
        for event in events.into_iter().skip(read).filter(|event| KINDS.contains(&event.kind.as_str())) {
            let body: Value = serde_json::from_slice(&event.body).expect("JSON");
            let customer = body["data"]["object"]["customer"].as_str().unwrap_or_default();
            let Some(&number) = customers.get(customer) else { continue };
            let nth = {
                let mut mail = self.mail.borrow_mut();
                let count = mail.kinds.entry((number, event.kind.clone())).or_default();
                std::mem::replace(count, *count + 1)
            };
            if self.is_replay.get() {
                continue;
            }
            let is_lost = self.with(number, |person| person.gets_no_events) || self.chance.percent(15);
            if is_lost && !self.is_fault_free.get() {
                self.count(|counts| counts.fault("event dropped for good"));
                self.note(number, format!("lost: {} {}", event.kind, event.id));
                continue;
            }
            let copies = 1 + usize::from(!self.is_fault_free.get() && self.chance.percent(15));
            self.count(|counts| counts.faults("event posted twice", copies - 1));
            for _ in 0..copies {
                let late = if self.is_fault_free.get() { Duration::ZERO } else { self.lateness() };
                let letter = Letter { event: event.clone(), number, nth, due: now + late, tries: 0 };
                self.mail.borrow_mut().letters.push(letter);
            }
        }
    }

    fn lateness(&self) -> Duration {
        let most = self.chance.choice(&[Duration::ZERO, Duration::ZERO, 5 * MINUTE, HOUR, DAY, 4 * DAY]);
        let late = self.chance.up_to(most);
        self.count(|counts| counts.faults("event late", usize::from(!late.is_zero())));
        late
    }

    /// Posts what is due, in any order.
    pub(super) async fn deliver_mail(&self) {
        self.collect_events();
        let now = self.clock.now();
        let mut due: Vec<Letter> = {
            let mut mail = self.mail.borrow_mut();
            let (due, later) = mail.letters.drain(..).partition(|letter| letter.due <= now || self.is_fault_free.get());
            mail.letters = later;
            due
        };
        self.chance.shuffle(&mut due);
        for letter in due {
            self.try_letter(letter).await;
        }
    }

    /// One of the events about this person that are still under way, before its time.
    pub(super) fn take_letter(&self, number: usize) -> Option<Letter> {
        self.collect_events();
        let mut mail = self.mail.borrow_mut();
        let place = mail.letters.iter().position(|letter| letter.number == number)?;
        Some(mail.letters.swap_remove(place))
    }

    /// The `nth` event of a kind about a person.
    pub(super) fn find_letter(&self, number: usize, kind: &str, nth: usize) -> Option<Letter> {
        let customer = self.with(number, |person| person.customer.clone())?;
        let is_theirs = |event: &Event| {
            let body: Value = serde_json::from_slice(&event.body).expect("JSON");
            event.kind == kind && body["data"]["object"]["customer"] == *customer
        };
        let event = self.stripe.events().into_iter().filter(is_theirs).nth(nth)?;
        Some(Letter { event, number, nth, due: self.clock.now(), tries: 0 })
    }

    pub(super) fn has_mail(&self) -> bool {
        self.collect_events();
        !self.mail.borrow().letters.is_empty()
    }

    async fn try_letter(&self, letter: Letter) {
        let status = self.post_letter(&letter).await;
        self.requeue(letter, status);
    }

    /// What was not accepted is posted again later, for a while.
    pub(super) fn requeue(&self, letter: Letter, status: Option<u16>) {
        let tries = letter.tries + 1;
        if status != Some(200) && tries < MAX_RECEIVES {
            let due = self.clock.now() + self.chance.choice(&[5 * MINUTE, 30 * MINUTE, 2 * HOUR]);
            self.mail.borrow_mut().letters.push(Letter { due, tries, ..letter });
        }
    }

    /// Once it is accepted, the row holds nothing older than what Stripe said when this event was first posted.
    pub(super) fn record_answer(&self, letter: &Letter, status: Option<u16>) {
        if status == Some(200) && letter.event.kind != "charge.dispute.created" {
            self.with(letter.number, |person| {
                let first = person.first_posted.get(&letter.event.id).copied().unwrap_or_default();
                person.floor = person.floor.max(first);
            });
        }
    }
}
