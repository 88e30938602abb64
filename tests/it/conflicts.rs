//! An item that a transaction holds: over in milliseconds, and no outage.

use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::rate::{Gcra, Verdict};
use nbhd::domain::tenant::Tenant;
use nbhd::store::{Error, NonceState, RateLane, Store};
use nbhd_sim::table::Failure;
use nbhd_sim::testbed::Testbed;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

async fn world() -> (Testbed, Store, Tenant) {
    let testbed = Testbed::start(Clock::manual(NOW)).await.expect("a test bed");
    let store = Store::from_env(&testbed.env()).expect("complete settings");
    (testbed, store, Tenant::new(TenantId::random(), ChatId(1)))
}

#[tokio::test]
async fn a_row_that_is_held_is_written_at_the_second_try() {
    let (testbed, store, tenant) = world().await;
    testbed.table.faults.fail_next("PutItem", Failure::ItemHeld);
    let saved = store.save_tenant(&tenant, None).await.expect("written");
    assert_eq!(store.tenant(tenant.tenant_id).await.expect("readable"), Some(saved));
}

#[tokio::test]
async fn a_row_that_stays_held_is_a_conflict_so_that_it_is_read_again() {
    let (testbed, store, tenant) = world().await;
    for _ in 0..2 {
        testbed.table.faults.fail_next("PutItem", Failure::ItemHeld);
    }
    let refused = store.save_tenant(&tenant, None).await;
    assert!(matches!(refused, Err(Error::Conflict)), "{refused:?}");
    assert_eq!(store.tenant(tenant.tenant_id).await.expect("readable"), None);
}

#[tokio::test]
async fn limits_and_nonces_that_are_held_are_written_once() {
    let (testbed, store, tenant) = world().await;
    let limit = Gcra::new(1, Duration::from_secs(60), 2);
    for left in [true, true, false] {
        testbed.table.faults.fail_next("UpdateItem", Failure::ItemHeld);
        let charged = store.charge_runtime(tenant.tenant_id, (RateLane::Reads, 1), limit, None, NOW).await;
        assert_eq!(matches!(charged.expect("charged"), Verdict::Admit(_)), left);
    }
    testbed.table.faults.recover();
    testbed.table.faults.fail_next("PutItem", Failure::ItemHeld);
    let spend = async || store.spend_nonce::<String>("a-nonce", NOW, Duration::from_secs(60)).await.expect("readable");
    assert_eq!(spend().await, NonceState::Fresh);
    assert!(matches!(spend().await, NonceState::Spent { .. }));
}
