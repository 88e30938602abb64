//! All rows of a kind, for an operator: scans, whose cost grows with the table. No function uses them.

use aws_sdk_dynamodb::operation::scan::{Scan, ScanError, ScanInput, ScanOutput};
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::tenants::record;
use super::{Error, Item, Store, decode, keys, text, unavailable};
use crate::domain::integration::Integration;
use crate::domain::inventory::Inventory;
use crate::domain::tenant::TenantRecord;

crate::aws::impl_requests! {
    ScanInput: Scan => ScanOutput, ScanError;
}

impl Store {
    /// Lists every tenant, removed ones too; a scan.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn list_tenants(&self) -> Result<Vec<TenantRecord>, Error> {
        self.scan("sk = :kind", "META").await?.into_iter().map(record).collect()
    }

    /// Lists every tenant's integrations; a scan.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn list_integrations(&self) -> Result<Vec<Integration>, Error> {
        let items = self.scan("begins_with(sk, :kind)", "INTEGRATION#").await?;
        items.into_iter().map(|item| decode("integration", item)).collect()
    }

    /// Lists what the last inventories found; a scan.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn list_inventories(&self) -> Result<Vec<Inventory>, Error> {
        let items = self.scan("sk = :kind", keys::ORPHANS).await?;
        items.into_iter().map(|item| decode("inventory", item)).collect()
    }

    async fn scan(&self, filter: &str, kind: &str) -> Result<Vec<Item>, Error> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let request = ScanInput::builder().table_name(&self.table).set_exclusive_start_key(from);
            let request = request.filter_expression(filter).expression_attribute_values(":kind", text(kind));
            let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
            let page = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
            found.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }
}
