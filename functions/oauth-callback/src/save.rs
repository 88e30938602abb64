//! Keeping what a consent gave: the tokens in the vault, everything else in the table.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh;
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::flows::lease;
use nbhd::flows::stored_token::StoredToken;
use nbhd::providers;
use nbhd::providers::google::oauth;
use nbhd::queue::RefreshJob;
use nbhd::store::{self, Connections};

use crate::App;
use crate::connect::Outcome;
use crate::ending::Failure;
use crate::tidy;

/// The vault may have to recover a deleted name first; the page is due within API Gateway's 30 s all the same.
const VAULT_PATIENCE: Duration = Duration::from_secs(10);

/// Another request may change a row between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 4;

/// How many looks a refresh is given to finish: 3 s, more than it takes unless its worker is dead.
const REFRESH_POLLS: u32 = 12;

/// What was read of a tenant.
pub(crate) type View = (Tenant, Vec<Integration>);

/// What a person's consent gave.
pub(crate) struct Consent<'a> {
    pub(crate) google: &'a oauth::Client,
    pub(crate) jti: &'a str,
    pub(crate) providers: Vec<Provider>,
    pub(crate) token: StoredToken,
    /// The calendar's, unless the person chose one.
    pub(crate) time_zone: Option<TimeZone>,
    pub(crate) at: Timestamp,
}

/// A version of a vault secret.
pub(crate) struct Version {
    pub(crate) provider: Provider,
    pub(crate) vault: Option<String>,
    pub(crate) name: String,
    pub(crate) id: String,
}

/// What one consent has done so far, attempt after attempt.
#[derive(Default)]
struct Progress {
    /// The leases we hold, each with its end.
    leases: Vec<(Provider, Timestamp)>,
    /// Versions that were written, by us or by who died, and no row came to name.
    lost: Vec<Version>,
}

impl Progress {
    fn holds(&self, row: &Integration) -> bool {
        self.leases.iter().any(|(provider, until)| *provider == row.provider && row.lease_until == Some(*until))
    }
}

/// Lease, vault, then rows: a row never speaks of a secret that is not there, and nobody else writes that secret
/// meanwhile. Whoever changes a row all the same sends us through all of it again.
pub(crate) async fn save(app: &App, consent: &Consent<'_>, view: View) -> Result<(), Failure> {
    let tenant_id = view.0.tenant_id;
    let mut progress = Progress::default();
    let saved = attempt(app, consent, view, &mut progress).await;
    if let Err(failure) = saved {
        give_back(app, tenant_id, &progress).await;
        if failure == Failure::InvalidState {
            forget(app, tenant_id, &progress).await;
        }
    }
    saved
}

async fn attempt(app: &App, consent: &Consent<'_>, view: View, progress: &mut Progress) -> Result<(), Failure> {
    let tenant_id = view.0.tenant_id;
    let mut read = Ok(view);
    for _ in 0..ATTEMPTS {
        let (tenant, rows) = once_nobody_is_at_work(app, consent, read, progress).await?;
        if let Some(rows) = lease(app, consent, rows, progress).await? {
            let written = write_secrets(app, tenant_id, &rows, consent).await?;
            match app.store.save_connections(consent.connections(&tenant, &rows, &written, &progress.lost)).await {
                Ok(()) => {
                    tidy::up(app, consent, &rows, &progress.lost).await;
                    return Ok(());
                }
                Err(store::Error::Conflict) => progress.lost.extend(written),
                Err(error) => return Err(unavailable(error)),
            }
        }
        read = self::view(app, tenant_id).await;
    }
    Err(unavailable(store::Error::Conflict))
}

/// Waits for who holds the lease of a row: a disconnect job would delete what is written now, and a refresh is done in
/// a moment. One that is not is taken for dead; should it live, its late word is not heard.
async fn once_nobody_is_at_work(
    app: &App,
    consent: &Consent<'_>,
    read: Result<View, Failure>,
    progress: &Progress,
) -> Result<View, Failure> {
    let mut read = read;
    for poll in 0..lease::MAX_POLLS {
        let (tenant, rows) = read?;
        let now = app.clock.now();
        let is_awaited = |row: &Integration| {
            row.is_leased(now) && !progress.holds(row) && (row.status == Status::Revoked || poll < REFRESH_POLLS)
        };
        if !consent.rows(&rows).any(is_awaited) {
            return Ok((tenant, rows));
        }
        app.waiter.wait(lease::POLL_INTERVAL).await;
        read = view(app, tenant.tenant_id).await;
    }
    Err(unavailable(store::Error::Conflict))
}

/// Takes the leases of the rows that there are; `None` when one changed meanwhile.
async fn lease(
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
        if row.lease_until.is_some() && !progress.holds(&row) {
            progress.lost.extend(orphan(app, &row).await);
        }
        let taken = lease::take_over(&app.store, &row, app.clock.now()).await.map_err(unavailable)?;
        let Some(row) = taken else { return Ok(None) };
        progress.leases.extend(row.lease_until.map(|until| (row.provider, until)));
        leased.push(row);
    }
    Ok(Some(leased))
}

