//! Delivers a chat's updates to its tenant's runtime, in order, and waits for a runtime that wakes up.
//!
//! An update leaves the queue only when the runtime has stored it, or when it is in the dead-letter queue and the
//! person was notified. Everything here may run twice, or stop anywhere: the runtime and the dead-letter queue drop
//! repeats by update id, and what was not done yet is done when the message is redelivered.

mod decide;
mod message;
mod notice;

use std::collections::HashSet;
use std::error::Error as _;
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::route::{Route, Trouble};
use nbhd::providers::runtime::Delivery;
use nbhd::providers::{self, runtime, telegram};
use nbhd::queue::{self, Queues, Updates};
use nbhd::store::{self, Store};
use nbhd::telemetry::metric;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use decide::{Decision, Reason, RouteTarget, Wait};
use message::QueuedUpdate;

/// The function's clients, built once and reused by every invocation.
#[derive(Clone)]
pub struct App {
    store: Store,
    inbound: Updates,
    dead_letters: Updates,
    runtime: runtime::Client,
    bot: telegram::Bot,
    keys: SecretKeys,
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
            store: Store::from_env(env)?,
            inbound: queues.updates(env.required("INBOUND_QUEUE_URL", QUEUE)?),
            dead_letters: queues.updates(env.required("INBOUND_DLQ_URL", QUEUE)?),
            runtime: runtime::Client::new(http.clone()),
            bot: telegram::Bot::new(env, http)?,
            keys: env.secret_keys("RUNTIME_KEYS")?,
            clock,
        })
    }

    /// The same app with another limit for a whole delivery, for tests.
    #[must_use]
    pub fn with_delivery_timeout(mut self, timeout: Duration) -> Self {
        self.runtime = self.runtime.with_timeout(timeout);
        self
    }
}

