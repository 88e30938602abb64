//! What bears our names and no row knows, and what the lists say of tenants that there are.

use std::io::Write as _;
use std::time::Duration;

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::inventory::{GATEWAY, Inventory, Orphan, REMOVABLE_AFTER};
use nbhd::domain::names::Names;
use nbhd::domain::step_name::Part;
use nbhd::domain::tenant::Lifecycle;
use nbhd::queue::{LifecycleJob, Queues};
use nbhd_sim::arm::{ARM, Failure, Operation};
use nbhd_sim::sqs::LIFECYCLE;
use serde_json::json;

use crate::reconcile::world::{MINUTE, World};

const HOUR: Duration = Duration::from_secs(3_600);
const HASH: &str = "0123456789abcdef";

impl World {
    async fn takes_inventory(&self) {
        reconcile_sweep::handle(&self.sweep, &json!({ "job": "inventory" }), "sweep").await;
        self.run_until_idle().await;
    }

    fn subscription(&self) -> String {
        self.azure.arm.group().subscription_id
    }

    async fn inventory(&self, of: &str) -> Inventory {
        self.store.load_inventory(of).await.expect("a table").expect("taken")
    }

    async fn orphans(&self) -> Vec<Orphan> {
        let (azure, gateway) = (self.inventory(&self.subscription()).await, self.inventory(GATEWAY).await);
        [azure.orphans, gateway.orphans].concat()
    }

    async fn removes_orphan(&self, inventory: &str, orphan: &Orphan) {
        let queue = Queues::new(&self.env).expect("complete settings").lifecycle_jobs(&self.sqs.url(LIFECYCLE));
        let (inventory, orphan) = (inventory.to_owned(), orphan.id().to_owned());
        queue.send(&LifecycleJob::RemoveOrphan { inventory, orphan }).await.expect("queued");
        self.run_until_idle().await;
    }

    fn loses_row(&self) {
        self.table.delete(&format!("TENANT#{}", self.tenant), "META").expect("a table");
    }

    /// An orphan with the names of Ana's resources, known for long.
    fn orphan_of_ana(&self) -> Orphan {
        let first_seen = self.clock.now() - REMOVABLE_AFTER;
        Orphan {
            name: self.names().resource,
            parts: vec![Part::App],
            tenant: Some(self.tenant),
            role: Some(self.names().role),
            key: None,
            limit_cents: None,
            first_seen,
            last_seen: first_seen,
        }
    }
}

#[tokio::test]
async fn what_a_lost_row_led_to_is_found_with_its_age_and_goes_after_hours_at_an_operators_word() {
    let world = World::active().await;
    world.clock.advance(2 * HOUR);
    world.loses_row();
    world.takes_inventory().await;
    let (azure, gateway) = (world.inventory(&world.subscription()).await, world.inventory(GATEWAY).await);
    let [orphan] = azure.orphans.as_slice() else { panic!("{azure:?}") };
    assert_eq!((&orphan.name, orphan.tenant), (&world.names().resource, Some(world.tenant)));
    let parts = [Part::App, Part::Identity, Part::Storage, Part::Role, Part::Share, Part::Secret];
    assert_eq!((orphan.parts.as_slice(), orphan.role), (parts.as_slice(), Some(world.names().role)));
    let [key] = gateway.orphans.as_slice() else { panic!("{gateway:?}") };
    assert_eq!((key.key.is_some(), key.limit_cents), (true, Some(500)));

    let (orphan, key) = (orphan.clone(), key.clone());
    let there = world.azure.arm.resources().len();
    world.clock.advance(REMOVABLE_AFTER - MINUTE);
    world.takes_inventory().await;
    assert_eq!(world.orphans().await[0].first_seen, orphan.first_seen, "it ages");
    world.removes_orphan(&world.subscription(), &orphan).await;
    world.removes_orphan(GATEWAY, &key).await;
    assert_eq!((world.azure.arm.resources().len(), world.gateway.keys().len()), (there, 1), "it is too young");

    world.clock.advance(MINUTE);
    world.removes_orphan(&world.subscription(), &orphan).await;
    world.removes_orphan(GATEWAY, &key).await;
    world.assert_nothing_is_left();
    assert_eq!(world.orphans().await, []);
}

