//! What the reconciler writes: a tenant's row together with the step that led to it, its route and its slot in a shard,
//! all or nothing.

use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::{Delete, ReturnConsumedCapacity, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};

use super::transaction::{TransactionOutcome, map_build_error};
use super::{Error, Item, Store, decode, encode, keys, number, text, unavailable};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::plan::StepName;
use crate::domain::route::RouteStatus;
use crate::domain::tenant::{Tenant, TenantRecord};

/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>
const MOST_IN_TRANSACTION: i32 = 100;
/// How long a step is kept.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// What the reconciler did, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// When it ended.
    pub at: Timestamp,
    /// The step's name.
    pub step: StepName,
    /// A stable code: `done`, or why it did not end; never a vendor's text.
    pub outcome: String,
    /// What it found, in our words, where that is not plain from the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What happens to the chat's route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// It becomes this; what messages have written there stays.
    Set {
        /// Whether messages are delivered.
        status: RouteStatus,
        /// Where to; `None` leaves the address that is known.
        runtime_url: Option<String>,
        /// Since when, when it becomes active.
        activated_at: Option<Timestamp>,
    },
    /// There is no route any more.
    Remove,
}

/// What happens to the count of tenants in an Azure subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardSlot<'a> {
    /// One more, unless there are `limit`.
    Reserve {
        /// The Azure subscription's id.
        azure_subscription: &'a str,
        /// How many tenants it takes.
        limit: u32,
    },
    /// One less.
    Release {
        /// The Azure subscription's id.
        azure_subscription: &'a str,
    },
}

/// A tenant's row as it shall be, and what is written with it.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The row, or the receipt in its place; its `version` is the one it was read with.
    pub record: TenantRecord,
    /// The step that led to it; `None` where it is not worth a record.
    pub step: Option<StepRecord>,
    /// What happens to its route.
    pub route: Option<RouteChange>,
    /// What happens to a shard's count.
    pub shard_slot: Option<ShardSlot<'a>>,
}

/// How writing it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    /// It is written; the record has its new version.
    Saved(TenantRecord),
    /// The Azure subscription is full, and nothing was written.
    ShardFull,
}

#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    step: &'a StepRecord,
    ttl: i64,
}

impl Store {
    /// Writes a step's result.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is not as it was read, [`Error::Unavailable`].
    pub async fn save_progress(&self, progress: Progress<'_>) -> Result<SaveOutcome, Error> {
        let Progress { record, step, route, shard_slot } = progress;
        if let (TenantRecord::Live(tenant), None, None, None) = (&record, &step, &route, &shard_slot) {
            // Nothing is written with it: a transaction would cost twice as much.
            let saved = self.save_tenant(tenant, Some(tenant.version)).await?;
            return Ok(SaveOutcome::Saved(TenantRecord::Live(Box::new(saved))));
        }
        let (saved, row) = self.replace_record(record)?;
        let mut items = vec![row];
        let slot_position = shard_slot.map(|_| items.len());
        items.extend(shard_slot.map(|slot| self.count_tenants(slot)).transpose()?);
        items.extend(step.map(|step| self.put_step(saved.tenant_id(), &step, saved.version())).transpose()?);
        if let (TenantRecord::Live(tenant), Some(route)) = (&saved, route) {
            items.push(self.change_route(tenant, route)?);
        }
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(SaveOutcome::Saved(saved)),
            TransactionOutcome::Rejected(failed) if slot_position.is_some_and(|slot| failed == [slot]) => {
                Ok(SaveOutcome::ShardFull)
            }
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }

    /// The record with its next version, and the item that replaces the row as it was read.
    fn replace_record(&self, record: TenantRecord) -> Result<(TenantRecord, TransactWriteItem), Error> {
        let read_version = record.version();
        let saved = record.with_version(read_version + 1);
        let item = match &saved {
            TenantRecord::Live(tenant) => encode("tenant", tenant)?,
            TenantRecord::Deleted(tombstone) => encode("tombstone", tombstone)?,
        };
        let row = self.versioned_put(&keys::tenant(saved.tenant_id()), item, Some(read_version))?;
        Ok((saved, row))
    }

    /// Removes what is known of a tenant's steps, as long as its row has this `version`: a new life has its own.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row changed, [`Error::Unavailable`].
    pub async fn remove_steps(&self, tenant: TenantId, version: u64) -> Result<(), Error> {
        loop {
            let request = QueryInput::builder().table_name(&self.table).limit(MOST_IN_TRANSACTION - 1);
            let request = request
                .key_condition_expression("pk = :tenant AND begins_with(sk, :step)")
                .projection_expression("pk, sk")
                .expression_attribute_values(":tenant", text(keys::tenant_partition(tenant)))
                .expression_attribute_values(":step", text(keys::STEPS))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
            let found = answer.items.unwrap_or_default();
            if found.is_empty() {
                return Ok(());
            }
            self.delete_fenced(tenant, version, found).await?;
        }
    }

