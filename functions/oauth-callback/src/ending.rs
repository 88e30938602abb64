//! Every way this can end, each with a page that a person understands and a code that stays the same.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use nbhd::web::Page;
use serde::{Deserialize, Serialize};

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The person chose "Cancel" at Google.
    AccessDenied,
    /// The `state` is not ours, or its tenant cannot be connected (any more).
    InvalidState,
    /// The `state` is too old.
    ExpiredState,
    /// The `state` was used before, and how that ended is not known.
    ReplayedState,
    /// The person left in another browser.
    WrongBrowser,
    /// The path names nothing that can be connected.
    UnknownProvider,
    /// Neither a code nor an error came back, or no state.
    MissingParams,
    /// Our client id or secret at Google is not set.
    NotConfigured,
    /// Google gave no tokens for the code.
    ExchangeFailed,
    /// Google gave an access token alone.
    NoRefreshToken,
    /// The person ticked nothing that we can read.
    ScopeMissing,
    /// The table or the vault is down.
    StoreUnavailable,
}

impl Failure {
    /// The code on the page and in the log.
    pub(crate) const fn code(self) -> &'static str {
        self.parts().1
    }

    /// The page, and a line in the log.
    pub(crate) fn page(self) -> Response {
        let (status, code, title, text) = self.parts();
        tracing::info!(code, "not connected");
        let mut response = Page::new(status, title).text(text).code(code).into_response();
        if self == Self::StoreUnavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }

    const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::AccessDenied => (
                StatusCode::FORBIDDEN,
                "access_denied",
                "Nothing was connected",
                "You did not give access at Google, so your assistant sees nothing of that account. If you change your \
                 mind, send /connect to the bot in Telegram.",
            ),
            Self::InvalidState => (
                StatusCode::BAD_REQUEST,
                "invalid_state",
                "This did not start with us",
                "The address that brought you here is not one we can complete. Send /connect to the bot in Telegram to \
                 start anew.",
            ),
            Self::ExpiredState => (
                StatusCode::GONE,
                "expired_state",
                "That took too long",
                "For your safety a sign-in has to be finished within ten minutes. Send /connect to the bot in Telegram \
                 for a new link.",
            ),
            Self::ReplayedState => (
                StatusCode::CONFLICT,
                "replayed_state",
                "This sign-in was already used",
                "Each sign-in works once. If you were not told in Telegram that the account is connected, \
                 send /connect again.",
            ),
            Self::WrongBrowser => (
                StatusCode::FORBIDDEN,
                "wrong_browser",
                "Please finish in the browser you started in",
                "This sign-in was started in another browser, or cookies are switched off. Open the link from Telegram \
                 and stay in one browser until you see the result.",
            ),
            Self::UnknownProvider => (
                StatusCode::NOT_FOUND,
                "unknown_provider",
                "This cannot be connected",
                "There is nothing here by that name. Send /connect to the bot in Telegram to see what there is.",
            ),
            Self::MissingParams => (
                StatusCode::BAD_REQUEST,
                "missing_params",
                "Something is missing",
                "Google’s answer did not arrive whole. Send /connect to the bot in Telegram to start anew.",
            ),
            Self::NotConfigured => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_configured",
                "Connecting is not possible right now",
                "Google sign-in is not set up on our side. You can do nothing about it; please try again later.",
            ),
            Self::ExchangeFailed => (
                StatusCode::BAD_GATEWAY,
                "exchange_failed",
                "Google did not complete the sign-in",
                "Nothing was connected. Send /connect to the bot in Telegram and try again; if it keeps happening, \
                 wait a while.",
            ),
            Self::NoRefreshToken => (
                StatusCode::BAD_GATEWAY,
                "no_refresh_token",
                "Google gave no lasting access",
                "Nothing was connected. Remove NBHD United at myaccount.google.com/connections, then send /connect to \
                 the bot in Telegram and try again.",
            ),
            Self::ScopeMissing => (
                StatusCode::FORBIDDEN,
                "scope_missing",
                "A tick was missing",
                "Nothing was connected, because the box that lets your assistant read was not ticked at Google. Send \
                 /connect to the bot in Telegram and tick it this time.",
            ),
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "We could not save the connection",
                "Something on our side is down. Nothing was connected. Wait a minute, then send /connect to the bot in \
                 Telegram and try again.",
            ),
        }
    }
}
