//! Where the vendors' machine-readable contracts and the corpus of real mail lie on this machine, and what the checks
//! against the contracts share.
//!
//! Neither is part of the project. A test that needs one loads it here; where it is absent a notice says so and the
//! test skips that part, unless `NBHD_REQUIRE_SHARED=1` turns the absence into a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::journal::Entry;

/// What a check of journal entries against a contract found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many requests a description was found for.
    pub requests: usize,
    /// How many objects in answers and events were held to their fields; Stripe's contract alone counts them.
    pub objects: usize,
    /// One sentence for each violation.
    pub violations: Vec<String>,
}

impl CheckReport {
    /// Counts each of `entries`, and collects what `check` finds in it.
    pub(crate) fn from_entries(entries: &[Entry], check: impl Fn(&Entry) -> Vec<String>) -> Self {
        let mut report = Self { requests: entries.len(), ..Self::default() };
        entries.iter().for_each(|entry| report.add(entry, check(entry)));
        report
    }

    /// Adds what was found in `entry`.
    pub(crate) fn add(&mut self, entry: &Entry, found: Vec<String>) {
        let status = entry.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let name = |violation| format!("{} {} ({status}): {violation}", entry.method, entry.path_only());
        self.violations.extend(found.into_iter().map(name));
    }
}

/// The folder of the vendors' contracts (`NBHD_CONTRACTS`, by default `../shared/contracts` from the project's root).
///
/// # Panics
/// When the folder is absent and `NBHD_REQUIRE_SHARED=1`.
pub fn dir() -> Option<PathBuf> {
    shared_folder("NBHD_CONTRACTS", "contracts")
}

/// The folder of real mail (`NBHD_MAIL`, by default `../shared/mail` from the project's root).
///
/// # Panics
/// When the folder is absent and `NBHD_REQUIRE_SHARED=1`.
pub fn mail_dir() -> Option<PathBuf> {
    shared_folder("NBHD_MAIL", "mail")
}

/// A description in JSON.
///
/// # Panics
/// When the file cannot be read, or is not JSON.
pub(crate) fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// The values of the segments that are `{named}` in `template`, if `path` has its form.
pub(crate) fn match_path(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let mut values = Vec::new();
    for (expected, given) in template.iter().zip(&path) {
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !given.is_empty() => values.push((name.to_owned(), (*given).to_owned())),
            Some(_) => return None,
            None if expected != given => return None,
            None => {}
        }
    }
    (template.len() == path.len()).then_some(values)
}

/// Where `value` departs from a schema; without the value itself, which may be a secret.
pub(crate) fn find_departures(schema: Result<Validator, ValidationError<'_>>, value: &Value) -> Vec<String> {
    match schema {
        Ok(schema) => schema
            .iter_errors(value)
            .map(|error| format!("{} at `{}`", error.masked(), error.instance_path()))
            .collect(),
        Err(error) => vec![format!("the schema cannot be used: {error}")],
    }
}

fn shared_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = setting(variable).map_or_else(|| default_folder(name), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let absent = format!("`{}` is absent: set `{variable}` to the folder of {name}", folder.display());
    assert!(setting("NBHD_REQUIRE_SHARED").as_deref() != Some("1"), "{absent} (required by `NBHD_REQUIRE_SHARED`)");
    // Past the test harness's capture, which would hide the notice of a test that passes.
    let _ = writeln!(std::io::stderr(), "passed over: {absent}");
    None
}

fn default_folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name)
}

#[expect(clippy::disallowed_methods, reason = "says where test data lies; no function reads it")]
fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
