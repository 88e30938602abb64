//! The tenant's row, alone and together with its integrations.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::{Error, Store, decode, encode, keys, text, unavailable};
use crate::domain::ids::TenantId;
use crate::domain::integration::Integration;
use crate::domain::tenant::Tenant;

impl Store {
    /// The tenant's row; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, Error> {
        self.read("tenant", &keys::tenant(id)).await
    }

    /// The tenant's row and its integrations; one query, whatever else the tenant has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn runtime_view(&self, id: TenantId) -> Result<Option<(Tenant, Vec<Integration>)>, Error> {
        let request = self.client.query().table_name(&self.table).consistent_read(true);
        let request = request
            .key_condition_expression("pk = :tenant AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":tenant", text(keys::tenant_partition(id)))
            .expression_attribute_values(":first", text(keys::RUNTIME_VIEW.0))
            .expression_attribute_values(":last", text(keys::RUNTIME_VIEW.1))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = request.send().await.map_err(|error| unavailable(&error))?;
        let mut tenant = None;
        let mut integrations = Vec::new();
        for item in answer.items.unwrap_or_default() {
            let is_tenant = item.get(keys::SORT).and_then(|sort| sort.as_s().ok()).is_some_and(|sort| sort == "META");
            if is_tenant {
                tenant = Some(decode("tenant", item)?);
            } else {
                integrations.push(decode("integration", item)?);
            }
        }
        Ok(tenant.map(|tenant| (tenant, integrations)))
    }

    /// Writes the tenant's row, which must still be as it was read (`None`: must not exist yet); returns it with its
    /// new version.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it changed meanwhile, [`Error::Unavailable`].
    pub async fn save_tenant(&self, tenant: &Tenant, read_version: Option<u64>) -> Result<Tenant, Error> {
        let saved = Tenant { version: read_version.map_or(1, |version| version + 1), ..tenant.clone() };
        self.replace(&keys::tenant(saved.tenant_id), encode("tenant", &saved)?, read_version).await?;
        Ok(saved)
    }
}
