//! The function `stripe-webhook`: an event names a customer, Stripe's present snapshot of that customer is stored, and
//! a reconcile is queued.
//!
//! Stripe delivers events at least once and in any order, so their content is never applied. The answer is 200 once an
//! event is recorded or of no interest, 503 when Stripe should redeliver it, and 400 when its signature is not valid.
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
use nbhd::providers::stripe::{Client, Event, EventKind, SigningSecrets};
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;
use nbhd::telemetry::metric;
use nbhd::web::{json_error, log_requests};

const SIGNATURE: &str = "stripe-signature";
/// A longer body is not read to its end: 256 KiB. Stripe's largest events are a fraction of it.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The clients and settings of this function.
pub struct App {
    stripe: Option<Stripe>,
    store: Store,
    lifecycle: Jobs<LifecycleJob>,
    clock: Clock,
}

/// What the settings give once billing is configured.
struct Stripe {
    client: Client,
    secrets: SigningSecrets,
}

impl App {
    /// Reads the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// [`ConfigError`] when one is missing or unusable. Without Stripe's secrets and prices the function starts, and
    /// answers 503.
    pub fn new(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let client = Client::from_env(env, nbhd::http::client(env)?)?;
        let configured = client.zip(SigningSecrets::from_env(env));
        let url = env.required("LIFECYCLE_QUEUE_URL", "the address of the queue of lifecycle jobs")?;
        Ok(Self {
            stripe: configured.map(|(client, secrets)| Stripe { client, secrets }),
            store: Store::from_env(env)?,
            lifecycle: Queues::new(env)?.lifecycle_jobs(url),
            clock,
        })
    }
}

/// Serves `POST /stripe/webhook`.
pub fn router(app: App) -> Router {
    log_requests("stripe-webhook", Router::new().route("/stripe/webhook", post(receive)).with_state(Arc::new(app)))
}

async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let Some(stripe) = &app.stripe else {
        tracing::error!(
            code = "stripe_not_configured",
            "Stripe's secrets or prices are not set; events get 503 until they are"
        );
        return json_error(StatusCode::SERVICE_UNAVAILABLE, "not_configured", "Billing is not configured yet.");
    };
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return json_error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "A body has at most 1 MB.");
    };
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Err(reason) = stripe.secrets.verify(signature, &body, app.clock.now()) {
        tracing::warn!(
            code = "stripe_signature_invalid",
            %reason,
            "a request without a valid Stripe signature was refused"
        );
        return json_error(StatusCode::BAD_REQUEST, "invalid_signature", "Only Stripe may call this address.");
    }
    let Some(event) = Event::parse(&body) else {
        metric("StripeEventsUnusable", 1);
        tracing::error!(
            code = "stripe_event_unreadable",
            "a body that Stripe signed could not be read as an event; it is dropped"
        );
        return StatusCode::OK.into_response();
    };
    match event.kind {
        EventKind::Other => StatusCode::OK.into_response(),
        EventKind::Dispute => {
            metric("StripeDisputes", 1);
            tracing::error!(
                code = "stripe_charge_disputed",
                event = event.id,
                "a customer disputes a charge; answer it in Stripe's dashboard"
            );
            StatusCode::OK.into_response()
        }
        EventKind::Billing => app.answer_billing_event(stripe, &event).await,
    }
}

impl App {
    async fn answer_billing_event(&self, stripe: &Stripe, event: &Event) -> Response {
        match self.process_event(&stripe.client, event).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(error) => {
                metric("StripeWebhookUnavailable", 1);
                tracing::error!(
                    code = "stripe_event_not_processed",
                    event = event.id,
                    %error,
                    "a Stripe event could not be processed; Stripe redelivers it"
                );
                json_error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Send this event again.")
            }
        }
    }
}
