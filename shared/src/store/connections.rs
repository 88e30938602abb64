//! A consent's result: the connections it made and the outcome of its nonce, all or nothing.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ConditionCheck, Put, ReturnConsumedCapacity, TransactWriteItem, Update};
use serde::Serialize;

use super::{Error, Item, Store, encode, keys, number, unavailable};
use crate::domain::integration::Integration;
use crate::domain::tenant::Tenant;

/// Why DynamoDB cancels a transaction when an item is not as it was read, or is held by another transaction.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const CONFLICTS: [&str; 2] = ["ConditionalCheckFailed", "TransactionConflict"];

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
                self.transacted_put(&keys::tenant(tenant.tenant_id), encode("tenant", &saved)?, Some(tenant.version))?
            }
            None => self.unchanged(tenant)?,
        }];
        for (row, read_version) in integrations {
            let saved = Integration { version: read_version.map_or(1, |version| version + 1), ..row };
            let key = keys::integration(saved.tenant_id, saved.provider);
            items.push(self.transacted_put(&key, encode("integration", &saved)?, read_version)?);
        }
        items.push(self.ended(jti, &outcome)?);
        let request = self.client.transact_write_items().set_transact_items(Some(items));
        let Err(error) = request.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await else {
            return Ok(());
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                let reasons = canceled.cancellation_reasons();
                let conflict = reasons.iter().filter_map(|reason| reason.code()).any(|code| CONFLICTS.contains(&code));
                Err(if conflict { Error::Conflict } else { unavailable(&error) })
            }
            Some(_) | None => Err(unavailable(&error)),
        }
    }

    fn unchanged(&self, tenant: &Tenant) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(keys::tenant(tenant.tenant_id).attributes()))
            .condition_expression("version = :read")
            .expression_attribute_values(":read", number(tenant.version));
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build())
    }

    fn transacted_put(
        &self,
        key: &keys::Key,
        mut item: Item,
        read_version: Option<u64>,
    ) -> Result<TransactWriteItem, Error> {
        item.extend(key.attributes());
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match read_version {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => {
                put.condition_expression("version = :read").expression_attribute_values(":read", number(version))
            }
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    fn ended<T: Serialize>(&self, jti: &str, outcome: &T) -> Result<TransactWriteItem, Error> {
        let outcome = serde_dynamo::to_attribute_value(outcome)
            .map_err(|error| Error::Corrupt { what: "nonce", reason: error.to_string() })?;
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(keys::nonce(jti).attributes()))
            .update_expression("SET outcome = :outcome")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":outcome", outcome);
        Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
    }
}

fn incomplete(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::Corrupt { what: "transaction", reason: error.to_string() }
}
