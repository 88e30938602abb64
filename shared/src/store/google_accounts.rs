//! The connections of a Google account, whoever's they are.
//!
//! Google knows one grant for an account and our client, whichever tenants connected it, and revoking it ends all of
//! them. So each connection leaves an item under a hash of the account, before its tokens are kept. An item only says
//! where to look: whether the connection uses the account now is said by its row.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::keys::{self, PARTITION};
use super::{Error, Store, text, unavailable};
use crate::domain::ids::TenantId;
use crate::domain::integration::{Provider, Status, SubjectHash};

impl Store {
    /// Whether any Active connection uses the Google account.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn is_account_in_use(&self, account: &SubjectHash) -> Result<bool, Error> {
        let mut start = None;
        loop {
            let request = QueryInput::builder()
                .table_name(&self.table)
                .key_condition_expression("#pk = :account")
                .expression_attribute_names("#pk", PARTITION)
                .expression_attribute_values(":account", text(keys::google_account(account)))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let page = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
            for (tenant, provider) in page.items().iter().filter_map(keys::parse_account_connection) {
                let row = self.load_integration(tenant, provider).await?;
                if row.is_some_and(|row| row.status == Status::Active && row.subject.as_ref() == Some(account)) {
                    return Ok(true);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(false);
            }
        }
    }

    /// Notes that a connection is about to use the account; repeated without harm.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn note_account_connection(
        &self,
        account: &SubjectHash,
        tenant: TenantId,
        provider: Provider,
    ) -> Result<(), Error> {
        let key = keys::account_connection(account, tenant, provider);
        let request = PutItemInput::builder()
            .table_name(&self.table)
            .set_item(Some(key.attributes()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        self.write(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// Deletes the item of a connection that no longer uses the account.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn forget_account_connection(
        &self,
        account: &SubjectHash,
        tenant: TenantId,
        provider: Provider,
    ) -> Result<(), Error> {
        let key = keys::account_connection(account, tenant, provider);
        let request = DeleteItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        self.write(request.build()).await.map_err(|error| unavailable(&error))?;
        Ok(())
    }
}
