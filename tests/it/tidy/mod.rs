//! The rules of the architecture, read off the sources: what is broken is printed with the rule it breaks.

mod circles;
mod documents;
mod layers;
pub(crate) mod messages;
mod names;
mod sources;

use layers::{against_the_layers, aws_past_its_module, function_on_its_neighbours, lambda_past_main};
use messages::{alarm_without_code, message_of_few_words};
use names::{named_by_participle, named_by_picture, named_by_pointer, test_module_named_by_picture};
pub(crate) use sources::{Source, functions, root, sources};

/// A rule in one sentence, and the lines (from 1; 0 for the file as a whole) that break it.
struct Rule {
    says: &'static str,
    broken_by: fn(&Source) -> Vec<usize>,
}

const RULES: [Rule; 20] = [
    Rule { says: "a file has at most 400 lines: past that it is two files", broken_by: too_long },
    Rule { says: "a line has at most 120 columns", broken_by: too_wide },
    Rule { says: "a function's `main.rs` is wiring: at most 30 lines, no branches", broken_by: main_with_logic },
    Rule {
        says: "dependencies run flows → {store, queue, providers} → domain, and never between the three",
        broken_by: against_the_layers,
    },
    Rule {
        says: "a function depends on no other function, no simulator, nothing local",
        broken_by: function_on_its_neighbours,
    },
    Rule { says: "Lambda's crates are named only in `main.rs` and `web/lambda.rs`", broken_by: lambda_past_main },
    Rule { says: "an AWS service is named only in the module that owns it", broken_by: aws_past_its_module },
    Rule { says: "`unwrap()` is for tests", broken_by: unwrap_outside_tests },
    Rule { says: "the environment is read only in `nbhd::config`", broken_by: environment_past_config },
    Rule { says: "the time is read only in `nbhd::clock`", broken_by: time_past_the_clock },
    Rule { says: "every crate inherits the workspace's lints", broken_by: without_the_lints },
    Rule { says: "a test neither sleeps nor is skipped, and its name is a claim", broken_by: weak_test },
    Rule { says: "nothing names a path of somebody's machine", broken_by: machine_path },
    Rule { says: "nothing names a package registry's host", broken_by: registry_host },
    Rule {
        says: "a log line's message reads alone, in at least three words: what happened, to what, what follows",
        broken_by: message_of_few_words,
    },
    Rule {
        says: "a `warn!` and an `error!` carry a stable `code`, which the operator's table explains",
        broken_by: alarm_without_code,
    },
    Rule {
        says: "no item is named by a participle: a function is verb and object, a type is a noun",
        broken_by: named_by_participle,
    },
    Rule {
        says: "no item is named by a pronoun, a preposition or an adverb: alone it says nothing",
        broken_by: named_by_pointer,
    },
    Rule {
        says: "no item is named by a picture of ours: the field has its own word for it",
        broken_by: named_by_picture,
    },
    Rule {
        says: "no module of tests is named by a picture: say `mutants`, `faults`, `load`, `observer`",
        broken_by: test_module_named_by_picture,
    },
];