/// Why a message could not be processed; the queue redelivers it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the route could not be read or changed")]
    Store(#[from] store::Error),
    #[error("the dead-letter queue did not take the message")]
    Queue(#[from] queue::Error),
    #[error("the person could not be notified")]
    Telegram(#[source] providers::Error),
}

/// Handles a batch, oldest first. A message that is reported as failed is redelivered, and those after it in its group
/// are reported with it, so that a chat's updates stay in order.
pub async fn handle(app: &App, event: SqsEvent, request_id: &str) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let mut waiting = HashSet::new();
    for record in event.records {
        let group = record.attributes.get("MessageGroupId").cloned();
        let span = tracing::info_span!("message", function = "telegram-forward", request_id, tenant_id = Empty);
        if waiting.contains(&group) || !process_message(app, &record).instrument(span).await {
            waiting.insert(group);
            response.add_failure(record.message_id.unwrap_or_default());
        }
    }
    response
}

/// Processes one message; returns whether it may leave the queue.
async fn process_message(app: &App, record: &SqsMessage) -> bool {
    let Some(queued) = QueuedUpdate::from_record(record) else {
        metric("InboundUnreadable", 1);
        tracing::error!(
            code = "inbound_record_unreadable",
            "the inbound queue holds a record that the webhook did not write; it blocks its group"
        );
        return false;
    };
    let started = Instant::now();
    let result = forward_update(app, &queued).await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let receives = queued.attempt.receives;
    match result {
        Ok(decision) => {
            tracing::info!(code = decision.code(), receives, duration_ms, "the queued update {}", decision.summary());
            decision.is_final()
        }
        Err(error) => {
            log_failure(&error, receives, duration_ms);
            delay_redelivery(app, &queued, decide::backoff(receives)).await;
            false
        }
    }
}

fn log_failure(error: &Error, receives: u32, duration_ms: u64) {
    let cause = error.source().map(display);
    tracing::warn!(
        code = "forward_failed",
        receives,
        duration_ms,
        error = %error,
        cause,
        "the update could not be processed; the queue redelivers it"
    );
}

/// Decides on an update and carries the decision out.
async fn forward_update(app: &App, queued: &QueuedUpdate) -> Result<Decision, Error> {
    let route = match app.store.load_route(queued.chat).await {
        Ok(route) => Ok(route),
        Err(_) if queued.attempt.is_last() => Err(Decision::DeadLetter(Reason::Expired)),
        Err(error) => return Err(error.into()),
    };
    let (decision, route) = match route {
        Ok(route) => (decide_next(app, queued, route.as_ref()).await, route),
        Err(decision) => (decision, None),
    };
    match decision {
        Decision::Delivered { was_notified } => {
            metric("UpdatesDelivered", 1);
            if was_notified && let Err(error) = app.store.clear_waking_notice(queued.chat).await {
                tracing::warn!(
                    code = "notice_mark_not_cleared",
                    error = %error,
                    "the mark of the waking notice could not be cleared; the next delivery clears it"
                );
            }
        }
        Decision::DeadLetter(reason) => {
            app.dead_letters.send(queued.chat, queued.update_id, &queued.update).await?;
            metric("UpdatesDeadLettered", 1);
            // Without a route or in suspension, nothing is wrong with the tenant.
            if let (Some(route), Reason::Rejected | Reason::Failed | Reason::Expired) = (&route, reason) {
                count_trouble(app, route, Trouble::Loss).await;
            }
            notice::notify_dead_lettered(app, queued, reason).await.map_err(Error::Telegram)?;
        }
        Decision::Retry { delay, wait, notify } => {
            notice::notify_waiting(app, queued, wait, route.as_ref().filter(|_| notify)).await;
            delay_redelivery(app, queued, delay).await;
        }
    }
    Ok(decision)
}

/// Delivers the update if its route has a runtime, and decides by the outcome.
async fn decide_next(app: &App, queued: &QueuedUpdate, route: Option<&Route>) -> Decision {
    if let Some(route) = route {
        tracing::Span::current().record("tenant_id", display(route.tenant_id));
    }
    match decide::route_target(route) {
        RouteTarget::DeadLetter(reason) => Decision::DeadLetter(reason),
        RouteTarget::NotReady(route, wait) => {
            decide::retry_or_expire(wait, None, queued.attempt, route, app.clock.now())
        }
        RouteTarget::Runtime(route, url) => {
            let Some(delivery) = deliver_update(app, queued, route, url).await else {
                return decide::retry_or_expire(Wait::NewKeys, None, queued.attempt, route, app.clock.now());
            };
            tracing::info!(
                code = delivery.code(),
                detail = delivery.cause().map(display),
                "the delivery attempt to the runtime has ended"
            );
            let route = record_failing(app, queued, delivery, route).await;
            decide::evaluate_delivery(delivery, queued.attempt, &route, app.clock.now())
        }
    }
}

/// Writes down whether the runtime fails on this update; the route as it is then. Mostly nothing changes.
async fn record_failing(app: &App, queued: &QueuedUpdate, delivery: Delivery, route: &Route) -> Route {
    let failing = decide::failing_update(delivery, queued.update_id, route.failing, app.clock.now());
    if failing != route.failing
        && let Err(error) = app.store.record_failing_update(queued.chat, failing).await
    {
        tracing::warn!(
            code = "failing_update_not_recorded",
            error = %error,
            "the first failure of a runtime on an update was not written down; the next one counts as the first"
        );
    }
    Route { failing, ..route.clone() }
}

/// Posts the update with each valid generation of the tenant's secret until the runtime accepts one of them; `None`
/// when the key of none is listed any more, so that nothing can be delivered before the reconciler has rotated them.
async fn deliver_update(app: &App, queued: &QueuedUpdate, route: &Route, url: &str) -> Option<Delivery> {
    let mut refused = None;
    for secret in route.generations().filter_map(|generation| app.keys.webhook_secret(route.tenant_id, generation)) {
        let delivery = app.runtime.deliver(url, &secret, queued.update.clone()).await;
        if delivery != Delivery::SecretRefused {
            return Some(delivery);
        }
        refused = Some(delivery);
    }
    if refused.is_some() {
        count_trouble(app, route, Trouble::Refusal).await;
    } else {
        metric("RuntimeKeysUnlisted", 1);
        tracing::error!(
            code = "runtime_key_not_listed",
            generation = %route.generation,
            "`RUNTIME_KEYS` lists no key of the tenant's; its messages wait until the reconciler has made new ones"
        );
    }
    refused
}

/// Counts the tenant, once an hour: a hostile runtime can fail as often as it is written to, and must not drown others.
async fn count_trouble(app: &App, route: &Route, trouble: Trouble) {
    // While the table is down, it is better to count a tenant twice than not at all.
    if app.store.count_trouble(route, trouble, app.clock.now()).await.unwrap_or(true) {
        match trouble {
            Trouble::Loss => metric("TenantsLosingMessages", 1),
            Trouble::Refusal => metric("TenantsRefusingSecret", 1),
        }
    }
}

/// Sets the time until the message is redelivered. If that fails, the queue's own visibility timeout counts.
async fn delay_redelivery(app: &App, queued: &QueuedUpdate, delay: Duration) {
    if let Err(error) = app.inbound.delay_redelivery(&queued.receipt_handle, delay).await {
        tracing::warn!(
            code = "visibility_not_changed",
            error = %error,
            "the message's visibility could not be changed; it is redelivered later than planned"
        );
    }
}
