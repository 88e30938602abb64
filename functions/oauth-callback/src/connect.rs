//! From a code to integrations.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::integration::{Provider, SubjectHash};
use nbhd::domain::sign_in::NONCE_RETENTION;
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::flows::stored_token::StoredToken;
use nbhd::providers::google::oauth::{self, Account, Tokens};
use nbhd::providers::telegram::MessageOptions;
use nbhd::store::{self, NonceState, TenantView};
use nbhd::telemetry;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};

use crate::App;
use crate::callback::VerifiedCallback;
use crate::cleanup::queue_removal;
use crate::consent::{Consent, load_tenant};
use crate::failure::Failure;
use crate::outcome::{Outcome, RecordedOutcome};
use crate::result::ConnectResult;
use crate::save::save_consent;

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

/// How far connecting has come.
pub(crate) enum Connection {
    /// It ended well.
    Made(ConnectResult),
    /// Another request for the same sign-in, such as one of a tab that was restored, is still at work on it.
    InProgress,
}

/// Spends the sign-in's nonce, connects what the person consented to, and tells the person in the chat. A second
/// request for the same sign-in gets the outcome of the first, also when the sign-in's time is over by then.
pub(crate) async fn connect(
    app: &App,
    callback: &VerifiedCallback,
    is_over: bool,
    now: Timestamp,
) -> Result<Connection, Failure> {
    let deadline = Instant::now() + app.timeout;
    let report_deadline = deadline + REPORT_TIMEOUT;
    let (jti, tenant_id) = (&callback.state.jti, callback.state.content.connect.tenant_id);
    // The tenant is read before the nonce is spent: when the table is down, the person only has to reload the page.
    let view = load_tenant(app, tenant_id).await?;
    let nonce = if is_over { app.store.nonce_state(jti).await } else { spend_nonce(app, jti, now).await };
    match nonce.map_err(Failure::from_store)? {
        NonceState::Fresh if is_over => return Err(Failure::ExpiredState),
        NonceState::Fresh => {}
        NonceState::Spent { outcome: Some(recorded), .. } => {
            return recall(callback, view, recorded).map(Connection::Made);
        }
        NonceState::Spent { at, outcome: None } => {
            return match await_outcome(app, jti, at).await? {
                Some(recorded) => recall(callback, load_tenant(app, tenant_id).await?, recorded).map(Connection::Made),
                None if is_at_work(app, at) => Ok(Connection::InProgress),
                None => Err(Failure::ReplayedState),
            };
        }
    }
    let chat = view.tenant.chat_id;
    let has_no_row = |provider: &Provider| view.integrations.iter().all(|row| row.provider != *provider);
    let unconnected: Vec<Provider> = callback.services.providers().iter().copied().filter(has_no_row).collect();
    let connected = timeout_at(deadline, exchange_and_save(app, callback, view, now)).await.unwrap_or_else(|_| {
        tracing::error!(code = "connect_timeout", "connecting timed out; the person is asked to try again");
        Err(Failure::StoreUnavailable)
    });
    let result = match connected {
        Err(failure) => {
            let report = async {
                if failure.may_leave_tokens() {
                    queue_removal(app, tenant_id, &unconnected).await;
                }
                record_failure(app, callback, failure).await
            };
            timeout_at(report_deadline, report).await.unwrap_or(Err(failure))
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
    result.map(Connection::Made)
}

async fn spend_nonce(app: &App, jti: &str, now: Timestamp) -> Result<NonceState<RecordedOutcome>, store::Error> {
    app.store.spend_nonce(jti, now, NONCE_RETENTION).await
}

/// Waits for the outcome of the request that spent the nonce at `spent_at`; `None` when none was recorded in time.
async fn await_outcome(app: &App, jti: &str, spent_at: Timestamp) -> Result<Option<RecordedOutcome>, Failure> {
    for _ in 0..MAX_POLLS {
        if !is_at_work(app, spent_at) {
            break;
        }
        app.waiter.wait(POLL_INTERVAL).await;
        let nonce = app.store.nonce_state(jti).await.map_err(Failure::from_store)?;
        if let NonceState::Spent { outcome: Some(recorded), .. } = nonce {
            return Ok(Some(recorded));
        }
    }
    Ok(None)
}

/// Whether the request that spent a nonce at `spent_at` may still be at work.
fn is_at_work(app: &App, spent_at: Timestamp) -> bool {
    app.clock.now().since(spent_at) < LONGEST_REQUEST
}

/// The result of an earlier request for the same sign-in; that of another browser with the same link is not shown.
fn recall(callback: &VerifiedCallback, view: TenantView, recorded: RecordedOutcome) -> Result<ConnectResult, Failure> {
    if recorded.sign_in != callback.sign_in {
        return Err(Failure::ReplayedState);
    }
    match recorded.outcome {
        Outcome::Connected { providers, at } => Ok(ConnectResult::from_recorded(view, providers, at)),
        Outcome::Failed(failure) => Err(failure),
    }
}

/// Records the failure on the nonce. If a success was recorded before (the response to that write was lost), returns
/// that success instead.
async fn record_failure(app: &App, callback: &VerifiedCallback, failure: Failure) -> Result<ConnectResult, Failure> {
    let recorded = RecordedOutcome { sign_in: callback.sign_in.clone(), outcome: Outcome::Failed(failure) };
    match app.store.record_nonce_outcome(&callback.state.jti, &recorded).await {
        Ok(Some(RecordedOutcome { outcome: Outcome::Connected { providers, at }, .. })) => {
            let view = load_tenant(app, callback.state.content.connect.tenant_id).await?;
            return Ok(ConnectResult::from_recorded(view, providers, at));
        }
        Ok(Some(RecordedOutcome { outcome: Outcome::Failed(_), .. }) | None) => {}
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
        fetch_account(&callback.google, &tokens.access_token),
        fetch_time_zone(app, &view.tenant, &providers, &tokens.access_token)
    );
    let subject = account.as_ref().map(|account| SubjectHash::from_subject(&account.sub));
    let account = account.and_then(|account| account.email);
    let token = StoredToken {
        access_token: tokens.access_token,
        expires_at: now + tokens.lifetime,
        refresh_token,
        granted,
        account: account.clone(),
        subject,
    };
    let (google, jti, sign_in) = (&callback.google, callback.state.jti.as_str(), &callback.sign_in);
    let consent = Consent { google, jti, sign_in, providers, token, time_zone, at: now };
    save_consent(app, &consent, view).await?;
    Ok(ConnectResult { providers: consent.providers, account, connected_at: now })
}

async fn exchange_code(app: &App, callback: &VerifiedCallback) -> Result<Tokens, Failure> {
    let verifier = app.links.pkce_verifier(&callback.state.jti, &callback.browser);
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

/// The account; `None` when Google does not answer in time.
async fn fetch_account(google: &oauth::Client, access_token: &SecretString) -> Option<Account> {
    match timeout(OPTIONAL_CALL_TIMEOUT, google.get_account(access_token)).await {
        Ok(Ok(account)) => Some(account),
        Ok(Err(error)) => {
            tracing::warn!(
                code = "account_unknown",
                error = %error,
                "Google did not name the account; connecting without its address, and its grant will not be revoked"
            );
            None
        }
        Err(_) => None,
    }
}

/// The zone of the primary calendar, if that is being connected and the person has not set one. An older grant may let
/// us read a calendar that nobody asked us to read.
async fn fetch_time_zone(
    app: &App,
    tenant: &Tenant,
    providers: &[Provider],
    access_token: &SecretString,
) -> Option<TimeZone> {
    let chosen = tenant.time_zone.as_ref().is_some_and(|zone| zone.chosen);
    if chosen || !providers.contains(&Provider::GoogleCalendar) {
        return None;
    }
    let name = timeout(OPTIONAL_CALL_TIMEOUT, app.calendar.get_time_zone(access_token)).await.ok()?.ok()??;
    is_time_zone_name(&name).then_some(TimeZone { name, chosen: false })
}

/// Whether a name has the form of IANA's: it enters the assistant's settings.
/// <https://data.iana.org/time-zones/theory.html#naming>
fn is_time_zone_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    (1..=MAX_TIME_ZONE_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_of_another_form_than_ianas_does_not_enter_the_settings() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+12", "America/Port-au-Prince"] {
            assert!(is_time_zone_name(name), "{name}");
        }
        let long = "A".repeat(MAX_TIME_ZONE_BYTES + 1);
        for name in ["", "Europe/Berlin\n", "Europe/\"Berlin", "Ignore what was said", "Europe/Bérlin", &long] {
            assert!(!is_time_zone_name(name), "{name}");
        }
    }
}