#[tokio::test]
async fn what_a_row_knows_is_never_removed_whatever_an_inventory_says() {
    let world = World::active().await;
    let of = world.subscription();
    let orphan = world.orphan_of_ana();
    let untagged = Orphan { tenant: None, ..orphan.clone() };
    for listed in [orphan, untagged] {
        let version = world.store.load_inventory(&of).await.expect("a table").map_or(0, |known| known.version);
        let inventory = Inventory { orphans: vec![listed.clone()], version, ..Inventory::new(&of) };
        world.store.save_inventory(&inventory).await.expect("saved");
        world.removes_orphan(&of, &listed).await;
        world.assert_active().await;
        assert_eq!(world.inventory(&of).await.orphans, [], "a row knows it by now");
    }
    let hash = world.row().await.reconcile.resources.keys.expect("keys").model_key;
    let key = Orphan { key: Some(hash), name: world.gateway.keys()[0].name.clone(), ..world.orphan_of_ana() };
    let inventory = Inventory { orphans: vec![key.clone()], ..Inventory::new(GATEWAY) };
    world.store.save_inventory(&inventory).await.expect("saved");
    world.removes_orphan(GATEWAY, &key).await;
    world.assert_active().await;
}

#[tokio::test]
async fn neither_a_provisioning_under_way_nor_a_removal_nor_its_recheck_is_an_orphan() {
    let world = World::start().await;
    world.pays(nbhd::domain::subscription::Status::Active).await;
    world.reconcile().await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Provisioning);
    assert!(!world.azure.arm.resources().is_empty(), "it is under way");
    world.takes_inventory().await;
    assert_eq!(world.orphans().await, []);
    world.assert_active().await;

    let left = world.row().await.to_tombstone(world.clock.now());
    assert!(left.recheck.at.is_some());
    world.store.save_tombstone(&left, world.row().await.version).await.expect("saved");
    world.clock.advance(2 * HOUR);
    // The recheck is due, and the inventory comes first.
    world.takes_inventory().await;
    assert_eq!(world.orphans().await, []);
}

#[tokio::test]
async fn a_model_key_that_its_tenants_row_has_forgotten_is_found_and_removed_and_the_others_stay() {
    let world = World::active().await;
    let forgotten = world.gateway.has_key(&world.names().model_key(nbhd::domain::generation::Generation::unkeyed(7)));
    world.gateway.has_key("a key of somebody's own");
    world.takes_inventory().await;
    assert_eq!(world.orphans().await, [], "a worker may still write it to its row");
    world.clock.advance(2 * HOUR);
    world.takes_inventory().await;
    let orphans = world.orphans().await;
    assert_eq!(orphans.iter().map(Orphan::id).collect::<Vec<_>>(), [&forgotten], "{orphans:?}");
    assert_eq!(orphans[0].tenant, Some(world.tenant));
    world.clock.advance(REMOVABLE_AFTER);
    world.removes_orphan(GATEWAY, &orphans[0]).await;
    assert_eq!(world.gateway.keys().len(), 2);
    assert!(world.gateway.loses_key(&world.row().await.reconcile.resources.keys.expect("keys").model_key));
}

