//! How a simulated vendor fails on demand, how slow it is, and how often each of its operations was called.
//!
//! Every simulator has one [`Faults`], over its own operations and its own ways to fail.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

/// The failures that are to come; clones share them.
#[derive(Clone)]
pub struct Faults<Operation, Failure>(Arc<Mutex<State<Operation, Failure>>>);

struct State<Operation, Failure> {
    queued: Vec<Queued<Operation, Failure>>,
    chooser: Option<Chooser<Operation, Failure>>,
    standing: HashMap<Operation, Failure>,
    outage: Option<Failure>,
    latency: HashMap<Operation, Duration>,
    calls: HashMap<Operation, usize>,
}

type Chooser<Operation, Failure> = Box<dyn FnMut(Operation) -> Option<Failure> + Send>;

/// One failure that waits in line.
struct Queued<Operation, Failure> {
    /// `None`: whichever is called next.
    operation: Option<Operation>,
    /// How many calls pass before it.
    passing: usize,
    failure: Failure,
}

impl<Operation: Clone + Eq + Hash, Failure: Clone> Faults<Operation, Failure> {
    /// The next call of `operation` fails; several failures wait in line.
    pub fn fail_next(&self, operation: impl Into<Operation>, failure: Failure) {
        self.fail_after(operation, 0, failure);
    }

    /// The call of `operation` that comes after `passing` others of it fails.
    pub fn fail_after(&self, operation: impl Into<Operation>, passing: usize, failure: Failure) {
        self.lock().queued.push(Queued { operation: Some(operation.into()), passing, failure });
    }

    /// The next call fails, whatever its operation; several failures wait in line.
    pub fn fail_any(&self, failure: Failure) {
        self.fail_any_after(0, failure);
    }

    /// The call that comes after `passing` others fails, whatever its operation.
    pub fn fail_any_after(&self, passing: usize, failure: Failure) {
        self.lock().queued.push(Queued { operation: None, passing, failure });
    }

    /// Every call of `operation` fails until [`Self::recover`].
    pub fn fail_always(&self, operation: impl Into<Operation>, failure: Failure) {
        self.lock().standing.insert(operation.into(), failure);
    }

    /// Every call fails until [`Self::recover`].
    pub fn fail_all(&self, failure: Failure) {
        let mut state = self.lock();
        state.standing.clear();
        state.outage = Some(failure);
    }

    /// Every call asks `choose` how to fail, until [`Self::recover`].
    pub fn fail_with(&self, choose: impl FnMut(Operation) -> Option<Failure> + Send + 'static) {
        self.lock().chooser = Some(Box::new(choose));
    }

    /// Every call of `operation` is answered only after `latency`, until [`Self::recover`].
    pub fn delay(&self, operation: impl Into<Operation>, latency: Duration) {
        self.lock().latency.insert(operation.into(), latency);
    }

    /// Ends every failure and delay, those still in line included.
    pub fn recover(&self) {
        let mut state = self.lock();
        let calls = std::mem::take(&mut state.calls);
        *state = State { calls, ..State::default() };
    }

    /// How often `operation` was called, failed calls included.
    pub fn calls(&self, operation: impl Into<Operation>) -> usize {
        self.lock().calls.get(&operation.into()).copied().unwrap_or_default()
    }

    /// Counts a call of `operation`; returns how it shall fail, if it shall.
    pub(crate) fn take(&self, operation: impl Into<Operation>) -> Option<Failure> {
        let operation = operation.into();
        let mut state = self.lock();
        *state.calls.entry(operation.clone()).or_default() += 1;
        let is_meant = |queued: &Queued<_, _>| queued.operation.as_ref().is_none_or(|meant| *meant == operation);
        if let Some(index) = state.queued.iter().position(is_meant) {
            match state.queued[index].passing.checked_sub(1) {
                Some(left) => state.queued[index].passing = left,
                None => return Some(state.queued.remove(index).failure),
            }
        }
        let chosen = state.chooser.as_mut().and_then(|choose| choose(operation.clone()));
        chosen.or_else(|| state.standing.get(&operation).cloned()).or_else(|| state.outage.clone())
    }

    /// Waits as long as calls of `operation` are to be delayed.
    pub(crate) async fn wait(&self, operation: impl Into<Operation>) {
        let latency = self.lock().latency.get(&operation.into()).copied().unwrap_or_default();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<Operation, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Operation: Clone + Eq + Hash, Failure: Clone + Default> Faults<Operation, Failure> {
    /// From now on every call fails in the simulator's plainest way, or none does because of this any longer.
    pub fn set_down(&self, is_down: bool) {
        self.lock().outage = is_down.then(Failure::default);
    }
}

impl<Operation, Failure> Default for Faults<Operation, Failure> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }
}

impl<Operation, Failure> Default for State<Operation, Failure> {
    fn default() -> Self {
        Self {
            queued: Vec::new(),
            chooser: None,
            standing: HashMap::new(),
            outage: None,
            latency: HashMap::new(),
            calls: HashMap::new(),
        }
    }
}

impl<Operation, Failure> fmt::Debug for Faults<Operation, Failure> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

/// A body during which the connection breaks.
pub(crate) fn broken_body(error: impl Into<axum::BoxError> + Send + 'static) -> Body {
    Body::from_stream(futures::stream::once(async { Err::<Bytes, _>(error) }))
}

/// An answer whose head arrives and whose body does not.
pub(crate) fn broken_answer() -> Response {
    Response::new(broken_body(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_line_comes_before_what_always_fails() {
        let faults = Faults::<&str, u16>::default();
        faults.fail_after("get", 1, 1);
        faults.fail_any(2);
        faults.fail_always("get", 3);
        assert_eq!([faults.take("get"), faults.take("get"), faults.take("put")], [Some(3), Some(1), Some(2)]);
        faults.fail_with(|operation| (operation == "put").then_some(4));
        assert_eq!([faults.take("get"), faults.take("put")], [Some(3), Some(4)]);
        faults.fail_all(5);
        assert_eq!([faults.take("get"), faults.take("put")], [Some(5), Some(4)]);
        faults.recover();
        assert_eq!((faults.take("get"), faults.take("put"), faults.calls("get")), (None, None, 5));
    }
}
