//! Every way a runtime's call ends without what it asked for: `{error, detail}`, written here and nowhere else.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::whole_seconds;
use crate::domain::integration::{Provider, Status};

/// When Google does not say how long to wait.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
/// When table or vault do not say how long to wait.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// Why a runtime does not get what it asked for. The detail is for a person and shows nothing of our inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not a key of this tenant, or no such tenant, or no key at all.
    AuthFailed,
    /// The key is right, and the tenant is suspended or being removed.
    TenantInactive,
    /// A parameter is out of form.
    Invalid {
        /// Which; what is wrong with it.
        detail: String,
    },
    /// The service was never connected, or was disconnected.
    NotConnected(Provider),
    /// The connection ended.
    Inactive(Provider, Status),
    /// The service was connected without the permission to read.
    ScopeInsufficient(Provider),
    /// Gmail knows no such message.
    MessageNotFound,
    /// We have no usable Google client.
    NotConfigured,
    /// Google asks to wait.
    RateLimited {
        /// For how long, when it says so.
        retry_after: Option<Duration>,
    },
    /// Google's token endpoint failed for now.
    RefreshFailed {
        /// How long to wait, when it says so.
        retry_after: Option<Duration>,
    },
    /// Google failed, or answered what we cannot read.
    ProviderFailed {
        /// Google's status; none when there was no answer to be read.
        status: Option<u16>,
    },
    /// Table or vault cannot serve now.
    StoreUnavailable {
        /// How long to wait, when it is known.
        retry_after: Option<Duration>,
    },
}

impl Problem {
    /// A parameter out of form: which one, and what it must be.
    pub fn invalid(parameter: &str, rule: &str) -> Self {
        Self::Invalid { detail: format!("`{parameter}` {rule}.") }
    }

    /// The stable name programs go by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AuthFailed => "internal_auth_failed",
            Self::TenantInactive => "tenant_inactive",
            Self::Invalid { .. } => "invalid_request",
            Self::NotConnected(_) => "integration_not_connected",
            Self::Inactive(..) => "integration_inactive",
            Self::ScopeInsufficient(_) => "integration_scope_insufficient",
            Self::MessageNotFound => "message_not_found",
            Self::NotConfigured => "provider_not_configured",
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
            Self::Inactive(..) | Self::ScopeInsufficient(_) => StatusCode::CONFLICT,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
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
            Self::MessageNotFound => "The mailbox has no message with this id.".into(),
            Self::NotConfigured => "Connections to Google are not set up at the moment.".into(),
            Self::RateLimited { .. } => "Google asks to wait before the next request.".into(),
            Self::RefreshFailed { .. } => "Google could not renew the access for now. Try again in a minute.".into(),
            Self::ProviderFailed { .. } => "Google could not answer for now. Try again in a minute.".into(),
            Self::StoreUnavailable { .. } => "Connections cannot be read for now. Try again in a moment.".into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => retry_after.or(Some(RATE_LIMIT_WAIT)),
            Self::StoreUnavailable { retry_after } => retry_after.or(Some(STORE_WAIT)),
            Self::RefreshFailed { retry_after } => *retry_after,
            Self::AuthFailed
            | Self::TenantInactive
            | Self::Invalid { .. }
            | Self::NotConnected(_)
            | Self::Inactive(..)
            | Self::ScopeInsufficient(_)
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
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}
