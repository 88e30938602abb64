//! Records what each function did, for the terminal and the page. Never a path or a body: both can hold secrets.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use serde::{Serialize, Serializer};

/// The functions that a person calls: by writing to the bot, or by opening a page of ours.
const CALLED_BY_PERSON: [&str; 4] = ["telegram-webhook", "oauth-authorize", "oauth-callback", "billing-session"];

/// The cause of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An HTTP request, by its method and route.
    Request(Method, String),
    /// Messages of this queue.
    Queue(&'static str),
    /// The schedule of this job.
    Schedule(&'static str),
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(method, route) => write!(f, "{method} {route}"),
            Self::Queue(name) | Self::Schedule(name) => f.write_str(name),
        }
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One invocation of a function, or several that look the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invocation {
    /// The function's name.
    pub function: &'static str,
    /// The cause of the invocation.
    pub trigger: Trigger,
    /// The outcome, such as an HTTP status.
    pub outcome: String,
    /// The duration in milliseconds; of several invocations, their sum.
    pub millis: u128,
    /// The number of invocations.
    pub count: usize,
    /// Whether the person's own doing invoked it.
    pub by_person: bool,
}

/// Every invocation since the start; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    invocations: Arc<Mutex<Vec<Invocation>>>,
}

impl Trace {
    /// The number of invocations so far.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no function was invoked yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The invocations after the first `skipped`, oldest first. What the person invoked stands alone; of the rest,
    /// those that look the same until the person's next doing are folded into one.
    pub fn folded(&self, skipped: usize) -> Vec<Invocation> {
        let mut folded: Vec<Invocation> = Vec::new();
        let mut stretch = 0;
        for invocation in self.lock().iter().skip(skipped) {
            if invocation.by_person {
                folded.push(invocation.clone());
                stretch = folded.len();
                continue;
            }
            match folded.iter_mut().skip(stretch).find(|earlier| earlier.looks_like(invocation)) {
                Some(earlier) => {
                    earlier.millis += invocation.millis;
                    earlier.count += 1;
                }
                None => folded.push(invocation.clone()),
            }
        }
        folded
    }

    /// Adds an invocation.
    pub fn record(&self, function: &'static str, trigger: Trigger, outcome: String, took: Duration) {
        let by_person = CALLED_BY_PERSON.contains(&function);
        let millis = took.as_millis();
        self.lock().push(Invocation { function, trigger, outcome, millis, count: 1, by_person });
    }

    /// Records every request that reaches a function's router.
    pub fn watch(&self, function: &'static str, router: Router) -> Router {
        let trace = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let trace = trace.clone();
            async move {
                let route = request.extensions().get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str);
                let trigger = Trigger::Request(request.method().clone(), route.to_owned());
                let started = Instant::now();
                let response = next.run(request).await;
                trace.record(function, trigger, response.status().as_u16().to_string(), started.elapsed());
                response
            }
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Invocation>> {
        self.invocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Invocation {
    fn looks_like(&self, other: &Self) -> bool {
        (self.function, &self.trigger, &self.outcome) == (other.function, &other.trigger, &other.outcome)
    }
}
