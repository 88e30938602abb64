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
use nbhd::store::{self, Connections};

use crate::App;
use crate::connect::Outcome;
use crate::ending::Failure;

/// The vault may have to recover a deleted name first; the page is due within API Gateway's 30 s all the same.
const VAULT_PATIENCE: Duration = Duration::from_secs(10);

/// Tidying up must not keep a person waiting.
const TIDY_PATIENCE: Duration = Duration::from_secs(2);

/// Another request may change a row between our read and our write, but not this often in a row.
const ATTEMPTS: usize = 3;

/// What was read of a tenant.
pub(crate) type View = (Tenant, Vec<Integration>);

/// What a person's consent gave.
pub(crate) struct Consent<'a> {
    pub(crate) jti: &'a str,
    pub(crate) providers: Vec<Provider>,
    pub(crate) token: StoredToken,
    /// The calendar's, unless the person chose one.
    pub(crate) time_zone: Option<TimeZone>,
    pub(crate) at: Timestamp,
}

/// A version of a vault secret.
struct Version {
    vault: Option<String>,
    name: String,
    id: String,
}

/// Vault, then rows: a row never speaks of a secret that is not there. Whoever changes a row meanwhile (such as a
/// disconnect job, which deletes the secret) sends us through both again.
pub(crate) async fn save(app: &App, consent: &Consent<'_>, view: View) -> Result<(), Failure> {
    let tenant_id = view.0.tenant_id;
    let mut read = Ok(view);
    let mut superseded = Vec::new();
    for _ in 0..ATTEMPTS {
        let (tenant, rows) = match once_no_job_is_at_work(app, consent, read).await {
            Ok(view) => view,
            Err(failure) => {
                if failure == Failure::InvalidState {
                    forget(app, &superseded).await;
                }
                return Err(failure);
            }
        };
        let written = write_secrets(app, tenant_id, &rows, consent).await?;
        match app.store.save_connections(consent.connections(&tenant, &rows, &written)).await {
            Ok(()) => {
                superseded.extend(
                    rows.into_iter().filter(|row| consent.providers.contains(&row.provider)).map(|row| Version {
                        vault: row.vault,
                        name: row.secret_name,
                        id: row.secret_version,
                    }),
                );
                disable(app, &superseded).await;
                return Ok(());
            }
            Err(store::Error::Conflict) => superseded.extend(written),
            Err(error) => return Err(unavailable(error)),
        }
        read = self::view(app, tenant_id).await;
    }
    Err(unavailable(store::Error::Conflict))
}

/// Waits for a disconnect job that holds a row's lease: it would delete what is written now. A refresh is not waited
/// for, because its late word is not heard once the row has changed.
async fn once_no_job_is_at_work(
    app: &App,
    consent: &Consent<'_>,
    read: Result<View, Failure>,
) -> Result<View, Failure> {
    let mut read = read;
    for _ in 0..lease::POLLS {
        let (tenant, rows) = read?;
        let now = app.clock.now();
        let has_a_job = |row: &Integration| row.status == Status::Revoked && row.is_leased(now);
        if !rows.iter().any(|row| consent.providers.contains(&row.provider) && has_a_job(row)) {
            return Ok((tenant, rows));
        }
        app.waiter.wait(lease::POLL).await;
        read = view(app, tenant.tenant_id).await;
    }
    Err(unavailable(store::Error::Conflict))
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
    fn connections<'a>(
        &'a self,
        tenant: &'a Tenant,
        rows: &[Integration],
        written: &[Version],
    ) -> Connections<'a, Outcome> {
        let integrations = self.providers.iter().zip(written).map(|(provider, secret)| {
            let read_version = rows.iter().find(|row| row.provider == *provider).map(|row| row.version);
            (self.integration(tenant.tenant_id, *provider, secret), read_version)
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

    fn integration(&self, tenant_id: TenantId, provider: Provider, secret: &Version) -> Integration {
        let row = Integration {
            granted: self.token.granted.clone(),
            account: self.token.account.clone(),
            expires_at: Some(self.token.expires_at),
            vault: secret.vault.clone(),
            secret_name: secret.name.clone(),
            secret_version: secret.id.clone(),
            ..Integration::new(tenant_id, provider, self.at)
        };
        refresh::scheduled(row, self.at)
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
            written.push(Version { vault: Some(vault.address().to_owned()), name, id });
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

/// Makes versions unreadable that no row speaks of any more. One that is left is not reached by anyone either.
async fn disable(app: &App, superseded: &[Version]) {
    let disable_all = async {
        for Version { vault, name, id } in superseded {
            let Some(vault) = app.vaults.recorded(vault.as_deref()) else { continue };
            if let Err(error) = vault.disable(name, id).await {
                tracing::warn!(error = %error, "a superseded version of a secret was left readable");
            }
        }
    };
    // Running out of time is harmless: what is left is not reached by anyone.
    let _ = tokio::time::timeout(TIDY_PATIENCE, disable_all).await;
}

/// Takes the tokens of a tenant that was removed meanwhile out of the vault again.
async fn forget(app: &App, written: &[Version]) {
    for Version { vault, name, .. } in written {
        let Some(vault) = app.vaults.recorded(vault.as_deref()) else { continue };
        if let Err(error) = vault.delete(name).await {
            tracing::error!(error = %error, name, "tokens of a removed tenant remain");
        }
    }
}
