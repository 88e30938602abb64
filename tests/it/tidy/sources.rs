//! The project's files.

use std::path::{Path, PathBuf};

/// A file of the project, by its path from the root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(super) fn is(&self, path: &str) -> bool {
        self.path == path
    }

    /// The rules themselves, whose cases break every one.
    pub(super) fn is_tidy(&self) -> bool {
        self.path.starts_with("tests/it/tidy")
    }

    pub(super) fn is_in_tests(&self) -> bool {
        self.path.split('/').any(|folder| folder == "tests")
    }

    pub(super) fn is_code(&self) -> bool {
        [".rs", ".py", ".sh", ".js"].iter().any(|ending| self.path.ends_with(ending)) || self.path.starts_with(".ci/")
    }

    /// What runs in production, whose tests are left to the lints.
    pub(super) fn is_production(&self) -> bool {
        ["shared/src/", "functions/", "runtime/"].iter().any(|folder| self.path.starts_with(folder))
    }

    pub(super) fn lines(&self, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
        self.text.lines().enumerate().filter(|(_, line)| breaks(line)).map(|(place, _)| place + 1).collect()
    }

    /// Of Rust sources, and without comments: prose may name what code may not.
    pub(super) fn code_lines(&self, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
        if !self.path.ends_with(".rs") {
            return Vec::new();
        }
        self.lines(|line| !line.trim_start().starts_with("//") && breaks(line))
    }
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of the functions: the folders of `functions/`.
pub(crate) fn functions() -> Vec<String> {
    let folders = std::fs::read_dir(root().join("functions")).expect("the folder `functions`");
    let mut names: Vec<String> =
        folders.map(|folder| folder.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every text file that belongs to the project.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    const LEFT_OUT: [&str; 4] = ["target", ".git", ".local", "node_modules"];
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources
}
