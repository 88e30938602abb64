//! Why a sign-in can fail: for each reason a page that a person understands, and a code that stays the same.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nbhd::store;
use nbhd::web::ErrorPage;
use serde::{Deserialize, Serialize};

/// Why nothing was connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The person chose "Cancel" at Google.
    AccessDenied,
    /// The `state` is not ours, or its tenant cannot be connected (any more).
    InvalidState,
    /// The `state` is too old.
    ExpiredState,
    /// The `state` was used before, and no outcome was recorded.
    ReplayedState,
    /// Nobody confirmed it in Telegram in time.
    NotConfirmed,
    /// Another chat than the link's sent the start token.
    OtherChat,
    /// The person started in another browser.
    WrongBrowser,
    /// The path names nothing that can be connected.
    UnknownProvider,
    /// Neither a code nor an error came back, or no state.
    MissingParams,
    /// Our client id or secret at Google is not set.
    NotConfigured,
    /// Google gave no tokens for the code.
    ExchangeFailed,
    /// Google gave an access token without a refresh token.
    NoRefreshToken,
    /// The person ticked nothing that we can read.
    ScopeMissing,
    /// The table or the vault is down.
    StoreUnavailable,
}

/// Where a person sees which apps may read their Google account, and removes them.
/// <https://support.google.com/accounts/answer/13533235>
const GOOGLE_CONNECTIONS: &str = "https://myaccount.google.com/connections";

impl Failure {
    /// Whether tokens may be in the vault that no row names.
    pub(crate) const fn may_leave_tokens(self) -> bool {
        matches!(self, Self::StoreUnavailable | Self::InvalidState)
    }

    /// Records in the log why the table could not serve.
    pub(crate) fn from_store(error: store::Error) -> Self {
        tracing::error!(
            code = "table_unavailable",
            error = %error,
            "the table could not serve; the person is asked to try again"
        );
        Self::StoreUnavailable
    }

    /// The code on the page and in the log.
    pub(crate) const fn code(self) -> &'static str {
        self.error_page().code
    }

    const fn error_page(self) -> ErrorPage {
        match self {
            Self::AccessDenied => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "access_denied",
                title: "Nothing was connected",
                text: "You did not give access at Google, so your assistant sees nothing of that account. If you \
                       change your mind, send /connect to the bot in Telegram.",
            },
            Self::InvalidState => ErrorPage {
                status: StatusCode::BAD_REQUEST,
                code: "invalid_state",
                title: "This did not start with us",
                text: "The address that brought you here is not one we can complete. Send /connect to the bot in \
                       Telegram to start anew.",
            },
            Self::ExpiredState => ErrorPage {
                status: StatusCode::GONE,
                code: "expired_state",
                title: "That took too long",
                text: "For your safety a sign-in has to be finished within ten minutes. Send /connect to the bot in \
                       Telegram for a new link.",
            },
            Self::ReplayedState => ErrorPage {
                status: StatusCode::CONFLICT,
                code: "replayed_state",
                title: "This sign-in was already used",
                text: "Each sign-in works once. If you were not told in Telegram that the account is connected, \
                 send /connect again.",
            },
            Self::NotConfirmed => ErrorPage {
                status: StatusCode::GONE,
                code: "not_confirmed",
                title: "Nothing was connected",
                text: "Nobody confirmed it in Telegram within five minutes, so the link no longer works. Send \
                       /connect to the bot in Telegram for a new one.",
            },
            Self::OtherChat => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "other_chat",
                title: "This was somebody else’s link",
                text: "The code came from another Telegram account than the link, so nothing was connected, and the \
                       link no longer works. Google may still list NBHD United among the apps with access to your \
                       account: remove it there.",
            },
            Self::WrongBrowser => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "wrong_browser",
                title: "Please finish in the browser you started in",
                text: "This sign-in was started in another browser, or cookies are switched off. Open the link from \
                       Telegram and stay in one browser until you see the result.",
            },
            Self::UnknownProvider => ErrorPage {
                status: StatusCode::NOT_FOUND,
                code: "unknown_provider",
                title: "This cannot be connected",
                text: "There is nothing here by that name. Send /connect to the bot in Telegram to see what there is.",
            },
            Self::MissingParams => ErrorPage {
                status: StatusCode::BAD_REQUEST,
                code: "missing_params",
                title: "Something is missing",
                text: "Google’s answer did not arrive whole. Send /connect to the bot in Telegram to start anew.",
            },
            Self::NotConfigured => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "not_configured",
                title: "Connecting is not possible right now",
                text: "Google sign-in is not set up on our side. You can do nothing about it; please try again later.",
            },
            Self::ExchangeFailed => ErrorPage {
                status: StatusCode::BAD_GATEWAY,
                code: "exchange_failed",
                title: "Google did not complete the sign-in",
                text: "Nothing was connected. Send /connect to the bot in Telegram and try again; if it keeps \
                       happening, wait a while.",
            },
            Self::NoRefreshToken => ErrorPage {
                status: StatusCode::BAD_GATEWAY,
                code: "no_refresh_token",
                title: "Google gave no lasting access",
                text: "Nothing was connected. Remove NBHD United at myaccount.google.com/connections, then send \
                       /connect to the bot in Telegram and try again.",
            },
            Self::ScopeMissing => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "scope_missing",
                title: "A tick was missing",
                text: "Nothing was connected, because the box that lets your assistant read was not ticked at Google. \
                       Send /connect to the bot in Telegram and tick it this time.",
            },
            Self::StoreUnavailable => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "store_unavailable",
                title: "We could not save the connection",
                text: "Something on our side is down. Nothing was connected. Wait a minute, then send /connect to the \
                       bot in Telegram and try again.",
            },
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let page = self.error_page().into_page();
        let page = if self == Self::StoreUnavailable { page.retry_after(30) } else { page };
        let page = if self == Self::OtherChat {
            page.link(GOOGLE_CONNECTIONS, "Apps with access to your Google account")
        } else {
            page
        };
        page.into_response()
    }
}
