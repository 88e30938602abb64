//! SQS: the queues of the system, over the AWS JSON protocol and for the pump.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>

pub(crate) mod api;
mod limits;
pub mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use tokio::sync::watch;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;
use queue::{Message, Outgoing, Queue, Redrive, Refusal, Settings};

pub use limits::MAX_BYTES;

/// Updates on their way to the runtimes.
pub const INBOUND: &str = "inbound.fifo";
/// Updates that could not be delivered.
pub const INBOUND_DLQ: &str = "inbound-dlq.fifo";
/// Jobs of `scheduled-refresh`.
pub const REFRESH: &str = "refresh";
/// Jobs of it that failed too often.
pub const REFRESH_DLQ: &str = "refresh-dlq";
/// Jobs of `tenant-reconcile`.
pub const LIFECYCLE: &str = "lifecycle";
/// Jobs of it that failed too often.
pub const LIFECYCLE_DLQ: &str = "lifecycle-dlq";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The running simulator with the queues of `template.yaml`; clones are the same one.
#[derive(Clone, Debug)]
pub struct Sqs {
    /// How it fails on demand, by operation, such as `SendMessage`.
    pub faults: Faults<String, Unavailable>,
    state: Arc<State>,
    server: Arc<Server>,
}

/// How a request fails: with 503, without an effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unavailable;

#[derive(Debug)]
struct State {
    clock: Clock,
    queues: Mutex<Vec<Queue>>,
    faults: Faults<String, Unavailable>,
    changed: watch::Sender<()>,
}

impl Sqs {
    /// Starts with empty queues.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(clock: &Clock, journal: &Journal) -> std::io::Result<Self> {
        let state = Arc::new(State {
            clock: clock.clone(),
            queues: Mutex::new(settings().map(Queue::new).into()),
            faults: Faults::default(),
            changed: watch::Sender::new(()),
        });
        let server = Server::start(journal.wrap("sqs", api::router(Arc::clone(&state)))).await?;
        Ok(Self { faults: state.faults.clone(), state, server: Arc::new(server) })
    }

    /// For `AWS_ENDPOINT_URL_SQS`.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The address of the queue `name`, for the settings.
    pub fn url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.base_url())
    }

    /// Every message in the queue `name`, oldest first, visible or not.
    pub fn messages(&self, name: &str) -> Vec<Message> {
        self.with_queue(name, |queue, _| queue.messages().to_vec())
    }

    /// Puts a message into the queue `name`, as a sender over the network would.
    ///
    /// # Errors
    /// What SQS refuses.
    pub fn send(&self, name: &str, message: Outgoing) -> Result<(), Refusal> {
        self.with_queue(name, |queue, now| queue.send(now, message))?;
        self.state.changed.send_replace(());
        Ok(())
    }

    /// Takes up to `max` messages out of sight, for the pump.
    pub(crate) fn receive(&self, name: &str, max: usize, visibility: Option<Duration>) -> Vec<Message> {
        self.state.receive(name, max, visibility)
    }

    /// Removes a message whose invocation succeeded, for the pump.
    pub(crate) fn delete(&self, name: &str, receipt: &str) -> Result<(), Refusal> {
        self.with_queue(name, |queue, now| queue.delete(now, receipt))?;
        self.state.changed.send_replace(());
        Ok(())
    }

    /// When the next message of the queue `name` can be received; `None` when it is empty.
    pub fn next_visible(&self, name: &str) -> Option<Timestamp> {
        self.with_queue(name, |queue, _| queue.next_visible())
    }

    /// Tells when a queue has changed.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.state.changed.subscribe()
    }

    fn with_queue<T>(&self, name: &str, act: impl FnOnce(&mut Queue, Timestamp) -> T) -> T {
        let mut queues = self.state.queues();
        let queue = find(&mut queues, name).unwrap_or_else(|| panic!("there is no queue `{name}`"));
        act(queue, self.state.clock.now())
    }
}

