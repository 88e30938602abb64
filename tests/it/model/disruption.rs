//! What goes wrong while a function is at work: it is stopped, held, or what it calls fails.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use nbhd::clock::Timestamp;
use nbhd::domain::time_limits::LEASE;
use nbhd_sim::interruption::{SenderFate, StopPoint};
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::sqs::{LIFECYCLE, REFRESH};

use super::faults::Fault;
use super::history::{Disruption, Event, EventKind, Meanwhile, at, since_start};
use super::mail::Letter;
use super::world::{MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);

/// An invocation that the platform ended.
#[derive(Debug)]
pub(super) struct Stopped;

impl World {
    /// For work that makes at most so many requests, and mostly fewer.
    fn draw_disruption(&self, requests: usize) -> Disruption {
        let after = || 1 + self.chance.below(1 + self.chance.below(requests));
        if self.mutant.hides_in_late_effects() && !self.is_fault_free.get() {
            return match self.chance.below(100) {
                0..40 => Disruption::Fault(Fault::StaleArm),
                40..55 => Disruption::Crash(StopPoint::Number(after())),
                _ => Disruption::None,
            };
        }
        match self.chance.below(100) {
            _ if self.is_fault_free.get() => Disruption::None,
            0..12 => Disruption::Crash(StopPoint::Number(after())),
            12..24 => Disruption::Hold { at: StopPoint::Number(after()), meanwhile: None },
            24..32 => {
                let sender = self.chance.choice(&[SenderFate::Stopped, SenderFate::Disconnected]);
                let lands_after = self.chance.choice(&[SECOND, 30 * SECOND, 3 * MINUTE, 9 * MINUTE]);
                let lands_after = u64::try_from(lands_after.as_millis()).expect("minutes");
                Disruption::Late { at: StopPoint::Number(after()), sender, lands_after }
            }
            32..48 => Disruption::Fault(Fault::draw(&self.chance)),
            _ => Disruption::None,
        }
    }

    /// Works off both queues, also what is to come up within `patience`.
    pub(super) async fn drain_jobs(&self, patience: Duration) {
        let limits = Limits { concurrency: 1, timeout: Duration::from_secs(60) };
        let until = self.clock.now() + patience;
        // A tenant that never comes to rest is found at the end.
        for _ in 0..400 {
            Pump::new(&self.sqs, LIFECYCLE, &self.clock, limits, |event| self.handle_job(event)).drain().await;
            self.drain_token_jobs(&self.refresh).await;
            let waiting = [LIFECYCLE, REFRESH].map(|queue| self.sqs.messages(queue)).concat();
            let next = waiting.iter().map(|message| message.visible_at).min();
            let Some(next) = next.filter(|next| *next <= until && self.violation().is_none()) else { return };
            self.advance_to(next).await;
        }
    }

    /// Takes one job off the queue.
    async fn handle_job(&self, event: SqsEvent) -> Result<SqsBatchResponse, Stopped> {
        let body = event.records.first().and_then(|record| record.body.clone()).unwrap_or_default();
        let job: serde_json::Value = serde_json::from_str(&body).expect("a job");
        let tenant = job["tenant_id"].as_str().and_then(|id| id.parse().ok());
        let number = tenant.and_then(|tenant| self.number_of(tenant)).expect("somebody's");
        if !self.is_fault_free.get() && self.chance.percent(5) {
            self.count(|counts| counts.fault("job lost"));
            self.note(number, "the job is lost");
            return Ok(SqsBatchResponse::default());
        }
        match Box::pin(self.reconcile_once(number, event)).await {
            Some(response) => Ok(response),
            None => Err(Stopped),
        }
    }

    async fn reconcile_once(&self, number: usize, event: SqsEvent) -> Option<SqsBatchResponse> {
        let disruption = self.draw_disruption(45);
        let began = self.clock.now();
        let (disruption, response) = self.reconcile_disrupted(number, event, disruption).await;
        let is_cut_short = response.is_none();
        self.record_event_at(began, number, EventKind::Reconcile { disruption });
        if is_cut_short {
            // Whoever retries it may find other keys in the settings.
            self.maybe_roll_keys(15).await;
        }
        response
    }

