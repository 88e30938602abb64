//! Removes the tokens of a revoked connection: at Google if nothing else needs the grant, and in the vault.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::plan::Part;
use nbhd::domain::tenant::{TenantRecord, Tombstone};
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
    let row = match app.store.integration(tenant, provider).await? {
        Some(row) => row,
        None => match app.store.tenant_record(tenant).await? {
            Some(TenantRecord::Live(live)) if !live.may_connect() => without_a_row(app, tenant, provider).await?,
            Some(TenantRecord::Deleted(tombstone)) => return after_removal(app, *tombstone, provider).await,
            Some(TenantRecord::Live(_)) | None => return Ok(Outcome::LeftAlone),
        },
    };
    if row.status != Status::Revoked {
        return Ok(Outcome::LeftAlone);
    }
    let Some(leased) = lease::try_take(&app.store, &row, app.clock.now()).await? else { return Ok(Outcome::Leased) };
    let removed = remove(app, &leased).await;
    let released = match &removed {
        Ok(purged_by) => Integration {
            secret_version: String::new(),
            superseded: Vec::new(),
            purged_by: *purged_by,
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

/// A first connect that is killed between vault and row leaves tokens that no row speaks of. Once their tenant is being
/// removed nobody comes for them any more, so that the job takes the row's place, and with it the lease, and finds the
/// secret by its name. Before that the next connect finds it.
async fn without_a_row(app: &App, tenant: TenantId, provider: Provider) -> Result<Integration, Error> {
    Ok(app.store.save_integration(&nameless(app, tenant, provider), None).await?)
}

/// What a connect that was under way can have written after its tenant was removed. Nobody can connect now, so that
/// there is nobody to keep out by a lease. The receipt says so before the tokens go.
async fn after_removal(app: &App, tombstone: Tombstone, provider: Provider) -> Result<Outcome, Error> {
    let row = nameless(app, tombstone.tenant_id, provider);
    match vault(app, &row)?.latest(&row.secret_name).await {
        Err(providers::Error::NotFound) => return Ok(Outcome::LeftAlone),
        Err(error) if !key_vault::is_unreadable(&error) => return Err(Error::Vault(error)),
        Ok(_) | Err(_) => {}
    }
    metric("LateEffectsRemoved", 1);
    tracing::warn!(code = "late_effect", "tokens were found after the removal of their tenant, and are removed");
    let (mut amended, version) = (tombstone.clone(), tombstone.version);
    amended.record_late(Part::Integrations, app.clock.now());
    app.store.save_tombstone(&amended, version).await?;
    remove(app, &row).await?;
    Ok(Outcome::Disconnected)
}

/// The row that a connection would have, by the names that follow from its tenant.
fn nameless(app: &App, tenant: TenantId, provider: Provider) -> Integration {
    Integration {
        status: Status::Revoked,
        vault: Some(app.refresher.vaults().choose(tenant).address().to_owned()),
        used_at: None,
        ..Integration::new(tenant, provider, app.clock.now())
    }
}

/// Google first: once the secret is gone, nothing is left to end the grant with. Returns when the vault destroys it,
/// where it does not let us.
async fn remove(app: &App, row: &Integration) -> Result<Option<Timestamp>, Error> {
    if let Some(token) = what_opens_the_grant(app, row).await?
        && !is_needed_elsewhere(app, row).await?
    {
        end_grant(app, &token).await?;
    }
    let vault = vault(app, row)?;
    vault.delete(&row.secret_name).await.map_err(Error::Vault)?;
    match vault.purge(&row.secret_name).await {
        Ok(_) => Ok(None),
        // The vault is protected from purging, or from us: what it keeps is unreadable, and ends by itself.
        Err(providers::Error::Refused { status: 403, reason }) => {
            let date = vault.scheduled_purge(&row.secret_name).await.map_err(Error::Vault)?;
            let refused = || Error::Vault(providers::Error::Refused { status: 403, reason });
            date.map(Some).ok_or_else(refused)
        }
        Err(error) => Err(Error::Vault(error)),
    }
}

fn vault<'a>(app: &'a App, row: &Integration) -> Result<&'a Vault, Error> {
    app.refresher.vaults().recorded(row.vault.as_deref()).ok_or(Error::VaultUnknown)
}

/// A token of the connection; none when an earlier run deleted the secret, and so had ended the grant before.
async fn what_opens_the_grant(app: &App, row: &Integration) -> Result<Option<SecretString>, Error> {
    let vault = vault(app, row)?;
    let read = match vault.latest(&row.secret_name).await {
        // It was taken back by whoever wrote it too late: the row's own is the latest that counts.
        Err(error) if key_vault::is_disabled(&error) => vault.version(&row.secret_name, &row.secret_version).await,
        read => read,
    };
    match read {
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
        if other.is_some_and(|other| other.status == Status::Active && other.may_share_account(row)) {
            return Ok(true);
        }
    }
    Ok(false)
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
