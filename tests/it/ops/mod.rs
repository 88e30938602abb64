//! The operator's command on the local world.

mod customer;
mod grant;
mod orphans;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::backups::Backups;
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::plan::Part;
use nbhd::domain::reconcile_status::RemovedPart;
use nbhd::domain::refresh;
use nbhd::domain::refresh_failure::Failure;
use nbhd::domain::tenant::Tombstone;
use nbhd_local::{Options, Subscriber, World};
use nbhd_ops::Args;
use nbhd_sim::sqs::{self, queue::Outgoing};
use serde_json::{Value, json};

struct Office {
    world: World,
    ann: Subscriber,
    settings: PathBuf,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("settings.env");
        let clock = Clock::manual(Timestamp::from_seconds(1_795_240_000));
        let options = Options { settings: Some(settings.clone()), ..Options::with_clock(clock) };
        let world = World::start(options).await.expect("the world starts");
        let ann = world.subscribes(ChatId(world.chat.id())).await.expect("an assistant");
        Self { world, ann, settings, _folder: folder }
    }

    async fn nbhd(&self, words: &[&str]) -> anyhow::Result<String> {
        let settings = self.settings.to_str().expect("a path in UTF-8");
        let words = [&["nbhd", "--settings", settings], words].concat();
        nbhd_ops::run(Args::try_parse_from(words)?, self.world.clock.clone()).await
    }

    async fn json(&self, words: &[&str]) -> Value {
        let answer = self.nbhd(&[words, &["--json"]].concat()).await.expect("answered");
        serde_json::from_str(&answer).expect("JSON")
    }

    fn ann(&self) -> String {
        self.ann.tenant_id.to_string()
    }
}

#[tokio::test]
async fn tenants_are_listed_by_state_as_a_table_and_as_json() {
    let office = Office::open().await;
    let table = office.nbhd(&["tenants"]).await.expect("answered");
    assert!(table.starts_with("TENANT") && table.contains(&office.ann()) && table.contains("active"), "{table}");
    let listed = office.json(&["tenants", "--state", "active"]).await;
    assert_eq!(listed[0]["tenant"], office.ann());
    assert_eq!(office.nbhd(&["tenants", "--state", "suspended"]).await.expect("answered"), "none");
    assert!(office.nbhd(&["tenants", "--state", "asleep"]).await.is_err());
}

#[tokio::test]
async fn a_tenant_is_shown_and_an_unknown_one_is_said_to_be_unknown() {
    let office = Office::open().await;
    let shown = office.json(&["tenant", &office.ann()]).await;
    assert_eq!((&shown["state"], &shown["connections"]), (&json!("active"), &json!([])));
    let app = json!({ "resource": "container app", "state": "running" });
    assert!(shown["resources"].as_array().expect("rows").contains(&app), "{shown}");
    assert_eq!(shown["last_error"], Value::Null);
    assert!(shown["last_steps"].as_array().expect("rows").iter().any(|step| step["step"] == "activate"), "{shown}");
    let unknown = office.nbhd(&["tenant", &uuid::Uuid::new_v4().to_string()]).await.expect_err("unknown");
    assert!(unknown.to_string().contains("nbhd tenants"), "{unknown}");
    assert!(office.nbhd(&["tenant", "ann"]).await.is_err());
}

#[tokio::test]
async fn a_removed_tenant_shows_its_receipt() {
    let office = Office::open().await;
    let store = office.world.store().expect("a store");
    let tenant = store.tenant(office.ann.tenant_id).await.expect("readable").expect("there");
    let at = office.world.clock.now();
    let receipt = vec![RemovedPart { part: Part::App, at, purged_by: None, late: false }];
    let left = Tombstone { receipt, ..tenant.to_tombstone(at) };
    store.save_tombstone(&left, tenant.version).await.expect("buried");
    let shown = office.json(&["tenant", &office.ann()]).await;
    assert_eq!(shown["receipt"][0]["removed"], "container app");
    let kept = Backups::after(at);
    let until = [kept.table_until, kept.dead_letters_until, kept.logs_until].map(Timestamp::date);
    let shown: Vec<_> = shown["backups"].as_array().expect("rows").iter().map(|row| row["until"].clone()).collect();
    assert_eq!(shown, until);
    for (word, held) in [("suspend", true), ("resume", false)] {
        office.nbhd(&[word, &office.ann()]).await.expect("done");
        assert_eq!(office.json(&["tenant", &office.ann()]).await["held_by_an_operator"], held);
    }
}

