//! From a code to integrations.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::scope::GrantedScopes;
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::flows::connect_link;
use nbhd::flows::stored_token::StoredToken;
use nbhd::providers::google::oauth::{self, Tokens};
use nbhd::providers::telegram::MessageOptions;
use nbhd::store::{NonceState, TenantView};
use nbhd::telemetry;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};

use crate::App;
use crate::callback::VerifiedCallback;
use crate::consent::{Consent, load_tenant};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::result::ConnectResult;
use crate::save::save_consent;

/// How long a spent nonce is kept: longer than any token that carries it is valid.
const NONCE_RETENTION: Duration = connect_link::RECONNECT_LIFETIME.saturating_add(Duration::from_secs(24 * 3600));

/// The limit of each call that the result can do without: the account's address, the time zone, the chat message.
const OPTIONAL_CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// The time left, after connecting timed out, to record the outcome and to tell the person. Together with
/// [`crate::REQUEST_TIMEOUT`] it stays below API Gateway's 30 s.
const REPORT_TIMEOUT: Duration = Duration::from_secs(6);

/// No IANA name of a time zone is near this long.
const MAX_TIME_ZONE_BYTES: usize = 64;

/// After this time no request that spent a nonce goes on: API Gateway has ended it, and so has Lambda.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// How often the outcome of a request that is still at work is looked for: for 10 s in all.
const MAX_POLLS: u32 = 40;
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How far a sign-in has come.
pub(crate) enum SignIn {
    /// It ended well.
    Connected(ConnectResult),
    /// Another request for the same sign-in, such as one of a tab that was restored, is still at work on it.
    InProgress,
}

/// Spends the sign-in's nonce, connects what the person consented to, and tells the person in the chat. A second
/// request for the same sign-in gets the outcome of the first.
pub(crate) async fn connect(app: &App, callback: &VerifiedCallback, now: Timestamp) -> Result<SignIn, Failure> {
    let deadline = Instant::now() + app.timeout;
    let report_deadline = deadline + REPORT_TIMEOUT;
    let (jti, tenant_id) = (&callback.state.jti, callback.state.content.connect.tenant_id);
    // The tenant is read before the nonce is spent: when the table is down, the person only has to reload the page.
    let view = load_tenant(app, tenant_id).await?;
    match app.store.spend_nonce(jti, now, NONCE_RETENTION).await.map_err(Failure::from_store)? {
        NonceState::Fresh => {}
        NonceState::Spent { outcome: Some(outcome), .. } => return recall(view, outcome).map(SignIn::Connected),
        NonceState::Spent { at, outcome: None } => {
            return match await_outcome(app, jti, at).await? {
                Some(outcome) => recall(load_tenant(app, tenant_id).await?, outcome).map(SignIn::Connected),
                None if is_at_work(app, at) => Ok(SignIn::InProgress),
                None => Err(Failure::ReplayedState),
            };
        }
    }
    let chat = view.tenant.chat_id;
    let connected = timeout_at(deadline, exchange_and_save(app, callback, view, now)).await.unwrap_or_else(|_| {
        tracing::error!(code = "connect_timeout", "connecting timed out; the person is asked to try again");
        Err(Failure::StoreUnavailable)
    });
    let result = match connected {
        Err(failure) => {
            timeout_at(report_deadline, record_failure(app, callback, failure)).await.unwrap_or(Err(failure))
        }
        connected => connected,
    };
    match &result {
        Ok(connected) => {
            let message = connected.to_message(callback.services);
            let sent = app.bot.send_message(chat, &message, MessageOptions::default());
            if !matches!(timeout_at(report_deadline.min(Instant::now() + OPTIONAL_CALL_TIMEOUT), sent).await, Ok(Ok(_)))
            {
                tracing::warn!(
                    code = "chat_message_failed",
                    "confirmation was not sent to the chat; only the page confirms the connection"
                );
            }
            telemetry::metric("IntegrationsConnected", 1);
        }
        Err(_) => telemetry::metric("IntegrationsFailed", 1),
    }
    result.map(SignIn::Connected)
}

/// Waits for the outcome of the request that spent the nonce at `spent_at`; `None` when none was recorded in time.
async fn await_outcome(app: &App, jti: &str, spent_at: Timestamp) -> Result<Option<Outcome>, Failure> {
    for _ in 0..MAX_POLLS {
        if !is_at_work(app, spent_at) {
            break;
        }
        app.waiter.wait(POLL_INTERVAL).await;
        let outcome = app.store.nonce_outcome(jti).await.map_err(Failure::from_store)?;
        if outcome.is_some() {
            return Ok(outcome);
        }
    }
    Ok(None)
}

/// Whether the request that spent a nonce at `spent_at` may still be at work.
fn is_at_work(app: &App, spent_at: Timestamp) -> bool {
    app.clock.now().since(spent_at) < LONGEST_REQUEST
}

