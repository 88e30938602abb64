//! The table: an embedded DynamoDB engine with the table and the index of the design, and a meter in front of it.
//!
//! The meter counts every request and the capacity it consumed (it asks the engine for `ReturnConsumedCapacity` whether
//! or not the caller did), and can make the table fail.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dynoxide::Database;
use dynoxide::actions::{scan::ScanRequest, update_time_to_live::UpdateTimeToLiveRequest};
use dynoxide::errors::DynoxideError;
use serde_json::{Map, Value, json};

use crate::faults::Faults;
use crate::interruption::Interruption;
use crate::proxy::Upstream;
use crate::rights;
use crate::server::Server;

/// The name of the table, for `TABLE_NAME`.
pub const NAME: &str = "nbhd";

/// The running table; it stops when dropped.
pub struct Table {
    /// How it fails on demand, by operation, such as `UpdateItem`.
    pub faults: Faults<String, Failure>,
    database: Database,
    meter: Arc<Mutex<Meter>>,
    front: Server,
    _engine: Server,
}

/// One request to the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Such as `UpdateItem`.
    pub operation: String,
    /// Whether the table did it; a failed condition is `false`.
    pub succeeded: bool,
    /// Capacity units consumed, as the engine reports them; 0 when it refused.
    pub units: f64,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// 500, without an effect.
    #[default]
    Down,
    /// The request has its effect, and its answer is lost: 500.
    AnswerLost,
    /// A transaction holds the item: 400, without an effect.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>
    ItemHeld,
}

#[derive(Debug, Default)]
struct Meter {
    interruption: Interruption,
    calls: Vec<Call>,
    writes: usize,
}

impl Table {
    /// Starts the engine, in memory or on the file at `path`, and creates the table where it is not there yet.
    ///
    /// # Errors
    /// When the file cannot be opened or no port be bound.
    pub async fn start(path: Option<&Path>) -> anyhow::Result<Self> {
        let database = open(path)?;
        create(&database)?;
        let engine = serve(database.clone()).await?;
        let meter = Arc::default();
        let faults = Faults::default();
        let state = (Upstream::new(engine.base_url()), Arc::clone(&meter), faults.clone());
        let front = Server::start(Router::new().fallback(measure).with_state(state)).await?;
        Ok(Self { faults, database, meter, front, _engine: engine })
    }

    /// For `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn base_url(&self) -> String {
        self.front.base_url()
    }

    /// Every request since the start or the last [`Table::clear_calls`], oldest first.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.meter).calls.clone()
    }

    /// Resets the list of requests.
    pub fn clear_calls(&self) {
        lock(&self.meter).calls.clear();
    }

    /// Capacity units consumed since the start or the last [`Table::clear_calls`].
    pub fn units(&self) -> f64 {
        lock(&self.meter).calls.iter().map(|call| call.units).sum()
    }

    /// How many requests since the start may have changed an item.
    pub fn writes(&self) -> usize {
        lock(&self.meter).writes
    }

    /// One item in DynamoDB's JSON, read past the meter.
    ///
    /// # Errors
    /// When the engine cannot read its file.
    pub fn item(&self, partition: &str, sort: &str) -> anyhow::Result<Option<Value>> {
        let key = json!({ "pk": { "S": partition }, "sk": { "S": sort } });
        let request = json!({ "TableName": NAME, "Key": key, "ConsistentRead": true });
        let answer = self.database.get_item(serde_json::from_value(request)?)?;
        Ok(answer.item.map(serde_json::to_value).transpose()?)
    }

    /// Lets requests to the table count for `interruption`, beside those to the simulators of its journal.
    pub fn set_interruption(&self, interruption: &Interruption) {
        lock(&self.meter).interruption = interruption.clone();
    }

    /// Writes an item past the store: `request` is a `PutItem` in DynamoDB's JSON.
    ///
    /// # Errors
    /// When it is none, or the engine cannot write its file.
    pub fn put(&self, request: Value) -> anyhow::Result<()> {
        self.database.put_item(serde_json::from_value(request)?)?;
        Ok(())
    }

    /// Loses an item past the store, as a table that is restored to an earlier time does.
    ///
    /// # Errors
    /// When the engine cannot write its file.
    pub fn delete(&self, partition: &str, sort: &str) -> anyhow::Result<()> {
        let key = json!({ "pk": { "S": partition }, "sk": { "S": sort } });
        self.database.delete_item(serde_json::from_value(json!({ "TableName": NAME, "Key": key }))?)?;
        Ok(())
    }

    /// Writes many items past the store and past every meter: tens of thousands a second.
    ///
    /// # Errors
    /// When one is no item in DynamoDB's JSON, or the engine cannot write its file.
    pub fn import(&self, items: Vec<Value>) -> anyhow::Result<()> {
        let items = items.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        self.database.import_items(NAME, items, dynoxide::ImportOptions::default())?;
        Ok(())
    }

    /// Every item in DynamoDB's JSON, past its `ttl` or not.
    ///
    /// # Errors
    /// When the engine cannot read its file.
    pub fn items(&self) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let scan =
                ScanRequest { table_name: NAME.to_owned(), exclusive_start_key: after, ..ScanRequest::default() };
            let page = self.database.scan(scan)?;
            for item in page.items.unwrap_or_default() {
                items.push(serde_json::to_value(item)?);
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(items);
            }
        }
    }
}

