//! The rows of a tenant's connections.

use super::transaction::Transacted;
use super::{Error, Store, encode, keys};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Integration, Provider};

impl Store {
    /// One connection of a tenant; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn integration(&self, tenant: TenantId, provider: Provider) -> Result<Option<Integration>, Error> {
        self.read("integration", &keys::integration(tenant, provider)).await
    }

    /// Writes a connection, which must still be as it was read (`None`: must not exist yet); returns it with its new
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

    /// Writes connections of one tenant, all or none; each must still be as it was read. Returns them with their new
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
            items.push(self.replacing(&key, encode("integration", row)?, Some(read.version))?);
        }
        match self.transact(items).await? {
            Transacted::Done => Ok(saved),
            Transacted::Refused(_) => Err(Error::Conflict),
        }
    }
}
