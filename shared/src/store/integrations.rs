//! The rows of a tenant's integrations.

use serde::Serialize;

use super::transaction::TransactionOutcome;
use super::{Error, Store, encode, keys};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};
use crate::domain::tenant::Tenant;

/// What a consent changes: the integrations it made, perhaps the tenant, and the outcome of its nonce.
#[derive(Debug)]
pub struct ConsentResult<'a, T> {
    /// The tenant as it was read.
    pub tenant: &'a Tenant,
    /// The tenant to write instead; `None` when nothing of it changes.
    pub changed_tenant: Option<Tenant>,
    /// The integrations, each with the version it was read with; `None` for one that must not exist yet.
    pub integrations: Vec<(Integration, Option<u64>)>,
    /// The nonce that was spent for the consent.
    pub jti: &'a str,
    /// The outcome to record on the nonce.
    pub outcome: T,
}

impl Store {
    /// Loads one integration of a tenant; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn load_integration(&self, tenant: TenantId, provider: Provider) -> Result<Option<Integration>, Error> {
        self.read("integration", &keys::integration(tenant, provider)).await
    }

    /// Writes an integration, which must still be as it was read (`None`: must not exist yet); returns it with its new
    /// version.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it changed meanwhile, [`Error::Unavailable`].
    pub async fn save_integration(&self, row: &Integration, read_version: Option<u64>) -> Result<Integration, Error> {
        let saved = Integration { version: read_version.map_or(1, |version| version + 1), ..row.clone() };
        let key = keys::integration(saved.tenant_id, saved.provider);
        self.replace(&key, encode("integration", &saved)?, read_version).await?;
        Ok(saved)
    }

    /// Writes integrations of one tenant, all or none; each must still be as it was read. Returns them with their new
    /// versions.
    ///
    /// # Errors
    /// [`Error::Conflict`] when one is not as it was read, [`Error::Unavailable`].
    pub async fn save_integrations(&self, rows: &[Integration]) -> Result<Vec<Integration>, Error> {
        let saved = rows.iter().map(|row| Integration { version: row.version + 1, ..row.clone() });
        let saved: Vec<Integration> = saved.collect();
        let mut items = Vec::with_capacity(rows.len());
        for (row, read) in saved.iter().zip(rows) {
            let key = keys::integration(row.tenant_id, row.provider);
            items.push(self.versioned_put(&key, encode("integration", row)?, Some(read.version))?);
        }
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(saved),
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }

    /// Writes a consent's result in one transaction; nothing is written when the tenant changed meanwhile.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row is not as it was read, [`Error::Unavailable`].
    pub async fn save_consent<T: Serialize>(&self, consent: ConsentResult<'_, T>) -> Result<(), Error> {
        let ConsentResult { tenant, changed_tenant, integrations, jti, outcome } = consent;
        let mut items = vec![match changed_tenant {
            Some(changed) => {
                let saved = Tenant { version: tenant.version + 1, ..changed };
                self.versioned_put(&keys::tenant(tenant.tenant_id), encode("tenant", &saved)?, Some(tenant.version))?
            }
            None => self.version_check(tenant.tenant_id, tenant.version)?,
        }];
        for (row, read_version) in integrations {
            let saved = Integration { version: read_version.map_or(1, |version| version + 1), ..row };
            let key = keys::integration(saved.tenant_id, saved.provider);
            items.push(self.versioned_put(&key, encode("integration", &saved)?, read_version)?);
        }
        items.push(self.nonce_update(jti, &outcome)?);
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(()),
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }
}
