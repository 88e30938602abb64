//! Which right each function uses at AWS and at its vaults, as IAM and Azure would see its calls.
//!
//! A function is known by its access key, which here is its own name ([`env_of`]); Azure's vault knows it by the token
//! that STS issued for it. The table, the queues, STS and the vaults record every call here. With
//! `NBHD_RIGHTS=<folder>` each right is written once to a file of this process there, one JSON object in a line:
//! `{"function", "action", "resource", "key"}`. `.ci/rights.py` compares them with the template.

use std::collections::BTreeSet;
use std::fs::{File, create_dir_all};
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use axum::http::{HeaderMap, header};
use nbhd::config::Env;
use serde::Serialize;
use serde_json::{Map, Value};

/// The access key of a caller that is no function of ours: a test itself, or the operator's command.
pub const NOBODY: &str = "local";

/// One right, as far as the policies tell rights apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Right {
    /// The folder of the function, such as `telegram-relay`.
    pub function: String,
    /// The action as policies name it, such as `dynamodb:Query`; of a vault `vault:Get` and its like.
    pub action: String,
    /// `table`, `table/index/<name>`, the name of a queue, `vault`, or `*` where an action has no resource.
    pub resource: String,
    /// The kind of partition key, such as `TENANT#*`; absent for queues and STS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The settings of a function that the simulators shall know by its name.
pub fn env_of(function: &str, env: &Env) -> Env {
    env.clone().with("AWS_ACCESS_KEY_ID", function)
}

/// Records a call of DynamoDB.
pub(crate) fn record_table_call(headers: &HeaderMap, operation: &str, request: &Map<String, Value>) {
    for (action, resource, key) in table_rights(operation, request) {
        record(caller(headers), format!("dynamodb:{action}"), resource, Some(key));
    }
}

/// Records a call of SQS. A batch needs the right of its single operation.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html>
pub(crate) fn record_queue_call(headers: &HeaderMap, operation: &str, queue: &str) {
    record(caller(headers), format!("sqs:{}", operation.trim_end_matches("Batch")), queue.to_owned(), None);
}

/// Records a call of STS that has no resource.
pub(crate) fn record_sts_call(headers: &HeaderMap, operation: &str) {
    record(caller(headers), format!("sts:{operation}"), "*".to_owned(), None);
}

/// Records a call of a vault by the function whose token it carries.
pub(crate) fn record_vault_call(function: &str, operation: &str) {
    record(Some(function), format!("vault:{operation}"), "vault".to_owned(), None);
}

/// Every action of a request with its resource and kind of key. A transaction needs the right of each of its parts.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html>
fn table_rights(operation: &str, request: &Map<String, Value>) -> Vec<(String, String, String)> {
    const PARTS: [(&str, &str); 5] = [
        ("Put", "PutItem"),
        ("Update", "UpdateItem"),
        ("Delete", "DeleteItem"),
        ("ConditionCheck", "ConditionCheckItem"),
        ("Get", "GetItem"),
    ];
    let resource = match request.get("IndexName").and_then(Value::as_str) {
        Some(index) => format!("table/index/{index}"),
        None => "table".to_owned(),
    };
    match request.get("TransactItems").and_then(Value::as_array) {
        Some(items) => items
            .iter()
            .flat_map(|item| PARTS.iter().map(move |(part, action)| (item[*part].as_object(), *action)))
            .filter_map(|(part, action)| Some((part?, action)))
            .map(|(part, action)| (action.to_owned(), resource.clone(), key_kind(part)))
            .collect(),
        None => vec![(operation.to_owned(), resource, key_kind(request))],
    }
}

/// The kind of partition key that a request names: `TENANT#*` of `TENANT#123`, a key without `#` as it is, `*` when it
/// names none, as a scan.
fn key_kind(request: &Map<String, Value>) -> String {
    let named = |part: &str| request.get(part)?["pk"]["S"].as_str();
    let partition = named("Key").or_else(|| named("Item")).or_else(|| queried_partition(request));
    match partition.map(|key| key.split_once('#').ok_or(key)) {
        Some(Ok((kind, _))) => format!("{kind}#*"),
        Some(Err(whole)) => whole.to_owned(),
        None => "*".to_owned(),
    }
}

