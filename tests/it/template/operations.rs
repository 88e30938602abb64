//! The operator's table of `docs/operations.md`, held to the code and to the template: what one has, the other has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;

use super::reading::Template;
use crate::tidy::messages::alarming_codes;
use crate::tidy::{Source, root, sources};

const TABLE: &str = "docs/operations.md";
/// README's part of the table: what cannot wait.
const URGENT: &str = "## When an alarm goes off";

#[test]
fn every_code_and_alarm_has_a_row_and_every_row_a_code_or_alarm() {
    let (codes, alarms) = (codes(&sources(&root())).expect("literals"), alarms());
    assert!(
        codes.len() > 50 && alarms.len() > 40,
        "{} codes, {} alarms: is all of it read?",
        codes.len(),
        alarms.len()
    );
    let gaps = find_gaps(&codes.into_iter().chain(alarms).collect(), &read(TABLE));
    assert!(gaps.is_empty(), "{TABLE}:\n{}", gaps.join("\n"));
}

#[test]
fn a_gap_in_the_table_is_seen_and_named() {
    let known = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "somewhere".to_owned())).collect();
    let table = ["| code or alarm | means | do |", "|---|---|---|", "| `a_b` | It broke. | Wait. |"].join("\n");
    let table = &format!("{table}\n| `DownAlarm` | It is down. | Look. |");
    let gaps = |names: &[&str], table: &str| find_gaps(&known(names), table);
    assert_eq!(gaps(&["a_b", "DownAlarm"], table), [""; 0]);
    assert_eq!(gaps(&["a_b", "DownAlarm", "c_d"], table), ["no row explains `c_d` of somewhere"]);
    assert_eq!(gaps(&["DownAlarm"], table), ["`a_b` is neither a code nor an alarm"]);
    let twice = format!("{table}\n| `a_b` | It broke. | Wait. |");
    assert_eq!(gaps(&["a_b", "DownAlarm"], &twice), ["`a_b` has more than one row"]);
    let without_advice = table.replace("Wait.", "");
    assert_eq!(gaps(&["a_b", "DownAlarm"], &without_advice), ["the row of `a_b` does not have three full cells"]);
}

#[test]
fn a_new_code_and_one_that_is_no_literal_are_seen() {
    let source = |event: &str| [Source { path: "functions/a/src/lib.rs".to_owned(), text: format!("//! A.\n{event}") }];
    let found =
        codes(&source("tracing::warn!(\n    code = \"a_b\",\n    %error,\n    \"it broke\"\n);")).expect("a literal");
    assert_eq!(found, BTreeMap::from([("a_b".to_owned(), "functions/a/src/lib.rs:2".to_owned())]));
    for event in ["tracing::error!(code = failure.code(), \"it broke\");", "tracing::warn!(code, \"it broke\");"] {
        let refused = codes(&source(event)).expect_err("no literal");
        assert!(refused.starts_with("functions/a/src/lib.rs:2: "), "{refused}");
    }
    assert!(codes(&source("tracing::info!(code, \"it went well\");")).expect("none").is_empty());
}

#[test]
fn the_readme_has_a_dozen_rows_of_the_table_as_they_are_there() {
    let (table, readme) = (read(TABLE), read("README.md"));
    assert_eq!(urgent_rows(&readme, &table).map(|rows| (1..=12).contains(&rows)), Ok(true), "README is short");
    let other = readme.replacen("`WebhookUnavailableAlarm` | ", "`WebhookUnavailableAlarm` | Perhaps ", 1);
    assert!(urgent_rows(&other, &table).is_err_and(|row| row.contains("Perhaps")), "another text is not seen");
}

/// The codes of every `warn!` and `error!` of the product, each with a place where it stands.
///
/// # Errors
/// A code that is no literal: an operator could not search the sources for it, nor this test.
fn codes(sources: &[Source]) -> Result<BTreeMap<String, String>, String> {
    let mut codes = BTreeMap::new();
    for source in sources {
        for (line, code) in alarming_codes(source) {
            let place = format!("{}:{line}", source.path);
            let literal = code.strip_prefix('"').and_then(|code| code.strip_suffix('"'));
            let literal = literal.ok_or_else(|| format!("{place}: the code `{code}` is no literal"))?;
            codes.insert(literal.to_owned(), place);
        }
    }
    Ok(codes)
}

/// The alarms by their logical ids, which CloudWatch's names of them contain.
fn alarms() -> BTreeMap<String, String> {
    let template = Template::read();
    let ids = template.of_type("AWS::CloudWatch::Alarm").into_iter().map(|(id, _)| id.clone());
    ids.map(|id| (id, "template.yaml".to_owned())).collect()
}

/// What `known` (names with their places) and the rows of `table` do not have in common.
fn find_gaps(known: &BTreeMap<String, String>, table: &str) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut explained = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        if cells.len() != 3 || cells.iter().any(|cell| cell.is_empty()) {
            gaps.push(format!("the row of `{name}` does not have three full cells"));
        }
        if !known.contains_key(name) {
            gaps.push(format!("`{name}` is neither a code nor an alarm"));
        }
        if !explained.insert(name) {
            gaps.push(format!("`{name}` has more than one row"));
        }
    }
    let unexplained = known.iter().filter(|(name, _)| !explained.contains(name.as_str()));
    gaps.extend(unexplained.map(|(name, place)| format!("no row explains `{name}` of {place}")));
    gaps
}

/// How many rows README repeats.
///
/// # Errors
/// A row that does not stand in `table`.
fn urgent_rows(readme: &str, table: &str) -> Result<usize, String> {
    let section = readme.split(URGENT).nth(1).ok_or_else(|| format!("no section `{URGENT}`"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    match rows.iter().find(|row| !table.lines().any(|line| line == **row)) {
        Some(row) => Err((*row).to_owned()),
        None => Ok(rows.len()),
    }
}

fn read(path: &str) -> String {
    read_to_string(root().join(path)).expect("a file of the project")
}
