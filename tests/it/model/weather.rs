//! What goes wrong while a function is at work: it is stopped, held, or what it calls fails.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use axum::http::StatusCode;
use nbhd_sim::arm::Failure as Arm;
use nbhd_sim::key_vault::{self, Failure as Vault};
use nbhd_sim::model_gateway::{self, Failure as Gateway};
use nbhd_sim::pump::{Limits, Pump};
use nbhd_sim::sqs::{LIFECYCLE, REFRESH};
use nbhd_sim::stripe::Failure as Stripe;
use nbhd_sim::telegram::Failure as Telegram;

use super::mail::Letter;
use super::world::World;

/// What becomes of one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Calm,
    /// It is stopped dead after so many requests.
    Crash(usize),
    /// It is held after so many requests, while others go on.
    Hold(usize),
    /// Something it calls fails.
    Fault,
}

/// An invocation that the platform ended.
#[derive(Debug)]
pub(super) struct Stopped;

impl World {
    /// For work that makes at most so many requests, and mostly fewer.
    fn weather(&self, requests: usize) -> Weather {
        let after = || 1 + self.chance.below(1 + self.chance.below(requests));
        match self.chance.below(100) {
            _ if self.is_calm.get() => Weather::Calm,
            0..14 => Weather::Crash(after()),
            14..24 => Weather::Hold(after()),
            24..38 => Weather::Fault,
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
            let refresh = |event: SqsEvent| async move {
                Ok::<_, Stopped>(Box::pin(scheduled_refresh::handle(&self.refresh, event, "model")).await.1)
            };
            Pump::new(&self.sqs, REFRESH, &self.clock, limits, refresh).drain().await;
            let waiting = [LIFECYCLE, REFRESH].map(|queue| self.sqs.messages(queue)).concat();
            let next = waiting.iter().map(|message| message.visible_at).min();
            let Some(next) = next.filter(|next| *next <= until && self.violation().is_none()) else { return };
            self.clock.set(next.max(self.clock.now()));
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
        let (weather, before) = (self.weather(45), self.begins(number));
        let work = async { tenant_reconcile::handle(&self.reconciler, event, "model").await };
        let ended = self.under(number, weather, work).await;
        let (report, response) = ended.unzip();
        self.notes(number, format!("reconcile: {weather:?} {report:?}"));
        self.ends(number, &before, weather != Weather::Calm, report).await;
        response
    }

    /// Posts an event once; the status of the answer, if there was one.
    pub(super) async fn is_posted(&self, letter: &Letter) -> Option<u16> {
        let number = letter.number;
        let (weather, before) = (self.weather(6), self.begins(number));
        self.with(number, |person| {
            person.first_posted.entry(letter.event.id.clone()).or_insert(before.truth);
        });
        let status = self.under(number, weather, Box::pin(self.posts(&letter.event.body))).await;
        self.notes(number, format!("{} {}: {weather:?} {status:?}", letter.event.kind, letter.event.id));
        self.is_answered(letter, status);
        self.ends(number, &before, weather != Weather::Calm, None).await;
        status
    }

    async fn under<T>(&self, number: usize, weather: Weather, work: impl Future<Output = T>) -> Option<T> {
        let interruption = self.journal.interruption();
        match weather {
            Weather::Calm => Some(work.await),
            Weather::Crash(after) => {
                let ended = interruption.stop_after(after, work).await;
                self.count(|counts| counts.crashes += usize::from(ended.is_none()));
                ended
            }
            Weather::Hold(after) => {
                let (ended, held) = interruption.hold_after(after, work, Box::pin(self.meanwhile(number))).await;
                self.count(|counts| counts.faults("held while others worked", usize::from(held.is_some())));
                Some(ended)
            }
            Weather::Fault => {
                self.breaks(number);
                let ended = work.await;
                self.mends();
                Some(ended)
            }
        }
    }

    /// What happens to the same person while a worker of theirs is held: the others are calm.
    async fn meanwhile(&self, number: usize) {
        let tenant = self.with(number, |person| person.tenant);
        self.watch.holds();
        // A function is ended by its timeout long before its lease is over.
        self.clock.advance(self.chance.up_to(Duration::from_secs(40)));
        if self.chance.percent(60) {
            self.acts(number).await;
        }
        if self.chance.percent(70)
            && let Some(letter) = self.takes_early(number)
        {
            let place = self.hears(number);
            self.with(number, |person| person.first_posted.entry(letter.event.id.clone()).or_insert(place).to_owned());
            let status = Some(Box::pin(self.posts(&letter.event.body)).await);
            self.notes(number, format!("meanwhile {} {}: {status:?}", letter.event.kind, letter.event.id));
            self.is_answered(&letter, status);
            self.puts_back(letter, status);
        }
        if self.chance.percent(60) {
            self.hears(number);
            let outcome = tenant_reconcile::reconcile(&self.reconciler, tenant).await;
            self.notes(number, format!("meanwhile another worker: {outcome:?}"));
        }
    }

    /// Lets something fail for the next invocation.
    fn breaks(&self, number: usize) {
        let passing = u32::try_from(self.chance.below(3)).expect("few");
        let name = match self.chance.below(100) {
            0..40 => self.breaks_arm(),
            40..60 => {
                use model_gateway::Operation::{Create, List, Update};
                let all = [Gateway::Throttled(Some(3)), Gateway::Status(502), Gateway::AnswerLost, Gateway::Broken];
                let failure = self.chance.choice(&all);
                for operation in [List, Create, model_gateway::Operation::Get, Update, model_gateway::Operation::Delete]
                {
                    self.gateway.fail_after(operation, passing, failure);
                }
                format!("gateway: {failure:?}")
            }
            60..78 => {
                use key_vault::Operation::{Delete, Get, Purge, Set};
                let unavailable = Vault::Status(StatusCode::SERVICE_UNAVAILABLE);
                let all = [Vault::Throttled(3), unavailable, Vault::AnswerLost, Vault::Nonsense];
                let failure = self.chance.choice(&all);
                for operation in [Get, Set, Delete, Purge] {
                    self.azure.vault.fail_next(operation, failure);
                }
                format!("vault: {failure:?}")
            }
            78..86 => {
                let all = [Stripe::Down(500), Stripe::RateLimited, Stripe::AnswerLost, Stripe::Garbage];
                let failure = self.chance.choice(&all);
                self.stripe.is_down(failure);
                format!("stripe: {failure:?}")
            }
            86..92 => {
                self.watch.lets_table_fail_after(1 + self.chance.below(12));
                "table: fails from some request on".to_owned()
            }
            92..95 => {
                self.sqs.fail_operation("SendMessage", true);
                "queue: takes nothing".to_owned()
            }
            _ => {
                let down = Telegram::Status(StatusCode::BAD_GATEWAY);
                let failure = self.chance.choice(&[Telegram::TooManyRequests(3), down, Telegram::AnswerLost]);
                let name = format!("telegram: {failure:?}");
                self.telegram.fail_next("sendMessage", failure);
                name
            }
        };
        self.notes(number, format!("to come: {name}"));
        self.count(|counts| counts.fault(&name));
    }

    fn breaks_arm(&self) -> String {
        let unavailable = Arm::Status(StatusCode::SERVICE_UNAVAILABLE);
        let all = [Arm::Throttled(3), unavailable, Arm::AnswerLost, Arm::AnswerLost, Arm::Unheard, Arm::Nonsense];
        let (failure, times) = (self.chance.choice(&all), 1 + self.chance.below(2));
        self.watch.lets_arm_fail(1 + self.chance.below(10), times, failure);
        format!("arm: {failure:?}")
    }

    /// Ends every failure that was to come.
    fn mends(&self) {
        self.watch.mends();
        self.table.fail(false);
        self.gateway.recovers();
        self.azure.vault.recovers();
        self.stripe.recovers();
        self.sqs.fail_operation("SendMessage", false);
        self.telegram.recovers();
    }
}
