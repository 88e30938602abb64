//! Taking a connection back, and what another tenant's link, state, code, cookie or undo opens: nothing of the first.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::integration::{Provider, Status};
use nbhd::flows::connect_link::Services;
use nbhd_sim::google::Scopes;
use url::Url;

use crate::oauth::world::{ADA_CHAT, BEA_CHAT, World, person};

#[tokio::test]
async fn undo_ends_the_connection_and_queues_the_rest() {
    let world = World::start().await;
    let mut browser = world.browser();
    let result = world.connect(&mut browser, Services::Google, &Scopes::All).await;
    for _ in ["once", "and again"] {
        let page = browser.submit(&result).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("Taken back"), "{}", page.body);
    }
    for provider in Provider::ALL {
        assert_eq!(world.row(world.ada, provider).await.expect("a row").status, Status::Revoked);
        let jobs = world.sqs.messages("refresh");
        assert!(jobs.iter().any(|job| job.sent.body.contains(&format!("\"{provider}\""))), "{provider}");
    }
}

#[tokio::test]
async fn undo_leaves_a_later_connection_alone() {
    let world = World::start().await;
    let mut browser = world.browser();
    let earlier = world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    world.advance(Duration::from_secs(60));
    world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    browser.submit(&earlier).await;
    assert_eq!(world.row(world.ada, Provider::Gmail).await.expect("a row").status, Status::Active);
    assert!(world.sqs.messages("refresh").is_empty());
}

#[tokio::test]
async fn undo_is_refused_across_sites_without_its_token_and_after_an_hour() {
    let world = World::start().await;
    let mut browser = world.browser();
    let result = world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    let (action, form) = result.form();
    let cross = browser.post(&action, &[("sec-fetch-site", "cross-site")], form.clone()).await;
    assert_eq!((cross.status, cross.code()), (StatusCode::FORBIDDEN, "cross_site"));
    let same = &[("sec-fetch-site", "same-origin")];
    let empty = browser.post(&action, same, String::new()).await;
    assert_eq!((empty.status, empty.code()), (StatusCode::FORBIDDEN, "invalid_undo"));
    world.advance(Duration::from_secs(3600));
    let late = browser.post(&action, same, form).await;
    assert_eq!((late.status, late.code()), (StatusCode::FORBIDDEN, "invalid_undo"));
    assert_eq!(world.row(world.ada, Provider::Gmail).await.expect("a row").status, Status::Active);
}

#[tokio::test]
async fn undo_with_table_or_queue_down_says_so_and_works_later() {
    let world = World::start().await;
    let mut browser = world.browser();
    let result = world.connect(&mut browser, Services::Gmail, &Scopes::All).await;
    for (table, queue) in [(true, false), (false, true)] {
        world.table.faults.set_down(table);
        world.sqs.faults.set_down(queue);
        let page = browser.submit(&result).await;
        assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"));
    }
    world.sqs.faults.set_down(false);
    assert_eq!(browser.submit(&result).await.status, StatusCode::OK);
    assert_eq!(world.sqs.messages("refresh").len(), 1);
}

#[tokio::test]
async fn another_tenants_link_and_state_connect_that_tenant_alone() {
    let world = World::start().await;
    let mut bea = world.browser();
    let link = world.links.connect_url(Services::Gmail, world.bea, &person("Bea", BEA_CHAT), world.clock.now());
    let consent = world.consent_page(&mut bea, &link).await;
    let back = world.google.consents(&consent, "bea@gmail.com", &Scopes::All).expect("sent back");
    world.confirm(&mut bea, &back, BEA_CHAT).await;
    assert_eq!(bea.get(&back).await.status, StatusCode::OK);
    assert!(world.row(world.ada, Provider::Gmail).await.is_none() && world.secret(Provider::Gmail).is_none());
    assert!(world.row(world.bea, Provider::Gmail).await.is_some());
    assert!(world.telegram.texts_to(ADA_CHAT).is_empty());
}

#[tokio::test]
async fn a_code_of_one_tenant_cannot_be_brought_to_another() {
    let world = World::start().await;
    let (mut ada, mut bea) = (world.browser(), world.browser());
    let adas = Url::parse(&world.consent_redirect(&mut ada, Services::Gmail, &Scopes::All).await).expect("a URL");
    let link = world.links.connect_url(Services::Gmail, world.bea, &person("Bea", BEA_CHAT), world.clock.now());
    let consent = world.consent_page(&mut bea, &link).await;
    let beas =
        Url::parse(&world.google.consents(&consent, "bea@gmail.com", &Scopes::All).expect("sent back")).expect("a URL");
    let part =
        |url: &Url, name: &str| url.query_pairs().find(|(known, _)| known == name).expect("there").1.into_owned();

    // Ada's state in Bea's browser is refused; Ada's code under Bea's state fails at Google, because of PKCE.
    assert_eq!(bea.get(adas.as_str()).await.code(), "wrong_browser");
    let mut mixed = beas.clone();
    mixed
        .query_pairs_mut()
        .clear()
        .append_pair("state", &part(&beas, "state"))
        .append_pair("code", &part(&adas, "code"));
    world.confirm(&mut bea, mixed.as_str(), BEA_CHAT).await;
    assert_eq!(bea.get(mixed.as_str()).await.code(), "exchange_failed");
    assert!(
        world.row(world.bea, Provider::Gmail).await.is_none() && world.row(world.ada, Provider::Gmail).await.is_none()
    );
}

#[tokio::test]
async fn another_tenants_undo_ends_nothing_of_the_first() {
    let world = World::start().await;
    let (mut ada, mut bea) = (world.browser(), world.browser());
    world.connect(&mut ada, Services::Gmail, &Scopes::All).await;
    let link = world.links.connect_url(Services::Gmail, world.bea, &person("Bea", BEA_CHAT), world.clock.now());
    let consent = world.consent_page(&mut bea, &link).await;
    let back = world.google.consents(&consent, "bea@gmail.com", &Scopes::All).expect("sent back");
    world.confirm(&mut bea, &back, BEA_CHAT).await;
    let result = bea.get(&back).await;
    bea.submit(&result).await;
    assert_eq!(world.row(world.bea, Provider::Gmail).await.expect("a row").status, Status::Revoked);
    assert_eq!(world.row(world.ada, Provider::Gmail).await.expect("a row").status, Status::Active);
}
