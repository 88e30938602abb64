//! The nonces of links and states: each works once.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Store, UpdateOutcome, decode, keys, number, text};
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

#[derive(Deserialize)]
struct Row<T> {
    /// The request that spent it: a request that is repeated because its response was lost recognises itself. Absent
    /// while a sign-in waits for its confirmation.
    #[serde(default)]
    spent_by: Option<Uuid>,
    #[serde(default)]
    spent_at: Timestamp,
    #[serde(default = "Option::default")]
    outcome: Option<T>,
}

impl<T> Row<T> {
    fn into_state(self) -> NonceState<T> {
        match self.spent_by {
            Some(_) => NonceState::Spent { at: self.spent_at, outcome: self.outcome },
            None => NonceState::Fresh,
        }
    }
}

impl Store {
    /// Spends the nonce `jti`, once; its row is kept for `retention`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; whether it was spent is then unknown.
    pub async fn spend_nonce<T>(&self, jti: &str, now: Timestamp, retention: Duration) -> Result<NonceState<T>, Error>
    where
        T: DeserializeOwned,
    {
        let spent_by = Uuid::new_v4();
        let request = self
            .nonce_request(jti)
            .update_expression("SET spent_by = :by, spent_at = :now, #ttl = :ttl")
            .condition_expression("attribute_not_exists(spent_by)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":by", text(spent_by))
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":ttl", number((now + retention).seconds()));
        match self.try_update(request).await? {
            UpdateOutcome::Applied(_) => Ok(NonceState::Fresh),
            UpdateOutcome::ConditionFailed(Some(item)) => {
                let row: Row<T> = decode("nonce", item)?;
                Ok(if row.spent_by == Some(spent_by) { NonceState::Fresh } else { row.into_state() })
            }
            UpdateOutcome::ConditionFailed(None) => Ok(NonceState::Spent { at: Timestamp::default(), outcome: None }),
        }
    }

    /// Reads whether a nonce was spent, and how that ended; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn nonce_state<T: DeserializeOwned>(&self, jti: &str) -> Result<NonceState<T>, Error> {
        let row: Option<Row<T>> = self.read("nonce", &keys::nonce(jti)).await?;
        Ok(row.map_or(NonceState::Fresh, Row::into_state))
    }

    /// Whether the nonce `jti` was spent; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn is_nonce_spent(&self, jti: &str) -> Result<bool, Error> {
        Ok(matches!(self.nonce_state::<IgnoredAny>(jti).await?, NonceState::Spent { .. }))
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
        let request = self
            .nonce_request(jti)
            .update_expression("SET outcome = :outcome")
            .condition_expression("attribute_exists(spent_by) AND attribute_not_exists(outcome)")
            .expression_attribute_values(":outcome", outcome);
        match self.try_update(request).await? {
            UpdateOutcome::Applied(_) => Ok(None),
            UpdateOutcome::ConditionFailed(Some(item)) => {
                let known = decode::<Row<T>>("nonce", item)?.outcome;
                known.map(Some).ok_or(Error::Conflict)
            }
            UpdateOutcome::ConditionFailed(None) => Err(Error::Conflict),
        }
    }

    fn nonce_request(&self, jti: &str) -> UpdateItemInputBuilder {
        UpdateItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(keys::nonce(jti).attributes()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}
