//! `docs/runtime-contract.md` names what the endpoints answer: every field and every error, and no other.

use std::collections::{BTreeMap, BTreeSet};

use nbhd_sim::google::calendar::Event;
use serde_json::Value;

use crate::runtime::gmail::message;
use crate::runtime::world::World;
use crate::tidy::root;

type Names = BTreeSet<String>;

const LIST: &str = "gmail/messages/";
const EVENTS: &str = "google-calendar/events/";
const FREEBUSY: &str = "google-calendar/freebusy/";

#[tokio::test]
async fn every_field_is_documented_and_answered() {
    let documented = documented("field");
    let world = world().await;
    let list = world.get(LIST).await.json();
    let detail = world.get(&format!("{LIST}{}/", message(&world, "nvoice"))).await.json();
    let events = world.get(EVENTS).await.json();
    let free_busy = world.get(FREEBUSY).await.json();
    let summary = names(&list["messages"][0]);
    let repeated: Names = ["provider", "tenant_id"].map(str::to_owned).into_iter().chain(summary.clone()).collect();
    assert!(repeated.is_subset(&names(&detail)));
    let answered = BTreeMap::from([
        (format!("`{LIST}`"), names(&list)),
        ("A summary:".to_owned(), summary),
        (format!("`{LIST}{{id}}/`"), &names(&detail) - &repeated),
        ("An attachment:".to_owned(), names(&detail["attachments"][0])),
        (format!("`{EVENTS}`"), names(&events)),
        ("An event:".to_owned(), names(&events["events"][0])),
        (format!("`{FREEBUSY}`"), names(&free_busy)),
    ]);
    assert_eq!(documented, answered);
    assert_eq!(detail["thread_context"].as_array().map(Vec::len), Some(0));
    assert_eq!(names(&free_busy["busy"][0]), ["end", "start"].map(str::to_owned).into());
}

#[tokio::test]
async fn every_documented_parameter_is_known() {
    let world = world().await;
    let id = message(&world, "nvoice");
    let documented = documented("parameter");
    assert_eq!(documented.len(), 4);
    for (endpoint, parameters) in documented {
        let path = endpoint.trim_matches('`').replace("{id}", &id);
        for parameter in parameters {
            let answer = world.get(&format!("{path}?{parameter}=")).await;
            assert_eq!(answer.status, 200, "{path}?{parameter}: {}", answer.detail());
        }
    }
}

#[test]
fn every_error_is_documented_and_answered() {
    let source = std::fs::read_to_string(root().join("shared/src/flows/runtime_request/problem.rs")).expect("a source");
    let (_, code) = source.split_once("fn code(").expect("the codes of all problems");
    let code = code.split("\n    }").next().unwrap_or_default();
    let answered: Names = code.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let documented: Names = documented("`error`").into_values().flatten().collect();
    assert!(answered.len() >= 12);
    assert_eq!(documented, answered);
}

/// Two accounts with mail and an event that has begun.
async fn world() -> World {
    let world = World::start().await;
    world.google.calendar(world.ana.account, |calendar| {
        calendar.add(Event::timed("Review", "2027-01-15T10:00:00+01:00", "2027-01-15T11:00:00+01:00"));
    });
    world
}

fn names(object: &Value) -> Names {
    object.as_object().unwrap_or_else(|| panic!("an object: {object}")).keys().cloned().collect()
}

/// The first column of each table whose head begins with `column`: by the line that introduces the table, if it ends
/// with a colon and begins with an article, and by the path in the last heading else.
fn documented(column: &str) -> BTreeMap<String, Names> {
    let text = std::fs::read_to_string(root().join("docs/runtime-contract.md")).expect("the document");
    let mut tables: BTreeMap<String, Names> = BTreeMap::new();
    let (mut heading, mut subject, mut in_table) = (String::new(), String::new(), false);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches(['#', ' ']).split(':').next().unwrap_or_default().to_owned();
            subject.clone_from(&heading);
        } else if line.ends_with(':') {
            let is_object = line.starts_with("A ") || line.starts_with("An ");
            subject = if is_object { line.to_owned() } else { heading.clone() };
        }
        match line.strip_prefix("| ") {
            Some(head) if head.starts_with(&format!("{column} |")) => in_table = true,
            Some(row) if in_table => {
                let name = row.split(" |").next().unwrap_or_default().trim_matches('`').to_owned();
                assert!(tables.entry(subject.clone()).or_default().insert(name.clone()), "{name} is documented twice");
            }
            Some(_) => {}
            None => in_table &= line.starts_with("|-"),
        }
    }
    tables
}
