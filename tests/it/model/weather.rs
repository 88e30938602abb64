//! What goes wrong while a function is at work: it is stopped, held, or what it calls fails.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use nbhd::clock::Timestamp;
use nbhd::domain::reconcile_status::LEASE;
use nbhd_sim::interruption::{SenderFate, StopPoint};
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::sqs::{LIFECYCLE, REFRESH};

use super::faults::Fault;
use super::history::{Event, Meanwhile, Weather, What, at, since_start};
use super::mail::Letter;
use super::world::{MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);

/// An invocation that the platform ended.
#[derive(Debug)]
pub(super) struct Stopped;

impl World {
    /// For work that makes at most so many requests, and mostly fewer.
    fn draws_weather(&self, requests: usize) -> Weather {
        let after = || 1 + self.chance.below(1 + self.chance.below(requests));
        match self.chance.below(100) {
            _ if self.is_calm.get() => Weather::Calm,
            0..12 => Weather::Crash(StopPoint::Number(after())),
            12..24 => Weather::Hold { at: StopPoint::Number(after()), meanwhile: None },
            24..32 => {
                let sender = self.chance.choice(&[SenderFate::Stopped, SenderFate::Disconnected]);
                let lands_after = self.chance.choice(&[SECOND, 30 * SECOND, 3 * MINUTE, 9 * MINUTE]);
                let lands_after = u64::try_from(lands_after.as_millis()).expect("minutes");
                Weather::Late { at: StopPoint::Number(after()), sender, lands_after }
            }
            32..48 => Weather::Fault(Fault::draw(&self.chance)),
            _ => Weather::Calm,
        }
    }

    /// Works off both queues, also what is to come up within `patience`.
    pub(super) async fn works_off(&self, patience: Duration) {
        let limits = Limits { concurrency: 1, timeout: Duration::from_secs(60) };
        let until = self.clock.now() + patience;
        // A tenant that never comes to rest is found at the end.
        for _ in 0..400 {
            Pump::new(&self.sqs, LIFECYCLE, &self.clock, limits, |event| self.takes(event)).drain().await;
            self.works_off_tokens(&self.refresh).await;
            let waiting = [LIFECYCLE, REFRESH].map(|queue| self.sqs.messages(queue)).concat();
            let next = waiting.iter().map(|message| message.visible_at).min();
            let Some(next) = next.filter(|next| *next <= until && self.violation().is_none()) else { return };
            self.comes_to(next).await;
        }
    }

    /// Takes one job off the queue.
    async fn takes(&self, event: SqsEvent) -> Result<SqsBatchResponse, Stopped> {
        let body = event.records.first().and_then(|record| record.body.clone()).unwrap_or_default();
        let job: serde_json::Value = serde_json::from_str(&body).expect("a job");
        let tenant = job["tenant_id"].as_str().and_then(|id| id.parse().ok());
        let number = tenant.and_then(|tenant| self.number_of(tenant)).expect("somebody's");
        if !self.is_calm.get() && self.chance.percent(5) {
            self.count(|counts| counts.fault("job lost"));
            self.notes(number, "the job is lost");
            return Ok(SqsBatchResponse::default());
        }
        match Box::pin(self.reconciles(number, event)).await {
            Some(response) => Ok(response),
            None => Err(Stopped),
        }
    }

    async fn reconciles(&self, number: usize, event: SqsEvent) -> Option<SqsBatchResponse> {
        let under = self.draws_weather(45);
        let began = self.clock.now();
        let (under, response) = self.reconciles_under(number, event, under).await;
        self.records_at(began, number, What::Reconcile { under });
        response
    }

    pub(super) async fn reconciles_under(
        &self,
        number: usize,
        event: SqsEvent,
        under: Weather,
    ) -> (Weather, Option<SqsBatchResponse>) {
        self.planted.precedes(self, number).await;
        let before = self.begins(number);
        let work = async { tenant_reconcile::handle(&self.reconciler, event, "model").await };
        let (under, ended) = self.under(number, under, work).await;
        let (report, response) = ended.unzip();
        self.notes(number, format!("reconcile: {under:?} {report:?}"));
        self.ends(number, &before, !under.is_calm(), report).await;
        (under, response)
    }

    /// Posts an event once; the status of the answer, if there was one.
    pub(super) async fn is_posted(&self, letter: &Letter) -> Option<u16> {
        let under = self.draws_weather(6);
        let began = self.clock.now();
        let (under, status) = self.is_posted_under(letter, under).await;
        let (kind, nth) = (letter.event.kind.clone(), letter.nth);
        self.records_at(began, letter.number, What::Post { kind, nth, under });
        status
    }

    pub(super) async fn is_posted_under(&self, letter: &Letter, under: Weather) -> (Weather, Option<u16>) {
        let number = letter.number;
        let before = self.begins(number);
        self.with(number, |person| {
            person.first_posted.entry(letter.event.id.clone()).or_insert(before.truth);
        });
        let (under, status) = self.under(number, under, Box::pin(self.posts(&letter.event.body))).await;
        self.notes(number, format!("{} {}: {under:?} {status:?}", letter.event.kind, letter.event.id));
        self.is_answered(letter, status);
        self.ends(number, &before, !under.is_calm(), None).await;
        (under, status)
    }