#[tokio::test]
async fn a_suspension_is_written_and_the_reconciler_nudged() {
    let office = Office::open().await;
    let store = office.world.store().expect("a store");
    for (word, held) in [("suspend", true), ("resume", false)] {
        office.nbhd(&[word, &office.ann()]).await.expect("done");
        let tenant = store.tenant(office.ann.tenant_id).await.expect("readable").expect("there");
        assert_eq!(tenant.held, held);
    }
    office.nbhd(&["reconcile", &office.ann()]).await.expect("done");
    let jobs = office.world.sqs.messages(sqs::LIFECYCLE);
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job.sent.body.contains(&office.ann())));
}

#[tokio::test]
async fn keys_are_rotated_and_the_assistant_answers_with_the_new_ones() {
    let office = Office::open().await;
    let before = office.world.subscriber(office.ann.chat_id).await.expect("readable").expect("there").secrets;
    office.nbhd(&["rotate-keys", &office.ann()]).await.expect("done");
    office.world.run_until_idle().await;
    let ann = office.world.subscriber(office.ann.chat_id).await.expect("readable").expect("there");
    assert_ne!(ann.secrets.internal_key, before.internal_key);
    office.world.telegram.says(office.ann.chat_id, "hello again");
    office.world.run_until_idle().await;
    assert_eq!(ann.runtime.update_ids().len(), 1);
    let shown = office.json(&["tenant", &office.ann()]).await;
    assert_eq!(shown["secret_generations"], json!(["k1.2"]));
}

#[tokio::test]
async fn connections_are_listed_by_state_with_what_fails_and_when_it_is_tried_again() {
    let office = Office::open().await;
    let (store, now) = (office.world.store().expect("a store"), office.world.clock.now());
    let vault = Some("https://first.vault.azure.net".to_owned());
    let account = Some("ann@example.com".to_owned());
    let gmail = Integration { vault, account, ..Integration::new(office.ann.tenant_id, Provider::Gmail, now) };
    let failing = refresh::with_failure(&gmail, Failure::RateLimited, Some(Duration::from_secs(600)), now);
    store.save_integration(&failing, None).await.expect("a new row");
    let calendar = Integration::new(office.ann.tenant_id, Provider::GoogleCalendar, now);
    let ended = refresh::with_failure(&calendar, Failure::GrantEnded, None, now);
    store.save_integration(&ended, None).await.expect("a new row");

    let active = office.json(&["integrations", "--state", "active"]).await;
    assert_eq!(active.as_array().map(Vec::len), Some(1), "{active}");
    let shown = &active[0];
    assert_eq!((&shown["service"], &shown["tenant"]), (&json!("gmail"), &json!(office.ann())));
    assert_eq!((&shown["failures"], &shown["failure"]), (&json!(1), &json!("rate_limited")));
    assert_eq!(shown["due"], (now + Duration::from_secs(600)).rfc3339());
    assert_eq!(shown["vault"], "https://first.vault.azure.net");
    assert!(!active.to_string().contains("ann@example.com"), "an account is the person's");

    let expired = office.json(&["integrations", "--state", "expired"]).await;
    assert_eq!((&expired[0]["service"], &expired[0]["failure"]), (&json!("google-calendar"), &json!("grant_ended")));
    assert_eq!(office.nbhd(&["integrations", "--state", "revoked"]).await.expect("answered"), "none");
    assert_eq!(office.json(&["integrations"]).await.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn dead_letters_are_counted_without_their_words_and_sent_back() {
    let office = Office::open().await;
    let update = Outgoing {
        body: json!({ "update_id": 7, "message": { "text": "unspeakable" } }).to_string(),
        group: Some("1001".to_owned()),
        deduplication: Some("7".to_owned()),
        ..Outgoing::default()
    };
    office.world.sqs.send(sqs::INBOUND_DLQ, update).expect("taken");
    let shown = office.json(&["deadletters"]).await;
    assert_eq!(shown["waiting"][0], json!({ "queue": "inbound", "messages": 1 }));
    assert_eq!((&shown["letters"][0]["chat"], &shown["letters"][0]["update"]), (&json!("1001"), &json!("7")));
    assert!(!shown.to_string().contains("unspeakable"));

    let sent = office.json(&["deadletters", "redrive"]).await;
    assert_eq!(sent[0], json!({ "queue": "inbound", "sent_back": 1 }));
    assert!(office.world.sqs.messages(sqs::INBOUND_DLQ).is_empty());
    office.world.run_until_idle().await;
    assert_eq!(office.ann.runtime.update_ids(), [7]);
}
