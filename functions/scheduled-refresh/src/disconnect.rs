//! Removes the tokens of a Revoked integration: from the vault and, if no other integration needs the grant, at Google.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status, SubjectHash};
use nbhd::domain::plan::Part;
use nbhd::domain::tenant::{TenantRecord, Tombstone};
use nbhd::flows::lease;
use nbhd::flows::stored_token::StoredFields;
use nbhd::providers;
use nbhd::providers::azure::key_vault::{self, Vault};
use nbhd::providers::google;
use nbhd::store;
use nbhd::telemetry::metric;
use secrecy::SecretString;

use crate::App;

/// The outcome of a disconnect job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The tokens were removed.
    Disconnected,
    /// There is no such integration, or the person connected it again.
    Unchanged,
    /// Another worker holds the lease and may be writing to the vault, or a connect has just written to it.
    Leased,
}

impl Outcome {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Unchanged => "unchanged",
            Self::Leased => "leased",
        }
    }
}

/// After this time no request that wrote tokens goes on: API Gateway has ended it, and so has Lambda.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// Why a job failed. It is safe to run it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the table could not serve")]
    Store(#[from] store::Error),
    #[error("the vault could not serve")]
    Vault(#[source] providers::Error),
    #[error("Google could not end the grant")]
    Google(#[source] google::Error),
    #[error("our Google client is not configured")]
    NotConfigured,
    #[error("the integration's vault is not among the settings")]
    VaultUnknown,
}

/// Removes the tokens under the integration's lease, because a refresh or a reconnect would write the secret that is
/// deleted here.
pub(crate) async fn remove_tokens(app: &App, tenant: TenantId, provider: Provider) -> Result<Outcome, Error> {
    let row = match app.store.load_integration(tenant, provider).await? {
        Some(row) => row,
        None => match app.store.tenant_record(tenant).await? {
            Some(TenantRecord::Live(live)) if !live.may_connect() => create_row(app, tenant, provider).await?,
            Some(TenantRecord::Deleted(tombstone)) => return remove_late_tokens(app, *tombstone, provider).await,
            Some(TenantRecord::Live(_)) => match find_tokens(app, tenant, provider).await? {
                Found::Nothing => return Ok(Outcome::Unchanged),
                Found::JustWritten => return Ok(Outcome::Leased),
                Found::Tokens => create_row(app, tenant, provider).await?,
            },
            None => return Ok(Outcome::Unchanged),
        },
    };
    if row.status != Status::Revoked {
        return Ok(Outcome::Unchanged);
    }
    let Some(leased) = lease::try_acquire(&app.store, &row, app.clock.now()).await? else {
        return Ok(Outcome::Leased);
    };
    let removed = delete_tokens(app, &leased).await;
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
    metric("IntegrationsRemoved", 1);
    Ok(Outcome::Disconnected)
}

/// What the vault holds of a connection that has no row.
enum Found {
    /// No tokens.
    Nothing,
    /// Tokens of a connect that may still be on its way to the row.
    JustWritten,
    /// Tokens of a connect that failed between vault and row.
    Tokens,
}

async fn find_tokens(app: &App, tenant: TenantId, provider: Provider) -> Result<Found, Error> {
    let row = default_row(app, tenant, provider);
    match find_vault(app, &row)?.get_latest(&row.secret_name).await {
        Ok(secret) if secret.created_at.is_some_and(|at| app.clock.now().since(at) < LONGEST_REQUEST) => {
            Ok(Found::JustWritten)
        }
        Ok(_) => Ok(Found::Tokens),
        Err(providers::Error::NotFound) => Ok(Found::Nothing),
        Err(error) if key_vault::is_unreadable(&error) => Ok(Found::Tokens),
        Err(error) => Err(Error::Vault(error)),
    }
}

/// Creates the row for tokens that may be in the vault without one. This job takes the lease on it, so that a connect
/// at the same time waits, and finds the secret by its name.
async fn create_row(app: &App, tenant: TenantId, provider: Provider) -> Result<Integration, Error> {
    Ok(app.store.save_integration(&default_row(app, tenant, provider), None).await?)
}

/// Removes tokens that a connect wrote after its tenant was removed. No lease is needed, because nobody can connect a
/// removed tenant. The receipt is amended before the tokens are deleted.
async fn remove_late_tokens(app: &App, tombstone: Tombstone, provider: Provider) -> Result<Outcome, Error> {
    if matches!(find_tokens(app, tombstone.tenant_id, provider).await?, Found::Nothing) {
        return Ok(Outcome::Unchanged);
    }
    let row = default_row(app, tombstone.tenant_id, provider);
    metric("LateEffectsRemoved", 1);
    tracing::warn!(
        code = "late_effect", tenant_id = %row.tenant_id, provider = %row.provider,
        "Tokens were found after the removal of their tenant; they are being removed"
    );
    let (mut amended, version) = (tombstone.clone(), tombstone.version);
    amended.record_late(Part::Integrations, app.clock.now());
    app.store.save_tombstone(&amended, version).await?;
    delete_tokens(app, &row).await?;
    Ok(Outcome::Disconnected)
}

/// A Revoked row with the vault and the secret's name that follow from the tenant.
fn default_row(app: &App, tenant: TenantId, provider: Provider) -> Integration {
    Integration {
        status: Status::Revoked,
        vault: Some(app.refresher.vaults().choose(tenant).address().to_owned()),
        used_at: None,
        ..Integration::new(tenant, provider, app.clock.now())
    }
}

/// Deletes the tokens, first at Google: without the secret nothing could revoke the grant. Each version is disabled
/// before, because a vault that keeps what is deleted would give all of them back with a later secret of the same name.
/// Returns when the vault will purge the secret, if it does not let us purge it.
async fn delete_tokens(app: &App, row: &Integration) -> Result<Option<Timestamp>, Error> {
    let tokens = read_tokens(app, row).await?;
    let account = tokens.as_ref().and_then(|tokens| tokens.subject.clone()).or_else(|| row.subject.clone());
    if let Some(token) = tokens.and_then(|tokens| tokens.refresh_token.or(tokens.access_token)) {
        leave_account(app, account.as_ref(), &token).await?;
    }
    if let Some(account) = &account {
        app.store.forget_account_connection(account, row.tenant_id, row.provider).await?;
    }
    let vault = find_vault(app, row)?;
    vault.disable_all(&row.secret_name).await.map_err(Error::Vault)?;
    vault.delete(&row.secret_name).await.map_err(Error::Vault)?;
    match vault.purge(&row.secret_name).await {
        Ok(_) => Ok(None),
        // The vault has purge protection, or we lack the permission. The deleted secret is unreadable and purged later.
        Err(providers::Error::Refused { status: 403, reason }) => {
            let date = vault.get_scheduled_purge(&row.secret_name).await.map_err(Error::Vault)?;
            let refused = || Error::Vault(providers::Error::Refused { status: 403, reason });
            date.map(Some).ok_or_else(refused)
        }
        Err(error) => Err(Error::Vault(error)),
    }
}

fn find_vault<'a>(app: &'a App, row: &Integration) -> Result<&'a Vault, Error> {
    app.refresher.vaults().find(row.vault.as_deref()).ok_or(Error::VaultUnknown)
}

