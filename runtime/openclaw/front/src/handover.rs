//! Hands what waits over to `OpenClaw`, in order and one at a time.
//!
//! `OpenClaw` merges messages into one turn when they come within 300 ms. So what waited together is posted without a
//! pause, and how it ended is recorded in one write after that. Whatever stops the front in between, only what has no
//! recorded end is posted again, and `OpenClaw` drops an update that it has had.

use std::sync::Arc;
use std::time::Duration;

use nbhd::clock::Waiter;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

use crate::journal::{self, End, Waiting};
use crate::notice::Notice;
use crate::readiness::{READY, Readiness};
use crate::share::{Effect, Effects};

const SECRET: &str = "x-telegram-bot-api-secret-token";
const ACCEPTED: &str = "x-openclaw-delivery-accepted";
/// It answers within 300 ms once it is up, and in the minute in which it starts it may be slow.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many refusals, while it is ready, are `OpenClaw`'s last word on an update.
const MOST_REFUSALS: u32 = 3;
/// So many connections that broke without an answer are as well: an update may be what stops it.
const MOST_BREAKS: u32 = 10;
/// How often parts of another front are looked for while nothing waits.
const IDLE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What hands over; see [`HandOver::run`].
#[derive(Debug)]
pub struct HandOver {
    /// What waits.
    pub journal: journal::Handle,
    /// Whether `OpenClaw` takes turns.
    pub readiness: Arc<Readiness>,
    /// The client of this process.
    pub http: reqwest::Client,
    /// The address of `OpenClaw`'s listener for updates, without its path.
    pub webhook: String,
    /// What that listener requires.
    pub secret: SecretString,
    /// What tells a person that a message was skipped.
    pub notice: Notice,
    /// How it waits.
    pub waiter: Waiter,
    /// What may go wrong.
    pub effects: Effects,
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// `OpenClaw` keeps the update.
    Accepted,
    /// It refuses this update, with this status.
    Refused(u16),
    /// It took the connection and broke it, or gave no answer.
    Broken,
    /// It takes no updates now, whatever they are.
    NotUp,
}

/// The failures of the update that is first in line.
#[derive(Debug, Default)]
struct Failures {
    id: i64,
    refusals: u32,
    breaks: u32,
}

impl HandOver {
    /// Hands over while `permit` says so, and ends when nobody can say so any more. No post begins once it is taken
    /// back; one that is under way is waited for.
    pub async fn run(self, mut permit: watch::Receiver<bool>) {
        let mut failures = Failures::default();
        let mut pause = Pause::default();
        // Whoever went away may have permitted it last.
        while permit.has_changed().is_ok() && permit.wait_for(|permitted| *permitted).await.is_ok() {
            let adopted = self.journal.adopt().await;
            let waiting = match adopted {
                Ok(()) => self.journal.waiting().await,
                Err(error) => Err(error),
            };
            match waiting {
                Err(error) => {
                    tracing::warn!(code = "journal_unreadable", %error, "what waits cannot be read; it is tried again");
                    pause.wait(&self.waiter, &mut permit).await;
                }
                Ok(waiting) if waiting.is_empty() => {
                    pause = Pause::default();
                    tokio::select! {
                        () = self.journal.news() => {}
                        () = self.waiter.wait(IDLE) => {}
                        _ = permit.changed() => {}
                    }
                }
                Ok(waiting) => {
                    if self.hand_over(waiting, &permit, &mut failures).await {
                        pause = Pause::default();
                    } else {
                        pause.wait(&self.waiter, &mut permit).await;
                    }
                }
            }
        }
    }

    /// Posts a group and records how it ended; whether all of it has ended.
    async fn hand_over(&self, waiting: Vec<Waiting>, permit: &watch::Receiver<bool>, failures: &mut Failures) -> bool {
        let (count, mut ends) = (waiting.len(), Vec::new());
        for update in waiting {
            if !*permit.borrow() {
                break;
            }
            let Some(end) = self.end_of(update, failures).await else { break };
            ends.push(end);
        }
        let has_ended_all = ends.len() == count;
        self.record_ends(ends, permit).await && has_ended_all
    }

