//! Files are downloaded by signed paths.

use std::time::Duration;

use axum::http::{StatusCode, header};
use nbhd_sim::telegram::{BOT_API, Failure};
use serde_json::json;

use super::world::{ANA, BEN, Runtime, World};

const CONTENT: &[u8] = b"<script>alert(1)</script>\xff";

#[tokio::test]
async fn a_file_is_downloaded_as_it_is_and_as_data() {
    let (world, ana, path) = with_a_file().await;
    assert!(path.ends_with(&telegrams_path(&world)), "{path}");
    let answer = world.download(&ana, &path).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, CONTENT));
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(answer.headers[header::CONTENT_DISPOSITION], "attachment");
}

#[tokio::test]
async fn a_path_is_good_for_an_hour() {
    let (world, ana, path) = with_a_file().await;
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(world.download(&ana, &path).await.status, StatusCode::OK);
    world.clock.advance(Duration::from_secs(1));
    world.download(&ana, &path).await.assert_refused(StatusCode::NOT_FOUND, "Not Found");
}

#[tokio::test]
async fn a_path_opens_nothing_to_another_tenant_nor_without_its_seal() {
    let (world, ana, path) = with_a_file().await;
    let ben = world.tenant(BEN).await;
    let bare = telegrams_path(&world);
    let before = world.journal.entries_of(BOT_API).len();
    let (seal, _) = path.split_once('/').expect("a seal");
    for stolen in [path.clone(), bare.clone(), format!("{seal}/{bare}")] {
        world.download(&ben, &stolen).await.assert_refused(StatusCode::NOT_FOUND, "Not Found");
    }
    for forged in [
        bare.clone(),
        format!("{seal}/documents/file_999.bin"),
        format!("{seal}/../{bare}"),
        format!("{seal}/%2e%2e/{bare}"),
        format!("{seal}/..%2f..%2f{bare}"),
        format!("{seal}//{bare}"),
        format!("{seal}%00/{bare}"),
        format!("9{path}"),
        "..".to_owned(),
        "%ff".to_owned(),
    ] {
        world.download(&ana, &forged).await.assert_refused(StatusCode::NOT_FOUND, "Not Found");
    }
    let stranger = Runtime { capability: ben.capability, ..ana.clone() };
    world.download(&stranger, &path).await.assert_refused(StatusCode::UNAUTHORIZED, "Unauthorized");
    assert_eq!(world.journal.entries_of(BOT_API).len(), before);
    assert_eq!(world.download(&ana, &path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_found_and_one_that_telegram_does_not_give_may_be_asked_for_again() {
    let (world, ana, path) = with_a_file().await;
    world.telegram.faults.fail_next("download", Failure::Status(StatusCode::NOT_FOUND));
    world.download(&ana, &path).await.assert_refused(StatusCode::NOT_FOUND, "Not Found");
    for status in [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
        world.telegram.faults.fail_next("download", Failure::Status(status));
        let refused = world.download(&ana, &path).await;
        refused.assert_refused(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests: retry after 10");
    }
}

async fn with_a_file() -> (World, Runtime, String) {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let file_id = world.telegram.uploads_file(ANA, "page.html", "text/html", CONTENT);
    let file = world.post(&ana, "getFile", &json!({"file_id": file_id})).await.result();
    assert_eq!((&file["file_id"], &file["file_size"]), (&json!(file_id), &json!(CONTENT.len())));
    let path = file["file_path"].as_str().expect("a path").to_owned();
    (world, ana, path)
}

/// The path as Telegram gave it to the relay.
fn telegrams_path(world: &World) -> String {
    let answers = world.journal.entries_of(BOT_API);
    let answer = answers.iter().find(|entry| entry.path.ends_with("/getFile")).expect("asked");
    let answer: serde_json::Value = serde_json::from_slice(&answer.answer).expect("JSON");
    answer["result"]["file_path"].as_str().expect("a path").to_owned()
}
