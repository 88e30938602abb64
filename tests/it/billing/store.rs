//! Stripe's snapshot in the table: row, event and customer together or not at all.

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::plan::Part;
use nbhd::domain::reconcile_status::RemovedPart;
use nbhd::domain::subscription::{Status, Subscription, Tier};
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::store::{BillingOutcome, BillingUpdate, Error, EventOutcome, Store};
use nbhd_sim::testbed::Testbed;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

struct World {
    store: Store,
    testbed: Testbed,
}

impl World {
    async fn start() -> Self {
        let testbed = Testbed::start(Clock::manual(NOW)).await.expect("a test bed");
        Self { store: Store::from_env(&testbed.env()).expect("a store"), testbed }
    }

    async fn save(&self, tenant: &Tenant, read_version: Option<u64>, event: &str) -> Result<BillingOutcome, Error> {
        let stripe_ids = vec!["cus_1", "sub_1"];
        let billing = BillingUpdate { tenant: tenant.clone(), read_version, stripe_ids, event: Some(event) };
        self.store.save_billing(billing, NOW).await
    }
}

fn paying() -> Tenant {
    let id = TenantId::random();
    let subscription = Subscription {
        id: "sub_1".to_owned(),
        status: Status::PastDue,
        tier: Tier::Plus,
        unpaid_since: Some(NOW),
        ended_at: None,
        current_period_end: Some(NOW),
        past_due_since: Some(NOW),
        ends_at: Some(NOW),
    };
    Tenant {
        customer: Some("cus_1".to_owned()),
        subscription: Some(subscription),
        due: Some(Due::new(Kind::Reconcile, id, NOW)),
        ..Tenant::new(id, ChatId(1001))
    }
}

#[tokio::test]
async fn a_row_is_read_back_as_it_was_written_and_found_by_its_stripe_ids() {
    let world = World::start().await;
    let tenant = paying();
    let written = world.save(&tenant, None, "evt_1").await.expect("written");
    let expected = Tenant { version: 1, ..tenant.clone() };
    assert_eq!(written, BillingOutcome::Saved(Box::new(expected.clone())));
    assert_eq!(world.store.tenant(tenant.tenant_id).await.expect("readable"), Some(expected));
    for id in ["cus_1", "sub_1"] {
        assert_eq!(world.store.find_tenant(id).await.expect("readable"), Some(tenant.tenant_id));
    }
    assert_eq!(world.store.find_tenant("cus_2").await.expect("readable"), None);
}

#[tokio::test]
async fn a_repeated_event_and_a_stale_row_write_nothing() {
    let world = World::start().await;
    let tenant = paying();
    world.save(&tenant, None, "evt_1").await.expect("written");
    let changed = Tenant { held: true, ..tenant.clone() };
    assert_eq!(world.save(&changed, Some(1), "evt_1").await.expect("answered"), BillingOutcome::Duplicate);
    assert!(matches!(world.save(&changed, Some(7), "evt_2").await, Err(Error::Conflict)));
    assert!(matches!(world.save(&changed, None, "evt_2").await, Err(Error::Conflict)));
    let kept = world.store.tenant(tenant.tenant_id).await.expect("readable").expect("there");
    assert!(!kept.held && kept.version == 1);
    assert!(matches!(world.save(&changed, Some(1), "evt_2").await, Ok(BillingOutcome::Saved(_))));
}

#[tokio::test]
async fn an_unmatched_event_is_recorded_once_and_then_is_a_repeated_one() {
    let world = World::start().await;
    for _ in 0..2 {
        world.store.record_event("evt_1", EventOutcome::Unmatched, NOW).await.expect("recorded");
    }
    assert_eq!(world.save(&paying(), None, "evt_1").await.expect("answered"), BillingOutcome::Duplicate);
}

#[tokio::test]
async fn a_buried_tenant_leaves_a_receipt_and_is_no_tenant() {
    let world = World::start().await;
    let tenant = paying();
    world.save(&tenant, None, "evt_1").await.expect("written");
    let receipt = vec![RemovedPart { part: Part::App, at: NOW, purged_by: None, late: false }];
    let tenant_id = tenant.tenant_id;
    let left = Tombstone { receipt, ..tenant.to_tombstone(NOW) };
    assert!(matches!(world.store.save_tombstone(&left, 7).await, Err(Error::Conflict)));
    let buried = world.store.save_tombstone(&left, 1).await.expect("buried");
    assert_eq!(world.store.tenant(tenant_id).await.expect("readable"), None);
    assert_eq!(world.store.tenant_view(tenant_id).await.expect("readable"), None);
    let record = world.store.tenant_record(tenant_id).await.expect("readable");
    assert_eq!(record, Some(TenantRecord::Deleted(Box::new(buried))));
    assert!(
        !serde_json::to_string(&world.testbed.table.items().expect("readable")).expect("JSON").contains("1001"),
        "the chat is forgotten"
    );
}