    pub(super) async fn reconcile_disrupted(
        &self,
        number: usize,
        event: SqsEvent,
        disruption: Disruption,
    ) -> (Disruption, Option<SqsBatchResponse>) {
        self.mutant.act_before(self, number).await;
        let before = self.begin_invocation(number);
        let work = async { tenant_reconcile::handle(self.deployments.first(), event, "model").await };
        let (disruption, ended) = self.run_disrupted(number, disruption, work).await;
        let (report, response) = ended.unzip();
        self.note(number, format!("reconcile: {disruption:?} {report:?}"));
        self.end_invocation(number, &before, !disruption.is_none(), report).await;
        (disruption, response)
    }

    /// Posts an event once; the status of the answer, if there was one.
    pub(super) async fn post_letter(&self, letter: &Letter) -> Option<u16> {
        let disruption = self.draw_disruption(6);
        let began = self.clock.now();
        let (disruption, status) = self.post_disrupted(letter, disruption).await;
        let (kind, nth) = (letter.event.kind.clone(), letter.nth);
        self.record_event_at(began, letter.number, EventKind::Post { kind, nth, disruption });
        status
    }

    pub(super) async fn post_disrupted(&self, letter: &Letter, disruption: Disruption) -> (Disruption, Option<u16>) {
        let number = letter.number;
        let before = self.begin_invocation(number);
        self.with(number, |person| {
            person.first_posted.entry(letter.event.id.clone()).or_insert(before.truth);
        });
        let (disruption, status) =
            self.run_disrupted(number, disruption, Box::pin(self.post_webhook(&letter.event.body))).await;
        self.note(number, format!("{} {}: {disruption:?} {status:?}", letter.event.kind, letter.event.id));
        self.record_answer(letter, status);
        self.end_invocation(number, &before, !disruption.is_none(), None).await;
        (disruption, status)
    }

    async fn run_disrupted<T>(
        &self,
        number: usize,
        disruption: Disruption,
        work: impl Future<Output = T>,
    ) -> (Disruption, Option<T>) {
        let interruption = self.journal.interruption();
        match disruption {
            Disruption::None => (disruption, Some(work.await)),
            Disruption::Crash(at) => match interruption.stop_at(at, work).await {
                Ok(ended) => (Disruption::None, Some(ended)),
                Err(request) => {
                    self.count(|counts| counts.crashes += 1);
                    (Disruption::Crash(StopPoint::Named(request)), None)
                }
            },
            Disruption::Hold { at, meanwhile } => {
                let meanwhile = Box::pin(self.run_meanwhile(number, meanwhile));
                let (ended, held) = interruption.hold_at(at, work, meanwhile).await;
                self.count(|counts| counts.faults("held while others worked", usize::from(held.is_some())));
                let disruption = held.map_or(Disruption::None, |(request, meanwhile)| Disruption::Hold {
                    at: StopPoint::Named(request),
                    meanwhile: Some(meanwhile),
                });
                (disruption, Some(ended))
            }
            Disruption::Late { at, sender, lands_after } => {
                let (ended, late) = interruption.delay_at(at, sender, work).await;
                let Some(late) = late else { return (Disruption::None, ended) };
                self.count(|counts| counts.fault(&format!("late: {sender:?}")));
                let at = StopPoint::Named(late.request.clone());
                let lands_at = self.clock.now() + Duration::from_millis(lands_after);
                self.late.borrow_mut().push((lands_at, number, late));
                (Disruption::Late { at, sender, lands_after }, ended)
            }
            Disruption::Fault(fault) => {
                self.inject_fault(&fault);
                let ended = work.await;
                let fault = self.clear_fault(fault);
                (fault.map_or(Disruption::None, Disruption::Fault), Some(ended))
            }
        }
    }

