//! Writing several items, all or nothing.

use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsInput};
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, ReturnConsumedCapacity, TransactWriteItem, Update};
use serde::Serialize;

use super::keys::{self, Key};
use super::{Error, Item, Store, number, unavailable};
use crate::domain::ids::TenantId;

/// DynamoDB's codes for a transaction that it cancels: an item's condition failed, or another transaction held an item.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const CONDITION_FAILED: &str = "ConditionalCheckFailed";
const ITEM_HELD: &str = "TransactionConflict";

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum TransactionOutcome {
    /// All items were written.
    Committed,
    /// Nothing was written. Holds the positions of the items whose condition failed; none when another transaction held
    /// an item.
    Rejected(Vec<usize>),
}

impl Store {
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<TransactionOutcome, Error> {
        let request = TransactWriteItemsInput::builder().set_transact_items(Some(items));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let Err(error) = self.service.send(request.build()).await else { return Ok(TransactionOutcome::Committed) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return Err(unavailable(&error));
        };
        let codes = canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default());
        let codes: Vec<_> = codes.collect();
        if !codes.iter().any(|code| [CONDITION_FAILED, ITEM_HELD].contains(code)) {
            return Err(unavailable(&error));
        }
        let failed = codes.iter().enumerate().filter(|(_, code)| **code == CONDITION_FAILED);
        Ok(TransactionOutcome::Rejected(failed.map(|(position, _)| position).collect()))
    }

    /// A condition: the tenant's row still has the version it was read with.
    pub(super) fn version_check(&self, tenant: TenantId, version: u64) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(keys::tenant(tenant).attributes()))
            .condition_expression("version = :read")
            .expression_attribute_values(":read", number(version));
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(map_build_error)?).build())
    }

    /// A write of an item that must still have the version it was read with (`None`: must not exist yet).
    pub(super) fn versioned_put(
        &self,
        key: &Key,
        item: Item,
        read_version: Option<u64>,
    ) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(with_key(key, item)));
        let put = match read_version {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => {
                put.condition_expression("version = :read").expression_attribute_values(":read", number(version))
            }
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(map_build_error)?).build())
    }

    /// A write of an item, whatever it replaces.
    pub(super) fn plain_put(&self, key: &Key, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(with_key(key, item)));
        Ok(TransactWriteItem::builder().put(put.build().map_err(map_build_error)?).build())
    }

    /// A removal of an item, if there is one.
    pub(super) fn plain_delete(&self, key: &Key) -> Result<TransactWriteItem, Error> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key.attributes()));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(map_build_error)?).build())
    }

    /// A record of a spent nonce's outcome.
    pub(super) fn nonce_update<T: Serialize>(&self, jti: &str, outcome: &T) -> Result<TransactWriteItem, Error> {
        let outcome = serde_dynamo::to_attribute_value(outcome)
            .map_err(|error| Error::Corrupt { what: "nonce", reason: error.to_string() })?;
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(keys::nonce(jti).attributes()))
            .update_expression("SET outcome = :outcome")
            .condition_expression("attribute_exists(spent_by)")
            .expression_attribute_values(":outcome", outcome);
        Ok(TransactWriteItem::builder().update(update.build().map_err(map_build_error)?).build())
    }
}

fn with_key(key: &Key, mut item: Item) -> Item {
    item.extend(key.attributes());
    item
}

pub(super) fn map_build_error(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::Corrupt { what: "transaction", reason: error.to_string() }
}
