//! Somebody pays, and what Stripe knows of them goes no further.

use axum::http::StatusCode;
use nbhd_sim::stripe::{Failure, billing};
use serde_json::json;

use super::search::Sink;
use super::stage::Stage;

const PAYER: i64 = 4_003;
const NOWHERE: &[Sink] = &[];

pub(super) async fn somebody_subscribes(stage: &mut Stage) {
    let base = stage.world.base_url().to_owned();
    stage.world.telegram.knows(PAYER, "Payer");
    stage.world.telegram.says(PAYER, "/start");
    stage.run_until_idle().await;
    let welcome = stage.world.telegram.sent_to(PAYER).pop().expect("a welcome");
    let link = welcome.message["reply_markup"]["inline_keyboard"][0][0]["url"].as_str().expect("a button").to_owned();
    let token = link.split_once("link=").expect("a link").1;
    assert_eq!(stage.http.get(&link).send().await.expect("a page").status(), StatusCode::OK);
    let choose = async |tier: &str| {
        let request = stage.http.post(format!("{base}/billing/checkout")).header("origin", &base);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("link={token}&tier={tier}")).send().await.expect("an answer")
    };
    stage.world.stripe.faults.fail_all(Failure::Status(500));
    assert_eq!(choose("plus").await.status(), StatusCode::BAD_GATEWAY);
    stage.world.stripe.faults.recover();
    let checkout = choose("plus").await.headers()["location"].to_str().expect("an address").to_owned();
    stage.world.stripe.pays(&checkout).expect("open");
    stage.run_until_idle().await;
    let customer = stage.world.stripe.customers().pop().expect("made").0;
    stage.world.stripe.card_fails(&customer);
    stage.world.clock.advance(billing::MONTH);
    stage.world.stripe.faults.fail_all(Failure::NotJson);
    stage.run_until_idle().await;
    stage.world.stripe.faults.recover();
    stage.world.clock.advance(billing::RETRIES[0]);
    stage.run_until_idle().await;

    let address = stage.add_marker("a payer's address", NOWHERE);
    let object = json!({ "customer": "cus_of_nobody", "customer_email": address });
    let event = json!({ "id": "evt_canary", "type": "invoice.paid", "data": { "object": object } }).to_string();
    let post = async |signature: String, body: String| {
        let request = stage.http.post(format!("{base}/stripe/webhook")).header("stripe-signature", signature);
        request.body(body).send().await.expect("an answer").status()
    };
    assert_eq!(post(stage.world.stripe.signs(event.as_bytes()), event.clone()).await, StatusCode::OK);
    let forged = format!("t={},v1={}", stage.world.clock.now().seconds(), "0".repeat(64));
    assert_eq!(post(forged, event).await, StatusCode::BAD_REQUEST);
    stage.run_until_idle().await;
}
