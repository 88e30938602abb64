//! Stops a function dead between two of its effects, as a crash or an ended sandbox does.
//!
//! It can also hold the function there while others work, or delay one of its requests until after its sender has ended
//! or lost the connection.
//!
//! Every request to a simulator counts. The one to stop or to be held at has its effect, and its answer never arrives,
//! or late. One that is late has no effect until [`LateRequest::arrive`].

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

/// What the simulators of one world share to stop a function; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Interruption {
    armed: Arc<Mutex<Option<Armed>>>,
    observer: Arc<Mutex<Observer>>,
}

/// One of the requests of a piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopPoint {
    /// The request of this number, from 1.
    Number(usize),
    /// A request by its name.
    Named(NamedRequest),
}

/// A request by its name, which stays the same when other requests are added before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRequest {
    /// Simulator, method and the end of its path without identifiers, such as `arm DELETE default/shares/*`.
    pub request: String,
    /// Which request of this name, from 1.
    pub nth: usize,
}

/// What happens to the sender of a request that is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderFate {
    /// It is stopped at once.
    Stopped,
    /// Its connection breaks.
    #[serde(rename = "unheard")]
    Disconnected,
}

/// A request that was sent and has not arrived.
#[derive(Debug)]
pub struct LateRequest {
    /// Its name.
    pub request: NamedRequest,
    release: Option<oneshot::Sender<()>>,
    arrived: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Armed {
    point: StopPoint,
    seen: HashMap<String, usize>,
    number: usize,
    action: Action,
    reached: oneshot::Sender<Reached>,
}

#[derive(Debug)]
struct Reached {
    request: NamedRequest,
    late: Option<LateRequest>,
}

#[derive(Clone, Debug)]
enum Action {
    Stop,
    /// Lets the one request go on that was held.
    HoldUntil(Arc<Notify>),
    Delay(SenderFate),
}

#[derive(Clone, Default)]
struct Observer(Option<Arc<dyn Fn() + Send + Sync>>);

impl Interruption {
    /// Runs `work` until it ends, or until its request number `requests` (from 1) has had its effect: then `work` is
    /// dropped where it stands and the result is `None`.
    pub fn stop_after<T>(&self, requests: usize, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        // Boxed, here and below: what is stopped is a whole function.
        let work = Box::pin(work);
        async move { self.stop_at(StopPoint::Number(requests), work).await.ok() }
    }

    /// As [`Self::stop_after`], at any point.
    ///
    /// # Errors
    /// The request at which it was stopped.
    pub async fn stop_at<T>(&self, point: StopPoint, work: impl Future<Output = T>) -> Result<T, NamedRequest> {
        let reached = self.arm(point, Action::Stop);
        let ended = tokio::select! {
            ended = work => Ok(ended),
            Ok(reached) = reached => Err(reached.request),
        };
        self.disarm();
        ended
    }

    /// Runs `work`, and holds it once its request number `requests` (from 1) has had its effect: all of `meanwhile`
    /// happens before the answer arrives. `None` beside the result when `work` ended before.
    pub fn hold_after<T, U>(
        &self,
        requests: usize,
        work: impl Future<Output = T>,
        meanwhile: impl Future<Output = U>,
    ) -> impl Future<Output = (T, Option<U>)> {
        let (work, meanwhile) = (Box::pin(work), Box::pin(meanwhile));
        async move {
            let (ended, held) = self.hold_at(StopPoint::Number(requests), work, meanwhile).await;
            (ended, held.map(|(_, between)| between))
        }
    }

    /// As [`Self::hold_after`], at any point; with the request at which it was held.
    pub async fn hold_at<T, U>(
        &self,
        point: StopPoint,
        work: impl Future<Output = T>,
        meanwhile: impl Future<Output = U>,
    ) -> (T, Option<(NamedRequest, U)>) {
        let released = Arc::new(Notify::new());
        let reached = self.arm(point, Action::HoldUntil(Arc::clone(&released)));
        let mut work = std::pin::pin!(work);
        let request = tokio::select! {
            ended = &mut work => {
                self.disarm();
                return (ended, None);
            }
            Ok(reached) = reached => reached.request,
        };
        let between = meanwhile.await;
        released.notify_one();
        (work.await, Some((request, between)))
    }

    /// Runs `work`, and lets one of its requests be late; `None` as its result when it was stopped with that.
    pub async fn delay_at<T>(
        &self,
        point: StopPoint,
        sender: SenderFate,
        work: impl Future<Output = T>,
    ) -> (Option<T>, Option<LateRequest>) {
        let mut reached = self.arm(point, Action::Delay(sender));
        let mut work = std::pin::pin!(work);
        let late = tokio::select! {
            ended = &mut work => {
                self.disarm();
                return (Some(ended), reached.try_recv().ok().and_then(|reached| reached.late));
            }
            Ok(reached) = &mut reached => reached.late,
        };
        match sender {
            SenderFate::Stopped => (None, late),
            SenderFate::Disconnected => (Some(work.await), late),
        }
    }

