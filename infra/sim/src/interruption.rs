//! Stops a function dead between two of its effects, as a crash or an ended sandbox does.
//!
//! Every request to a simulator counts. The one to stop at has its effect, and its answer never arrives.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What the simulators of one world share to stop a function; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Interruption {
    armed: Arc<Mutex<Option<Armed>>>,
}

#[derive(Debug)]
struct Armed {
    requests_left: usize,
    reached: Arc<Notify>,
}

impl Interruption {
    /// Runs `work` until it ends, or until its request number `requests` (from 1) has had its effect: then `work` is
    /// dropped where it stands and the result is `None`.
    pub async fn stop_after<T>(&self, requests: usize, work: impl Future<Output = T>) -> Option<T> {
        let reached = Arc::new(Notify::new());
        self.set(Some(Armed { requests_left: requests, reached: Arc::clone(&reached) }));
        let ended = tokio::select! {
            ended = work => Some(ended),
            () = reached.notified() => None,
        };
        self.set(None);
        ended
    }

    /// For simulators: a request has had its effect. Never returns at the one to stop at.
    pub(crate) async fn passed(&self) {
        let reached = match self.armed.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            None => return,
            Some(armed) if armed.requests_left > 1 => {
                armed.requests_left -= 1;
                return;
            }
            Some(armed) => Arc::clone(&armed.reached),
        };
        reached.notify_one();
        std::future::pending().await
    }

    fn set(&self, armed: Option<Armed>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    }
}
