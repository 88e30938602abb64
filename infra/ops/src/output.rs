//! Formats the output of a command: a table for people, JSON for programs.

use comfy_table::{Table, presets};
use serde_json::{Map, Value};

/// The output of a command.
#[derive(Debug)]
pub enum Output {
    /// A table.
    Rows {
        /// The names of the columns.
        head: Vec<&'static str>,
        /// The values of each row, as many as there are columns; a missing one is JSON's null.
        rows: Vec<Vec<Value>>,
    },
    /// Several outputs, each under a `snake_case` name.
    Parts(Vec<(&'static str, Self)>),
    /// A text, or another single value.
    Value(Value),
}

impl Output {
    /// An output of one text.
    pub(crate) fn from_text(text: String) -> Self {
        Self::Value(text.into())
    }

    /// Formats the output for people; a name's underscores become spaces.
    pub fn to_text(&self) -> String {
        match self {
            Self::Rows { rows, .. } if rows.is_empty() => "none".to_owned(),
            Self::Rows { head, rows } => {
                let mut table = Table::new();
                table
                    .load_preset(presets::NOTHING)
                    .set_header(head.iter().map(|name| name.to_uppercase().replace('_', " ")));
                for row in rows {
                    table.add_row(row.iter().map(format_cell));
                }
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                table.trim_fmt()
            }
            Self::Parts(parts) => parts
                .iter()
                .map(|(name, part)| format!("{}\n{}", name.replace('_', " "), indent(&part.to_text())))
                .collect::<Vec<_>>()
                .join("\n"),
            Self::Value(value) => format_cell(value),
        }
    }

    /// Formats the output as JSON for programs.
    pub fn to_json(&self) -> String {
        format!("{:#}", self.to_value())
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Rows { head, rows } => {
                let row = |row: &Vec<Value>| {
                    let fields = head.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
                    Value::Object(fields.collect::<Map<_, _>>())
                };
                rows.iter().map(row).collect()
            }
            Self::Parts(parts) => parts.iter().map(|(name, part)| ((*name).to_owned(), part.to_value())).collect(),
            Self::Value(value) => value.clone(),
        }
    }
}

fn format_cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_read_as_a_table_and_as_json() {
        let output = Output::Rows { head: vec!["id", "state"], rows: vec![vec![json!("a"), Value::Null]] };
        assert_eq!(output.to_text().lines().map(str::trim).collect::<Vec<_>>(), ["ID  STATE", "a   –"]);
        assert_eq!(output.to_value(), json!([{ "id": "a", "state": null }]));
        assert_eq!(Output::Rows { head: vec!["id"], rows: Vec::new() }.to_text(), "none");
    }

    #[test]
    fn parts_keep_their_names() {
        let output = Output::Parts(vec![("last_state", Output::from_text("active".to_owned()))]);
        assert_eq!(output.to_text(), "last state\n  active");
        assert_eq!(output.to_value(), json!({ "last_state": "active" }));
    }
}
