//! The rows of a tenant's connections.

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
}
