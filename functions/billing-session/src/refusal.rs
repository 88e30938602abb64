//! Every way this can end early, each with a page that a person understands and a code that stays the same.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use nbhd::web::Page;

/// Why the way ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Stripe's key or prices are not set.
    NotConfigured,
    /// The link is not ours, or too old.
    InvalidLink,
    /// The button was not on our page.
    CrossSite,
    /// There is no such plan.
    UnknownTier,
    /// Stripe did not do what we asked.
    StripeUnavailable,
    /// The table is down.
    StoreUnavailable,
}

impl Refusal {
    pub(crate) fn page(self) -> Response {
        let (status, code, title, text) = self.parts();
        tracing::info!(code, "refused");
        let mut response = Page::new(status, title).text(text).code(code).into_response();
        if matches!(self, Self::StripeUnavailable | Self::StoreUnavailable) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }

    const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::NotConfigured => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_configured",
                "Subscribing is not possible right now",
                "Payments are not set up on our side. You can do nothing about it; please try again later.",
            ),
            Self::InvalidLink => (
                StatusCode::FORBIDDEN,
                "invalid_link",
                "This link no longer works",
                "Links are valid for ten minutes. Send /billing to the bot in Telegram to get a new one.",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "Please start from the link",
                "This request did not come from our own page. Open the link in Telegram and press the button there.",
            ),
            Self::UnknownTier => (
                StatusCode::BAD_REQUEST,
                "unknown_plan",
                "There is no such plan",
                "Go back and choose one of the plans on the page, or send /billing to the bot in Telegram.",
            ),
            Self::StripeUnavailable => (
                StatusCode::BAD_GATEWAY,
                "stripe_unavailable",
                "Our payment provider does not answer",
                "Nothing was charged. Go back and press the button again in a minute.",
            ),
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "Something on our side is out of order",
                "Nothing was charged. Go back and press the button again in a minute.",
            ),
        }
    }
}
