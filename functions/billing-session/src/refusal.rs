//! Why a request can be refused: for each reason a page that a person understands, and a code that stays the same.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nbhd::store;
use nbhd::web::ErrorPage;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Stripe's key or prices are not set.
    NotConfigured,
    /// The link is not ours, or too old.
    InvalidLink,
    /// The link has led to Stripe already.
    UsedLink,
    /// The form was not submitted from our page.
    CrossSite,
    /// There is no such plan.
    UnknownTier,
    /// Stripe did not answer, or refused the request.
    StripeUnavailable,
    /// The table is down.
    StoreUnavailable,
}

impl Refusal {
    /// Reports that the table failed.
    pub(crate) fn from_store(error: store::Error) -> Self {
        tracing::error!(
            code = "table_unavailable",
            %error,
            "the table could not serve; the person is asked to try again"
        );
        Self::StoreUnavailable
    }

    const fn error_page(self) -> ErrorPage {
        match self {
            Self::NotConfigured => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "not_configured",
                title: "Subscribing is not possible right now",
                text: "Payments are not set up on our side. You can do nothing about it; please try again later.",
            },
            Self::InvalidLink => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "invalid_link",
                title: "This link no longer works",
                text: "Links are valid for ten minutes. Send /billing to the bot in Telegram to get a new one.",
            },
            Self::UsedLink => ErrorPage {
                status: StatusCode::GONE,
                code: "used_link",
                title: "This link was used already",
                text: "A link leads to Stripe once. If Stripe’s page is not open in another tab, send /billing to the \
                       bot in Telegram to get a new link.",
            },
            Self::CrossSite => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "cross_site",
                title: "Please start from the link",
                text: "This request did not come from our own page. Open the link in Telegram and press the button \
                       there.",
            },
            Self::UnknownTier => ErrorPage {
                status: StatusCode::BAD_REQUEST,
                code: "unknown_plan",
                title: "There is no such plan",
                text: "Go back and choose one of the plans on the page, or send /billing to the bot in Telegram.",
            },
            Self::StripeUnavailable => ErrorPage {
                status: StatusCode::BAD_GATEWAY,
                code: "stripe_unavailable",
                title: "Our payment provider does not answer",
                text: "Nothing was charged. Go back and press the button again in a minute.",
            },
            Self::StoreUnavailable => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "store_unavailable",
                title: "Something on our side is out of order",
                text: "Nothing was charged. Go back and press the button again in a minute.",
            },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let page = self.error_page().into_page();
        let is_temporary = matches!(self, Self::StripeUnavailable | Self::StoreUnavailable);
        let page = if is_temporary { page.retry_after(30) } else { page };
        page.into_response()
    }
}
