//! What each function did, as the terminal and the page show it. Never a path or a body: both can hold secrets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use serde::Serialize;

/// One invocation of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invocation {
    /// The function.
    pub function: &'static str,
    /// What invoked it: a method and route, or a queue.
    pub what: String,
    /// How it ended.
    pub outcome: String,
    /// How long it took, in milliseconds.
    pub millis: u128,
}

/// Every invocation since the start; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    invocations: Arc<Mutex<Vec<Invocation>>>,
}

impl Trace {
    /// Everything so far, oldest first.
    pub fn all(&self) -> Vec<Invocation> {
        self.invocations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many there were so far.
    pub fn len(&self) -> usize {
        self.invocations.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing ran yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an invocation.
    pub fn record(&self, function: &'static str, what: String, outcome: String, took: Duration) {
        let invocation = Invocation { function, what, outcome, millis: took.as_millis() };
        self.invocations.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
    }

    /// Records every request that reaches a function's router.
    pub fn watch(&self, function: &'static str, router: Router) -> Router {
        let trace = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let trace = trace.clone();
            async move {
                let route = request.extensions().get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str);
                let what = format!("{} {route}", request.method());
                let started = Instant::now();
                let response = next.run(request).await;
                trace.record(function, what, response.status().as_u16().to_string(), started.elapsed());
                response
            }
        }))
    }
}