    async fn under<T>(&self, number: usize, weather: Weather, work: impl Future<Output = T>) -> (Weather, Option<T>) {
        let interruption = self.journal.interruption();
        match weather {
            Weather::Calm => (weather, Some(work.await)),
            Weather::Crash(at) => match interruption.stop_at(at, work).await {
                Ok(ended) => (Weather::Calm, Some(ended)),
                Err(request) => {
                    self.count(|counts| counts.crashes += 1);
                    (Weather::Crash(StopPoint::Named(request)), None)
                }
            },
            Weather::Hold { at, meanwhile } => {
                let meanwhile = Box::pin(self.meanwhile(number, meanwhile));
                let (ended, held) = interruption.hold_at(at, work, meanwhile).await;
                self.count(|counts| counts.faults("held while others worked", usize::from(held.is_some())));
                let weather = held.map_or(Weather::Calm, |(request, meanwhile)| Weather::Hold {
                    at: StopPoint::Named(request),
                    meanwhile: Some(meanwhile),
                });
                (weather, Some(ended))
            }
            Weather::Late { at, sender, lands_after } => {
                let (ended, late) = interruption.delay_at(at, sender, work).await;
                let Some(late) = late else { return (Weather::Calm, ended) };
                self.count(|counts| counts.fault(&format!("late: {sender:?}")));
                let at = StopPoint::Named(late.request.clone());
                let lands_at = self.clock.now() + Duration::from_millis(lands_after);
                self.late.borrow_mut().push((lands_at, number, late));
                (Weather::Late { at, sender, lands_after }, ended)
            }
            Weather::Fault(fault) => {
                self.breaks(&fault);
                let ended = work.await;
                let fault = self.mends(fault);
                (fault.map_or(Weather::Calm, Weather::Fault), Some(ended))
            }
        }
    }

    /// What happens to the same person while a worker of theirs is held: the others are calm. Frozen it is past its
    /// lease, so that others finish what it began, or undo it.
    async fn meanwhile(&self, number: usize, recorded: Option<Meanwhile>) -> Meanwhile {
        if let Some(meanwhile) = recorded {
            self.watch.holds(meanwhile.is_frozen);
            for event in &meanwhile.events {
                self.comes_to(at(event.at)).await;
                self.plays_meanwhile(number, &event.what).await;
            }
            self.comes_to(at(meanwhile.until)).await;
            return meanwhile;
        }
        let is_frozen = self.chance.percent(40);
        self.watch.holds(is_frozen);
        self.with(number, |person| person.recording.push(Vec::new()));
        if is_frozen {
            self.comes_to(self.clock.now() + LEASE).await;
            for _ in 0..2 + self.chance.below(6) {
                self.comes_to(self.clock.now() + self.chance.up_to(MINUTE)).await;
                self.others_work(number).await;
                self.records(number, What::TokenJobs);
                self.works_off_tokens(&self.elsewhere.1).await;
            }
        } else {
            // A function is ended by its timeout long before its lease is over.
            self.comes_to(self.clock.now() + self.chance.up_to(40 * SECOND)).await;
            self.others_work(number).await;
        }
        let events = self.with(number, |person| person.recording.pop()).unwrap_or_default();
        Meanwhile { events, until: since_start(self.clock.now()), is_frozen }
    }

    async fn others_work(&self, number: usize) {
        if self.chance.percent(60) {
            self.acts(number).await;
        }
        if self.chance.percent(70)
            && let Some(letter) = self.takes_early(number)
        {
            let (kind, nth) = (letter.event.kind.clone(), letter.nth);
            self.records(number, What::Post { kind, nth, under: Weather::Calm });
            let status = self.is_posted_meanwhile(&letter).await;
            self.puts_back(letter, status);
        }
        if self.chance.percent(60) {
            self.records(number, What::OtherWorker);
            self.other_worker(number).await;
        }
    }

    /// Time passes up to a moment, and what was under way until then takes effect.
    pub(super) async fn comes_to(&self, moment: Timestamp) {
        self.clock.set(moment.max(self.clock.now()));
        let due = {
            let mut late = self.late.borrow_mut();
            let (due, later): (Vec<_>, Vec<_>) = late.drain(..).partition(|(at, ..)| *at <= self.clock.now());
            *late = later;
            due
        };
        for (_, number, late) in due {
            let chat = self.with(number, |person| person.chat);
            let told = self.telegram.texts_to(chat).len();
            self.watch.lets_land(true);
            late.arrive().await;
            self.watch.lets_land(false);
            let tenant = self.with(number, |person| person.tenant);
            self.watch.looks_at(tenant, chat);
            let told = self.telegram.texts_to(chat).len() - told;
            self.with(number, |person| person.excused += told);
        }
    }

    pub(super) async fn is_posted_meanwhile(&self, letter: &Letter) -> Option<u16> {
        let number = letter.number;
        let place = self.hears(number);
        self.with(number, |person| person.first_posted.entry(letter.event.id.clone()).or_insert(place).to_owned());
        let status = Some(Box::pin(self.posts(&letter.event.body)).await);
        self.notes(number, format!("meanwhile {} {}: {status:?}", letter.event.kind, letter.event.id));
        self.is_answered(letter, status);
        status
    }

    pub(super) async fn other_worker(&self, number: usize) {
        let tenant = self.with(number, |person| person.tenant);
        self.hears(number);
        let outcome = tenant_reconcile::reconcile(&self.elsewhere.0, tenant).await;
        self.notes(number, format!("meanwhile another worker: {outcome:?}"));
    }

    /// Notes what happens to a person now.
    pub(super) fn records(&self, number: usize, what: What) {
        self.records_at(self.clock.now(), number, what);
    }

    fn records_at(&self, at: Timestamp, number: usize, what: What) {
        self.with(number, |person| {
            if person.recording.is_empty() {
                person.recording.push(Vec::new());
            }
            person.recording.last_mut().expect("one").push(Event::new(at, what));
        });
    }
}