    /// Until the ends are recorded nothing else is posted: what the share does not take now would be posted again.
    async fn record_ends(&self, ends: Vec<(i64, End)>, permit: &watch::Receiver<bool>) -> bool {
        let mut pause = Pause::default();
        let mut permit = permit.clone();
        while let Err(error) = self.journal.record_ends(ends.clone()).await {
            tracing::warn!(
                code = "end_not_recorded",
                %error,
                "that updates were handed over is not recorded yet; after a restart they would be handed over again"
            );
            if !*permit.borrow() {
                return false;
            }
            pause.wait(&self.waiter, &mut permit).await;
        }
        true
    }

    /// How an update ended; `None` when it is to be posted again.
    async fn end_of(&self, update: Waiting, failures: &mut Failures) -> Option<(i64, End)> {
        let id = update.id;
        let Some(body) = update.body else {
            tracing::error!(code = "update_unreadable", update_id = id, "the share has lost an update; it is skipped");
            return Some((id, End::Skipped));
        };
        if failures.id != id {
            *failures = Failures { id, ..Failures::default() };
        }
        let status = match self.post(body.clone()).await {
            Outcome::Accepted => return Some((id, End::HandedOver)),
            Outcome::NotUp => return None,
            Outcome::Refused(status) => {
                // A gateway that stops or starts refuses what it would take.
                if self.readiness.reason().await == READY {
                    failures.refusals += 1;
                }
                status
            }
            Outcome::Broken => {
                failures.breaks += 1;
                0
            }
        };
        let Failures { refusals, breaks, .. } = *failures;
        if refusals < MOST_REFUSALS && breaks < MOST_BREAKS {
            tracing::warn!(
                code = "update_refused",
                update_id = id,
                status,
                refusals,
                breaks,
                "OpenClaw did not take an update; it is handed over again"
            );
            return None;
        }
        tracing::error!(
            code = "update_skipped",
            update_id = id,
            status,
            refusals,
            breaks,
            "OpenClaw takes an update by no means; it is skipped, and its person is told"
        );
        self.effects.check(Effect::Notify).ok()?;
        self.notice.send(&body, &self.waiter).await;
        Some((id, End::Skipped))
    }

    async fn post(&self, body: Vec<u8>) -> Outcome {
        if self.effects.check(Effect::HandOver).is_err() {
            return Outcome::NotUp;
        }
        let request = self.http.post(format!("{}/telegram-webhook", self.webhook)).timeout(TIMEOUT);
        let request = request.header(SECRET, self.secret.expose_secret()).header(CONTENT_TYPE, "application/json");
        match request.body(body).send().await {
            Ok(answer) => {
                let is_durable = answer.headers().get(ACCEPTED).is_some_and(|value| value.as_bytes() == b"durable");
                interpret_status(answer.status(), is_durable)
            }
            Err(error) if error.is_connect() => Outcome::NotUp,
            Err(_) => Outcome::Broken,
        }
    }
}

/// A status that is about the front, the path or the moment says nothing about an update.
fn interpret_status(status: StatusCode, is_durable: bool) -> Outcome {
    match status {
        StatusCode::OK if is_durable => Outcome::Accepted,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            tracing::error!(
                code = "handover_refused",
                status = status.as_u16(),
                "OpenClaw does not know the front; its configuration is not the front's, and messages wait"
            );
            Outcome::NotUp
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::NotUp,
        status => Outcome::Refused(status.as_u16()),
    }
}

/// Pauses that grow from half a second to ten.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// Waits, unless the permit changes before.
    async fn wait(&mut self, waiter: &Waiter, permit: &mut watch::Receiver<bool>) {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = waiter.wait(pause) => {}
            _ = permit.changed() => {}
        }
    }
}
