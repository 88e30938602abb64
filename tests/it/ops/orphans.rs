//! `nbhd orphans` on the local world.

use std::time::Duration;

use nbhd::domain::inventory::{GATEWAY, Inventory, Orphan, REMOVABLE_AFTER};
use nbhd::domain::step_name::Part;
use nbhd_sim::sqs;
use serde_json::json;

use super::Office;

const HOUR: Duration = Duration::from_secs(3_600);

impl Office {
    async fn has_orphans(&self) {
        let now = self.world.clock.now();
        let orphan = |name: &str, hours: u32| Orphan {
            name: name.to_owned(),
            parts: vec![Part::Share, Part::Role],
            tenant: None,
            role: None,
            key: None,
            limit_cents: None,
            first_seen: now - hours * HOUR,
            last_seen: now,
        };
        let key = Orphan {
            key: Some("hash-7".to_owned()),
            parts: vec![Part::ModelKeys],
            limit_cents: Some(2_000),
            ..orphan("key-g1", 30)
        };
        let azure = Inventory { orphans: vec![orphan("old", 7), orphan("young", 5)], ..Inventory::new("subscription") };
        let gateway = Inventory { orphans: vec![key], taken_at: Some(now), ..Inventory::new(GATEWAY) };
        let store = self.world.store().expect("a store");
        for inventory in [azure, gateway] {
            store.save_inventory(&inventory).await.expect("saved");
        }
    }

    fn requested(&self) -> Vec<String> {
        self.world.sqs.messages(sqs::LIFECYCLE).into_iter().map(|message| message.sent.body).collect()
    }
}

#[tokio::test]
async fn orphans_are_listed_with_their_age_and_what_they_cost_where_that_is_known() {
    let office = Office::open().await;
    assert!(office.nbhd(&["orphans"]).await.expect("answered").contains("none"));
    office.has_orphans().await;
    let listed = office.json(&["orphans", "--share-price", "0.3"]).await;
    let rows = listed["orphans"].as_array().expect("rows");
    let shown: Vec<_> =
        rows.iter().map(|row| (&row["id"], &row["hours"], &row["usd_a_month"], &row["removable"])).collect();
    let expected = [("hash-7", 30, 20.0, true), ("old", 7, 0.3, true), ("young", 5, 0.3, false)];
    for (shown, (id, hours, usd, removable)) in shown.iter().zip(expected) {
        assert_eq!(*shown, (&json!(id), &json!(hours), &json!(usd), &json!(removable)));
    }
    assert_eq!(office.json(&["orphans"]).await["orphans"][1]["usd_a_month"], json!(null), "no price is guessed");
    let text = office.nbhd(&["orphans"]).await.expect("answered");
    assert!(["hash-7", "old", "young"].iter().all(|id| text.contains(id)), "{text}");
}

#[tokio::test]
async fn orphans_are_removed_by_the_reconciler_and_only_those_known_for_hours() {
    let office = Office::open().await;
    office.has_orphans().await;
    assert!(office.nbhd(&["orphans", "remove", "nobody", "--yes"]).await.is_err());
    let young = office.json(&["orphans", "remove", "young", "--yes"]).await;
    assert_eq!((&young["removals_requested"], &young["too_young"]), (&json!(0), &json!(1)));
    assert_eq!(office.requested(), Vec::<String>::new());
    let all = office.json(&["orphans", "remove", "--yes"]).await;
    assert_eq!((&all["removals_requested"], &all["too_young"]), (&json!(2), &json!(1)));
    let requested = office.requested();
    assert_eq!(requested.len(), 2);
    assert!(requested[0].contains("hash-7") && requested[1].contains("old"), "{requested:?}");
    office.world.clock.advance(REMOVABLE_AFTER);
    assert_eq!(office.json(&["orphans", "remove", "young", "--yes"]).await["removals_requested"], json!(1));
}
