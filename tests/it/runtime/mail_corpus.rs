//! Real mail, which nobody here wrote, read through the function: whatever it is, it is listed and opened.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nbhd_sim::contracts;
use nbhd_sim::google::mailbox::{SAMPLES, TextForm, TextHabits};
use serde_json::Value;

use crate::runtime::gmail::message;
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
async fn the_text_is_the_same_in_gmails_utf_8_and_in_the_senders_bytes() {
    let world = World::start().await;
    let mut mails: Vec<Vec<u8>> = SAMPLES.map(<[u8]>::to_vec).to_vec();
    let corpus = contracts::mail_dir().map(|folder| messages(&folder)).unwrap_or_default();
    mails.extend(corpus.iter().map(|file| fs::read(file).expect("readable")));
    let mut in_another_form = 0;
    for mail in mails {
        let [utf_8, raw] = [TextForm::Utf8, TextForm::Raw].map(|form| {
            world.google.mailbox(world.ana.account, |mailbox| {
                mailbox.hands_out_texts(TextHabits { form, ..TextHabits::default() });
                (mailbox.receives(&mail, world.clock.now()), mailbox.messages()[0].clone())
            })
        });
        let texts = (open(&world, &utf_8.0).await, open(&world, &raw.0).await);
        assert_eq!(texts.0, texts.1, "{:?}", utf_8.1.header("Subject"));
        in_another_form += usize::from(!utf_8.1.has_same_payload(&raw.1));
    }
    print(&format!("{in_another_form} messages differ between Gmail's two forms, and no text does"));
    assert!(in_another_form >= 5, "the samples alone are five");
}

#[tokio::test]
async fn the_projects_own_samples_are_read_as_they_were_written() {
    let world = World::start().await;
    for (subject, line) in [
        ("Re: Budget review moved to Thursday 10:00", "The third offer is €14,200, valid until Friday."),
        ("Votre voyage Genève - Lyon est confirmé", "Place   : voiture 12, siège 47 (fenêtre)"),
        ("Invoice 2026-0417 and the service report", "together with the boiler’s service report."),
        ("Grüße aus München", "haben wir Karten für die Oper - äh, fürs Konzert!"),
        ("ご予約の確認", "12月4日(金)より2泊、2名様、朝食付きで承りました。"),
        ("Новости недели", "В субботу в 15:00 — встреча читателей."),
        ("Dinner on Saturday 🍝", "well, maybe that rhubarb cake. 🍰"),
    ] {
        let text = open(&world, &message(&world, subject)).await;
        assert!(text.lines().any(|found| found == line), "{subject}: {text}");
        assert!(!text.contains('\u{fffd}'), "{subject}: {text}");
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
