//! What takes effect after whoever asked for it is gone: it is looked for, removed, and said to have been.

use std::time::Duration;

use nbhd::domain::backups::{Backups, DEAD_LETTERS, TABLE_BACKUP};
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::plan::Part;
use nbhd::domain::subscription::{RETENTION, Status};
use nbhd::domain::tenant::{Lifecycle, Tombstone};
use nbhd::domain::time_limits::{IN_FLIGHT, LAST_RECHECK_AFTER};
use nbhd::domain::time_limits::{INVOCATION_LIMIT, LEASE};
use nbhd_sim::arm::ACCOUNT;
use nbhd_sim::interruption::{NamedRequest, SenderFate, StopPoint};
use nbhd_sim::stripe::{BASIC, SubscriptionStart};
use serde_json::json;

use crate::reconcile::world::{ANA, DAY, MINUTE, World};

/// ARCHITECTURE.md says which time outlives which: each row's time is the code's, and longer than those it names.
#[test]
fn the_table_of_leases_and_timeouts_is_what_the_code_does() {
    const ROWS: [(&str, Duration, &[&str]); 8] = [
        ("`STEP_TIMEOUT`", tenant_reconcile::STEP_TIMEOUT, &[]),
        ("`BUDGET`", tenant_reconcile::BUDGET, &[]),
        ("`INVOCATION_LIMIT`", INVOCATION_LIMIT, &["`STEP_TIMEOUT`", "`BUDGET`"]),
        ("`time_limits::LEASE`", LEASE, &["`INVOCATION_LIMIT`"]),
        ("`VisibilityTimeout` of the lifecycle queue", Duration::from_secs(360), &["`time_limits::LEASE`"]),
        ("`IN_FLIGHT`", IN_FLIGHT, &["`time_limits::LEASE`"]),
        ("`LAST_RECHECK_AFTER`", LAST_RECHECK_AFTER, &["`IN_FLIGHT`"]),
        ("`lease::LEASE`", nbhd::flows::lease::LEASE, &[]),
    ];
    let text = std::fs::read_to_string(crate::tidy::root().join("ARCHITECTURE.md")).expect("it is there");
    let (_, table) = text.split_once("## Leases and timeouts").expect("a section");
    let seconds = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("| {name}")));
        let cell = row.and_then(|row| row.split('|').nth(2)).unwrap_or_else(|| panic!("no row of {name}"));
        cell.trim().replace(',', "").parse::<u64>().expect("seconds")
    };
    for (name, time, outlived) in ROWS {
        assert_eq!(seconds(name), time.as_secs(), "{name}");
        let together: u64 = outlived.iter().map(|name| seconds(name)).sum();
        assert!(time.as_secs() > together, "{name} has to be longer than {outlived:?}");
    }
}

#[tokio::test]
async fn what_comes_late_is_removed_minutes_and_a_day_after_and_the_receipt_says_so() {
    let world = removed().await;
    assert_eq!(late(&world).await, []);
    comes_late(&world);
    world.lives_on(20 * MINUTE).await;
    world.assert_nothing_is_left();
    let expected = [Part::App, Part::ModelKeys, Part::Share, Part::Identity];
    assert_eq!(late(&world).await, expected);
    assert!(world.tombstone().await.recheck.is_last);

    comes_late(&world);
    world.lives_on(DAY + 20 * MINUTE).await;
    world.assert_nothing_is_left();
    assert_eq!(late(&world).await, expected, "a line for each kind");
    assert!(world.tombstone().await.recheck.at.is_none() && world.tombstone().await.due.is_none());
    assert!(nbhd::telemetry::capture().contains("\"LateEffectsRemoved\":1"));
}

#[tokio::test]
async fn tokens_that_a_connect_wrote_late_are_removed_and_the_receipt_says_so() {
    let world = removed().await;
    let name = Integration::new(world.tenant, Provider::Gmail, world.clock.now()).secret_name;
    let tokens = json!({ "access_token": "a", "refresh_token": "1//r" }).to_string();
    world.azure.vault.put(&name, &tokens);
    world.lives_on(20 * MINUTE).await;
    assert_eq!(world.azure.vault.names(), [""; 0]);
    assert_eq!(late(&world).await, [Part::Integrations]);
}

