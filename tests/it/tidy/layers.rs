//! Who may depend on whom.

use super::{Source, functions};

pub(super) fn against_the_layers(source: &Source) -> Vec<usize> {
    const LAYERS: [(&str, &[&str]); 5] = [
        ("domain", &["store", "queue", "providers", "flows", "config", "http", "aws", "web", "telemetry"]),
        ("store", &["queue", "providers", "flows", "web"]),
        ("queue", &["store", "providers", "flows", "web"]),
        ("providers", &["store", "queue", "flows", "web"]),
        ("flows", &[]),
    ];
    /// What is no layer serves all of them.
    const BENEATH: &[&str] = &["store", "queue", "providers", "flows"];
    let Some(module) = source.path.strip_prefix("shared/src/") else { return Vec::new() };
    if module == "lib.rs" {
        return Vec::new();
    }
    let own = module.split(['/', '.']).next().unwrap_or_default();
    let above = LAYERS.iter().find(|(layer, _)| *layer == own).map_or(BENEATH, |(_, above)| above);
    source.code_lines(|line| modules_named(line).iter().any(|module| above.contains(module)))
}

/// The modules of `nbhd` on a line: of `crate::store::Store` and of `use crate::{store::Store, queue}`.
fn modules_named(line: &str) -> Vec<&str> {
    let paths = line.split("crate::").skip(1);
    paths
        .flat_map(|path| match path.strip_prefix('{') {
            Some(group) => group.split(", ").collect::<Vec<_>>(),
            None => vec![path],
        })
        .map(|path| path.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default())
        .collect()
}

pub(super) fn function_on_its_neighbours(source: &Source) -> Vec<usize> {
    let Some(own) = source.path.strip_prefix("functions/").and_then(|path| path.strip_suffix("/Cargo.toml")) else {
        return Vec::new();
    };
    let functions = functions();
    let others = functions.iter().map(String::as_str).filter(|name| *name != own).chain(["nbhd-sim", "nbhd-local"]);
    let others: Vec<&str> = others.collect();
    source.lines(|line| others.iter().any(|other| line.trim_start().starts_with(other)))
}

pub(super) fn lambda_past_main(source: &Source) -> Vec<usize> {
    let held = source.path.starts_with("functions/") || source.path.starts_with("shared/");
    if !held || source.path.ends_with("/main.rs") || source.path == "shared/src/web/lambda.rs" {
        return Vec::new();
    }
    source.code_lines(|line| line.contains("lambda_http") || line.contains("lambda_runtime"))
}

pub(super) fn aws_past_its_module(source: &Source) -> Vec<usize> {
    const OWNERS: [(&str, &[&str]); 3] = [
        ("aws_sdk_dynamodb", &["shared/src/store/"]),
        ("aws_sdk_sqs", &["shared/src/queue"]),
        ("aws_sdk_sts", &["shared/src/providers/azure/credential.rs"]),
    ];
    if source.is_tidy() {
        return Vec::new();
    }
    let foreign = |(_, owners): &(&str, &[&str])| !owners.iter().any(|owner| source.path.starts_with(owner));
    let services: Vec<&str> = OWNERS.into_iter().filter(foreign).map(|(service, _)| service).collect();
    source.code_lines(|line| services.iter().any(|service| line.contains(service)))
}
