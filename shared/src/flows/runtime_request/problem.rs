//! The error responses to a runtime: `{error, detail}`, written here and nowhere else.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::to_whole_seconds;
use crate::domain::integration::{Provider, Status};

/// The wait if Google names none.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
/// The wait if the table or the vault names none.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// Why a runtime's request fails. The detail is for a person and shows nothing internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The key is missing or not one of the tenant's, or there is no such tenant.
    AuthFailed,
    /// The key is valid, and the tenant is suspended or being removed.
    TenantInactive,
    /// A parameter is invalid.
    Invalid {
        /// The parameter's name and the rule that it breaks.
        detail: String,
    },
    /// The service was never connected, or was disconnected.
    NotConnected(Provider),
    /// The integration is Expired or Revoked.
    Inactive(Provider, Status),
    /// The service was connected without the permission to read.
    ScopeInsufficient(Provider),
    /// The account has no such service, or its administrator keeps apps out of it.
    AccountExcluded(Provider),
    /// Gmail has no message with this id.
    MessageNotFound,
    /// Our client or project at Google is not configured or is refused.
    NotConfigured,
    /// The tenant's runtime reads more than its share.
    TooManyReads {
        /// Until when it should wait.
        wait: Duration,
    },
    /// Google asks to wait.
    RateLimited {
        /// How long Google asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// Google's token endpoint failed for now.
    RefreshFailed {
        /// How long Google asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// Google failed, or its response cannot be read.
    ProviderFailed {
        /// Google's HTTP status; `None` without a readable response.
        status: Option<u16>,
    },
    /// The table or a vault is unavailable.
    StoreUnavailable {
        /// How long the vault asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
}

impl Problem {
    /// An invalid parameter: its name, and the rule as the end of a sentence that begins with the name.
    pub fn invalid(parameter: &str, rule: &str) -> Self {
        Self::Invalid { detail: format!("`{parameter}` {rule}.") }
    }

    /// The stable code that runtimes decide by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AuthFailed => "internal_auth_failed",
            Self::TenantInactive => "tenant_inactive",
            Self::Invalid { .. } => "invalid_request",
            Self::NotConnected(_) => "integration_not_connected",
            Self::Inactive(..) => "integration_inactive",
            Self::ScopeInsufficient(_) => "integration_scope_insufficient",
            Self::AccountExcluded(_) => "provider_unavailable_for_account",
            Self::MessageNotFound => "message_not_found",
            Self::NotConfigured => "provider_not_configured",
            Self::TooManyReads { .. } => "too_many_requests",
            Self::RateLimited { .. } => "provider_rate_limited",
            Self::RefreshFailed { .. } => "integration_refresh_failed",
            Self::ProviderFailed { .. } => "provider_request_failed",
            Self::StoreUnavailable { .. } => "store_unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::AuthFailed => StatusCode::UNAUTHORIZED,
            Self::TenantInactive => StatusCode::FORBIDDEN,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::NotConnected(_) | Self::MessageNotFound => StatusCode::NOT_FOUND,
            Self::Inactive(..) | Self::ScopeInsufficient(_) | Self::AccountExcluded(_) => StatusCode::CONFLICT,
            Self::TooManyReads { .. } | Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::RefreshFailed { .. } | Self::ProviderFailed { .. } => StatusCode::BAD_GATEWAY,
            Self::NotConfigured | Self::StoreUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn detail(&self) -> Cow<'_, str> {
        match self {
            Self::AuthFailed => "The key does not open this tenant.".into(),
            Self::TenantInactive => "This assistant is paused. Send /billing in Telegram to resume it.".into(),
            Self::Invalid { detail } => detail.into(),
            Self::NotConnected(provider) => {
                format!("{} is not connected. Send /connect in Telegram to connect it.", provider.display_name()).into()
            }
            Self::Inactive(provider, status) => {
                let name = provider.display_name();
                let happened = match status {
                    Status::Revoked => "was disconnected",
                    Status::Expired | Status::Active => "has expired",
                };
                format!("The connection to {name} {happened}. Send /connect in Telegram to connect it again.").into()
            }
            Self::ScopeInsufficient(provider) => {
                let name = provider.display_name();
                format!("{name} was connected without the permission to read it. Send /connect and leave it ticked.")
                    .into()
            }
            Self::AccountExcluded(provider) => {
                let name = provider.display_name();
                format!(
                    "This Google account has no {name}, or its administrator does not let apps use it. Send /connect \
                     in Telegram to connect another account."
                )
                .into()
            }
            Self::MessageNotFound => "The mailbox has no message with this id.".into(),
            Self::NotConfigured => "Connections to Google are not set up at the moment.".into(),
            Self::TooManyReads { .. } => "This assistant reads too often. Wait before the next request.".into(),
            Self::RateLimited { .. } => "Google asks to wait before the next request.".into(),
            Self::RefreshFailed { .. } => "Google could not renew the access for now. Try again in a minute.".into(),
            Self::ProviderFailed { .. } => "Google could not answer for now. Try again in a minute.".into(),
            Self::StoreUnavailable { .. } => "Connections cannot be read for now. Try again in a moment.".into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyReads { wait } => Some(*wait),
            Self::RateLimited { retry_after } => retry_after.or(Some(RATE_LIMIT_WAIT)),
            Self::StoreUnavailable { retry_after } => retry_after.or(Some(STORE_WAIT)),
            Self::RefreshFailed { retry_after } => *retry_after,
            Self::AuthFailed
            | Self::TenantInactive
            | Self::Invalid { .. }
            | Self::NotConnected(_)
            | Self::Inactive(..)
            | Self::ScopeInsufficient(_)
            | Self::AccountExcluded(_)
            | Self::MessageNotFound
            | Self::NotConfigured
            | Self::ProviderFailed { .. } => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.code(), "detail": self.detail() });
        if let Self::ProviderFailed { status } = self {
            body["provider_status"] = status.into();
        }
        let mut response = (self.status(), axum::Json(body)).into_response();
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(to_whole_seconds(wait)));
        }
        response
    }
}
