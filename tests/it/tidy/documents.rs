//! The documents for newcomers name files and folders that exist.

use super::{root, sources};

const DOCUMENTS: [&str; 4] = ["ARCHITECTURE.md", "README.md", "docs/decisions.md", "docs/performance.md"];

#[test]
fn documents_name_files_that_exist() {
    let sources = sources(&root());
    let files: Vec<String> = sources.iter().map(|source| format!("/{}", source.path)).collect();
    for document in DOCUMENTS {
        let text = sources.iter().find(|source| source.is(document)).expect(document).text.as_str();
        let paths = paths_named(text);
        let missing: Vec<&&str> = paths.iter().filter(|path| !exists(&files, path)).collect();
        assert!(missing.is_empty(), "{document} names what is no file or folder: {missing:?}");
    }
}

#[test]
fn missing_file_is_seen() {
    let text = "`a/b.rs` and `c/`, `x.y`, `GET /d/`, `functions/<name>/`\n```sh\n`e.rs`\n```\n`tests/it/f`";
    assert_eq!(paths_named(text), ["a/b.rs", "c/", "tests/it/f"]);
    let files = ["/shared/a/b.rs".to_owned(), "/c/d.rs".to_owned(), "/tests/it/f/mod.rs".to_owned()];
    assert!(["a/b.rs", "b.rs", "c/", "tests/it/f", "tests/"].iter().all(|path| exists(&files, path)));
    assert!(!["a.rs", "/b/b.rs", "d/", "it/b.rs"].iter().any(|path| exists(&files, path)));
}

/// The paths between backticks, outside blocks of code.
fn paths_named(text: &str) -> Vec<&str> {
    const ENDINGS: [&str; 9] = [".rs", ".md", ".yaml", ".toml", ".html", ".css", ".env", ".py", "/"];
    const FOLDERS: [&str; 5] = ["shared/", "functions/", "infra/", "tests/", "docs/"];
    let is_path = |quoted: &&str| {
        let is_plain = quoted.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-./".contains(letter));
        let names_file = ENDINGS.iter().any(|ending| quoted.ends_with(ending) && quoted != ending);
        is_plain && (names_file || FOLDERS.iter().any(|folder| quoted.starts_with(folder)))
    };
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).filter(is_path).collect()
}

/// Whether `path` is a file or a folder, from the root or from any folder.
fn exists(files: &[String], path: &str) -> bool {
    let (file, folder) = (format!("/{path}"), format!("/{}/", path.trim_end_matches('/')));
    files.iter().any(|known| known.ends_with(&file) || known.contains(&folder))
}