/// The result of an earlier request for the same sign-in.
fn recall(view: TenantView, outcome: Outcome) -> Result<ConnectResult, Failure> {
    match outcome {
        Outcome::Connected { providers, at } => Ok(ConnectResult::from_recorded(view, providers, at)),
        Outcome::Failed(failure) => Err(failure),
    }
}

/// Records the failure on the nonce. If a success was recorded before (the response to that write was lost), returns
/// that success instead.
async fn record_failure(app: &App, callback: &VerifiedCallback, failure: Failure) -> Result<ConnectResult, Failure> {
    match app.store.record_nonce_outcome(&callback.state.jti, &Outcome::Failed(failure)).await {
        Ok(Some(Outcome::Connected { providers, at })) => {
            let view = load_tenant(app, callback.state.content.connect.tenant_id).await?;
            return Ok(ConnectResult::from_recorded(view, providers, at));
        }
        Ok(Some(Outcome::Failed(_)) | None) => {}
        Err(error) => tracing::warn!(
            code = "outcome_not_recorded",
            error = %error,
            failure = failure.code(),
            "sign-in's outcome was not recorded; reloading the page will say that the sign-in was used"
        ),
    }
    Err(failure)
}

/// Exchanges the code for tokens, and saves the tokens in the vault and the integrations in the table.
async fn exchange_and_save(
    app: &App,
    callback: &VerifiedCallback,
    view: TenantView,
    now: Timestamp,
) -> Result<ConnectResult, Failure> {
    let tokens = exchange_code(app, callback).await?;
    let refresh_token = tokens.refresh_token.clone().ok_or(Failure::NoRefreshToken)?;
    let granted = tokens.granted.clone().unwrap_or_default();
    let providers: Vec<Provider> =
        callback.services.providers().iter().copied().filter(|provider| provider.is_readable_with(&granted)).collect();
    if providers.is_empty() {
        return Err(Failure::ScopeMissing);
    }
    let (account, time_zone) = tokio::join!(
        fetch_account_email(&callback.google, &tokens.access_token),
        fetch_time_zone(app, &view.tenant, &granted, &tokens.access_token)
    );
    let token = StoredToken {
        access_token: tokens.access_token,
        expires_at: now + tokens.lifetime,
        refresh_token,
        granted,
        account: account.clone(),
    };
    let consent = Consent { google: &callback.google, jti: &callback.state.jti, providers, token, time_zone, at: now };
    save_consent(app, &consent, view).await?;
    Ok(ConnectResult { providers: consent.providers, account, connected_at: now })
}

async fn exchange_code(app: &App, callback: &VerifiedCallback) -> Result<Tokens, Failure> {
    let verifier = app.links.pkce_verifier(&callback.state.jti);
    let redirect = app.links.redirect_url(callback.services);
    callback.google.exchange_code(&callback.code, &verifier, &redirect).await.map_err(|error| {
        match &error {
            oauth::Error::Configuration { .. } => {
                tracing::error!(
                    code = "google_client_refused",
                    error = %error,
                    "Google refuses our OAuth client; nobody can connect until it is corrected"
                );
            }
            oauth::Error::InvalidGrant { .. } => {
                tracing::warn!(code = "code_refused", error = %error, "Google refused the code; nothing is connected");
            }
            oauth::Error::Transient(cause) => {
                tracing::warn!(
                    code = "exchange_failed",
                    error = %error,
                    cause = %cause,
                    "Google could not exchange the code; nothing is connected"
                );
            }
        }
        Failure::ExchangeFailed
    })
}

/// The account's address; `None` when Google does not answer in time.
async fn fetch_account_email(google: &oauth::Client, access_token: &SecretString) -> Option<String> {
    match timeout(OPTIONAL_CALL_TIMEOUT, google.get_account(access_token)).await {
        Ok(Ok(account)) => account.email,
        Ok(Err(error)) => {
            tracing::warn!(
                code = "account_unknown",
                error = %error,
                "Google did not name the account; connecting without its address"
            );
            None
        }
        Err(_) => None,
    }
}

/// The zone of the primary calendar, if we may read it and the person has not set one.
async fn fetch_time_zone(
    app: &App,
    tenant: &Tenant,
    granted: &GrantedScopes,
    access_token: &SecretString,
) -> Option<TimeZone> {
    let chosen = tenant.time_zone.as_ref().is_some_and(|zone| zone.chosen);
    if chosen || !Provider::GoogleCalendar.is_readable_with(granted) {
        return None;
    }
    let name = timeout(OPTIONAL_CALL_TIMEOUT, app.calendar.get_time_zone(access_token)).await.ok()?.ok()??;
    (name.len() <= MAX_TIME_ZONE_BYTES).then_some(TimeZone { name, chosen: false })
}
