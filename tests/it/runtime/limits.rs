//! What one tenant's runtime can take from the others: no more than its limit, whatever it does.

use std::time::Duration;

use futures::future::join_all;
use nbhd_sim::google::Endpoint;

use crate::runtime::gmail::LIST;
use crate::runtime::world::World;

const FREEBUSY: &str = "google-calendar/freebusy/";

/// The calls that pass at once after a pause.
const BURST: usize = 30;

#[tokio::test]
async fn of_two_hundred_calls_at_once_google_sees_the_burst_and_the_others_are_told_to_wait() {
    let world = World::start().await;
    let answers = join_all((0..200).map(|call| world.get(if call % 2 == 0 { LIST } else { FREEBUSY }))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, BURST);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.error(), (429, "too_many_requests".to_owned()));
        let wait: u64 = refused.retry_after().and_then(|wait| wait.parse().ok()).expect("a wait in seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    let reached = [Endpoint::MessagesList, Endpoint::FreeBusy].map(|endpoint| world.google.calls(endpoint));
    assert_eq!(reached.iter().sum::<usize>(), BURST);
    assert_eq!(world.get_as(&world.bob, LIST).await.status, 200, "another tenant is served as ever");
}

#[tokio::test]
async fn a_refused_call_costs_one_query_and_its_wait_is_true() {
    let world = World::start().await;
    for _ in 0..BURST {
        assert_eq!(world.get(FREEBUSY).await.status, 200);
    }
    world.forget_calls();
    let refused = world.get(FREEBUSY).await;
    assert_eq!(world.table_calls(), ["Query"]);
    assert!(world.journal.entries().is_empty(), "nobody else is asked");
    let wait: u64 = refused.retry_after().and_then(|wait| wait.parse().ok()).expect("a wait in seconds");
    world.clock.advance(Duration::from_secs(wait));
    assert_eq!(world.get(FREEBUSY).await.status, 200);
}

#[tokio::test]
async fn a_wrong_key_is_not_charged_to_the_tenant() {
    let world = World::start().await;
    let tenant = world.ana.tenant.to_string();
    for _ in 0..2 * BURST {
        let headers = [("x-nbhd-internal-key", "wrong"), ("x-nbhd-tenant-id", tenant.as_str())];
        assert_eq!(world.ask(&tenant, LIST, &headers).await.status, 401);
    }
    assert!(world.table_calls().iter().all(|call| call == "Query"), "a stranger's call writes nothing");
    assert_eq!(world.get(LIST).await.status, 200);
}