/// The vault's latest version, where a worker may have written it and died before the row named it.
async fn orphan(app: &App, row: &Integration) -> Option<Version> {
    let (vault, name) = (app.vaults.recorded(row.vault.as_deref())?, row.secret_name.clone());
    let id = vault.latest(&name).await.ok()?.version;
    let is_orphan = id != row.secret_version;
    is_orphan.then(|| Version { provider: row.provider, vault: row.vault.clone(), name, id })
}

/// Ends our leases after a failure. They stay on their rows: what the vault holds is not known, so that who takes the
/// next one begins with the latest version. One that is not ended runs out.
async fn give_back(app: &App, tenant: TenantId, progress: &Progress) {
    for (provider, until) in &progress.leases {
        let Ok(Some(row)) = app.store.integration(tenant, *provider).await else { continue };
        if row.lease_until != Some(*until) {
            continue;
        }
        let ended = Integration { lease_until: Some(app.clock.now()), ..row.clone() };
        if let Err(error) = app.store.save_integration(&ended, Some(row.version)).await {
            tracing::info!(error = %error, "a lease is left to run out");
        }
    }
}

/// The tenant and its connections. A tenant that is gone looks like a state that never was ours.
pub(crate) async fn view(app: &App, tenant_id: TenantId) -> Result<View, Failure> {
    let view = app.store.runtime_view(tenant_id).await.map_err(unavailable)?;
    view.filter(|(tenant, _)| tenant.may_connect()).ok_or(Failure::InvalidState)
}

pub(crate) fn unavailable(error: store::Error) -> Failure {
    tracing::error!(error = %error, "the table could not serve");
    Failure::StoreUnavailable
}

impl Consent<'_> {
    /// Those of `rows` that the consent is for.
    pub(crate) fn rows<'a>(&self, rows: &'a [Integration]) -> impl Iterator<Item = &'a Integration> {
        rows.iter().filter(|row| self.providers.contains(&row.provider))
    }

    fn connections<'a>(
        &'a self,
        tenant: &'a Tenant,
        rows: &[Integration],
        written: &[Version],
        lost: &[Version],
    ) -> Connections<'a, Outcome> {
        let integrations = written.iter().map(|secret| {
            let former = rows.iter().find(|row| row.provider == secret.provider);
            // They are disabled once the row is written; should that fail, the next refresh does it.
            let known =
                former.map(|row| [row.superseded.as_slice(), std::slice::from_ref(&row.secret_version)].concat());
            let lost = lost.iter().filter(|lost| lost.provider == secret.provider).map(|lost| lost.id.clone());
            let superseded = known.into_iter().flatten().chain(lost).collect();
            let row = self.integration(tenant.tenant_id, secret).superseding(superseded);
            (row, former.map(|row| row.version))
        });
        let changes = |zone: &TimeZone| tenant.time_zone.as_ref().is_none_or(|known| !known.chosen && known != zone);
        let time_zone = self.time_zone.clone().filter(changes);
        Connections {
            tenant,
            changed_tenant: time_zone.map(|zone| Tenant { time_zone: Some(zone), ..tenant.clone() }),
            integrations: integrations.collect(),
            jti: self.jti,
            outcome: Outcome::Connected { providers: self.providers.clone(), at: self.at },
        }
    }

    fn integration(&self, tenant_id: TenantId, secret: &Version) -> Integration {
        let row = Integration {
            granted: self.token.granted.clone(),
            account: self.token.account.clone(),
            expires_at: Some(self.token.expires_at),
            vault: secret.vault.clone(),
            secret_name: secret.name.clone(),
            secret_version: secret.id.clone(),
            ..Integration::new(tenant_id, secret.provider, self.at)
        };
        refresh::with_next_renewal(row, self.at)
    }
}

/// Writes the tokens once for each service, in the order of `consent.providers`: into the vault that has held them
/// before, or else into the tenant's.
async fn write_secrets(
    app: &App,
    tenant: TenantId,
    rows: &[Integration],
    consent: &Consent<'_>,
) -> Result<Vec<Version>, Failure> {
    let value = consent.token.to_secret();
    let write_all = async {
        let mut written = Vec::with_capacity(consent.providers.len());
        for provider in &consent.providers {
            let name = Integration::secret_name(tenant, *provider);
            let held = rows.iter().find(|row| row.provider == *provider);
            let vault = held.and_then(|row| app.vaults.recorded(row.vault.as_deref()));
            let vault = vault.unwrap_or_else(|| app.vaults.choose(tenant));
            let id = vault.set(&name, tenant, &value).await?;
            written.push(Version { provider: *provider, vault: Some(vault.address().to_owned()), name, id });
        }
        Ok::<_, providers::Error>(written)
    };
    match tokio::time::timeout(VAULT_PATIENCE, write_all).await {
        Ok(Ok(written)) => return Ok(written),
        Ok(Err(error)) => tracing::error!(error = %error, "the vault did not take the tokens"),
        Err(_) => tracing::error!("the vault did not take the tokens in time"),
    }
    Err(Failure::StoreUnavailable)
}

/// Has the tokens of a tenant that is being removed taken out of the vault again.
async fn forget(app: &App, tenant_id: TenantId, progress: &Progress) {
    for Version { provider, name, .. } in &progress.lost {
        let job = RefreshJob::Disconnect { tenant_id, provider: *provider };
        if let Err(error) = app.disconnects.send(&job).await {
            tracing::error!(error = %error, name, "tokens of a removed tenant remain");
        }
    }
}
