//! Items of the table in DynamoDB's JSON, which names the type of each value.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A row as the item under `partition` and `sort`.
///
/// # Errors
/// When the row is no JSON object.
pub fn from_row(row: &impl Serialize, partition: &str, sort: &str) -> anyhow::Result<Value> {
    let Value::Object(fields) = serde_json::to_value(row)? else { anyhow::bail!("a row is an object") };
    let mut item: Map<String, Value> = fields.into_iter().map(|(name, value)| (name, to_typed(&value))).collect();
    item.insert("pk".to_owned(), json!({ "S": partition }));
    item.insert("sk".to_owned(), json!({ "S": sort }));
    Ok(Value::Object(item))
}

/// An item as the JSON object that it stands for, keys included.
pub fn to_plain(item: &Value) -> Value {
    let fields = |map: &Map<String, Value>| map.iter().map(|(name, value)| (name.clone(), to_untyped(value))).collect();
    Value::Object(item.as_object().map(fields).unwrap_or_default())
}

fn to_typed(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(flag) => json!({ "BOOL": flag }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(items) => json!({ "L": items.iter().map(to_typed).collect::<Vec<_>>() }),
        Value::Object(fields) => {
            json!({ "M": fields.iter().map(|(name, value)| (name.clone(), to_typed(value))).collect::<Map<_, _>>() })
        }
    }
}

fn to_untyped(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "N" => value.as_str().and_then(|number| number.parse().ok()).map_or(Value::Null, Value::Number),
        "NULL" => Value::Null,
        "M" => to_plain(value),
        "L" => value.as_array().map(|list| list.iter().map(to_untyped).collect()).unwrap_or_default(),
        _ => value.clone(),
    }
}
