//! The thread that owns the journal: the share may take its time, and a caller that goes away undoes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nbhd::clock::{Clock, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Appended, End, Error, Journal, Waiting};
use crate::share::Folder;

/// How long a caller waits for the share. The control plane waits 25 s for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A share that was written within this time counts as writable.
const FRESH: Duration = Duration::from_secs(60);
/// What waits is handed over in groups of at most so many, and of about so many bytes.
const MOST_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: usize = 4 << 20;

enum Command {
    Append(i64, Bytes, oneshot::Sender<Result<Appended, Error>>),
    RecordEnds(Vec<(i64, End)>, oneshot::Sender<Result<(), Error>>),
    Waiting(oneshot::Sender<Result<Vec<Waiting>, Error>>),
    Count(oneshot::Sender<Result<usize, Error>>),
    Adopt(oneshot::Sender<Result<(), Error>>),
    Check(oneshot::Sender<Result<(), Error>>),
}

/// What the other parts of the front speak to; clones speak to the same journal.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    news: Arc<Notify>,
}

/// Starts the thread of the journal in `folder`, which ends with the last handle. `limit` bounds the bytes of what has
/// not ended.
///
/// # Errors
/// When the system has no thread.
pub fn spawn(folder: Folder, limit: u64, clock: Clock) -> std::io::Result<Handle> {
    let (commands, mut received) = mpsc::channel(64);
    let news = Arc::new(Notify::new());
    let notify = Arc::clone(&news);
    let mut owner = Owner { journal: Journal::new(folder, limit), clock, written: None };
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
        while let Some(command) = received.blocking_recv() {
            owner.execute(command, &notify);
        }
    })?;
    Ok(Handle { commands, news })
}

struct Owner {
    journal: Journal,
    clock: Clock,
    /// When the share was last written, if nothing has failed since.
    written: Option<Timestamp>,
}

impl Owner {
    /// Whoever asked may have gone away, which changes nothing.
    fn execute(&mut self, command: Command, news: &Notify) {
        match command {
            Command::Append(id, body, reply) => {
                let result = self.journal.append(id, &body);
                if !matches!(result, Ok(Appended::Repeat) | Err(Error::Full)) {
                    self.note_written(result.is_ok());
                }
                if matches!(result, Ok(Appended::New)) {
                    news.notify_one();
                }
                drop(reply.send(result));
            }
            Command::RecordEnds(ends, reply) => {
                let result = self.journal.record_ends(&ends);
                self.note_written(result.is_ok());
                drop(reply.send(result));
            }
            Command::Waiting(reply) => drop(reply.send(self.journal.waiting(MOST_AT_ONCE, BYTES_AT_ONCE))),
            Command::Count(reply) => drop(reply.send(Ok(self.journal.count_waiting()))),
            Command::Adopt(reply) => drop(reply.send(self.journal.adopt())),
            Command::Check(reply) => {
                let fresh = self.written.is_some_and(|at| self.clock.now().since(at) < FRESH);
                let result = if fresh { Ok(()) } else { self.journal.probe() };
                if !fresh {
                    self.note_written(result.is_ok());
                }
                drop(reply.send(result));
            }
        }
    }

    fn note_written(&mut self, written: bool) {
        self.written = written.then(|| self.clock.now());
    }
}

impl Handle {
    /// Keeps an update; when this returns, it is synced to the share.
    ///
    /// # Errors
    /// [`Error`] when it may not be kept.
    pub async fn append(&self, id: i64, body: Bytes) -> Result<Appended, Error> {
        self.ask(|reply| Command::Append(id, body, reply)).await
    }

    /// Records how updates ended, all of them or none.
    ///
    /// # Errors
    /// [`Error`] when the ends may not be kept: they are recorded again then.
    pub async fn record_ends(&self, ends: Vec<(i64, End)>) -> Result<(), Error> {
        self.ask(|reply| Command::RecordEnds(ends, reply)).await
    }

    /// The oldest updates that wait, in the order in which they came.
    ///
    /// # Errors
    /// [`Error`] when the share cannot be read.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, Error> {
        self.ask(Command::Waiting).await
    }

    /// How many updates wait.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] when the share holds the journal up.
    pub async fn count_waiting(&self) -> Result<usize, Error> {
        self.ask(Command::Count).await
    }

    /// Takes over what other fronts, before this one or beside it, have written.
    ///
    /// # Errors
    /// [`Error`] when the share cannot be read.
    pub async fn adopt(&self) -> Result<(), Error> {
        self.ask(Command::Adopt).await
    }

    /// Checks that the share can be written: by a write of less than a minute ago, or by one of now.
    ///
    /// # Errors
    /// [`Error`] when it cannot.
    pub async fn check(&self) -> Result<(), Error> {
        self.ask(Command::Check).await
    }

    /// Returns once an update was kept since the last call.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.commands.send(command(reply)).await.map_err(|_| Error::NoAnswer)?;
            answer.await.map_err(|_| Error::NoAnswer)?
        };
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| Error::NoAnswer)?
    }
}
