//! What every request of a tenant's runtime passes: authentication, and a call to Google with the tenant's token.
//!
//! A runtime counts as hostile. Until its key is verified, nothing of the request is parsed but two headers and the
//! tenant's id. Every failure of that check has the same response, byte for byte.

mod parameters;
mod problem;

pub use parameters::QueryParameters;
pub use problem::Problem;

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};

use super::access_token::{Broker, Denial};
use crate::clock::Clock;
use crate::config::{ConfigError, Env};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};
use crate::domain::rate::{Gcra, Verdict};
use crate::domain::secrets::KeyHash;
use crate::domain::tenant::Tenant;
use crate::providers::NetworkFailure;
use crate::providers::google::{self, Cause};
use crate::store::{self, RateLane, Store, TenantView};
use crate::telemetry::metric;
use crate::web::record_tenant;

const KEY_HEADER: &str = "x-nbhd-internal-key";
const TENANT_HEADER: &str = "x-nbhd-tenant-id";

/// The time for Google, vault and table together: API Gateway ends a request after 30 s, and we respond before that.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(22);

/// The limit of a tenant's runtime, for mail and calendar together: a question takes some ten reads. What lies beyond
/// it reaches neither vault nor Google, so that no runtime can take Google's quota or our concurrency from the others.
const READS: Gcra = Gcra::new(60, Duration::from_secs(60), 30);

/// Lets runtimes call one Google service.
pub struct Gate {
    provider: Provider,
    store: Store,
    broker: Broker,
    clock: Clock,
    timeout: Duration,
}

/// A tenant's id and the key that should prove it, as a request gives them.
#[derive(Debug)]
pub struct Credentials {
    tenant_id: TenantId,
    key: KeyHash,
}

/// An authenticated runtime.
#[derive(Debug)]
pub struct Caller {
    /// The tenant whose runtime it is.
    pub tenant_id: TenantId,
    integration: Option<Integration>,
}

impl Gate {
    /// Builds the gate to `provider` with the table, the vaults and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used.
    pub fn from_env(env: &Env, http: &reqwest::Client, provider: Provider, clock: Clock) -> Result<Self, ConfigError> {
        let store = Store::from_env(env)?;
        Ok(Self {
            provider,
            broker: Broker::from_env(env, http, store.clone(), clock.clone())?,
            store,
            clock,
            timeout: REQUEST_TIMEOUT,
        })
    }

    /// Replaces the time after which a call is given up.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Authenticates a runtime, reads its tenant's integration and charges the call against the tenant's limit: one
    /// query, and one write if the call is within the limit. A tenant that does not exist takes the same work as one
    /// whose key is wrong.
    ///
    /// # Errors
    /// [`Problem::AuthFailed`], [`Problem::TenantInactive`], [`Problem::TooManyReads`] or
    /// [`Problem::StoreUnavailable`].
    pub async fn authenticate(&self, credentials: Option<Credentials>) -> Result<Caller, Problem> {
        let Credentials { tenant_id, key } = credentials.ok_or(Problem::AuthFailed)?;
        let view = self.store.tenant_view(tenant_id).await.map_err(|error| map_table_error(&error))?;
        let has_key = has_key(view.as_ref().map(|view| &view.tenant), &key);
        let Some(TenantView { tenant, integrations, limits }) = view.filter(|_| has_key) else {
            return Err(Problem::AuthFailed);
        };
        record_tenant(tenant_id);
        if !tenant.may_serve() {
            return Err(Problem::TenantInactive);
        }
        let (now, lane) = (self.clock.now(), RateLane::Reads);
        let charged = self.store.charge_runtime(tenant_id, (lane, 1), READS, limits.of(lane), now).await;
        if let Verdict::Refuse(wait) = charged.map_err(|error| map_table_error(&error))? {
            return Err(Problem::TooManyReads { wait });
        }
        let mut rows = integrations.into_iter();
        let integration = rows.find(|row| row.provider == self.provider && !row.is_removed());
        Ok(Caller { tenant_id, integration })
    }