    /// Calls `observe` from now on whenever a request has had its effect and is not answered yet.
    pub fn observe_effects(&self, observe: impl Fn() + Send + Sync + 'static) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = Observer(Some(Arc::new(observe)));
    }

    /// For simulators: a request has come in, and `effect` is what it does. Returns `effect`, for the caller to await.
    /// Where the request is delayed, it happens when the request arrives, and the result is `None`.
    pub(crate) async fn on_request<F>(&self, name: &str, effect: F) -> Option<F>
    where
        F: Future + Send + 'static,
    {
        let Some((armed, request)) = self.take_armed(name, |action| matches!(action, Action::Delay(_))) else {
            return Some(effect);
        };
        let Action::Delay(sender) = armed.action else { return Some(effect) };
        let (release, released) = oneshot::channel();
        let (done, arrived) = oneshot::channel();
        let late = LateRequest { request: request.clone(), release: Some(release), arrived };
        // Whoever waits for it may have ended.
        let _ = armed.reached.send(Reached { request, late: Some(late) });
        tokio::spawn(async move {
            if released.await.is_ok() {
                effect.await;
                let _ = done.send(());
            }
        });
        match sender {
            SenderFate::Stopped => std::future::pending().await,
            SenderFate::Disconnected => None,
        }
    }

    /// For simulators: a request has had its effect. Never returns at the one to stop at.
    pub(crate) async fn on_effect(&self, name: &str) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Observer(Some(observe)) = observer {
            observe();
        }
        let Some((armed, request)) = self.take_armed(name, |action| !matches!(action, Action::Delay(_))) else {
            return;
        };
        let _ = armed.reached.send(Reached { request, late: None });
        match armed.action {
            Action::HoldUntil(released) => released.notified().await,
            Action::Stop | Action::Delay(_) => std::future::pending().await,
        }
    }

    /// Counts a request where `counts` says so; what is armed, when this is its point.
    fn take_armed(&self, name: &str, counts: impl Fn(&Action) -> bool) -> Option<(Armed, NamedRequest)> {
        let mut slot = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let armed = slot.as_mut().filter(|armed| counts(&armed.action))?;
        armed.number += 1;
        let nth = armed.seen.entry(name.to_owned()).or_default();
        *nth += 1;
        let request = NamedRequest { request: name.to_owned(), nth: *nth };
        let is_it = match &armed.point {
            StopPoint::Number(number) => armed.number >= *number,
            StopPoint::Named(named) => *named == request,
        };
        if is_it { slot.take().map(|armed| (armed, request)) } else { None }
    }

    fn arm(&self, point: StopPoint, action: Action) -> oneshot::Receiver<Reached> {
        let (reached, hears) = oneshot::channel();
        let armed = Armed { point, seen: HashMap::new(), number: 0, action, reached };
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(armed);
        hears
    }

    fn disarm(&self) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl LateRequest {
    /// The request arrives, and has had its effect when this returns.
    pub async fn arrive(mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.send(());
        }
        // An error: the server it was under way to has ended.
        let _ = (&mut self.arrived).await;
    }
}

/// The name of a request: the end of its path, with `*` in place of identifiers.
pub(crate) fn request_name(simulator: &str, method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let is_id = |part: &str| part.len() >= 8 && (part.len() >= 26 || part.bytes().any(|byte| byte.is_ascii_digit()));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let end = &parts[parts.len().saturating_sub(3)..];
    let end: Vec<&str> = end.iter().map(|part| if is_id(part) { "*" } else { part }).collect();
    format!("{simulator} {method} {}", end.join("/"))
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_called_by_what_it_is_and_not_by_whose() {
        let group = "/subscriptions/5814ab12-4a70-44fc-8b14-777be7466b94/resourceGroups/nbhd/providers";
        let app =
            format!("{group}/Microsoft.App/containerApps/tftjfwl7loqti2lyb5t2ff6icsu/stop?api-version=2026-01-01");
        assert_eq!(request_name("arm", "POST", &app), "arm POST containerApps/*/stop");
        let role = "/secrets/runtime-x1234567/providers/Microsoft.Authorization/roleAssignments/0e599908-c803-8013";
        assert_eq!(request_name("arm", "PUT", role), "arm PUT Microsoft.Authorization/roleAssignments/*");
        assert_eq!(request_name("model-gateway", "POST", "/api/v1/keys"), "model-gateway POST api/v1/keys");
    }
}
