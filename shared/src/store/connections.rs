//! A consent's result: the connections it made and the outcome of its nonce, all or nothing.

use serde::Serialize;

use super::transaction::Transacted;
use super::{Error, Store, encode, keys};
use crate::domain::integration::Integration;
use crate::domain::tenant::Tenant;

/// What a consent leads to.
#[derive(Debug)]
pub struct Connections<'a, T> {
    /// The tenant as it was read.
    pub tenant: &'a Tenant,
    /// The tenant as it shall be, when something of it changes.
    pub changed_tenant: Option<Tenant>,
    /// The connections, each with the version it was read with (`None`: there was none).
    pub integrations: Vec<(Integration, Option<u64>)>,
    /// The nonce that was spent for them.
    pub jti: &'a str,
    /// How it ended.
    pub outcome: T,
}

impl Store {
    /// Writes a consent's result in one transaction; a tenant that changed meanwhile is not connected.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row is not as it was read, [`Error::Unavailable`].
    pub async fn save_connections<T: Serialize>(&self, connections: Connections<'_, T>) -> Result<(), Error> {
        let Connections { tenant, changed_tenant, integrations, jti, outcome } = connections;
        let mut items = vec![match changed_tenant {
            Some(changed) => {
                let saved = Tenant { version: tenant.version + 1, ..changed };
                self.replacing(&keys::tenant(tenant.tenant_id), encode("tenant", &saved)?, Some(tenant.version))?
            }
            None => self.unchanged(tenant.tenant_id, tenant.version)?,
        }];
        for (row, read_version) in integrations {
            let saved = Integration { version: read_version.map_or(1, |version| version + 1), ..row };
            let key = keys::integration(saved.tenant_id, saved.provider);
            items.push(self.replacing(&key, encode("integration", &saved)?, read_version)?);
        }
        items.push(self.ended(jti, &outcome)?);
        match self.transact(items).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(Error::Conflict),
        }
    }
}
