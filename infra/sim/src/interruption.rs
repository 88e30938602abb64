//! Stops a function dead between two of its effects, as a crash or an ended sandbox does, or holds it there while
//! something else goes on.
//!
//! Every request to a simulator counts. The one to stop at has its effect, and its answer never arrives, or late.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What the simulators of one world share to stop a function; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Interruption {
    armed: Arc<Mutex<Option<Armed>>>,
    witness: Arc<Mutex<Witness>>,
}

#[derive(Debug)]
struct Armed {
    requests_left: usize,
    reached: Arc<Notify>,
    /// Lets the one request go on that was held; without it, it never does.
    released: Option<Arc<Notify>>,
}

#[derive(Clone, Default)]
struct Witness(Option<Arc<dyn Fn() + Send + Sync>>);

impl Interruption {
    /// Runs `work` until it ends, or until its request number `requests` (from 1) has had its effect: then `work` is
    /// dropped where it stands and the result is `None`.
    pub async fn stop_after<T>(&self, requests: usize, work: impl Future<Output = T>) -> Option<T> {
        let reached = Arc::new(Notify::new());
        self.set(Some(Armed { requests_left: requests, reached: Arc::clone(&reached), released: None }));
        let ended = tokio::select! {
            ended = work => Some(ended),
            () = reached.notified() => None,
        };
        self.set(None);
        ended
    }

    /// Runs `work`, and holds it once its request number `requests` (from 1) has had its effect: all of `meanwhile`
    /// happens before the answer arrives. `None` beside the result when `work` ended before.
    pub async fn hold_after<T, U>(
        &self,
        requests: usize,
        work: impl Future<Output = T>,
        meanwhile: impl Future<Output = U>,
    ) -> (T, Option<U>) {
        let (reached, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (at, then) = (Arc::clone(&reached), Some(Arc::clone(&released)));
        self.set(Some(Armed { requests_left: requests, reached: at, released: then }));
        let mut work = std::pin::pin!(work);
        tokio::select! {
            ended = &mut work => {
                self.set(None);
                return (ended, None);
            }
            () = reached.notified() => {}
        }
        let between = meanwhile.await;
        released.notify_one();
        (work.await, Some(between))
    }

    /// From now on `look` is called whenever a request has had its effect and is not answered yet.
    pub fn watched_by(&self, look: impl Fn() + Send + Sync + 'static) {
        *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = Witness(Some(Arc::new(look)));
    }

    /// For simulators: a request has had its effect. Never returns at the one to stop at.
    pub(crate) async fn passed(&self) {
        let witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Witness(Some(look)) = witness {
            look();
        }
        let armed = {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            match armed.as_mut() {
                None => return,
                Some(armed) if armed.requests_left > 1 => {
                    armed.requests_left -= 1;
                    return;
                }
                Some(_) => armed.take(),
            }
        };
        let Some(Armed { reached, released, .. }) = armed else { return };
        reached.notify_one();
        match released {
            Some(released) => released.notified().await,
            None => std::future::pending().await,
        }
    }

    fn set(&self, armed: Option<Armed>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Witness").field(&self.0.is_some()).finish()
    }
}
