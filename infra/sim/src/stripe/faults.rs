//! How Stripe fails on demand, and how often each call was made.

use std::collections::{HashMap, VecDeque};

use axum::extract::{Request, State as Extracted};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::World;
use super::api::Refused;

/// What can be called, and so fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/customers`.
    CreateCustomer,
    /// `POST /v1/checkout/sessions`.
    CreateCheckout,
    /// `POST /v1/billing_portal/sessions`.
    CreatePortal,
    /// `GET /v1/subscriptions`.
    ListSubscriptions,
    /// `GET /v1/invoices`.
    ListInvoices,
    /// Any other call.
    Other,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A server error of this status, without an effect.
    Down(u16),
    /// 429, without an effect.
    RateLimited,
    /// No answer, until the caller goes away, and no effect.
    Hangs,
    /// The call takes effect, and there is no answer.
    HangsAfterEffect,
    /// The call takes effect, and its answer is lost: 502.
    AnswerLost,
    /// 200 with a body that is no JSON, without an effect.
    Garbage,
}

/// What is to fail, and what was called.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: HashMap<Endpoint, VecDeque<Failure>>,
    standing: HashMap<Endpoint, Failure>,
    calls: HashMap<Endpoint, usize>,
}

impl Endpoint {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::CreateCustomer,
        Self::CreateCheckout,
        Self::CreatePortal,
        Self::ListSubscriptions,
        Self::ListInvoices,
        Self::Other,
    ];

    fn of(method: &Method, path: &str) -> Option<Self> {
        Some(match (method.as_str(), path.trim_end_matches('/')) {
            ("POST", "/v1/customers") => Self::CreateCustomer,
            ("POST", "/v1/checkout/sessions") => Self::CreateCheckout,
            ("POST", "/v1/billing_portal/sessions") => Self::CreatePortal,
            ("GET", "/v1/subscriptions") => Self::ListSubscriptions,
            ("GET", "/v1/invoices") => Self::ListInvoices,
            (_, path) if path.starts_with("/v1/") => Self::Other,
            _ => return None,
        })
    }
}

impl Faults {
    pub(super) fn once(&mut self, endpoint: Endpoint, failure: Failure) {
        self.next.entry(endpoint).or_default().push_back(failure);
    }

    pub(super) fn always(&mut self, endpoint: Endpoint, failure: Failure) {
        self.standing.insert(endpoint, failure);
    }

    pub(super) fn clear(&mut self) {
        self.next.clear();
        self.standing.clear();
    }

    pub(super) fn calls(&self, endpoint: Endpoint) -> usize {
        self.calls.get(&endpoint).copied().unwrap_or_default()
    }

    fn called(&mut self, endpoint: Endpoint) -> Option<Failure> {
        *self.calls.entry(endpoint).or_default() += 1;
        let next = self.next.get_mut(&endpoint).and_then(VecDeque::pop_front);
        next.or_else(|| self.standing.get(&endpoint).copied())
    }
}

/// Counts a call, and fails it if it is to fail.
pub(super) async fn gate(Extracted(world): Extracted<World>, request: Request, next: Next) -> Response {
    let Some(endpoint) = Endpoint::of(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let failure = world.lock().faults.called(endpoint);
    match failure {
        None => next.run(request).await,
        Some(Failure::Down(status)) => down(status),
        Some(Failure::RateLimited) => Refused::rate_limited().into_response(),
        Some(Failure::Hangs) => std::future::pending().await,
        Some(Failure::HangsAfterEffect) => {
            next.run(request).await;
            std::future::pending().await
        }
        Some(Failure::AnswerLost) => {
            next.run(request).await;
            down(502)
        }
        Some(Failure::Garbage) => ([(header::CONTENT_TYPE, "application/json")], "{\"id\": ").into_response(),
    }
}

fn down(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refused::down(status).into_response()
}
