//! What comes in.

use std::io::ErrorKind;
use std::time::Duration;

use nbhd_front::share::{Effect, Fault};
use serde_json::Value;

use super::support::{OLDER_WEBHOOK_SECRET, WEBHOOK_SECRET, World, answer, durable, header, update};

async fn ready(world: &World, front: &nbhd_front::Front, secret: &str) -> (u16, Value) {
    let request = world.http.get(format!("http://{}/readyz", front.address));
    let answer = request.header("x-telegram-bot-api-secret-token", secret).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}

#[tokio::test]
async fn an_update_with_the_secret_of_any_generation_is_kept_once() {
    let world = World::new().await;
    let front = world.start().await;
    for (secret, id) in [(WEBHOOK_SECRET, 1), (OLDER_WEBHOOK_SECRET, 2), (WEBHOOK_SECRET, 1), (WEBHOOK_SECRET, 2)] {
        let answer = world.post(&front, secret, update(id)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "x-openclaw-delivery-accepted"), "durable");
        assert_eq!(header(&answer, "x-nbhd-front"), "ready");
        assert_eq!(answer.text().await.expect("a body"), "");
    }
    assert_eq!(ready(&world, &front, WEBHOOK_SECRET).await.1["waiting"], 2);
}

#[tokio::test]
async fn a_stranger_gets_401_and_then_429_and_leaves_the_owner_alone() {
    let world = World::new().await;
    let front = world.start().await;
    for turn in 1..=125 {
        let answer = world.post(&front, "webhook-", "no JSON at all").await;
        assert_eq!(answer.status(), if turn <= 120 { 401 } else { 429 });
        assert_eq!(header(&answer, "x-nbhd-front"), "ready");
    }
    assert!(world.deliver(&front, 1).await);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.post(&front, "", update(2)).await.status(), 401);
}

#[tokio::test]
async fn what_is_no_update_is_refused_and_every_other_path_is_none() {
    let world = World::new().await;
    let front = world.start().await;
    for body in ["", "{", "[]", "{\"update_id\":\"1\"}"] {
        assert_eq!(world.post(&front, WEBHOOK_SECRET, body).await.status(), 400, "{body}");
    }
    let large = format!("{{\"update_id\":1,\"text\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(world.post(&front, WEBHOOK_SECRET, large).await.status(), 413);
    for path in ["/", "/telegram-webhook", "/telegram-webhook/", "/readyz", "/journal"] {
        let answer = world.http.get(format!("http://{}{path}", front.address)).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "x-nbhd-front")), (404, "ready"), "{path}");
    }
    assert_eq!(ready(&world, &front, "webhook-").await.0, 404);
    assert_eq!(ready(&world, &front, WEBHOOK_SECRET).await.1["waiting"], 0);
}

#[tokio::test]
async fn nothing_is_kept_before_this_configuration_was_validated_once() {
    let world = World::new().await;
    let front = world.start_unvalidated().await;
    let refused = world.post(&front, WEBHOOK_SECRET, update(1)).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-nbhd-front")), (503, "starting"));
    let stranger = world.post(&front, "", update(1)).await;
    assert_eq!((stranger.status().as_u16(), header(&stranger, "x-nbhd-front")), (401, "starting"));
    let (status, body) = ready(&world, &front, WEBHOOK_SECRET).await;
    assert_eq!(
        (status, body["reason"].as_str(), body["waiting"].as_u64()),
        (503, Some("configuration_not_validated"), Some(0))
    );

    front.readiness.write_stamp().expect("written");
    assert!(world.deliver(&front, 1).await);
    drop(front);
    let next = world.start_unvalidated().await;
    // The stamp is read beside the first requests.
    while !world.deliver(&next, 2).await {}
    assert_eq!(
        ready(&world, &next, WEBHOOK_SECRET).await,
        (200, serde_json::json!({ "ready": true, "reason": "ready", "waiting": 2 }))
    );
}

#[tokio::test]
async fn a_share_that_fails_is_never_an_acknowledgement() {
    let world = World::new().await;
    let front = world.start().await;
    let failing = [
        (Effect::Write, Fault::Fails(ErrorKind::StorageFull)),
        (Effect::Write, Fault::Fails(ErrorKind::ReadOnlyFilesystem)),
        (Effect::Write, Fault::Torn(25)),
        (Effect::Sync, Fault::Fails(ErrorKind::TimedOut)),
    ];
    for (turn, (effect, fault)) in (1..).zip(failing) {
        world.fail(&[effect], fault);
        let refused = world.post(&front, WEBHOOK_SECRET, update(turn)).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "x-nbhd-front")), (503, "starting"));
        assert_eq!(header(&refused, "retry-after"), "2");
        let health = world.http.get(format!("http://{}/healthz", front.address)).send().await.expect("an answer");
        assert_eq!(health.status(), 503);
        assert_eq!(ready(&world, &front, WEBHOOK_SECRET).await.1["reason"], "share_not_writable");
        world.fail(&[], fault);
        let health = world.http.get(format!("http://{}/healthz", front.address)).send().await.expect("an answer");
        assert_eq!((health.status().as_u16(), header(&health, "x-nbhd-front")), (200, "ready"));
        assert!(world.deliver(&front, turn).await);
    }
}

#[tokio::test]
async fn readiness_says_which_part_of_openclaw_is_not_up() {
    let world = World::new().await;
    let front = world.start().await;
    world.openclaw.answers(|seen| if seen.path == "/readyz" { answer(503) } else { durable() });
    assert_eq!(ready(&world, &front, WEBHOOK_SECRET).await.1["reason"], "gateway_not_ready");
    world.openclaw.answers(|seen| if seen.path == "/healthz" { answer(404) } else { durable() });
    let (status, body) = ready(&world, &front, OLDER_WEBHOOK_SECRET).await;
    assert_eq!((status, body["reason"].as_str()), (503, Some("listener_not_ready")));
}

#[tokio::test]
async fn the_journal_belongs_to_the_fronts_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let front = world.start().await;
    assert!(world.deliver(&front, 1).await);
    let folder = world.share().join("journal");
    assert_eq!(folder.metadata().expect("a folder").permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(folder).expect("a folder") {
        assert_eq!(entry.expect("a file").metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    }
}
