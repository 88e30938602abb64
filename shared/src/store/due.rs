//! The sparse index of due rows, one shard at a time.

use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::{Error, Item, Store, keys, number, text, unavailable};
use crate::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::integration::Provider;
use crate::telemetry::metric;

const INDEX: &str = "due";

/// The most rows of a page: they cost 16 read units of the index.
const PAGE_ROWS: i32 = 1000;

/// The key of a row that is due; the index holds nothing else of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// The tenant that the row belongs to.
    pub tenant_id: TenantId,
    /// The service of an integration's row; `None` for the tenant's own row.
    pub provider: Option<Provider>,
    /// The time since when the row is due.
    pub due_at: Timestamp,
}

/// One page of due rows.
#[derive(Debug)]
pub struct DuePage {
    /// The rows, the longest overdue first; at most a thousand.
    pub rows: Vec<DueRow>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

/// The start of a page: the last key of the page before.
#[derive(Clone, Debug)]
pub struct Cursor(pub(super) Item);

impl Store {
    /// Lists the rows of a shard that are due at `now` (see [`Kind::shards`](crate::domain::due::Kind::shards)), the
    /// longest overdue first, at most a thousand at a time. One query of the index, whose cost grows with what is due
    /// alone.
    ///
    /// The index may be moments behind the rows: callers load a row before they act on it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list_due(&self, shard: &str, now: Timestamp, after: Option<Cursor>) -> Result<DuePage, Error> {
        let request = QueryInput::builder().table_name(&self.table).index_name(INDEX).limit(PAGE_ROWS);
        let request = request
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":now", number(now.millis()))
            .set_exclusive_start_key(after.map(|Cursor(key)| key))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = self.service.send(request.build()).await.map_err(|error| unavailable(&error))?;
        let rows = answer.items.unwrap_or_default().iter().filter_map(parse_due_row).collect();
        Ok(DuePage { rows, next: answer.last_evaluated_key.map(Cursor) })
    }
}

/// An item whose key is of no known kind is skipped, so that it does not hold up the others; an operator has to look.
fn parse_due_row(item: &Item) -> Option<DueRow> {
    let due_at = || item.get("due_at")?.as_n().ok()?.parse().ok().map(Timestamp::from_millis);
    let row = keys::parse_row_key(item).zip(due_at());
    if row.is_none() {
        metric("RowsCorrupt", 1);
        tracing::error!(code = "due_row_corrupt", "the index names a row of no known kind; the row is skipped");
    }
    row.map(|((tenant_id, provider), due_at)| DueRow { tenant_id, provider, due_at })
}