    /// Runs `call` with the caller's token and, if Google answers 401, once more with a fresh one. `parameter` is the
    /// parameter that the response blames when Google calls one invalid.
    ///
    /// # Errors
    /// [`Problem`]: there is no token, or Google failed or refused the call.
    pub async fn call_google<T, F>(
        &self,
        caller: &Caller,
        parameter: &'static str,
        call: impl Fn(SecretString) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, google::Error>>,
    {
        let row = caller.integration.as_ref();
        let deadline = Instant::now() + self.timeout;
        let deny = |denial| Problem::from_denial(denial, self.provider);
        let with_deadline = async |token| {
            let too_slow = || google::Error::Unreachable { cause: NetworkFailure::TimedOut };
            timeout_at(deadline, call(token)).await.unwrap_or_else(|_| Err(too_slow()))
        };
        let timed_out = |_| Err(Denial::RefreshFailed { retry_after: None });
        let token =
            timeout_at(deadline, self.broker.access_token(row)).await.unwrap_or_else(timed_out).map_err(deny)?;
        let answer = match with_deadline(token.clone()).await {
            Err(google::Error::Unauthorized) => {
                let renewed =
                    timeout_at(deadline, self.broker.replace_token(row, &token)).await.unwrap_or_else(timed_out);
                with_deadline(renewed.map_err(deny)?).await
            }
            answer => answer,
        };
        answer.map_err(|error| {
            let problem = Problem::from_google_error(&error, self.provider, parameter);
            if problem == Problem::NotConfigured {
                metric("GoogleProjectRefused", 1);
                tracing::error!(
                    code = "google_project_refused", provider = %self.provider, error = %error,
                    "Google refuses our project; no runtime can use the service until an operator corrects it"
                );
            } else {
                tracing::warn!(
                    code = "google_call_failed", provider = %self.provider, error = %error,
                    "Google failed or refused a runtime's call; the runtime gets an error"
                );
            }
            problem
        })
    }
}

impl Credentials {
    /// Reads the credentials for the tenant in the path. Returns `None` unless both headers are given exactly once and
    /// the header names the same tenant as the path.
    pub fn from_headers(path_tenant: &str, headers: &HeaderMap) -> Option<Self> {
        let only = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        let tenant_id = only(TENANT_HEADER).filter(|tenant| *tenant == path_tenant)?.parse().ok()?;
        Some(Self { tenant_id, key: KeyHash::from_key(only(KEY_HEADER)?) })
    }
}

/// The path of `provider`'s requests in a router's syntax; [`parse_path`] parses what it matches.
pub fn route_path(provider: Provider) -> String {
    format!("/api/v1/integrations/runtime/{{tenant_id}}/{provider}/{{*below}}")
}

/// Splits a path that [`route_path`] matched: the tenant's id, and the segments after the service's name, both without
/// decoding.
pub fn parse_path(path: &str) -> (&str, Vec<&str>) {
    let mut segments = path.split('/').skip(5);
    let tenant = segments.next().unwrap_or_default();
    (tenant, segments.skip(1).filter(|segment| !segment.is_empty()).collect())
}

/// The response to a request. A problem is logged with its code.
pub fn respond(result: Result<Response, Problem>) -> Response {
    match result {
        Ok(response) => response,
        Err(problem) => {
            tracing::info!(code = problem.code(), "Runtime request was not served; the response carries the code");
            problem.into_response()
        }
    }
}

/// Whether `key` is one of the tenant's keys. All are compared; without a tenant, one that no key matches.
fn has_key(tenant: Option<&Tenant>, key: &KeyHash) -> bool {
    let dummy = [KeyHash::from_key("")];
    let hashes = tenant.map_or(dummy.as_slice(), |tenant| &tenant.key_hashes);
    let fits = hashes.iter().fold(false, |fits, hash| hash.matches(key) | fits);
    tenant.is_some() && fits
}

fn map_table_error(error: &store::Error) -> Problem {
    tracing::error!(
        code = "table_unavailable", error = %error,
        "Tenant of a runtime could not be read; the runtime is told to retry"
    );
    Problem::StoreUnavailable { retry_after: None }
}

impl Problem {
    fn from_denial(denial: Denial, provider: Provider) -> Self {
        match denial {
            Denial::NotConnected => Self::NotConnected(provider),
            Denial::Inactive { status } => Self::Inactive(provider, status),
            Denial::ScopeInsufficient => Self::ScopeInsufficient(provider),
            Denial::NotConfigured => Self::NotConfigured,
            Denial::RefreshFailed { retry_after } => Self::RefreshFailed { retry_after },
            Denial::StoreUnavailable { retry_after } => Self::StoreUnavailable { retry_after },
        }
    }

    fn from_google_error(error: &google::Error, provider: Provider, parameter: &'static str) -> Self {
        use google::Error;
        match error {
            Error::RateLimited { retry_after } => Self::RateLimited { retry_after: *retry_after },
            Error::Refused { status, reason } => match reason.cause {
                Cause::Parameter if *status == 400 => Self::invalid(parameter, "was not accepted by Google"),
                Cause::UsageLimit => Self::RateLimited { retry_after: None },
                Cause::ScopeMissing => Self::ScopeInsufficient(provider),
                Cause::AccountExcluded => Self::AccountExcluded(provider),
                Cause::Project => Self::NotConfigured,
                Cause::Parameter | Cause::Token | Cause::Other => Self::ProviderFailed { status: Some(*status) },
            },
            Error::Failed { status } => Self::ProviderFailed { status: Some(*status) },
            Error::Unauthorized => Self::ProviderFailed { status: Some(401) },
            Error::NotFound => Self::ProviderFailed { status: Some(404) },
            Error::Unreachable { .. } | Error::Malformed { .. } => Self::ProviderFailed { status: None },
        }
    }
}

/// A wait in whole seconds, between 1 and 300.
fn to_whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).clamp(1, 300).try_into().unwrap_or(300)
}

#[cfg(test)]
mod tests;