fn open(path: Option<&Path>) -> anyhow::Result<Database> {
    let Some(path) = path else { return Ok(Database::memory()?) };
    let path = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
    Database::new(path).with_context(|| format!("the table's file `{path}` cannot be opened"))
}

/// The table of `template.yaml`, as `CreateTable` takes it.
pub fn definition() -> Value {
    let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
    let part = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let key = |hash: &str, range: &str| json!([part(hash, "HASH"), part(range, "RANGE")]);
    json!({
        "TableName": NAME,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            attribute("pk", "S"), attribute("sk", "S"), attribute("due_shard", "S"), attribute("due_at", "N"),
        ],
        "KeySchema": key("pk", "sk"),
        "GlobalSecondaryIndexes": [{
            "IndexName": "due",
            "KeySchema": key("due_shard", "due_at"),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    })
}

fn create(database: &Database) -> anyhow::Result<()> {
    match database.create_table(serde_json::from_value(definition())?) {
        Ok(_) => {}
        Err(DynoxideError::ResourceInUseException(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let ttl = json!({ "TableName": NAME, "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "ttl" } });
    database.update_time_to_live(serde_json::from_value::<UpdateTimeToLiveRequest>(ttl)?)?;
    Ok(())
}

type Measured = (Upstream, Arc<Mutex<Meter>>, Faults<String, Failure>);

async fn measure(State((engine, meter, faults)): State<Measured>, request: Request) -> Response {
    let operation = operation(request.headers());
    let failure = faults.take(operation.as_str());
    match failure {
        Some(Failure::Down) => return failed(),
        Some(Failure::ItemHeld) => return held(),
        Some(Failure::AnswerLost) | None => {}
    }
    let request = match ask_for_capacity(request).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let interruption = lock(&meter).interruption.clone();
    let name = format!("table {operation}");
    let effect = perform(engine, meter, operation, request);
    let Some(effect) = interruption.on_request(&name, effect).await else { return failed() };
    let answer = effect.await;
    interruption.on_effect(&name).await;
    if failure == Some(Failure::AnswerLost) { failed() } else { answer }
}

/// Passes a request on to the engine, and counts it.
async fn perform(engine: Upstream, meter: Arc<Mutex<Meter>>, operation: String, request: Request) -> Response {
    let (head, body) = engine.forward(request).await.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let call = Call { operation, succeeded: head.status.is_success(), units: units(&body) };
    let mut meter = lock(&meter);
    meter.writes += usize::from(call.succeeded && !matches!(call.operation.as_str(), "GetItem" | "Query" | "Scan"));
    meter.calls.push(call);
    Response::from_parts(head, Body::from(body))
}

fn failed() -> Response {
    let error =
        json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "a simulated failure" });
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(error)).into_response()
}

fn held() -> Response {
    let error = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
        "message": "Transaction is ongoing for the item",
    });
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

fn operation(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

/// The request with `ReturnConsumedCapacity` set, where the operation knows it.
async fn ask_for_capacity(request: Request) -> Result<Request, StatusCode> {
    let operation = operation(request.headers());
    let metered = !operation.contains("Table");
    let (mut head, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let fields: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    if let Some(mut fields) = fields.filter(|_| metered) {
        rights::record_table_call(&head.headers, &operation, &fields);
        fields.entry("ReturnConsumedCapacity").or_insert_with(|| json!("TOTAL"));
        body = Value::Object(fields).to_string().into();
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Request::from_parts(head, Body::from(body)))
}

/// The sum over `ConsumedCapacity`, which is an object or, for batches and transactions, a list of them.
fn units(answer: &[u8]) -> f64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let of = |capacity: &Value| capacity["CapacityUnits"].as_f64().unwrap_or_default();
    let capacity = &answer["ConsumedCapacity"];
    capacity.as_array().map_or_else(|| of(capacity), |tables| tables.iter().map(of).sum())
}

async fn serve(database: Database) -> std::io::Result<Server> {
    Server::spawn(0, |listener| async move {
        // It ends only with its listener.
        let _ = dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await;
    })
    .await
}

fn lock(meter: &Mutex<Meter>) -> MutexGuard<'_, Meter> {
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}
