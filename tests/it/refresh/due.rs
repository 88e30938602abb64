//! The sparse index: what a tick finds, and what it costs.

use std::time::Duration;

use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::Provider;
use nbhd::store::DueRow;

use crate::refresh::world::World;

#[tokio::test]
async fn a_row_is_found_from_its_time_on_until_it_is_no_longer_due() {
    let world = World::connected().await;
    let at = world.clock.now() + Duration::from_secs(60);
    let row = world.change(|row| row.due = Some(Due::new(Kind::Refresh, row.tenant_id, at))).await;
    assert_eq!(row.due, world.row().await.due);
    assert_eq!(found(&world, Kind::Refresh).await, []);
    world.advance(Duration::from_secs(60));
    let due = DueRow { tenant_id: world.tenant, provider: Some(Provider::Gmail), due_at: at };
    assert_eq!(found(&world, Kind::Refresh).await, [due]);
    assert_eq!(found(&world, Kind::Reconcile).await, []);
    world.change(|row| row.due = None).await;
    assert_eq!(found(&world, Kind::Refresh).await, []);
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing() {
    const ROWS: usize = 2_500;
    let world = World::start().await;
    let tenant = TenantId::random();
    let shard = Kind::Refresh.shard_of(tenant);
    let mut expected = Vec::new();
    for place in 0..ROWS {
        let tenant_id = TenantId::random();
        let at = world.clock.now() - Duration::from_secs(place as u64 / 2);
        put(&world, tenant_id, &Due { shard: shard.clone(), at });
        expected.push(tenant_id);
    }
    let mut pages = 0;
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = world.store.list_due(&shard, world.clock.now(), after).await.expect("a table");
        rows.extend(page.rows);
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert!(rows.is_sorted_by_key(|row| row.due_at), "the longest overdue first");
    let mut ids: Vec<TenantId> = rows.into_iter().map(|row| row.tenant_id).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_row_that_nobody_can_name_holds_up_no_other() {
    let world = World::connected().await;
    let now = world.clock.now();
    let row = world.change(|row| row.due = Some(Due::new(Kind::Refresh, row.tenant_id, now))).await;
    let due = row.due.expect("just set");
    let item = serde_json::json!({
        "pk": { "S": "NOBODY" }, "sk": { "S": "KNOWS" },
        "due_shard": { "S": due.shard }, "due_at": { "N": (now.millis() - 1).to_string() },
    });
    world.table.put(serde_json::json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("an item");
    assert_eq!(found(&world, Kind::Refresh).await.len(), 1);
}

/// Everything of a kind that is due now.
async fn found(world: &World, kind: Kind) -> Vec<DueRow> {
    let mut rows = Vec::new();
    for shard in kind.shards() {
        rows.extend(world.store.list_due(&shard, world.clock.now(), None).await.expect("a table").rows);
    }
    rows
}

fn put(world: &World, tenant: TenantId, due: &Due) {
    let item = serde_json::json!({
        "pk": { "S": format!("TENANT#{tenant}") }, "sk": { "S": format!("INTEGRATION#{}", Provider::Gmail) },
        "due_shard": { "S": due.shard }, "due_at": { "N": due.at.millis().to_string() },
    });
    world.table.put(serde_json::json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("an item");
}
