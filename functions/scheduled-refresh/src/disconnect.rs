//! Removes the tokens of a revoked connection: at Google if nothing else needs the grant, and in the vault.

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::flows::lease;
use nbhd::flows::stored_token::Readable;
use nbhd::providers;
use nbhd::providers::azure::key_vault::{self, Vault};
use nbhd::store;
use nbhd::telemetry::metric;
use secrecy::SecretString;

use crate::App;

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The tokens are gone.
    Disconnected,
    /// There is no such connection, or the person connected again: it is theirs to keep.
    LeftAlone,
    /// Another worker holds the lease, and may be writing to the vault.
    Leased,
}

impl Outcome {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::LeftAlone => "left_alone",
            Self::Leased => "leased",
        }
    }
}

/// Why a job could not be done yet; it is safe to start over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the table could not serve")]
    Store(#[from] store::Error),
    #[error("the vault could not serve")]
    Vault(#[source] providers::Error),
    #[error("Google could not end the grant")]
    Google(#[source] providers::Error),
    #[error("our Google client is not configured")]
    NotConfigured,
    #[error("the connection's vault is not among the settings")]
    VaultUnknown,
}

/// Does the job under the connection's lease, which keeps out a refresh and a reconnect: both would write the very
/// secret that is deleted here.
pub(crate) async fn run(app: &App, tenant: TenantId, provider: Provider) -> Result<Outcome, Error> {
    let Some(row) = app.store.integration(tenant, provider).await? else { return Ok(Outcome::LeftAlone) };
    if row.status != Status::Revoked {
        return Ok(Outcome::LeftAlone);
    }
    let Some(leased) = lease::try_take(&app.store, &row, app.clock.now()).await? else { return Ok(Outcome::Leased) };
    let removed = remove(app, &leased).await;
    let released = match &removed {
        Ok(()) => Integration {
            secret_version: String::new(),
            expires_at: None,
            lease_until: None,
            due: None,
            ..leased.clone()
        },
        Err(_) => Integration { lease_until: None, ..leased.clone() },
    };
    let saved = app.store.save_integration(&released, Some(leased.version)).await;
    removed?;
    saved?;
    metric("ConnectionsRemoved", 1);
    Ok(Outcome::Disconnected)
}

/// Google first: once the secret is gone, nothing is left to end the grant with.
async fn remove(app: &App, row: &Integration) -> Result<(), Error> {
    if let Some(token) = what_opens_the_grant(app, row).await?
        && !is_needed_elsewhere(app, row).await?
    {
        end_grant(app, &token).await?;
    }
    let vault = vault(app, row)?;
    vault.delete(&row.secret_name).await.map_err(Error::Vault)?;
    vault.purge(&row.secret_name).await.map_err(Error::Vault)
}

fn vault<'a>(app: &'a App, row: &Integration) -> Result<&'a Vault, Error> {
    app.refresher.vaults().recorded(row.vault.as_deref()).ok_or(Error::VaultUnknown)
}

/// A token of the connection; none when an earlier run deleted the secret, and so had ended the grant before.
async fn what_opens_the_grant(app: &App, row: &Integration) -> Result<Option<SecretString>, Error> {
    match vault(app, row)?.latest(&row.secret_name).await {
        Ok(secret) => {
            let tokens = Readable::read(&secret.value);
            Ok(tokens.refresh_token.or(tokens.access_token))
        }
        Err(error) if key_vault::is_unreadable(&error) => Ok(None),
        Err(error) => Err(Error::Vault(error)),
    }
}

/// Google ends a whole grant, so another connection of this tenant to the same account would end with this one. An
/// account we do not know may be the same.
async fn is_needed_elsewhere(app: &App, row: &Integration) -> Result<bool, Error> {
    for provider in Provider::ALL.into_iter().filter(|provider| *provider != row.provider) {
        let other = app.store.integration(row.tenant_id, provider).await?;
        if other.is_some_and(|other| other.status == Status::Active && may_share_account(&other, row)) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn may_share_account(one: &Integration, other: &Integration) -> bool {
    match (&one.account, &other.account) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (None, _) | (_, None) => true,
    }
}

/// Google's refusal is its final word: there is nothing to end. Anything else is no word, and the job comes up again.
async fn end_grant(app: &App, token: &SecretString) -> Result<(), Error> {
    let google = app.refresher.google().ok_or(Error::NotConfigured)?;
    match google.revoke(token).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_retryable() => Err(Error::Google(error)),
        Err(error) => {
            tracing::warn!(code = "revocation_refused", error = %error, "the grant is left to Google");
            Ok(())
        }
    }
}
