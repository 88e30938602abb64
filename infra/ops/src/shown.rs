//! One answer in two forms: a table for people, JSON for programs.

use comfy_table::{Table, presets};
use serde_json::{Map, Value};

/// What a command answers.
#[derive(Debug)]
pub enum Shown {
    /// Rows under one head.
    Rows {
        /// The columns.
        head: Vec<&'static str>,
        /// Their values; a missing one is JSON's null.
        rows: Vec<Vec<Value>>,
    },
    /// One thing, part by part.
    Parts(Vec<(&'static str, Self)>),
    /// A sentence, or a value.
    Value(Value),
}

impl Shown {
    /// A sentence.
    pub(crate) fn sentence(text: String) -> Self {
        Self::Value(text.into())
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Rows { rows, .. } if rows.is_empty() => "none".to_owned(),
            Self::Rows { head, rows } => {
                let mut table = Table::new();
                table.load_preset(presets::NOTHING).set_header(head.iter().map(|name| name.to_uppercase()));
                for row in rows {
                    table.add_row(row.iter().map(cell));
                }
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                table.trim_fmt()
            }
            Self::Parts(parts) => parts
                .iter()
                .map(|(name, part)| format!("{name}\n{}", indented(&part.text())))
                .collect::<Vec<_>>()
                .join("\n"),
            Self::Value(value) => cell(value),
        }
    }

    /// For programs.
    pub fn json(&self) -> String {
        format!("{:#}", self.value())
    }

    fn value(&self) -> Value {
        match self {
            Self::Rows { head, rows } => {
                let row = |row: &Vec<Value>| {
                    let fields = head.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
                    Value::Object(fields.collect::<Map<_, _>>())
                };
                rows.iter().map(row).collect()
            }
            Self::Parts(parts) => parts.iter().map(|(name, part)| ((*name).to_owned(), part.value())).collect(),
            Self::Value(value) => value.clone(),
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_read_as_a_table_and_as_json() {
        let shown = Shown::Rows { head: vec!["id", "state"], rows: vec![vec![json!("a"), Value::Null]] };
        assert_eq!(shown.text().lines().map(str::trim).collect::<Vec<_>>(), ["ID  STATE", "a   –"]);
        assert_eq!(shown.value(), json!([{ "id": "a", "state": null }]));
        assert_eq!(Shown::Rows { head: vec!["id"], rows: Vec::new() }.text(), "none");
    }

    #[test]
    fn parts_keep_their_names() {
        let shown = Shown::Parts(vec![("state", Shown::sentence("active".to_owned()))]);
        assert_eq!(shown.text(), "state\n  active");
        assert_eq!(shown.value(), json!({ "state": "active" }));
    }
}
