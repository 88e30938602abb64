//! Sign-ins that wait for their confirmation in Telegram.

use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::transaction::{TransactionOutcome, map_build_error};
use super::{Error, Store, UpdateOutcome, encode, keys, number};
use crate::clock::Timestamp;
use crate::domain::sign_in::{NONCE_RETENTION, SignIn, SignInId};

/// Whether a sign-in could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInStart {
    /// It waits from now on.
    Fresh,
    /// Another request of the same browser began it, or is at it.
    Known,
    /// Its link is spent: by a sign-in that was completed or refused, or by the end of an earlier one.
    LinkSpent,
}

impl Store {
    /// Loads a sign-in; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn load_sign_in(&self, id: &SignInId) -> Result<Option<SignIn>, Error> {
        self.read("sign-in", &keys::sign_in(id)).await
    }

    /// Writes a new sign-in, unless its link is spent; one transaction. The end of a link's first sign-in is noted on
    /// the link's nonce, and from then on the link counts as spent.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn begin_sign_in(&self, id: &SignInId, sign_in: &SignIn, now: Timestamp) -> Result<SignInStart, Error> {
        let nonce = Update::builder()
            .table_name(&self.table)
            .set_key(Some(keys::nonce(&sign_in.jti).attributes()))
            .update_expression("SET ends_at = if_not_exists(ends_at, :end), #ttl = if_not_exists(#ttl, :ttl)")
            .condition_expression(
                "attribute_not_exists(spent_by) AND (attribute_not_exists(ends_at) OR ends_at > :now)",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":end", number(sign_in.ends_at.millis()))
            .expression_attribute_values(":ttl", number((now + NONCE_RETENTION).seconds()))
            .expression_attribute_values(":now", number(now.millis()));
        let nonce = TransactWriteItem::builder().update(nonce.build().map_err(map_build_error)?).build();
        let put = self.versioned_put(&keys::sign_in(id), encode("sign-in", sign_in)?, None)?;
        Ok(match self.transact(vec![put, nonce]).await? {
            TransactionOutcome::Committed => SignInStart::Fresh,
            TransactionOutcome::Rejected(failed) if failed == [1] => SignInStart::LinkSpent,
            TransactionOutcome::Rejected(_) => SignInStart::Known,
        })
    }

    /// Records that the link's chat confirmed a sign-in; `false` when it was confirmed or refused before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn confirm_sign_in(&self, id: &SignInId, now: Timestamp) -> Result<bool, Error> {
        let request = self
            .sign_in_request(id)
            .update_expression("SET confirmed_at = :now")
            .condition_expression(
                "attribute_exists(pk) AND attribute_not_exists(confirmed_at) AND attribute_not_exists(refused_by) \
                 AND ends_at > :now",
            )
            .expression_attribute_values(":now", number(now.millis()));
        Ok(matches!(self.try_update(request).await?, UpdateOutcome::Applied(_)))
    }

    /// Records that another chat sent the start token in `update`; the first one stays.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn refuse_sign_in(&self, id: &SignInId, update: i64) -> Result<(), Error> {
        let request = self
            .sign_in_request(id)
            .update_expression("SET refused_by = :update")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(refused_by)")
            .expression_attribute_values(":update", number(update));
        self.try_update(request).await.map(|_| ())
    }

    fn sign_in_request(&self, id: &SignInId) -> UpdateItemInputBuilder {
        UpdateItemInput::builder()
            .table_name(&self.table)
            .set_key(Some(keys::sign_in(id).attributes()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}
