//! What holds the resource manager's wire to Microsoft's descriptions notices when it departs from them.

use bytes::Bytes;
use nbhd_sim::arm::ARM;
use nbhd_sim::arm::contract::Contract;
use nbhd_sim::journal::Entry;
use serde_json::{Value, json};

use crate::vendors::arm_world::{NAME, World};

#[tokio::test]
async fn every_departure_is_noticed() {
    let Some(contract) = Contract::load() else { return };
    let world = World::start().await;
    world.deploy_app().await;
    world.app().await;
    let entries = world.journal.entries_of(ARM);
    let put = entries.iter().find(|entry| entry.method == "PUT" && entry.path.contains("/containerApps/"));
    let put = put.expect("the app was put");
    assert_eq!(contract.violations(put), Vec::<String>::new());

    let request = |edit: &dyn Fn(&mut Value)| Entry { request: edited(&put.request, edit), ..put.clone() };
    let answer = |edit: &dyn Fn(&mut Value)| Entry { answer: edited(&put.answer, edit), ..put.clone() };
    let wrong = [
        ("an unknown field", request(&|body| body["properties"]["template"]["restart"] = json!(true))),
        ("a read-only field", request(&|body| body["properties"]["provisioningState"] = json!("Succeeded"))),
        ("another type", request(&|body| body["properties"]["configuration"]["ingress"]["targetPort"] = json!("1"))),
        ("another word", request(&|body| body["properties"]["configuration"]["activeRevisionsMode"] = json!("One"))),
        ("no location", request(&|body| body["location"] = Value::Null)),
        ("an unknown field in the answer", answer(&|body| body["properties"]["url"] = json!("x"))),
        ("another state", answer(&|body| body["properties"]["provisioningState"] = json!("Done"))),
        ("another status", Entry { status: Some(202), ..put.clone() }),
        ("nothing to follow", Entry { answer_headers: Vec::new(), ..put.clone() }),
        ("an error without a code", Entry { status: Some(400), answer: Bytes::from("{}"), ..put.clone() }),
        ("another version", Entry { path: put.path.replace("2026-01-01", "2025-01-01"), ..put.clone() }),
        ("no operation", Entry { method: "POST".to_owned(), ..put.clone() }),
        ("no type", Entry { path: put.path.replace(NAME, "a/b"), ..put.clone() }),
    ];
    for (what, entry) in wrong {
        assert!(!contract.violations(&entry).is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_account_key_is_not_on_the_wire() {
    let world = World::start().await;
    world.deploy_app().await;
    assert!(world.journal.search("accountKey\"").is_empty());
    assert!(world.journal.entries_of(ARM).iter().all(|entry| !entry.contains_text("the runtime's keys")));
}

fn edited(body: &Bytes, edit: &dyn Fn(&mut Value)) -> Bytes {
    let mut body: Value = serde_json::from_slice(body).expect("JSON");
    edit(&mut body);
    body.to_string().into()
}
