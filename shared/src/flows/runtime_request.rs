//! What every call of a tenant's runtime passes: who calls, whether they may, and with which token we ask Google.
//!
//! A runtime counts as hostile. Until its key is verified nothing of the call is parsed but the two headers and the
//! tenant's id, and every way to fail that check has the same answer, byte for byte.

mod parameters;
mod problem;

pub use parameters::Parameters;
pub use problem::Problem;

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};

use super::access_token::{Broker, Denied};
use crate::clock::Clock;
use crate::config::{ConfigError, Env};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};
use crate::domain::secrets::KeyHash;
use crate::domain::tenant::Tenant;
use crate::providers;
use crate::store::{self, Store};
use crate::web::record_tenant;

const KEY_HEADER: &str = "x-nbhd-internal-key";
const TENANT_HEADER: &str = "x-nbhd-tenant-id";

/// Reasons of Google's 400 that mean a parameter was out of form, and so the caller's.
/// <https://developers.google.com/workspace/calendar/api/guides/errors>
const PARAMETER_REASONS: [&str; 6] =
    ["invalidArgument", "badRequest", "invalid", "invalidParameter", "timeRangeEmpty", "timeRangeTooLong"];

/// API Gateway ends a request after 30 s: an answer of ours is due before that, whatever Google, vault and table do.
const PATIENCE: Duration = Duration::from_secs(22);

/// The way in for runtimes, to one Google service.
pub struct Gate {
    provider: Provider,
    store: Store,
    broker: Broker,
    patience: Duration,
}

/// What a call claims to be: the runtime of this tenant, by this key.
#[derive(Debug)]
pub struct Claim {
    tenant_id: TenantId,
    key: KeyHash,
}

/// A runtime whose key opened its tenant.
#[derive(Debug)]
pub struct Caller {
    /// Whose runtime it is.
    pub tenant_id: TenantId,
    integration: Option<Integration>,
}

impl Gate {
    /// A gate to `provider` over the table, the vault and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn new(env: &Env, http: &reqwest::Client, provider: Provider, clock: Clock) -> Result<Self, ConfigError> {
        let store = Store::new(env)?;
        Ok(Self { provider, broker: Broker::new(env, http, store.clone(), clock)?, store, patience: PATIENCE })
    }

    /// The same gate, giving a call up after `patience`.
    #[must_use]
    pub fn answering_within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets in the runtime that makes good its claim; one query. The same work is done for a tenant that does not
    /// exist.
    ///
    /// # Errors
    /// [`Problem::AuthFailed`], [`Problem::TenantInactive`] or [`Problem::StoreUnavailable`].
    pub async fn admit(&self, claim: Option<Claim>) -> Result<Caller, Problem> {
        let Claim { tenant_id, key } = claim.ok_or(Problem::AuthFailed)?;
        let view = self.store.runtime_view(tenant_id).await.map_err(|error| unreadable(&error))?;
        let (tenant, integrations) = view.unzip();
        if !opens(tenant.as_ref(), &key) {
            return Err(Problem::AuthFailed);
        }
        record_tenant(tenant_id);
        if !tenant.is_some_and(|tenant| tenant.may_serve()) {
            return Err(Problem::TenantInactive);
        }
        let mut rows = integrations.into_iter().flatten();
        let integration = rows.find(|row| row.provider == self.provider && !row.is_removed());
        Ok(Caller { tenant_id, integration })
    }

    /// Asks Google by `call` with the caller's token and, should Google not accept that one, once more with a fresh
    /// one. `parameter` is what the caller is told about when Google calls a parameter invalid.
    ///
    /// # Errors
    /// Why there is no token, or what Google's refusal means to a runtime.
    pub async fn ask<T, F>(
        &self,
        caller: &Caller,
        parameter: &'static str,
        call: impl Fn(SecretString) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, providers::Error>>,
    {
        let row = caller.integration.as_ref();
        let until = Instant::now() + self.patience;
        let denied = |denied| Problem::of_broker(denied, self.provider);
        let in_time = async |token| {
            let too_slow = || providers::Error::Unreachable { timed_out: true, reason: "too slow".to_owned() };
            timeout_at(until, call(token)).await.unwrap_or_else(|_| Err(too_slow()))
        };
        let late = |_| Err(Denied::RefreshFailed { retry_after: None });
        let token = timeout_at(until, self.broker.access_token(row)).await.unwrap_or_else(late).map_err(denied)?;
        let answer = match in_time(token.clone()).await {
            Err(providers::Error::Unauthorized) => {
                let renewed = timeout_at(until, self.broker.renewed(row, &token)).await.unwrap_or_else(late);
                in_time(renewed.map_err(denied)?).await
            }
            answer => answer,
        };
        answer.map_err(|error| {
            tracing::warn!(error = %error, "Google did not answer as hoped");
            Problem::of_google(error, self.provider, parameter)
        })
    }
}

