//! From a code to connections.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::scope::Granted;
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::flows::connect_link;
use nbhd::flows::stored_token::StoredToken;
use nbhd::providers::google::oauth::{self, Tokens};
use nbhd::providers::telegram::MessageOptions;
use nbhd::store::Nonce;
use nbhd::telemetry;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::App;
use crate::arrival::Arrival;
use crate::ending::Failure;
use crate::result::Connected;
use crate::save::{self, Consent, View};

/// A spent nonce is remembered for longer than any token that carries it is valid.
const REMEMBERED: Duration = connect_link::RECONNECT_LIFETIME.saturating_add(Duration::from_secs(24 * 3600));

/// What only adorns the result (address, time zone, message) must not keep a person waiting for it.
const PATIENCE: Duration = Duration::from_secs(4);

/// What recording and telling have once a connection was given up; API Gateway's 30 s are not over then.
const AFTERWARDS: Duration = Duration::from_secs(6);

/// No IANA name of a time zone is near this long.
const MAX_ZONE_BYTES: usize = 64;

/// How a sign-in ended, as its nonce remembers it. Accounts are left to the connections' own rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Connected { providers: Vec<Provider>, at: Timestamp },
    Failed(Failure),
}

/// Uses up a person's way through Google's consent, and answers with how it ended.
pub(crate) async fn connect(app: &App, arrival: &Arrival, now: Timestamp) -> Response {
    match attempt(app, arrival, now).await {
        Ok(connected) => connected.page(app, arrival, now).into_response(),
        Err(failure) => failure.page(),
    }
}

async fn attempt(app: &App, arrival: &Arrival, now: Timestamp) -> Result<Connected, Failure> {
    let until = Instant::now() + app.patience;
    let end = until + AFTERWARDS;
    let (jti, tenant_id) = (&arrival.state.jti, arrival.state.content.connect.tenant_id);
    // Read before the nonce is spent: with the table down, a reload is all it takes.
    let view = save::view(app, tenant_id).await?;
    match app.store.spend_nonce::<Outcome>(jti, now + REMEMBERED).await.map_err(save::unavailable)? {
        Nonce::Fresh => {}
        Nonce::Spent(None) => return Err(Failure::ReplayedState),
        Nonce::Spent(Some(Outcome::Failed(failure))) => return Err(failure),
        Nonce::Spent(Some(Outcome::Connected { providers, at })) => return Ok(recalled(view, providers, at)),
    }
    let chat = view.0.chat_id;
    let established = timeout_at(until, establish(app, arrival, view, now)).await.unwrap_or_else(|_| {
        tracing::error!("a connection was given up, for want of time");
        Err(Failure::StoreUnavailable)
    });
    let ended = match established {
        Err(failure) => timeout_at(end, failed(app, arrival, failure)).await.unwrap_or(Err(failure)),
        connected => connected,
    };
    match &ended {
        Ok(connected) => {
            let message = connected.message(arrival.services);
            let sent = app.bot.send_message(chat, &message, MessageOptions::default());
            if !matches!(timeout_at(end.min(Instant::now() + PATIENCE), sent).await, Ok(Ok(_))) {
                tracing::warn!("the person was not told in the chat; the page told them");
            }
            telemetry::metric("IntegrationsConnected", 1);
        }
        Err(_) => telemetry::metric("ConnectionsFailed", 1),
    }
    ended
}

/// Records a failure, unless only the answer to what connects was lost, and not its effect.
async fn failed(app: &App, arrival: &Arrival, failure: Failure) -> Result<Connected, Failure> {
    match app.store.record_nonce(&arrival.state.jti, &Outcome::Failed(failure)).await {
        Ok(Some(Outcome::Connected { providers, at })) => {
            let view = save::view(app, arrival.state.content.connect.tenant_id).await?;
            return Ok(recalled(view, providers, at));
        }
        Ok(Some(Outcome::Failed(_)) | None) => {}
        Err(error) => tracing::warn!(error = %error, code = failure.code(), "the outcome was not recorded"),
    }
    Err(failure)
}

/// A connection that was made before, as its rows tell it.
fn recalled((_, rows): View, providers: Vec<Provider>, at: Timestamp) -> Connected {
    let account = rows.into_iter().find(|row| providers.contains(&row.provider)).and_then(|row| row.account);
    Connected { providers, account, at }
}

/// Code → tokens → vault → rows.
async fn establish(app: &App, arrival: &Arrival, view: View, now: Timestamp) -> Result<Connected, Failure> {
    let tokens = exchange(app, arrival).await?;
    let refresh_token = tokens.refresh_token.clone().ok_or(Failure::NoRefreshToken)?;
    let granted = tokens.granted.clone().unwrap_or_default();
    let providers: Vec<Provider> =
        arrival.services.providers().iter().copied().filter(|provider| provider.readable_with(&granted)).collect();
    if providers.is_empty() {
        return Err(Failure::ScopeMissing);
    }
    let (account, time_zone) = tokio::join!(
        account(&arrival.google, &tokens.access_token),
        time_zone(app, &view.0, &granted, &tokens.access_token)
    );
    let token = StoredToken {
        access_token: tokens.access_token,
        expires_at: now + tokens.lifetime,
        refresh_token,
        granted,
        account: account.clone(),
    };
    let consent = Consent { google: &arrival.google, jti: &arrival.state.jti, providers, token, time_zone, at: now };
    save::save(app, &consent, view).await?;
    Ok(Connected { providers: consent.providers, account, at: now })
}

async fn exchange(app: &App, arrival: &Arrival) -> Result<Tokens, Failure> {
    let verifier = app.links.pkce_verifier(&arrival.state.jti);
    let redirect = app.links.redirect_url(arrival.services);
    arrival.google.exchange(&arrival.code, &verifier, &redirect).await.map_err(|error| {
        match &error {
            oauth::Error::Configuration { .. } => tracing::error!(error = %error, "Google refuses our client"),
            oauth::Error::InvalidGrant => tracing::warn!(error = %error, "no tokens for this code"),
            oauth::Error::Transient(cause) => tracing::warn!(error = %error, cause = %cause, "no tokens for now"),
        }
        Failure::ExchangeFailed
    })
}

/// The account's address, if Google tells it soon.
async fn account(google: &oauth::Client, access_token: &SecretString) -> Option<String> {
    match tokio::time::timeout(PATIENCE, google.userinfo(access_token)).await {
        Ok(Ok(account)) => account.email,
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "connected without the account's address");
            None
        }
        Err(_) => None,
    }
}

/// The zone of the primary calendar, if we may read it and the person has not set one.
async fn time_zone(app: &App, tenant: &Tenant, granted: &Granted, access_token: &SecretString) -> Option<TimeZone> {
    let chosen = tenant.time_zone.as_ref().is_some_and(|zone| zone.chosen);
    if chosen || !Provider::GoogleCalendar.readable_with(granted) {
        return None;
    }
    let name = tokio::time::timeout(PATIENCE, app.calendar.time_zone(access_token)).await.ok()?.ok()?;
    (name.len() <= MAX_ZONE_BYTES).then_some(TimeZone { name, chosen: false })
}
