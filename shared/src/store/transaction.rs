//! Several items in one all-or-nothing write.

use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsInput};
use aws_sdk_dynamodb::types::{ConditionCheck, Put, ReturnConsumedCapacity, TransactWriteItem, Update};
use serde::Serialize;

use super::keys::{self, Key};
use super::{Error, Item, Store, number, unavailable};
use crate::domain::ids::TenantId;

/// Why DynamoDB cancels a transaction because an item is not as it was read, or because it is held by another one.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const CONDITION_FAILED: &str = "ConditionalCheckFailed";
const HELD: &str = "TransactionConflict";

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Transacted {
    /// Everything was written.
    Done,
    /// Nothing was: the positions of the items whose condition failed; none when another transaction was in the way.
    Refused(Vec<usize>),
}

impl Store {
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Transacted, Error> {
        let request = TransactWriteItemsInput::builder().set_transact_items(Some(items));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let Err(error) = self.service.send(request.build()).await else { return Ok(Transacted::Done) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return Err(unavailable(&error));
        };
        let codes = canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default());
        let codes: Vec<_> = codes.collect();
        if !codes.iter().any(|code| [CONDITION_FAILED, HELD].contains(code)) {
            return Err(unavailable(&error));
        }
        let failed = codes.iter().enumerate().filter(|(_, code)| **code == CONDITION_FAILED);
        Ok(Transacted::Refused(failed.map(|(position, _)| position).collect()))
    }

    /// That a tenant's row still has the version it was read with.
    pub(super) fn unchanged(&self, tenant: TenantId, version: u64) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(keys::tenant(tenant).attributes()))
            .condition_expression("version = :read")
            .expression_attribute_values(":read", number(version));
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build())
    }

    /// Replaces an item that must still have the version it was read with; `None` when it must not exist yet.
    pub(super) fn replacing(
        &self,
        key: &Key,
        item: Item,
        read_version: Option<u64>,
    ) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(keyed(key, item)));
        let put = match read_version {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => {
                put.condition_expression("version = :read").expression_attribute_values(":read", number(version))
            }
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Writes an item, whatever was there before.
    pub(super) fn putting(&self, key: &Key, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(keyed(key, item)));
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Records how a spent nonce ended.
    pub(super) fn ended<T: Serialize>(&self, jti: &str, outcome: &T) -> Result<TransactWriteItem, Error> {
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

fn keyed(key: &Key, mut item: Item) -> Item {
    item.extend(key.attributes());
    item
}

pub(super) fn incomplete(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::Corrupt { what: "transaction", reason: error.to_string() }
}