impl State {
    fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives, and moves what was received too often to the dead-letter queue.
    fn receive(&self, name: &str, max: usize, visibility: Option<Duration>) -> Vec<Message> {
        let now = self.clock.now();
        let mut queues = self.queues();
        let Some(queue) = find(&mut queues, name) else { return Vec::new() };
        let (received, dead) = queue.receive(now, max, visibility);
        let (source, target) = (queue.settings().name, queue.settings().redrive.map(|redrive| redrive.to));
        if let Some(dead_letters) = target.and_then(|target| find(&mut queues, target)) {
            dead.into_iter().for_each(|message| dead_letters.accept_moved(now, Some(source), message));
        }
        received
    }

    /// Moves what the dead-letter queue `name` holds to the queue `to`. Without one, each goes back to where it came
    /// from; SQS does not know that of a message that was sent here, which stays. `None` where there is no such queue.
    fn redrive(&self, name: &str, to: Option<&str>) -> Option<usize> {
        let now = self.clock.now();
        let mut queues = self.queues();
        let redrives_here = |queue: &Queue| queue.settings().redrive.is_some_and(|redrive| redrive.to == name);
        if !queues.iter().any(redrives_here) || to.is_some_and(|to| find(&mut queues, to).is_none()) {
            return None;
        }
        let messages = find(&mut queues, name)?.take_redrivable(to.is_some());
        let moved = messages.len();
        for message in messages {
            find(&mut queues, to.or(message.source)?)?.accept_moved(now, None, message);
        }
        Some(moved)
    }
}

fn find<'a>(queues: &'a mut [Queue], name: &str) -> Option<&'a mut Queue> {
    queues.iter_mut().find(|queue| queue.settings().name == name)
}

/// The queues of `template.yaml`.
fn settings() -> [Settings; 6] {
    let queue = |name, visibility, redrive: Option<Redrive>| Settings {
        name,
        visibility: Duration::from_secs(visibility),
        retention: if redrive.is_some() { 4 * DAY } else { 14 * DAY },
        redrive,
    };
    [
        queue(INBOUND, 180, Some(Redrive { to: INBOUND_DLQ, max_receive_count: 200 })),
        queue(INBOUND_DLQ, 30, None),
        queue(REFRESH, 360, Some(Redrive { to: REFRESH_DLQ, max_receive_count: 20 })),
        queue(REFRESH_DLQ, 30, None),
        queue(LIFECYCLE, 360, Some(Redrive { to: LIFECYCLE_DLQ, max_receive_count: 20 })),
        queue(LIFECYCLE_DLQ, 30, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_destination_only_what_a_redrive_policy_moved_finds_its_way_back() {
        let clock = Clock::manual(Timestamp::from_seconds(1_000_000));
        let sqs = Sqs::start(&clock, &Journal::new()).await.expect("a free port");
        let job = |body: &str| Outgoing { body: body.to_owned(), ..Outgoing::default() };
        sqs.send(REFRESH, job("failed too often")).expect("taken");
        sqs.send(REFRESH_DLQ, job("sent here")).expect("taken");
        for _ in 0..21 {
            sqs.receive(REFRESH, 1, Some(Duration::ZERO));
        }
        let bodies = |name| sqs.messages(name).into_iter().map(|message| message.sent.body).collect::<Vec<_>>();
        assert_eq!(bodies(REFRESH_DLQ), ["sent here", "failed too often"]);

        assert_eq!(sqs.state.redrive(REFRESH_DLQ, None), Some(1));
        assert_eq!((bodies(REFRESH_DLQ), bodies(REFRESH)), (vec!["sent here".into()], vec!["failed too often".into()]));
        assert_eq!(sqs.state.redrive(REFRESH_DLQ, Some(REFRESH)), Some(1));
        assert_eq!(bodies(REFRESH), ["failed too often", "sent here"]);
        assert_eq!((sqs.state.redrive(REFRESH, None), sqs.state.redrive(REFRESH_DLQ, Some("none"))), (None, None));
    }
}
