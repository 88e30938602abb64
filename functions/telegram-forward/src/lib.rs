//! Delivers a chat's updates to its tenant's runtime, in order, and waits for a runtime that wakes up.
//!
//! An update leaves the queue only when the runtime keeps it, or when it lies in the dead-letter queue and the person
//! has been told. Everything here may run twice, or stop anywhere: the runtime drops repeats by update id, the
//! dead-letter queue too, and what was not done yet is done when the message comes up again.

mod decide;
mod message;
mod notice;

use std::collections::HashSet;
use std::error::Error as _;
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::route::Route;
use nbhd::domain::secrets::MasterKey;
use nbhd::providers::runtime::Delivery;
use nbhd::providers::{self, runtime, telegram};
use nbhd::queue::{self, Queues, Updates};
use nbhd::store::{self, Store};
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use decide::{Aim, Next, Reason};
use message::Inbound;

/// What the function holds.
#[derive(Clone)]
pub struct App {
    store: Store,
    inbound: Updates,
    dead_letters: Updates,
    runtime: runtime::Client,
    bot: telegram::Bot,
    key: MasterKey,
    clock: Clock,
}

impl App {
    /// Builds every client from the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or unusable.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        const QUEUE: &str = "the address of an SQS FIFO queue";
        let http = nbhd::http::client(env)?;
        let queues = Queues::new(env)?;
        Ok(Self {
            store: Store::new(env)?,
            inbound: queues.updates(env.required("INBOUND_QUEUE_URL", QUEUE)?),
            dead_letters: queues.updates(env.required("INBOUND_DLQ_URL", QUEUE)?),
            runtime: runtime::Client::new(http.clone()),
            bot: telegram::Bot::new(env, http)?,
            key: platform_key(env)?,
            clock,
        })
    }

    /// The same with another limit for a whole delivery.
    #[must_use]
    pub fn with_delivery_timeout(mut self, timeout: Duration) -> Self {
        self.runtime = self.runtime.with_timeout(timeout);
        self
    }
}

fn platform_key(env: &Env) -> Result<MasterKey, ConfigError> {
    const NAME: &str = "PLATFORM_KEY";
    const HINT: &str = "the platform key, at least 32 bytes of random text";
    MasterKey::new(&env.secret(NAME, HINT)?).map_err(|_| ConfigError::Invalid { name: NAME.to_owned(), hint: HINT })
}

/// Why a message could not be settled; it comes up again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the route could not be read or changed")]
    Store(#[from] store::Error),
    #[error("the dead-letter queue did not take the message")]
    Queue(#[from] queue::Error),
    #[error("the person could not be told")]
    Telegram(#[source] providers::Error),
}

/// Handles a batch, oldest first. What is reported as failed comes up again, and what is after it in its group waits.
pub async fn handle(app: &App, event: SqsEvent, request_id: &str) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let mut waiting = HashSet::new();
    for record in event.records {
        let group = record.attributes.get("MessageGroupId").cloned();
        let span = tracing::info_span!("message", function = "telegram-forward", request_id, tenant_id = Empty);
        if waiting.contains(&group) || !settle(app, &record).instrument(span).await {
            waiting.insert(group);
            response.add_failure(record.message_id.unwrap_or_default());
        }
    }
    response
}

/// Whether the message is settled and may leave the queue.
async fn settle(app: &App, record: &SqsMessage) -> bool {
    let Some(inbound) = Inbound::read(record) else {
        metric("InboundUnreadable", 1);
        tracing::error!(code = "unreadable", "the queue holds a record that the webhook did not write");
        return false;
    };
    let started = Instant::now();
    let result = advance(app, &inbound).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let receives = inbound.attempt.receives;
    match result {
        Ok(next) => {
            tracing::info!(code = next.code(), receives, duration_ms, "handled");
            next.settles()
        }
        Err(error) => {
            log_failure(&error, receives, duration_ms);
            put_off(app, &inbound, decide::backoff(receives)).await;
            false
        }
    }
}

fn log_failure(error: &Error, receives: u32, duration_ms: u64) {
    let cause = error.source().map(display);
    tracing::warn!(code = "failed", receives, duration_ms, error = %error, cause, "comes up again");
}

/// Decides on a message and does what was decided.
async fn advance(app: &App, inbound: &Inbound) -> Result<Next, Error> {
    let next = match app.store.route(inbound.chat).await {
        Ok(route) => decide_next(app, inbound, route.as_ref()).await,
        Err(_) if inbound.attempt.is_last() => Next::DeadLetter(Reason::Expired),
        Err(error) => return Err(error.into()),
    };
    match next {
        Next::Done { was_told } => {
            metric("UpdatesDelivered", 1);
            if was_told && let Err(error) = app.store.clear_waking_told(inbound.chat).await {
                tracing::warn!(code = "mark_stays", error = %error, "the next delivery clears it");
            }
        }
        Next::DeadLetter(reason) => {
            app.dead_letters.send(inbound.chat, inbound.update_id, &inbound.update).await?;
            metric("UpdatesDeadLettered", 1);
            notice::given_up(app, inbound, reason).await.map_err(Error::Telegram)?;
        }
        Next::Retry { after, wait, tell } => {
            notice::waiting(app, inbound.chat, wait, tell).await;
            put_off(app, inbound, after).await;
        }
    }
    Ok(next)
}

async fn decide_next(app: &App, inbound: &Inbound, route: Option<&Route>) -> Next {
    if let Some(route) = route {
        tracing::Span::current().record("tenant_id", display(route.tenant_id));
    }
    match decide::aim(route) {
        Aim::DeadLetter(reason) => Next::DeadLetter(reason),
        Aim::Nowhere(route, wait) => decide::wait(wait, None, inbound.attempt, route, app.clock.now()),
        Aim::Runtime(route, url) => {
            let delivery = deliver(app, inbound, route, url).await;
            tracing::info!(code = delivery.code(), detail = delivery.cause().map(display), "the runtime answered");
            decide::after(delivery, inbound.attempt, route, app.clock.now())
        }
    }
}

/// Hands the update over with each valid generation of the tenant's secret, until the runtime knows one.
async fn deliver(app: &App, inbound: &Inbound, route: &Route, url: &str) -> Delivery {
    for generation in route.generations() {
        let secret = app.key.webhook_secret(route.tenant_id, generation);
        let delivery = app.runtime.deliver(url, &secret, inbound.update.clone()).await;
        if delivery != Delivery::SecretRefused {
            return delivery;
        }
    }
    metric("RuntimeSecretRefused", 1);
    Delivery::SecretRefused
}

/// Where this fails, the message comes up again after the queue's own visibility timeout.
async fn put_off(app: &App, inbound: &Inbound, delay: Duration) {
    if let Err(error) = app.inbound.put_off(&inbound.receipt, delay).await {
        tracing::warn!(code = "not_put_off", error = %error, "the message comes up again later than planned");
    }
}
