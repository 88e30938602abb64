//! What is due: the sparse index, one shard at a time.

use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::{Error, Item, Store, keys, number, text, unavailable};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::integration::Provider;
use crate::telemetry::metric;

const INDEX: &str = "due";

/// The most rows of a page: 16 read units of the index, and little memory.
const PAGE: i32 = 1000;

/// A row that is due, by its key: the index holds no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// Whose row it is.
    pub tenant_id: TenantId,
    /// The service, when the row is a connection's and not the tenant's own.
    pub provider: Option<Provider>,
    /// Since when it is due.
    pub due_at: Timestamp,
}

/// Some of what there is, and where the rest begins.
#[derive(Debug)]
pub struct Page<T> {
    /// In order.
    pub rows: Vec<T>,
    /// What to ask on with; `None` at the end.
    pub next: Option<Cursor>,
}

/// A place in a listing.
#[derive(Clone, Debug)]
pub struct Cursor(pub(super) Item);

impl Store {
    /// The rows of a shard that are due at `now` (see [`Kind::shards`](crate::domain::due::Kind::shards)), the longest
    /// overdue first, at most a thousand at a time. One query of the index, which costs what is due, not what exists.
    ///
    /// The index follows the rows within moments: a row has to be read before anything is done about it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn due(&self, shard: &str, now: Timestamp, after: Option<Cursor>) -> Result<Page<DueRow>, Error> {
        let request = QueryInput::builder().table_name(&self.table).index_name(INDEX).limit(PAGE);
        let request = request
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":now", number(now.millis()))
            .set_exclusive_start_key(after.map(|Cursor(key)| key))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        let rows = answer.items.unwrap_or_default().iter().filter_map(read).collect();
        Ok(Page { rows, next: answer.last_evaluated_key.map(Cursor) })
    }
}

/// A row that no worker can name is left for a person to look at; it must not hold up the others.
fn read(item: &Item) -> Option<DueRow> {
    let due_at = || item.get("due_at")?.as_n().ok()?.parse().ok().map(Timestamp::from_millis);
    let row = keys::read_tenants(item).zip(due_at());
    if row.is_none() {
        metric("RowsCorrupt", 1);
        tracing::error!(code = "corrupt", "the index names a row of no known kind");
    }
    row.map(|((tenant_id, provider), due_at)| DueRow { tenant_id, provider, due_at })
}