    /// What happens to the same person while a worker of theirs is held; nothing disrupts the others. A frozen worker
    /// is held past its lease, so that others finish what it began, or undo it.
    async fn run_meanwhile(&self, number: usize, recorded: Option<Meanwhile>) -> Meanwhile {
        if let Some(meanwhile) = recorded {
            self.observer.mark_held(meanwhile.is_frozen);
            for event in &meanwhile.events {
                self.advance_to(at(event.at)).await;
                self.play_meanwhile(number, &event.kind).await;
            }
            self.advance_to(at(meanwhile.until)).await;
            return meanwhile;
        }
        let is_frozen = self.chance.percent(40);
        self.observer.mark_held(is_frozen);
        self.with(number, |person| person.recording.push(Vec::new()));
        if is_frozen {
            self.advance_to(self.clock.now() + LEASE).await;
            for _ in 0..2 + self.chance.below(6) {
                self.advance_to(self.clock.now() + self.chance.up_to(MINUTE)).await;
                self.run_others(number).await;
                self.record_event(number, EventKind::TokenJobs);
                self.drain_token_jobs(&self.second_sandbox).await;
            }
        } else {
            // A function is ended by its timeout long before its lease is over.
            self.advance_to(self.clock.now() + self.chance.up_to(40 * SECOND)).await;
            self.run_others(number).await;
        }
        let events = self.with(number, |person| person.recording.pop()).unwrap_or_default();
        Meanwhile { events, until: since_start(self.clock.now()), is_frozen }
    }

    async fn run_others(&self, number: usize) {
        if self.chance.percent(60) {
            self.act(number).await;
        }
        self.maybe_roll_keys(4).await;
        if self.chance.percent(70)
            && let Some(letter) = self.take_letter(number)
        {
            let (kind, nth) = (letter.event.kind.clone(), letter.nth);
            self.record_event(number, EventKind::Post { kind, nth, disruption: Disruption::None });
            let status = self.post_meanwhile(&letter).await;
            self.requeue(letter, status);
        }
        if self.chance.percent(60) {
            self.record_event(number, EventKind::OtherWorker);
            self.reconcile_elsewhere(number).await;
        }
    }

    /// Time passes up to a moment, and what was under way until then takes effect.
    pub(super) async fn advance_to(&self, moment: Timestamp) {
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
            self.observer.set_landing(true);
            late.arrive().await;
            self.observer.set_landing(false);
            let tenant = self.with(number, |person| person.tenant);
            self.observer.check_tenant(tenant, chat);
            let told = self.telegram.texts_to(chat).len() - told;
            self.with(number, |person| person.excused += told);
        }
    }

    pub(super) async fn post_meanwhile(&self, letter: &Letter) -> Option<u16> {
        let number = letter.number;
        let place = self.record_truth(number);
        self.with(number, |person| person.first_posted.entry(letter.event.id.clone()).or_insert(place).to_owned());
        let status = Some(Box::pin(self.post_webhook(&letter.event.body)).await);
        self.note(number, format!("meanwhile {} {}: {status:?}", letter.event.kind, letter.event.id));
        self.record_answer(letter, status);
        status
    }

    pub(super) async fn reconcile_elsewhere(&self, number: usize) {
        let tenant = self.with(number, |person| person.tenant);
        self.record_truth(number);
        let outcome = tenant_reconcile::reconcile(self.deployments.second(), tenant).await;
        self.note(number, format!("meanwhile another worker: {outcome:?}"));
    }

    /// Notes what happens to a person now.
    pub(super) fn record_event(&self, number: usize, kind: EventKind) {
        self.record_event_at(self.clock.now(), number, kind);
    }

    fn record_event_at(&self, at: Timestamp, number: usize, kind: EventKind) {
        self.with(number, |person| {
            if person.recording.is_empty() {
                person.recording.push(Vec::new());
            }
            person.recording.last_mut().expect("one").push(Event::new(at, kind));
        });
    }
}