    /// The last steps of a tenant, the newest first, those past their time to live left out; one query.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn last_steps(&self, tenant: TenantId, most: i32, now: Timestamp) -> Result<Vec<StepRecord>, Error> {
        let request = QueryInput::builder().table_name(&self.table).scan_index_forward(false).limit(most);
        let request = request
            .key_condition_expression("pk = :tenant AND begins_with(sk, :step)")
            .filter_expression("#ttl > :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":tenant", text(keys::tenant_partition(tenant)))
            .expression_attribute_values(":step", text(keys::STEPS))
            .expression_attribute_values(":now", number(now.seconds()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        answer.items.unwrap_or_default().into_iter().map(|item| decode("step", item)).collect()
    }

    /// How many tenants an Azure subscription holds; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn tenants_in(&self, azure_subscription: &str) -> Result<u32, Error> {
        #[derive(Deserialize)]
        struct Count {
            tenants: u32,
        }
        let count: Option<Count> = self.read("shard", &keys::shard(azure_subscription)).await?;
        Ok(count.map_or(0, |count| count.tenants))
    }

    /// Removes a tenant's connections and its runtime's limits, as long as its row has this `version`: a new life has
    /// its own. Done as well when there are none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row changed, [`Error::Unavailable`].
    pub async fn remove_rows(&self, tenant: TenantId, version: u64) -> Result<(), Error> {
        let connections = crate::domain::integration::Provider::ALL.map(|provider| keys::integration(tenant, provider));
        let rows = connections.into_iter().chain([keys::runtime_limits(tenant)]).map(|key| key.attributes());
        self.delete_fenced(tenant, version, rows.collect()).await
    }

    async fn delete_fenced(&self, tenant: TenantId, version: u64, rows: Vec<Item>) -> Result<(), Error> {
        let deletes = rows.into_iter().map(|key| self.delete_item(key));
        let items = std::iter::once(self.version_check(tenant, version)).chain(deletes).collect::<Result<_, _>>()?;
        match self.transact(items).await? {
            TransactionOutcome::Committed => Ok(()),
            TransactionOutcome::Rejected(_) => Err(Error::Conflict),
        }
    }

    fn put_step(&self, tenant: TenantId, step: &StepRecord, version: u64) -> Result<TransactWriteItem, Error> {
        let stored = Stored { step, ttl: (step.at + KEPT).seconds() };
        self.plain_put(&keys::step(tenant, step.at, version), encode("step", &stored)?)
    }

    fn count_tenants(&self, slot: ShardSlot<'_>) -> Result<TransactWriteItem, Error> {
        let update = Update::builder().table_name(&self.table).update_expression("ADD tenants :one");
        let update = match slot {
            ShardSlot::Reserve { azure_subscription, limit } => update
                .set_key(Some(keys::shard(azure_subscription).attributes()))
                .condition_expression("attribute_not_exists(tenants) OR tenants < :limit")
                .expression_attribute_values(":limit", number(limit))
                .expression_attribute_values(":one", number(1)),
            ShardSlot::Release { azure_subscription } => update
                .set_key(Some(keys::shard(azure_subscription).attributes()))
                .expression_attribute_values(":one", number(-1)),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(map_build_error)?).build())
    }

    fn delete_item(&self, key: Item) -> Result<TransactWriteItem, Error> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key)).build().map_err(map_build_error)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn change_route(&self, tenant: &Tenant, change: RouteChange) -> Result<TransactWriteItem, Error> {
        let key = keys::route(tenant.chat_id).attributes();
        let RouteChange::Set { status, runtime_url, activated_at } = change else { return self.delete_item(key) };
        let mut set =
            "SET chat_id = :chat, tenant_id = :tenant, #status = :status, generation = :generation".to_owned();
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":chat", number(tenant.chat_id))
            .expression_attribute_values(":tenant", text(tenant.tenant_id.to_string()))
            .expression_attribute_values(":status", text(status.as_str()))
            .expression_attribute_values(":generation", text(tenant.generation.to_string()));
        if let Some(url) = runtime_url {
            set.push_str(", runtime_url = :url");
            update = update.expression_attribute_values(":url", text(url));
        }
        if let Some(at) = activated_at {
            set.push_str(", activated_at = :activated");
            update = update.expression_attribute_values(":activated", number(at.millis()));
        }
        match tenant.other_generation {
            Some(other) => {
                set.push_str(", other_generation = :other");
                update = update.expression_attribute_values(":other", text(other.to_string()));
            }
            None => set.push_str(" REMOVE other_generation"),
        }
        let update = update.update_expression(set).build().map_err(map_build_error)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