#[test]
fn the_sources_keep_every_rule() {
    let sources = sources(&root());
    assert!(sources.len() > 50, "only {} files found: is the project's root right?", sources.len());
    let broken: Vec<String> = sources
        .iter()
        .flat_map(|source| RULES.iter().map(move |rule| (source, rule)))
        .flat_map(|(source, rule)| {
            (rule.broken_by)(source).into_iter().map(|line| format!("{}:{line}: {}", source.path, rule.says))
        })
        .collect();
    assert!(broken.is_empty(), "{} rule(s) broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_rule_can_be_broken_and_kept() {
    let long = "//! x\n".repeat(401);
    let wide = "x".repeat(121) + " x";
    let home = ["/", "home", "/someone/nbhd"].concat();
    let host = ["crates", ".io"].concat();
    // A rule, then what breaks it, then what does not.
    let cases: [(&str, &str, &str, &str, &str); 41] = [
        ("at most 400", "shared/src/http.rs", &long, "shared/src/http.rs", "//! x\n"),
        ("120 columns", "README.md", &wide, "README.md", "x"),
        ("120 columns", "shared/src/http.rs", &wide, "Cargo.lock", &wide),
        ("`main.rs` is", "functions/a/src/main.rs", "if x {}\n", "functions/a/src/lib.rs", "if x {}\n"),
        ("`main.rs` is", "functions/a/src/main.rs", &long, "functions/a/src/main.rs", "let app = a::App::new();\n"),
        (
            "run flows",
            "shared/src/store/mod.rs",
            "use crate::queue::Q;",
            "shared/src/store/mod.rs",
            "use crate::domain::X;",
        ),
        ("run flows", "shared/src/queue.rs", "crate::providers::x()", "shared/src/queue.rs", "// crate::providers"),
        (
            "run flows",
            "shared/src/providers/a.rs",
            "use crate::{domain::A, store::B};",
            "shared/src/flows/a.rs",
            "use crate::{store, queue};",
        ),
        (
            "run flows",
            "shared/src/domain/a.rs",
            "use crate::config::Env;",
            "shared/src/domain/a.rs",
            "use crate::clock::Clock;",
        ),
        ("run flows", "shared/src/web.rs", "use crate::flows::x;", "functions/a/src/lib.rs", "use crate::store::x;"),
        (
            "no other function",
            "functions/a/Cargo.toml",
            "runtime-gmail.workspace = true",
            "functions/runtime-gmail/Cargo.toml",
            "name = \"runtime-gmail\"",
        ),
        (
            "no other function",
            "functions/a/Cargo.toml",
            "[dependencies]\nnbhd-sim.workspace = true",
            "functions/a/Cargo.toml",
            "[dependencies]\nnbhd.workspace = true",
        ),
        (
            "named only in `main",
            "functions/a/src/lib.rs",
            "use lambda_http::Request;",
            "functions/a/src/main.rs",
            "lambda_http::run(x)",
        ),
        (
            "named only in `main",
            "shared/src/web.rs",
            "lambda_runtime::Error",
            "shared/src/web/lambda.rs",
            "lambda_runtime::Error",
        ),
        (
            "AWS service",
            "shared/src/queue.rs",
            "use aws_sdk_dynamodb::Client;",
            "shared/src/store/mod.rs",
            "use aws_sdk_dynamodb::Client;",
        ),
        (
            "AWS service",
            "functions/a/src/lib.rs",
            "use aws_sdk_sqs::Client;",
            "shared/src/queue.rs",
            "use aws_sdk_sqs::Client;",
        ),
        (
            "AWS service",
            "shared/src/store/mod.rs",
            "aws_sdk_sts::Client",
            "shared/src/providers/azure/credential.rs",
            "aws_sdk_sts::Client",
        ),
        ("`unwrap()`", "shared/src/a.rs", "x.unwrap();", "shared/src/a.rs", "#[cfg(test)]\nmod tests { x.unwrap(); }"),
        (
            "environment is",
            "functions/a/src/lib.rs",
            "std::env::var(\"A\")",
            "shared/src/config.rs",
            "std::env::vars()",
        ),
        ("time is read", "functions/a/src/lib.rs", "SystemTime::now()", "shared/src/clock.rs", "SystemTime::now()"),
        ("time is read", "shared/src/web.rs", "OffsetDateTime::now_utc()", "shared/src/web.rs", "Instant::now()"),
        (
            "inherits",
            "functions/a/Cargo.toml",
            "[package]\n",
            "functions/a/Cargo.toml",
            "[package]\n[lints]\nworkspace = true\n",
        ),
        ("inherits", "infra/bench/Cargo.toml", "[lints]\n", "Cargo.toml", "[workspace]\n"),
        ("neither sleeps", "tests/it/a.rs", "tokio::time::sleep(x)", "tests/it/a.rs", "clock.advance(x)"),
        ("neither sleeps", "tests/it/a.rs", "#[ignore]", "tests/it/a.rs", "#[test]"),
        ("neither sleeps", "shared/src/a.rs", "fn test_it() {}", "shared/src/a.rs", "fn it_works() {}"),
        ("somebody's machine", "README.md", &home, "README.md", "/telegram/webhook"),
        (
            "at least three words",
            "shared/src/a.rs",
            "tracing::info!(what = \"all of it is here\", \"{what} done\");",
            "shared/src/a.rs",
            "tracing::info!(\"the job, as planned, was done\");",
        ),
        (
            "at least three words",
            "functions/a/src/lib.rs",
            "tracing::warn!(\n    code = f(\"a, b\", 1),\n    \"failed\"\n);",
            "infra/sim/src/a.rs",
            "tracing::info!(\"failed\");",
        ),
        (
            "carry a stable `code`",
            "shared/src/a.rs",
            "tracing::warn!(error = %code, \"the job has failed\");",
            "shared/src/a.rs",
            "tracing::info!(\"the job has failed\");",
        ),
        (
            "carry a stable `code`",
            "functions/a/src/lib.rs",
            "tracing::error!(\n    %error,\n    \"code = none, the job has failed\"\n);",
            "functions/a/src/lib.rs",
            "tracing::error!(\n    %error,\n    code = \"job_failed\",\n    \"the job has failed\"\n);",
        ),
        ("by a participle", "shared/src/a.rs", "    pub(crate) async fn told<T>()", "shared/src/a.rs", "// fn told()"),
        ("by a participle", "tests/it/a.rs", "fn is_told() {}", "tests/it/a.rs", "#[test]\nfn a_person_is_told() {}"),
        ("by a participle", "infra/a/src/b.rs", "enum A {\n    GivenUp,\n}", "shared/src/a.rs", "fn app_gone() {}"),
        ("by a pronoun", "functions/a/src/b.rs", "struct Own;", "functions/a/src/b.rs", "struct OwnChat;"),
        ("by a pronoun", "shared/src/a.rs", "enum A {\n    /// x\n    Why(B),\n}", "README.md", "fn why() {}"),
        ("by a picture", "shared/src/a.rs", "pub const fn arrow(", "shared/src/a.rs", "let arrow = 1;"),
        ("by a picture", "infra/a/src/b.rs", "const PUT_OFF_FOR: u8 = 1;", "infra/a/src/b.rs", "fn look_up() {}"),
        ("module of tests", "tests/it/main.rs", "mod storm;", "infra/sim/src/lib.rs", "mod storm;"),
        ("registry's host", "Makefile", &host, "Cargo.lock", &host),
        ("registry's host", "shared/src/a.rs", &host, "shared/src/a.rs", "a crate's page"),
    ];
    for (says, bad_path, bad, good_path, good) in cases {
        let rule = RULES.iter().find(|rule| rule.says.contains(says)).expect("a rule by these words");
        let breaks = |path: &str, text: &str| {
            !(rule.broken_by)(&Source { path: path.to_owned(), text: text.to_owned() }).is_empty()
        };
        assert!(breaks(bad_path, bad), "not seen in {bad_path}: {}", rule.says);
        assert!(!breaks(good_path, good), "wrongly seen in {good_path}: {}", rule.says);
    }
    for rule in &RULES {
        assert!(cases.iter().any(|case| rule.says.contains(case.0)), "no case breaks the rule: {}", rule.says);
    }
}

fn too_long(source: &Source) -> Vec<usize> {
    let lines = source.text.lines().count();
    if source.is_code() && lines > 400 { vec![lines] } else { Vec::new() }
}

/// A single word, such as an address, cannot be broken; style sheets are served as they are.
fn too_wide(source: &Source) -> Vec<usize> {
    // Data: an event of a recorded history is a line.
    if source.path.ends_with("Cargo.lock") || source.path.ends_with(".css") || source.path.ends_with(".jsonl") {
        return Vec::new();
    }
    let is_one_word = |line: &str| line.trim_start_matches(['/', '!', '#', ' ']).split(' ').count() == 1;
    source.lines(|line| line.chars().count() > 120 && !is_one_word(line))
}

fn main_with_logic(source: &Source) -> Vec<usize> {
    if !(source.path.starts_with("functions/") && source.path.ends_with("/main.rs")) {
        return Vec::new();
    }
    let mut lines =
        source.code_lines(|line| ["if ", "match ", "while ", "for "].iter().any(|word| line.contains(word)));
    let length = source.text.lines().count();
    if length > 30 {
        lines.push(length);
    }
    lines
}

fn unwrap_outside_tests(source: &Source) -> Vec<usize> {
    if source.is_in_tests() {
        return Vec::new();
    }
    let tests = source.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
    let found = source.code_lines(|line| line.contains(".unwrap()"));
    found.into_iter().filter(|line| *line <= tests).collect()
}

fn environment_past_config(source: &Source) -> Vec<usize> {
    if !source.is_production() || source.is("shared/src/config.rs") {
        return Vec::new();
    }
    source.code_lines(|line| line.contains("env::var"))
}

fn time_past_the_clock(source: &Source) -> Vec<usize> {
    if !source.is_production() || source.is("shared/src/clock.rs") {
        return Vec::new();
    }
    source.code_lines(|line| line.contains("SystemTime::now") || line.contains("now_utc"))
}

fn without_the_lints(source: &Source) -> Vec<usize> {
    let is_a_crate = source.path.ends_with("/Cargo.toml");
    if is_a_crate && !source.text.contains("[lints]\nworkspace = true\n") { vec![0] } else { Vec::new() }
}

fn weak_test(source: &Source) -> Vec<usize> {
    if source.is_tidy() {
        return Vec::new();
    }
    let in_tests = source.is_in_tests();
    let waits = |line: &str| line.contains("thread::sleep") || line.contains("time::sleep");
    source.code_lines(|line| line.contains("fn test_") || line.contains("#[ignore") || (in_tests && waits(line)))
}

fn machine_path(source: &Source) -> Vec<usize> {
    let homes = ["home", "root", "work"].map(|folder| format!("/{folder}/"));
    let starts = |line: &str, home: &String| {
        line.match_indices(home.as_str()).any(|(at, _)| !line[..at].ends_with(|letter: char| letter.is_alphanumeric()))
    };
    source.lines(|line| homes.iter().any(|home| starts(line, home)))
}

/// The hosts are put together here, so that this file does not name them either.
fn registry_host(source: &Source) -> Vec<usize> {
    if source.path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let hosts = [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["npmjs", "com"], ["debian", "org"]];
    let hosts = hosts.map(|host| host.join("."));
    source.lines(|line| hosts.iter().any(|host| line.contains(host)))
}