#[tokio::test]
async fn a_recheck_that_azure_cannot_serve_is_tried_again() {
    let world = removed().await;
    comes_late(&world);
    world.azure.arm.faults.fail_all(nbhd_sim::arm::Failure::Throttled(30));
    world.lives_on(30 * MINUTE).await;
    assert!(!world.azure.arm.resources().is_empty());
    assert!(!world.tombstone().await.recheck.is_last);
    world.azure.arm.faults.recover();
    world.lives_on(20 * MINUTE).await;
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn the_person_and_the_receipt_say_what_backups_keep_and_until_when() {
    let world = removed().await;
    let left = world.tombstone().await;
    let kept = left.backups.expect("said");
    assert_eq!(kept, Backups::after(left.deleted_at));
    assert!(
        kept.table_until > left.deleted_at + TABLE_BACKUP && kept.dead_letters_until > left.deleted_at + DEAD_LETTERS
    );
    let told = world.messages().pop().expect("a message");
    for until in [kept.table_until, kept.dead_letters_until] {
        assert!(told.contains(&until.date()), "{told}");
    }
}

#[tokio::test]
async fn who_pays_while_the_removal_goes_on_is_told_that_a_new_one_begins() {
    let world = World::active().await;
    world.save_status(Status::Canceled).await;
    world.clock.advance(RETENTION);
    world.reconcile().await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Deprovisioning);
    let ours = [("tenant_id", &*world.tenant.to_string()), ("chat_id", &*ANA.to_string())];
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &ours);
    world.lives_on(20 * MINUTE).await;
    world.assert_active().await;
    let told = world.messages();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[1].contains("was removed with its files") && told[1].contains("A new one is being set up for you"));
    assert_eq!(told[0], told[2]);
}

#[tokio::test]
async fn who_comes_back_after_a_removal_is_told_once_that_what_the_earlier_one_knew_is_gone() {
    let world = removed().await;
    comes_late(&world);
    let left = world.tombstone().await;
    let ours = [("tenant_id", &*world.tenant.to_string()), ("chat_id", &*ANA.to_string())];
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &ours);
    let (version, removed_at) = (left.version, left.deleted_at);
    let asked = Tombstone { ask_stripe_at: Some(world.clock.now()), ..left };
    world.store.save_tombstone(&asked, version).await.expect("unchanged");
    world.nudge().await;
    world.run_until_idle().await;
    assert!(world.clock.now() >= removed_at + IN_FLIGHT, "nothing is built before what was left is removed");
    world.assert_active().await;
    let steps = world.steps().await;
    let removes = |step: &String| step.starts_with("remove_leftovers: done") && step.contains("file share, identity");
    assert!(steps.iter().any(removes), "{steps:#?}");
    assert!(world.messages().last().is_some_and(|told| told.contains("What the earlier one knew is gone")));
    world.lives_on(DAY).await;
    assert_eq!(world.messages().iter().filter(|told| told.contains("is ready")).count(), 2, "{:#?}", world.messages());
}

#[tokio::test]
async fn who_comes_back_between_the_rechecks_waits_for_nothing() {
    let world = removed().await;
    world.lives_on(30 * MINUTE).await;
    let left = world.tombstone().await;
    assert!(left.recheck.is_last);
    let ours = [("tenant_id", &*world.tenant.to_string()), ("chat_id", &*ANA.to_string())];
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &ours);
    let version = left.version;
    let asked = Tombstone { ask_stripe_at: Some(world.clock.now()), ..left };
    world.store.save_tombstone(&asked, version).await.expect("unchanged");
    let before = world.clock.now();
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    assert!(world.clock.now() < before + LEASE, "{:#?}", world.steps().await);
}

#[tokio::test]
async fn a_model_key_that_is_made_after_its_worker_died_is_deleted_though_the_tenant_is_suspended() {
    let world = World::start().await;
    world.pays(Status::Active).await;
    let place = StopPoint::Named(NamedRequest { request: "model-gateway POST api/v1/keys".to_owned(), nth: 1 });
    let (ended, late) = world.journal.interruption().delay_at(place, SenderFate::Stopped, world.run_until_idle()).await;
    let (None, Some(late)) = (ended, late) else { panic!("it was not stopped") };
    world.change(|tenant| tenant.held = true).await;
    world.lives_on(10 * MINUTE).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended);
    late.arrive().await;
    assert_eq!(world.gateway.keys().len(), 1);
    world.lives_on(10 * MINUTE).await;
    assert_eq!(world.gateway.keys().len(), 0, "{:#?}", world.steps().await);
    assert!(world.row().await.reconcile.in_flight.is_none());
}

/// Ana's tenant was active, and has just been removed.
async fn removed() -> World {
    let world = Box::pin(World::active()).await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    reconcile_sweep::queue_due(&world.sweep, "sweep").await;
    world.run_until_idle().await;
    world.assert_gone().await;
    world
}

/// One of everything is there again.
fn comes_late(world: &World) {
    let (group, names) = (world.azure.arm.group(), world.names());
    world.gateway.has_key(&names.model_key(nbhd_sim::testbed::generation(1)));
    let app = json!({ "location": nbhd_sim::arm::LOCATION, "properties": { "template": {} } });
    world.azure.arm.creates(group.app(&names.resource).as_str(), app);
    world.azure.arm.creates(group.share(ACCOUNT, &names.resource).as_str(), json!({ "properties": {} }));
    let identity = json!({ "properties": { "principalId": "p", "clientId": "c" } });
    world.azure.arm.creates(group.identity(&names.resource).as_str(), identity);
}

/// What the receipt says was found after the removal.
async fn late(world: &World) -> Vec<Part> {
    let lines = world.tombstone().await.receipt;
    lines.into_iter().filter(|line| line.late).map(|line| line.part).collect()
}
