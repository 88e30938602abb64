//! The function `stripe-webhook`: an event says whom to ask about, Stripe's present word is written down, and the
//! reconciler is nudged.
//!
//! Events come at least once and in any order, so nothing of their content is applied. Stripe is answered 200 once an
//! event is recorded or of no interest, 503 when it should send it again, and 400 when it is not Stripe's.
//! <https://docs.stripe.com/webhooks>

mod apply;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd::providers::stripe::{Client, Event, Kind, Signatures};
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;
use nbhd::telemetry::metric;
use nbhd::web::{json_error, logged};

const SIGNATURE: &str = "stripe-signature";
/// A longer body is not read to its end; Stripe's largest events are a fraction of it.
const LARGEST_BODY: usize = 1 << 20;

/// What this function uses.
pub struct App {
    stripe: Option<Stripe>,
    store: Store,
    lifecycle: Jobs<LifecycleJob>,
    clock: Clock,
}

/// What is there once billing is configured.
struct Stripe {
    client: Client,
    signatures: Signatures,
}

impl App {
    /// From the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// When one is missing or unusable; without Stripe's secrets and prices it starts, and answers 503.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let client = Client::from_env(env, nbhd::http::client(env)?)?;
        let configured = client.zip(Signatures::from_env(env));
        let url = env.required("LIFECYCLE_QUEUE_URL", "the address of the queue of lifecycle jobs")?;
        Ok(Self {
            stripe: configured.map(|(client, signatures)| Stripe { client, signatures }),
            store: Store::from_env(env)?,
            lifecycle: Queues::new(env)?.lifecycle_jobs(url),
            clock,
        })
    }
}

/// `POST /stripe/webhook`.
pub fn router(app: App) -> Router {
    logged("stripe-webhook", Router::new().route("/stripe/webhook", post(receive)).with_state(Arc::new(app)))
}

async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let Some(stripe) = &app.stripe else {
        tracing::error!(code = "not_configured", "Stripe's secrets or prices are not set: no event can be dealt with");
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "not_configured", "Billing is not configured yet.");
    };
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return json_error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "A body has at most 1 MB.");
    };
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Err(reason) = stripe.signatures.verify(signature, &body, app.clock.now()) {
        tracing::warn!(code = "invalid_signature", %reason, "not taken for Stripe's");
        return json_error(StatusCode::BAD_REQUEST, "invalid_signature", "Only Stripe may call this address.");
    }
    let Some(event) = Event::parse(&body) else {
        metric("StripeEventsUnusable", 1);
        tracing::error!(code = "unusable", "Stripe signed something that is no event");
        return StatusCode::OK.into_response();
    };
    match event.kind {
        Kind::Other => StatusCode::OK.into_response(),
        Kind::Dispute => {
            metric("StripeDisputes", 1);
            tracing::error!(
                code = "dispute",
                event = event.id,
                "a charge is disputed: answer it in Stripe's dashboard"
            );
            StatusCode::OK.into_response()
        }
        Kind::Billing => app.answer(stripe, &event).await,
    }
}

impl App {
    async fn answer(&self, stripe: &Stripe, event: &Event) -> Response {
        match self.deal_with(&stripe.client, event).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(error) => {
                metric("StripeWebhookUnavailable", 1);
                tracing::error!(code = "unavailable", event = event.id, %error, "Stripe will send this event again");
                json_error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Send this event again.")
            }
        }
    }
}
