//! Real mail, which nobody here wrote, read through the function: whatever it is, it is listed and opened.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nbhd_sim::contracts;
use serde_json::Value;

use crate::runtime::world::World;

/// The share of texts, in per cent, that must hold every word another parser read in them. We differ on purpose where
/// mail names no character set and is not UTF-8, and where control characters stand between letters.
const AGREEING: usize = 90;

#[tokio::test]
async fn every_real_message_is_listed_and_opened() {
    let Some(folder) = contracts::mail_dir() else { return };
    let world = World::start().await;
    let files = messages(&folder);
    assert!(!files.is_empty(), "`{}` holds no mail", folder.display());
    for file in &files {
        arrive_and_open(&world, file).await;
    }
    print(&format!("{} real messages listed and opened", files.len()));
}

#[tokio::test]
async fn the_text_is_what_another_parser_reads() {
    let Some(folder) = contracts::mail_dir() else { return };
    let world = World::start().await;
    let (mut agreeing, mut compared) = (0, 0);
    for file in messages(&folder) {
        let Some(expected) = reading(&file).as_ref().and_then(text_of) else { continue };
        let found = words(&arrive_and_open(&world, &file).await);
        let missing = words(&expected).difference(&found).count();
        compared += 1;
        if missing == 0 {
            agreeing += 1;
        } else {
            print(&format!("{missing} words differ in {}", file.display()));
        }
    }
    print(&format!("{agreeing} of {compared} texts are what another parser reads"));
    assert!(compared > 0 && agreeing * 100 >= compared * AGREEING, "{agreeing} of {compared}");
}

#[tokio::test]
async fn the_projects_own_samples_are_read_whole() {
    let world = World::start().await;
    let ids: Vec<_> = world
        .google
        .mailbox(world.ana.account, |mailbox| mailbox.messages().iter().map(|message| message.id.clone()).collect());
    for id in ids {
        let text = open(&world, &id).await;
        assert!(!text.is_empty() && !text.contains('\u{fffd}'), "{id}: {text}");
    }
}

/// Lets a message arrive, finds it at the top of the list, and opens it; its text.
async fn arrive_and_open(world: &World, file: &Path) -> String {
    world.clock.advance(Duration::from_secs(1));
    let id = world.google.delivers(world.ana.account, &fs::read(file).expect("readable"));
    let list = world.get("gmail/messages/?max_results=1").await;
    assert_eq!(
        (list.status, &list.json()["messages"][0]["id"]),
        (200, &Value::from(id.as_str())),
        "{}",
        file.display()
    );
    open(world, &id).await
}

async fn open(world: &World, id: &str) -> String {
    // Slowly enough for the limit of a runtime's reads.
    world.clock.advance(Duration::from_secs(1));
    let opened = world.get(&format!("gmail/messages/{id}/")).await;
    assert_eq!(opened.status, 200, "{id}: {:?}", opened.json());
    opened.json()["body_text"].as_str().expect("a text").to_owned()
}

/// Every `.eml` file below `folder`.
fn messages(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).expect("readable").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            files.extend(messages(&path));
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What another parser made of a message: the `.json` beside it.
fn reading(file: &Path) -> Option<Value> {
    let json = fs::read(file.with_extension("json")).ok()?;
    Some(serde_json::from_slice(&json).expect("JSON"))
}

/// The plain text of a reading; none where all it found is HTML, which every program renders in its own way.
fn text_of(reading: &Value) -> Option<String> {
    let indices = reading["text_body"].as_array()?.iter();
    let indices = indices.map(|index| index.as_u64().and_then(|index| usize::try_from(index).ok()));
    let texts: Option<Vec<&str>> = indices.map(|index| reading["parts"][index?]["body"]["Text"].as_str()).collect();
    texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join("\n"))
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Past the test harness's capture: these lines are there to be read.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
