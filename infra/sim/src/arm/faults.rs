//! How the resource manager can be told to fail.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};

use axum::http::StatusCode;

use super::{Arm, Inner};

/// What can be asked of the resource manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Create or tag an identity.
    PutIdentity,
    /// Delete an identity.
    DeleteIdentity,
    /// Assign a role.
    PutRole,
    /// End a role assignment.
    DeleteRole,
    /// Create a file share.
    PutShare,
    /// Delete a file share.
    DeleteShare,
    /// Make a share known to an environment.
    PutStorage,
    /// Make an environment forget a share.
    DeleteStorage,
    /// Create or change a container app.
    PutApp,
    /// Delete a container app.
    DeleteApp,
    /// Start a container app.
    StartApp,
    /// Stop a container app.
    StopApp,
    /// Look at an operation.
    Poll,
    /// Look at one resource.
    Get,
    /// Any of the lists.
    List,
}

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429 with `Retry-After`, in seconds.
    Throttled(u32),
    /// This status, without an effect.
    Status(StatusCode),
    /// The request has its effect, and the connection breaks before its answer is there.
    AnswerLost,
    /// The connection breaks, without an effect.
    Unheard,
    /// 200 with a body that is no JSON, without an effect.
    Nonsense,
    /// What was begun ends as Failed. Only for changes of a container app.
    Provisioning,
}

#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Each with how many requests of its operation pass first.
    in_line: VecDeque<(Operation, u32, Failure)>,
    outage: Option<Failure>,
    chooser: Chooser,
}

#[derive(Default)]
struct Chooser(Option<Box<dyn FnMut(Operation) -> Option<Failure> + Send>>);

impl Arm {
    /// The next request for `operation` fails; several wait in line.
    pub fn fail_next(&self, operation: Operation, failure: Failure) {
        self.fail_after(operation, 0, failure);
    }

    /// The request for `operation` that comes after `passing` others fails.
    pub fn fail_after(&self, operation: Operation, passing: u32, failure: Failure) {
        self.inner.failures().in_line.push_back((operation, passing, failure));
    }

    /// Every request asks `choose` how to fail.
    pub fn fail_as(&self, choose: impl FnMut(Operation) -> Option<Failure> + Send + 'static) {
        self.inner.failures().chooser = Chooser(Some(Box::new(choose)));
    }

    /// Every request fails until [`Self::recovers`].
    pub fn goes_down(&self, failure: Failure) {
        self.inner.failures().outage = Some(failure);
    }

    /// From now on a DELETE answers that there is nothing (204), without an effect, or no longer: as one that reaches a
    /// replica of the manager that does not know the resource. No document of Azure's is known to us that says so or
    /// rules it out: it is our own, harsher than what was seen.
    pub fn deletes_nothing(&self, finds_nothing: bool) {
        self.inner.lock().deletes_nothing = finds_nothing;
    }

    /// Ends an outage and forgets failures still in line.
    pub fn recovers(&self) {
        *self.inner.failures() = Failures::default();
    }
}

impl Inner {
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this request shall fail, if it shall.
    pub(super) fn failure(&self, operation: Operation) -> Option<Failure> {
        let mut failures = self.failures();
        let in_line = failures.in_line.iter().position(|(failing, ..)| *failing == operation);
        match in_line.and_then(|place| failures.in_line.get_mut(place)) {
            Some((_, passing @ 1.., _)) => *passing -= 1,
            Some((_, 0, failure)) => {
                let failure = *failure;
                in_line.and_then(|place| failures.in_line.remove(place));
                return Some(failure);
            }
            None => {}
        }
        let chosen = failures.chooser.0.as_mut().and_then(|choose| choose(operation));
        chosen.or(failures.outage)
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chooser").field(&self.0.is_some()).finish()
    }
}