impl Claim {
    /// The claim of a call to the tenant in the path; none unless both headers are given, once, and path and header
    /// agree.
    pub fn of(path_tenant: &str, headers: &HeaderMap) -> Option<Self> {
        let only = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        let tenant_id = only(TENANT_HEADER).filter(|tenant| *tenant == path_tenant)?.parse().ok()?;
        Some(Self { tenant_id, key: KeyHash::of(only(KEY_HEADER)?) })
    }
}

/// The route of `provider`'s calls, for a router; [`place`] takes apart what it matches.
pub fn route(provider: Provider) -> String {
    format!("/api/v1/integrations/runtime/{{tenant_id}}/{provider}/{{*below}}")
}

/// The tenant's id in a path that [`route`] matched, and the segments after the service's name, as they are on the
/// wire.
pub fn place(path: &str) -> (&str, Vec<&str>) {
    let mut segments = path.split('/').skip(5);
    let tenant = segments.next().unwrap_or_default();
    (tenant, segments.skip(1).filter(|segment| !segment.is_empty()).collect())
}

/// The answer to a call; a problem's code is logged.
pub fn answer(result: Result<Response, Problem>) -> Response {
    match result {
        Ok(response) => response,
        Err(problem) => {
            tracing::info!(code = problem.code(), "not served");
            problem.into_response()
        }
    }
}

/// Whether `key` is one of the tenant's; all are compared, and one that fits nobody when there is no tenant.
fn opens(tenant: Option<&Tenant>, key: &KeyHash) -> bool {
    let nobodys = [KeyHash::of("")];
    let hashes = tenant.map_or(nobodys.as_slice(), |tenant| &tenant.key_hashes);
    let fits = hashes.iter().fold(false, |fits, hash| hash.matches(key) | fits);
    tenant.is_some() && fits
}

fn unreadable(error: &store::Error) -> Problem {
    tracing::error!(error = %error, "the tenant cannot be read");
    Problem::StoreUnavailable { retry_after: None }
}

impl Problem {
    fn of_broker(denied: Denied, provider: Provider) -> Self {
        match denied {
            Denied::NotConnected => Self::NotConnected(provider),
            Denied::Inactive { status } => Self::Inactive(provider, status),
            Denied::ScopeInsufficient => Self::ScopeInsufficient(provider),
            Denied::NotConfigured => Self::NotConfigured,
            Denied::RefreshFailed { retry_after } => Self::RefreshFailed { retry_after },
            Denied::StoreUnavailable { retry_after } => Self::StoreUnavailable { retry_after },
        }
    }

    fn of_google(error: providers::Error, provider: Provider, parameter: &'static str) -> Self {
        use providers::Error;
        match error {
            Error::RateLimited { retry_after } => Self::RateLimited { retry_after },
            Error::Refused { status: 400, reason } if PARAMETER_REASONS.contains(&reason.as_str()) => {
                Self::invalid(parameter, "was not accepted by Google")
            }
            Error::Refused { status: 403, reason } if means_scope(&reason) => Self::ScopeInsufficient(provider),
            Error::Refused { status, .. } | Error::Failed { status } => Self::ProviderFailed { status: Some(status) },
            Error::Unauthorized => Self::ProviderFailed { status: Some(401) },
            Error::NotFound => Self::ProviderFailed { status: Some(404) },
            Error::Unreachable { .. } | Error::Malformed { .. } => Self::ProviderFailed { status: None },
        }
    }
}

/// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
fn means_scope(reason: &str) -> bool {
    matches!(reason, "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
}

/// A wait in whole seconds, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).clamp(1, 300).try_into().unwrap_or(300)
}

#[cfg(test)]
#[path = "runtime_request/tests.rs"]
mod tests;
