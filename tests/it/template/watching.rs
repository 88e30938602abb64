//! `cargo lambda watch`, as README has it, and the local world lead where the template's routes lead.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use nbhd::config::Env;
use serde_json::Value;

use super::reading::{Template, list};
use super::starting::{router, start};
use crate::tidy::root;

/// A route by the function and the path, with its methods.
type Routes = BTreeMap<(String, String), Vec<String>>;

#[test]
fn every_function_starts_with_the_settings_of_the_watch() {
    let env = Env::from_file(&root().join("infra/local/watch.env")).expect("a file of settings");
    for name in Template::read().functions().into_keys() {
        start(&name, &env);
    }
    // Consent is a page that says so while Google is not set up.
    assert!(env.optional("GOOGLE_CLIENT_ID").is_some() && env.optional("GOOGLE_CLIENT_SECRET").is_some());
}

#[test]
fn the_watch_leads_where_the_routes_of_the_template_lead() {
    let template = Template::read();
    let env = Env::from_file(&root().join("infra/local/watch.env")).expect("a file of settings");
    let mut deployed = Routes::new();
    for (name, (id, _)) in template.functions() {
        let routes = template.routes(&id);
        assert!(routes.is_empty() || router(&name, &env).is_some(), "{name} serves no HTTP");
        for (method, path) in routes {
            deployed.entry((name.clone(), path.replace("{proxy+}", "{*proxy}"))).or_default().push(method);
        }
    }
    for methods in deployed.values_mut() {
        methods.sort();
        // The watch has no two methods of one path that lead to one function, but it has all of them.
        if *methods == ["GET", "POST"] {
            *methods = vec!["ANY".to_owned()];
        }
    }
    assert_eq!(watched(), deployed, "left: `Cargo.toml`, right: `template.yaml`");
}

#[test]
fn the_local_world_leads_where_the_routes_of_the_template_lead() {
    let template = Template::read();
    let paths = |(name, (id, _)): (String, (String, Value))| {
        template.routes(&id).into_iter().map(move |(_, path)| (path, name.clone())).collect::<Vec<_>>()
    };
    let deployed: BTreeSet<(String, String)> = template.functions().into_iter().flat_map(paths).collect();
    let local = nbhd_local::ROUTES.iter().map(|(path, name)| ((*path).to_owned(), (*name).to_owned())).collect();
    assert_eq!(deployed, local, "left: `template.yaml`, right: `infra/local/src/wiring.rs`");
}

/// The routes of `[workspace.metadata.lambda.watch.router]`.
fn watched() -> Routes {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    let router = metadata["metadata"]["lambda"]["watch"]["router"].as_object().expect("routes").clone();
    let mut routes = Routes::new();
    for (path, target) in router {
        for target in list(&target) {
            let function = target.as_str().or_else(|| target["function"].as_str()).expect("a function").to_owned();
            let method = target["method"].as_str().unwrap_or("ANY").to_owned();
            routes.entry((function, path.clone())).or_default().push(method);
        }
    }
    routes
}