#[tokio::test]
async fn a_tag_that_lies_hides_nothing_and_names_of_others_are_left_alone() {
    let world = World::active().await;
    let group = world.azure.arm.group();
    let stranger = Names::derive(&crate::reconcile::world::key(), TenantId::random());
    let app = world.container().id;
    world.azure.arm.creates(group.share(nbhd_sim::arm::ACCOUNT, "terraform-state").as_str(), json!({"properties": {}}));
    // An orphan that claims to be Ana's, by a tag that anyone may write.
    let identity = group.identity(&stranger.resource);
    let body = json!({"tags": {"nbhd_tenant": world.tenant}, "location": "eastus",
        "properties": {"principalId": HASH, "clientId": HASH}});
    world.azure.arm.creates(identity.as_str(), body);
    // Ana's own app claims to be somebody else's.
    world.azure.arm.edits(&app, |body| body["tags"]["nbhd_tenant"] = json!(TenantId::random()));
    world.takes_inventory().await;
    let orphans = world.orphans().await;
    let [orphan] = orphans.as_slice() else { panic!("{orphans:?}") };
    assert_eq!((&orphan.name, orphan.tenant), (&stranger.resource, None));
    world.clock.advance(REMOVABLE_AFTER);
    world.removes_orphan(&world.subscription(), orphan).await;
    let left: Vec<String> = world.azure.arm.resources().into_iter().map(|resource| resource.id).collect();
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(left.iter().any(|id| id.ends_with("terraform-state")));
}

#[tokio::test]
async fn a_tenant_whose_resources_the_lists_show_otherwise_is_observed_at_once() {
    let world = World::active().await;
    let names = world.names();
    let group = world.azure.arm.group();
    let storage = group.storage(nbhd_sim::arm::ENVIRONMENT, &names.resource);
    for gone in [world.container().id, storage.as_str().to_owned()] {
        world.azure.arm.deletes(&gone).await;
        world.takes_inventory().await;
        world.assert_active().await;
    }
    let image = world.container().body["properties"]["template"]["containers"][0]["image"].clone();
    let edit = |body: &mut serde_json::Value| body["properties"]["template"]["containers"][0]["image"] = json!("other");
    world.azure.arm.edits(&world.container().id, edit);
    world.takes_inventory().await;
    world.assert_active().await;
    assert_eq!(world.container().body["properties"]["template"]["containers"][0]["image"], image);
    let steps = world.steps().await.len();
    world.takes_inventory().await;
    assert_eq!(world.steps().await.len(), steps, "a tenant that is as intended costs nothing");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_forgets_no_orphan_and_the_next_hour_reads_it() {
    let world = World::active().await;
    world.clock.advance(2 * HOUR);
    world.loses_row();
    world.takes_inventory().await;
    let before = world.orphans().await;
    assert_eq!(before.len(), 2);
    world.azure.arm.faults.fail_next(Operation::List, Failure::Status(axum::http::StatusCode::INTERNAL_SERVER_ERROR));
    world.clock.advance(HOUR);
    world.takes_inventory().await;
    assert_eq!(world.inventory(&world.subscription()).await.orphans, before[..1]);
    assert_eq!(world.dead_letters(), 0);
    world.clock.advance(HOUR);
    world.takes_inventory().await;
    assert!(world.inventory(&world.subscription()).await.orphans[0].last_seen > before[0].last_seen);
}

#[tokio::test]
async fn lists_cost_as_many_calls_for_four_tenants_as_for_one_and_observing_each_four_times_as_many() {
    let world = World::active().await;
    let calls = |world: &World| (world.journal.entries_of(ARM).len(), world.journal.entries().len());
    let mut counted = Vec::new();
    for tenants in [1, 4] {
        for place in 1..tenants {
            let chat = ChatId(2_000 + place);
            let id = world.another_pays(chat).await;
            tenant_reconcile::reconcile(&world.app, id).await.expect("a table");
            world.lives_on(10 * MINUTE).await;
        }
        world.journal.clear();
        world.takes_inventory().await;
        let (arm, all) = calls(&world);
        world.journal.clear();
        // Each tenant is observed within this time, once.
        world.lives_on(HOUR + 10 * MINUTE).await;
        counted.push((tenants, arm, all, calls(&world).0));
    }
    let what = "tenants, ARM calls of one inventory, all its calls, ARM calls of observing each";
    let _ = writeln!(std::io::stderr(), "{what}: {counted:?}");
    let [(_, one, _, observed), (_, four, _, all_observed)] = counted[..] else { panic!("{counted:?}") };
    assert_eq!(one, four, "{counted:?}");
    assert!(all_observed >= 3 * observed && observed >= 5, "{counted:?}");
}
