//! The nonces of links and states: each works once.

use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemInput};
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Store, decode, encode, keys, unavailable};
use crate::clock::Timestamp;

/// Whether a nonce was spent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NonceState<T> {
    /// It was not: this request spent it.
    Fresh,
    /// An earlier request spent it.
    Spent {
        /// When it did.
        at: Timestamp,
        /// How that request ended, once that is recorded.
        outcome: Option<T>,
    },
}

#[derive(Serialize, Deserialize)]
struct Row<T> {
    /// The request that spent it: a request that is repeated because its response was lost recognises itself.
    spent_by: Uuid,
    #[serde(default)]
    spent_at: Timestamp,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    outcome: Option<T>,
    ttl: i64,
}

impl Store {
    /// Spends the nonce `jti`, once; its row is kept for `retention`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; whether it was spent is then unknown.
    pub async fn spend_nonce<T>(&self, jti: &str, now: Timestamp, retention: Duration) -> Result<NonceState<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let (key, spent_by) = (keys::nonce(jti), Uuid::new_v4());
        let ttl = (now + retention).seconds();
        let mut item = encode("nonce", &Row::<T> { spent_by, spent_at: now, outcome: None, ttl })?;
        item.extend(key.attributes());
        let request = PutItemInput::builder().table_name(&self.table).set_item(Some(item));
        let request = request
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let error = match self.write(request.build()).await {
            Ok(_) => return Ok(NonceState::Fresh),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(unavailable(&error));
        };
        let row = failed.item.clone().map(|item| decode::<Row<T>>("nonce", item)).transpose()?;
        Ok(match row {
            Some(row) if row.spent_by == spent_by => NonceState::Fresh,
            Some(Row { spent_at, outcome, .. }) => NonceState::Spent { at: spent_at, outcome },
            None => NonceState::Spent { at: Timestamp::default(), outcome: None },
        })
    }

    /// Reads the outcome of a nonce, once one is recorded.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn nonce_outcome<T: DeserializeOwned>(&self, jti: &str) -> Result<Option<T>, Error> {
        let row: Option<Row<T>> = self.read("nonce", &keys::nonce(jti)).await?;
        Ok(row.and_then(|row| row.outcome))
    }

    /// Records the outcome of a spent nonce. An outcome that was recorded before stays, and is returned.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it was never spent, [`Error::Unavailable`].
    pub async fn record_nonce_outcome<T>(&self, jti: &str, outcome: &T) -> Result<Option<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let outcome = serde_dynamo::to_attribute_value(outcome)
            .map_err(|error| Error::Corrupt { what: "nonce", reason: error.to_string() })?;
        let request = UpdateItemInput::builder().table_name(&self.table).set_key(Some(keys::nonce(jti).attributes()));
        let request = request
            .update_expression("SET outcome = :outcome")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(outcome)")
            .expression_attribute_values(":outcome", outcome)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let error = match self.write(request.build()).await {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(unavailable(&error));
        };
        let item = failed.item.clone().ok_or(Error::Conflict)?;
        Ok(decode::<Row<T>>("nonce", item)?.outcome)
    }
}
