//! The one DynamoDB table; the only module that names `aws_sdk_dynamodb`.
//!
//! Writes are compare-and-set: on `version` where a row is replaced, on the changed attributes where a part of it
//! changes. Every call asks for the capacity it consumed, because tests hold the cost of each request.

mod billing;
mod due;
mod google_accounts;
mod integrations;
mod inventories;
mod keys;
mod listing;
mod nonces;
mod progress;
mod rollout;
mod routes;
mod runtime_limits;
mod sign_ins;
mod strangers;
mod tenants;
mod transaction;

pub use billing::{BillingOutcome, BillingUpdate, EventOutcome};
pub use due::{Cursor, DuePage, DueRow};
pub use integrations::ConsentResult;
pub use nonces::NonceState;
pub use progress::{Progress, RouteChange, SaveOutcome, ShardSlot, StepRecord};
pub use routes::{Admission, TROUBLE_WINDOW};
pub use runtime_limits::{ArrivalTimes, RateLane};
pub use sign_ins::SignInStart;
pub use strangers::StrangerReply;
pub use tenants::TenantView;

use std::collections::HashMap;
use std::fmt::Debug;

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItem, DeleteItemError, DeleteItemInput, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItem, GetItemError, GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItem, PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{Query, QueryError, QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItems, TransactWriteItemsError, TransactWriteItemsInput, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItem, UpdateItemError, UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::{Request, Service};
use crate::config::{ConfigError, Env};
use keys::Key;

crate::aws::impl_requests! {
    DeleteItemInput: DeleteItem => DeleteItemOutput, DeleteItemError;
    GetItemInput: GetItem => GetItemOutput, GetItemError;
    PutItemInput: PutItem => PutItemOutput, PutItemError;
    QueryInput: Query => QueryOutput, QueryError;
    TransactWriteItemsInput: TransactWriteItems => TransactWriteItemsOutput, TransactWriteItemsError;
    UpdateItemInput: UpdateItem => UpdateItemOutput, UpdateItemError;
}

/// An item as the SDK hands it over.
type Item = HashMap<String, AttributeValue>;

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
/// A transaction holds the item: not an outage, and over in milliseconds.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>
const ITEM_HELD: &str = "TransactionConflictException";

/// How a conditional update ended: with the item as it is now, or as it was when the condition failed.
enum UpdateOutcome {
    Applied(Option<Item>),
    ConditionFailed(Option<Item>),
}

/// Why the table could not serve; each variant says what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table did not answer, or throttled: answer 503, or let the queue redeliver. Whether a write took effect is
    /// unknown.
    #[error("the table is unavailable ({reason})")]
    Unavailable {
        /// DynamoDB's error code, or the stage that failed.
        reason: String,
    },
    /// The item changed since it was read: read it again and decide again.
    #[error("the item changed meanwhile")]
    Conflict,
    /// An item does not have the form that this code writes: an operator has to look.
    #[error("the {what} item is not of a readable form ({reason})")]
    Corrupt {
        /// The kind of item, such as `tenant`.
        what: &'static str,
        /// What is wrong with it, without its values.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anything else changing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Conflict => true,
            Self::Corrupt { .. } => false,
        }
    }
}

/// The table and the client that reaches it.
#[derive(Clone, Debug)]
pub struct Store {
    service: Service,
    table: String,
}

impl Store {
    /// The table named by `TABLE_NAME`.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let table = env.required("TABLE_NAME", "the name of the DynamoDB table")?.to_owned();
        Ok(Self { service: Service::from_env(env, "dynamodb")?, table })
    }

    /// Reads one item; the read is consistent.
    async fn read<T: DeserializeOwned>(&self, what: &'static str, key: &Key) -> Result<Option<T>, Error> {
        self.read_item(key).await?.map(|item| decode(what, item)).transpose()
    }

    async fn read_item(&self, key: &Key) -> Result<Option<Item>, Error> {
        let request = GetItemInput::builder().table_name(&self.table).set_key(Some(key.attributes()));
        let request = request.consistent_read(true).return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(answer.item)
    }

    /// Replaces one item, which must still have the version it was read with (`None`: must not exist yet).
    async fn replace(&self, key: &Key, item: Item, read_version: Option<u64>) -> Result<(), Error> {
        let mut item = item;
        item.extend(key.attributes());
        let request = PutItemInput::builder().table_name(&self.table).set_item(Some(item));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let request = match read_version {
            None => request.condition_expression("attribute_not_exists(pk)"),
            Some(version) => {
                request.condition_expression("version = :read").expression_attribute_values(":read", number(version))
            }
        };
        match self.write(request.build()).await {
            Ok(_) => Ok(()),
            Err(error) if [Some(CONDITION_FAILED), Some(ITEM_HELD)].contains(&error.code()) => Err(Error::Conflict),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Sends a write of one item, and once more when a transaction held the item.
    async fn write<R: Request + Clone>(
        &self,
        request: Result<R, BuildError>,
    ) -> Result<R::Output, SdkError<R::Error, HttpResponse>>
    where
        R::Error: ProvideErrorMetadata,
    {
        let request = request.map_err(SdkError::construction_failure)?;
        match self.service.send(Ok(request.clone())).await {
            Err(error) if error.code() == Some(ITEM_HELD) => self.service.send(Ok(request)).await,
            answer => answer,
        }
    }

    /// Sends a conditional update that returns the old item when its condition fails.
    async fn try_update(&self, request: UpdateItemInputBuilder) -> Result<UpdateOutcome, Error> {
        let error = match self.write(request.build()).await {
            Ok(done) => return Ok(UpdateOutcome::Applied(done.attributes)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(UpdateOutcome::ConditionFailed(failed.item.clone()))
            }
            Some(_) | None => Err(unavailable(&error)),
        }
    }
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Error {
    Error::Unavailable { reason: crate::aws::error_code(error) }
}

fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Item, Error> {
    serde_dynamo::to_item(value).map_err(|error| Error::Corrupt { what, reason: error.to_string() })
}

/// Reads an item; the reason of a failure names fields, never values.
fn decode<T: DeserializeOwned>(what: &'static str, item: Item) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::Corrupt { what, reason: error.to_string() })
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}
