//! Where the vendors' machine-readable contracts and the corpus of real mail lie on this machine.
//!
//! Neither is part of the project. A test that needs one asks here; where it is absent this says so and the test passes
//! over that part, unless `NBHD_REQUIRE_SHARED=1` turns the absence into a failure.

use std::io::Write as _;
use std::path::PathBuf;

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

fn shared_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = setting(variable).map_or_else(|| beside_the_project(name), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let absent = format!("`{}` is absent: set `{variable}` to the folder of {name}", folder.display());
    assert!(setting("NBHD_REQUIRE_SHARED").as_deref() != Some("1"), "{absent} (required by `NBHD_REQUIRE_SHARED`)");
    // Past the test harness's capture, which would hide the notice of a test that passes.
    let _ = writeln!(std::io::stderr(), "passed over: {absent}");
    None
}

fn beside_the_project(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name)
}

#[expect(clippy::disallowed_methods, reason = "says where test data lies; no function reads it")]
fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
