//! What can be called at Stripe, and how each call can fail.

use axum::extract::{Request, State as Extracted};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::World;
use super::api::Refused;

/// A kind of request to Stripe.
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
    Status(u16),
    /// 500, without an effect, which Stripe keeps under the call's key and repeats for a day.
    /// <https://docs.stripe.com/api/idempotent_requests>
    Stored,
    /// 429, without an effect.
    Throttled,
    /// No answer, until the caller goes away, and no effect.
    Hang,
    /// The call takes effect, and there is no answer.
    HangAfterEffect,
    /// The call takes effect, and its answer is lost: 502.
    AnswerLost,
    /// 200 with a body that is no JSON, without an effect.
    NotJson,
}

impl Endpoint {
    fn from_request(method: &Method, path: &str) -> Option<Self> {
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

/// On a request that fails at Stripe itself, after its key was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredFailure;

/// Fails a call, as [`World::faults`] asks for.
pub(super) async fn inject_failure(Extracted(world): Extracted<World>, mut request: Request, next: Next) -> Response {
    let Some(endpoint) = Endpoint::from_request(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    match world.faults.take(endpoint) {
        None => next.run(request).await,
        Some(Failure::Status(status)) => down(status),
        Some(Failure::Stored) => {
            request.extensions_mut().insert(StoredFailure);
            next.run(request).await
        }
        Some(Failure::Throttled) => Refused::rate_limited().into_response(),
        Some(Failure::Hang) => std::future::pending().await,
        Some(Failure::HangAfterEffect) => {
            next.run(request).await;
            std::future::pending().await
        }
        Some(Failure::AnswerLost) => {
            next.run(request).await;
            down(502)
        }
        Some(Failure::NotJson) => ([(header::CONTENT_TYPE, "application/json")], "{\"id\": ").into_response(),
    }
}

fn down(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refused::down(status).into_response()
}
