//! Saving a consent: the tokens in the vault, everything else in the table.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::flows::lease;
use nbhd::providers;
use nbhd::store::{self, TenantView};

use crate::App;
use crate::cleanup::clean_up_superseded;
use crate::consent::{Consent, SecretVersion, load_tenant};
use crate::failure::Failure;

/// The limit of all writes to the vault. The vault may have to recover a deleted name first.
const VAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often saving is tried. Each retry means that another request changed a row between our read and our write.
const MAX_ATTEMPTS: usize = 4;

/// How many polls a running refresh is waited for: 3 s, longer than a refresh takes whose worker is alive.
const MAX_REFRESH_POLLS: u32 = 12;

/// What the attempts to save one consent have done so far.
#[derive(Default)]
struct Progress {
    /// The leases we hold, each with its end.
    leases: Vec<(Provider, Timestamp)>,
    /// Versions that were written, by us or by a worker that died, and that no row names.
    orphans: Vec<SecretVersion>,
}

impl Progress {
    fn holds_lease(&self, row: &Integration) -> bool {
        self.leases.iter().any(|(provider, until)| *provider == row.provider && row.lease_until == Some(*until))
    }
}

/// Takes the leases, writes the vault, then the rows: a row never names a secret that does not exist, and nobody else
/// writes that secret meanwhile. If a row changes all the same, everything is done again.
pub(crate) async fn save_consent(app: &App, consent: &Consent<'_>, view: TenantView) -> Result<(), Failure> {
    let tenant_id = view.tenant.tenant_id;
    let mut progress = Progress::default();
    let saved = try_save(app, consent, view, &mut progress).await;
    if saved.is_err() {
        release_leases(app, tenant_id, &progress).await;
    }
    saved
}

async fn try_save(app: &App, consent: &Consent<'_>, view: TenantView, progress: &mut Progress) -> Result<(), Failure> {
    let tenant_id = view.tenant.tenant_id;
    if let Some(account) = &consent.token.subject {
        for provider in &consent.providers {
            let noted = app.store.note_account_connection(account, tenant_id, *provider).await;
            noted.map_err(Failure::from_store)?;
        }
    }
    let mut read = Ok(view);
    for _ in 0..MAX_ATTEMPTS {
        let TenantView { tenant, integrations, .. } = wait_for_leases(app, consent, read, progress).await?;
        if let Some(rows) = take_leases(app, consent, integrations, progress).await? {
            let written = write_secrets(app, tenant_id, &rows, consent).await?;
            let result = consent.to_result(&tenant, &rows, &written, &progress.orphans);
            match app.store.save_consent(result).await {
                Ok(()) => {
                    clean_up_superseded(app, consent, &rows, &progress.orphans).await;
                    return Ok(());
                }
                Err(store::Error::Conflict) => progress.orphans.extend(written),
                Err(error) => return Err(Failure::from_store(error)),
            }
        }
        read = load_tenant(app, tenant_id).await;
    }
    Err(Failure::from_store(store::Error::Conflict))
}

/// Waits until no other worker holds a lease on the consent's rows: a disconnect job would delete what is written now,
/// and a refresh is done in a moment. A refresh that takes longer counts as dead; should its worker live, its write is
/// refused, because the row has changed by then.
async fn wait_for_leases(
    app: &App,
    consent: &Consent<'_>,
    read: Result<TenantView, Failure>,
    progress: &Progress,
) -> Result<TenantView, Failure> {
    let mut read = read;
    for poll in 0..lease::MAX_POLLS {
        let view = read?;
        let now = app.clock.now();
        let is_awaited = |row: &Integration| {
            let may_wait = row.status == Status::Revoked || poll < MAX_REFRESH_POLLS;
            row.is_leased(now) && !progress.holds_lease(row) && may_wait
        };
        if !consent.select(&view.integrations).any(is_awaited) {
            return Ok(view);
        }
        app.waiter.wait(lease::POLL_INTERVAL).await;
        read = load_tenant(app, view.tenant.tenant_id).await;
    }
    Err(Failure::from_store(store::Error::Conflict))
}

/// Takes the leases of the consent's existing rows; `None` when one changed meanwhile.
async fn take_leases(
    app: &App,
    consent: &Consent<'_>,
    rows: Vec<Integration>,
    progress: &mut Progress,
) -> Result<Option<Vec<Integration>>, Failure> {
    let mut leased = Vec::with_capacity(rows.len());
    for row in rows {
        if !consent.providers.contains(&row.provider) {
            leased.push(row);
            continue;
        }
        if row.lease_until.is_some() && !progress.holds_lease(&row) {
            progress.orphans.extend(find_orphan(app, &row).await);
        }
        let taken = lease::take_over(&app.store, &row, app.clock.now()).await.map_err(Failure::from_store)?;
        let Some(row) = taken else { return Ok(None) };
        progress.leases.extend(row.lease_until.map(|until| (row.provider, until)));
        leased.push(row);
    }
    Ok(Some(leased))
}

/// The vault's latest version, when a worker wrote it and died before the row named it.
async fn find_orphan(app: &App, row: &Integration) -> Option<SecretVersion> {
    let (vault, name) = (app.vaults.find(row.vault.as_deref())?, row.secret_name.clone());
    let id = vault.get_latest(&name).await.ok()?.version;
    let is_orphan = id != row.secret_version;
    is_orphan.then(|| SecretVersion { provider: row.provider, vault: row.vault.clone(), name, id })
}

/// Lets our leases expire now, after a failure. Their marks stay on the rows: what the vault holds is not known, so
/// that the next worker to take the lease has to begin with the latest version. A lease that cannot be released
/// expires.
async fn release_leases(app: &App, tenant: TenantId, progress: &Progress) {
    for (provider, until) in &progress.leases {
        let Ok(Some(row)) = app.store.load_integration(tenant, *provider).await else { continue };
        if row.lease_until != Some(*until) {
            continue;
        }
        let released = Integration { lease_until: Some(app.clock.now()), ..row.clone() };
        if let Err(error) = app.store.save_integration(&released, Some(row.version)).await {
            tracing::info!(error = %error, "lease was not released; it expires by itself");
        }
    }
}

/// Writes the tokens once for each service, in the order of `consent.providers`: into the vault that has held them
/// before, or else into the tenant's.
async fn write_secrets(
    app: &App,
    tenant: TenantId,
    rows: &[Integration],
    consent: &Consent<'_>,
) -> Result<Vec<SecretVersion>, Failure> {
    let value = consent.token.to_secret();
    let write_all = async {
        let mut written = Vec::with_capacity(consent.providers.len());
        for provider in &consent.providers {
            let name = Integration::secret_name(tenant, *provider);
            let held = rows.iter().find(|row| row.provider == *provider);
            let vault = held.and_then(|row| app.vaults.find(row.vault.as_deref()));
            let vault = vault.unwrap_or_else(|| app.vaults.choose(tenant));
            let id = vault.set(&name, tenant, &value).await?;
            written.push(SecretVersion { provider: *provider, vault: Some(vault.address().to_owned()), name, id });
        }
        Ok::<_, providers::Error>(written)
    };
    match tokio::time::timeout(VAULT_TIMEOUT, write_all).await {
        Ok(Ok(written)) => return Ok(written),
        Ok(Err(error)) => {
            tracing::error!(code = "vault_unavailable", error = %error, "tokens were not stored; nothing is connected");
        }
        Err(_) => {
            tracing::error!(code = "vault_timeout", "the vault did not store the tokens in time; nothing is connected");
        }
    }
    Err(Failure::StoreUnavailable)
}