/// Reads the tokens; `None` when an earlier run disabled or deleted them, after it revoked the grant.
async fn read_tokens(app: &App, row: &Integration) -> Result<Option<StoredFields>, Error> {
    let vault = find_vault(app, row)?;
    let read = match vault.get_latest(&row.secret_name).await {
        // Its writer disabled it because its lease had ended: the version that the row names is valid.
        Err(error) if key_vault::is_disabled(&error) => vault.get_version(&row.secret_name, &row.secret_version).await,
        read => read,
    };
    match read {
        Ok(secret) => Ok(Some(StoredFields::parse(&secret.value))),
        Err(error) if key_vault::is_unreadable(&error) => Ok(None),
        Err(error) => Err(Error::Vault(error)),
    }
}

/// Revokes the grant of an account that no connection of any tenant uses any more. Of an account that Google did not
/// name nobody knows who else uses it, so its grant stays.
async fn leave_account(app: &App, account: Option<&SubjectHash>, token: &SecretString) -> Result<(), Error> {
    match account {
        None => {
            tracing::warn!(
                code = "grant_not_revoked",
                "Google never named the account of a connection; its tokens are deleted, and its grant stays until its \
                 person ends it"
            );
            Ok(())
        }
        Some(account) if app.store.is_account_in_use(account).await? => Ok(()),
        Some(_) => revoke_grant(app, token).await,
    }
}

/// Revokes the grant at Google. A refusal means that there is nothing to revoke; any other error is retried.
async fn revoke_grant(app: &App, token: &SecretString) -> Result<(), Error> {
    let client = app.refresher.google().ok_or(Error::NotConfigured)?;
    match client.revoke_grant(token).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_retryable() => Err(Error::Google(error)),
        Err(error) => {
            tracing::warn!(
                code = "revocation_refused", error = %error,
                "Google refused to revoke a grant; its tokens are deleted from the vault all the same"
            );
            Ok(())
        }
    }
}