/// The value that a query's first equality compares the partition key with.
fn queried_partition(request: &Map<String, Value>) -> Option<&str> {
    let (_, value) = request.get("KeyConditionExpression")?.as_str()?.split_once('=')?;
    let name = value.split_whitespace().next()?;
    request.get("ExpressionAttributeValues")?[name]["S"].as_str()
}

fn record(caller: Option<&str>, action: String, resource: String, key: Option<String>) {
    static RECORDER: OnceLock<Option<Mutex<Recorder>>> = OnceLock::new();
    let Some(recorder) = RECORDER.get_or_init(|| folder().map(|folder| Mutex::new(Recorder::create(&folder)))) else {
        return;
    };
    if let Some(function) = caller.filter(|caller| *caller != NOBODY) {
        let right = Right { function: function.to_owned(), action, resource, key };
        recorder.lock().unwrap_or_else(PoisonError::into_inner).add(right);
    }
}

/// The access key of a signed request.
pub(crate) fn caller(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?.split('/').next()
}

#[expect(clippy::disallowed_methods, reason = "says where a run of all tests is recorded; no function reads it")]
fn folder() -> Option<String> {
    std::env::var("NBHD_RIGHTS").ok().filter(|folder| !folder.is_empty())
}

struct Recorder {
    file: File,
    seen: BTreeSet<Right>,
}

impl Recorder {
    /// # Panics
    /// When the folder cannot be written: a record with gaps would call rights unused.
    fn create(folder: &str) -> Self {
        let path = format!("{folder}/{}.jsonl", std::process::id());
        let file = create_dir_all(folder).and_then(|()| File::create(&path));
        Self { file: file.unwrap_or_else(|error| panic!("`{path}`: {error}")), seen: BTreeSet::new() }
    }

    fn add(&mut self, right: Right) {
        if self.seen.contains(&right) {
            return;
        }
        let line = serde_json::to_string(&right).unwrap_or_default();
        writeln!(self.file, "{line}").unwrap_or_else(|error| panic!("the record of rights: {error}"));
        self.seen.insert(right);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rights(operation: &str, request: &Value) -> Vec<String> {
        let request = request.as_object().expect("an object");
        let rights = table_rights(operation, request).into_iter();
        rights.map(|(action, resource, key)| format!("{action} {resource} {key}")).collect()
    }

    #[test]
    fn a_call_needs_the_right_to_its_table_or_index_and_kind_of_key() {
        let item = json!({ "Item": { "pk": { "S": "CHAT#7" } } });
        assert_eq!(rights("PutItem", &item), ["PutItem table CHAT#*"]);
        let whole = json!({ "Key": { "pk": { "S": "ROLLOUT" } } });
        assert_eq!(rights("GetItem", &whole), ["GetItem table ROLLOUT"]);
        let query = json!({
            "IndexName": "due", "KeyConditionExpression": "due_shard = :shard AND due_at <= :now",
            "ExpressionAttributeValues": { ":shard": { "S": "refresh#3" }, ":now": { "N": "1" } },
        });
        assert_eq!(rights("Query", &query), ["Query table/index/due refresh#*"]);
        assert_eq!(rights("Scan", &json!({})), ["Scan table *"]);
    }

    #[test]
    fn a_transaction_needs_the_right_of_each_part() {
        let key = |key: &str| json!({ "pk": { "S": key } });
        let request = json!({ "TransactItems": [
            { "Put": { "Item": key("TENANT#1") } }, { "Delete": { "Key": key("CHAT#1") } },
            { "ConditionCheck": { "Key": key("TENANT#2") } }, { "Update": { "Key": key("SHARD#a") } },
        ]});
        let expected = [
            "PutItem table TENANT#*",
            "DeleteItem table CHAT#*",
            "ConditionCheckItem table TENANT#*",
            "UpdateItem table SHARD#*",
        ];
        assert_eq!(rights("TransactWriteItems", &request), expected);
    }

    #[test]
    fn a_caller_is_known_by_its_access_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers), None);
        let signed =
            "AWS4-HMAC-SHA256 Credential=telegram-relay/20261130/us-east-1/sqs/aws4_request, SignedHeaders=host";
        headers.insert(header::AUTHORIZATION, signed.parse().expect("a value"));
        assert_eq!(caller(&headers), Some("telegram-relay"));
    }
}
