//! The tenant's row, alone and together with its integrations.

use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::{ArrivalTimes, Error, Item, Store, decode, encode, keys, text, unavailable};
use crate::domain::ids::TenantId;
use crate::domain::integration::Integration;
use crate::domain::tenant::{Tenant, TenantRecord, Tombstone};

/// The attribute that a tombstone has and a tenant has not.
const DELETED: &str = "deleted_at";

/// What a request on a tenant's behalf needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantView {
    /// The tenant's row.
    pub tenant: Tenant,
    /// Its integrations, at most one a service.
    pub integrations: Vec<Integration>,
    /// How much of its runtime's limits is used.
    pub limits: ArrivalTimes,
}

impl Store {
    /// The tenant's row; one read. A removed tenant is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, Error> {
        Ok(match self.tenant_record(id).await? {
            Some(TenantRecord::Live(tenant)) => Some(*tenant),
            Some(TenantRecord::Deleted(_)) | None => None,
        })
    }

    /// The tenant's row, or what is left of it; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenant_record(&self, id: TenantId) -> Result<Option<TenantRecord>, Error> {
        self.read_item(&keys::tenant(id)).await?.map(record).transpose()
    }

    /// Writes what is left of a tenant over what was read; returns it with its new version.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it changed meanwhile, [`Error::Unavailable`].
    pub async fn save_tombstone(&self, tombstone: &Tombstone, read_version: u64) -> Result<Tombstone, Error> {
        let saved = Tombstone { version: read_version + 1, ..tombstone.clone() }.scheduled();
        self.replace(&keys::tenant(saved.tenant_id), encode("tombstone", &saved)?, Some(read_version)).await?;
        Ok(saved)
    }

    /// The tenant's row, its integrations and its runtime's limits; one query, whatever else the tenant has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenant_view(&self, id: TenantId) -> Result<Option<TenantView>, Error> {
        let request = QueryInput::builder().table_name(&self.table).consistent_read(true);
        let request = request
            .key_condition_expression("pk = :tenant AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":tenant", text(keys::tenant_partition(id)))
            .expression_attribute_values(":first", text(keys::RUNTIME_VIEW.0))
            .expression_attribute_values(":last", text(keys::RUNTIME_VIEW.1))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        let mut tenant = None;
        let mut integrations = Vec::new();
        let mut limits = ArrivalTimes::default();
        for item in answer.items.unwrap_or_default() {
            match item.get(keys::SORT).and_then(|sort| sort.as_s().ok()).map(String::as_str) {
                Some(keys::META) => {
                    tenant = match record(item)? {
                        TenantRecord::Live(live) => Some(*live),
                        TenantRecord::Deleted(_) => None,
                    };
                }
                Some(keys::LIMITS) => limits = decode("runtime limits", item)?,
                _ => integrations.push(decode("integration", item)?),
            }
        }
        Ok(tenant.map(|tenant| TenantView { tenant, integrations, limits }))
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

pub(super) fn record(item: Item) -> Result<TenantRecord, Error> {
    if item.contains_key(DELETED) {
        return Ok(TenantRecord::Deleted(Box::new(decode("tombstone", item)?)));
    }
    Ok(TenantRecord::Live(Box::new(decode("tenant", item)?)))
}
