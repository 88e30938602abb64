//! `runtime-gmail`: a tenant's mail for its own runtime, and every error by its name.

use std::time::Duration;

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Provider, Status};
use nbhd::domain::secrets::KeyHash;
use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::google::{Endpoint, Failure};
use nbhd_sim::key_vault;
use serde_json::{Value, json};

use crate::runtime::world::{HOUR, Runtime, World};

pub(crate) const LIST: &str = "gmail/messages/";

/// The identifier of the sample message whose subject contains `subject`.
pub(crate) fn message(world: &World, subject: &str) -> String {
    let has = |found: Option<&str>| found.is_some_and(|found| found.contains(subject));
    world.google.mailbox(world.ana.account, |mailbox| {
        let found = mailbox.messages().iter().find(|message| has(message.header("Subject")));
        found.map(|message| message.id.clone()).expect("a sample of this subject")
    })
}

pub(crate) async fn open(world: &World, id: &str, query: &str) -> Value {
    let answer = world.get(&format!("gmail/messages/{id}/{query}")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    answer.json()
}

#[tokio::test]
async fn a_list_shows_the_newest_messages() {
    let world = World::start().await;
    let list = world.get(LIST).await.json();
    assert_eq!((&list["provider"], &list["tenant_id"]), (&json!("gmail"), &json!(world.ana.tenant)));
    let messages = list["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 5);
    let newest = world.google.mailbox(world.ana.account, |mailbox| mailbox.messages()[0].clone());
    assert_eq!(messages[0]["id"], newest.id);
    assert_eq!(messages[0]["subject"].as_str(), newest.header("Subject"));
    assert_eq!(messages[0]["from"].as_str(), newest.header("From"));
    assert_eq!(messages[0]["internal_date"], newest.internal_date.millis().to_string());
    assert!(messages.iter().all(|message| message["snippet"].is_string() && message["thread_id"].is_string()));
    assert_eq!(list["result_size_estimate"], 8);
}

#[tokio::test]
async fn a_search_and_a_number_reach_google_as_they_are() {
    let world = World::start().await;
    let found = world.get("gmail/messages?q=subject%3Abudget%20%26%20fields%3D*&max_results=1").await;
    assert_eq!(found.status, 200);
    let asked = world.journal.entries_of("google")[0].path.clone();
    assert!(asked.contains("maxResults=1&") && asked.ends_with("q=subject%3Abudget+%26+fields%3D*"), "{asked}");
}

#[tokio::test]
async fn an_empty_mailbox_is_an_empty_list() {
    let world = World::start().await;
    let answer = world.get_as(&world.bob, LIST).await;
    assert_eq!((answer.json()["messages"].clone(), answer.status), (json!([]), 200));
}

#[tokio::test]
async fn a_message_is_opened_with_its_text_and_its_attachments_listed() {
    let world = World::start().await;
    let opened = open(&world, &message(&world, "nvoice"), "").await;
    assert!(opened["body_text"].as_str().is_some_and(|text| !text.is_empty()), "{opened}");
    assert_eq!(opened["body_truncated"], false);
    let attachment = &opened["attachments"][0];
    assert!(attachment["filename"].is_string() && attachment["size"].as_u64() > Some(0), "{attachment}");
    assert!(opened["to"].is_string() && opened["label_ids"].as_array().is_some_and(|labels| !labels.is_empty()));
    assert!(world.journal.entries_of("google").iter().all(|call| !call.path.contains("/attachments/")));
}

#[tokio::test]
async fn the_other_messages_of_a_conversation_come_with_it() {
    let world = World::start().await;
    let reply = world.google.mailbox(world.ana.account, |mailbox| {
        let is_reply = |message: &&nbhd_sim::google::mailbox::Message| message.thread_id != message.id;
        mailbox.messages().iter().find(is_reply).map(|message| (message.id.clone(), message.thread_id.clone()))
    });
    let (reply, first) = reply.expect("a reply among the samples");
    let opened = open(&world, &reply, "").await;
    let context: Vec<_> = opened["thread_context"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert_eq!(context, [&json!(first)]);
    let alone = open(&world, &reply, "?include_thread=false").await;
    assert_eq!(alone["thread_context"], json!([]));
    assert_eq!(world.google.calls(Endpoint::ThreadsGet), 1);
}

#[tokio::test]
async fn a_path_works_with_and_without_a_trailing_slash() {
    let world = World::start().await;
    let id = message(&world, "nvoice");
    for path in ["gmail/messages", "gmail/messages/", &format!("gmail/messages/{id}"), &format!("gmail/messages/{id}/")]
    {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn one_message_that_is_gone_meanwhile_does_not_hide_the_others() {
    let world = World::start().await;
    world.google.faults.fail_next(Endpoint::MessagesGet, Failure::NotFound);
    let list = world.get(LIST).await;
    assert_eq!((list.status, list.json()["messages"].as_array().map(Vec::len)), (200, Some(4)));
}

// Every error by its name.

#[tokio::test]
async fn internal_auth_failed_is_one_answer_byte_for_byte() {
    let world = World::start().await;
    let (ana, bob, nobody) =
        (world.ana.tenant.to_string(), world.bob.tenant.to_string(), TenantId::random().to_string());
    let (key, other) = (world.ana.key, world.bob.key);
    let upper = ana.to_uppercase();
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Headers<'_>); 12] = [
        ("no headers", &ana, &[]),
        ("no key", &ana, &[("x-nbhd-tenant-id", &ana)]),
        ("no tenant", &ana, &[("x-nbhd-internal-key", key)]),
        ("wrong key", &ana, &[("x-nbhd-internal-key", "wrong"), ("x-nbhd-tenant-id", &ana)]),
        ("empty key", &ana, &[("x-nbhd-internal-key", ""), ("x-nbhd-tenant-id", &ana)]),
        ("other tenant's key", &ana, &[("x-nbhd-internal-key", other), ("x-nbhd-tenant-id", &ana)]),
        ("other tenant's path", &bob, &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", &ana)]),
        ("other tenant's header", &ana, &[("x-nbhd-internal-key", other), ("x-nbhd-tenant-id", &bob)]),
        ("unknown tenant", &nobody, &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", &nobody)]),
        ("no identifier", "x", &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", "x")]),
        ("other spelling", &upper, &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", &upper)]),
        ("two tenants", &ana, &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", &ana), ("x-nbhd-tenant-id", &bob)]),
    ];
    let expected = world.ask(&ana, LIST, &[]).await;
    assert_eq!(expected.error(), (401, "internal_auth_failed".to_owned()));
    for (case, tenant, headers) in cases {
        for below in [
            LIST,
            "gmail/messages/1/",
            "gmail/nothing",
            "gmail/messages/?max_results=0&bad=1",
            "google-calendar/events/",
        ] {
            let answer = world.ask(tenant, below, headers).await;
            assert_eq!((answer.status, &answer.bytes), (401, &expected.bytes), "{case}: {below}");
            assert_eq!(answer.headers, expected.headers, "{case}: {below}");
        }
    }
    assert!(world.journal.entries().is_empty(), "somebody was asked on the way");
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_costs_the_same_work() {
    let world = World::start().await;
    for tenant in [world.ana.tenant, TenantId::random()] {
        let tenant = tenant.to_string();
        world.ask(&tenant, LIST, &[("x-nbhd-internal-key", "wrong"), ("x-nbhd-tenant-id", &tenant)]).await;
        assert_eq!(world.table_calls(), ["Query"]);
        world.table.clear_calls();
    }
}

#[tokio::test]
async fn both_keys_open_during_a_rotation_and_the_old_one_no_longer_after() {
    let world = World::start().await;
    world.change_tenant(|tenant| tenant.key_hashes.push(KeyHash::from_key("new"))).await;
    let tenant = world.ana.tenant.to_string();
    let with =
        async |key| world.ask(&tenant, LIST, &[("x-nbhd-internal-key", key), ("x-nbhd-tenant-id", &tenant)]).await;
    assert_eq!((with(world.ana.key).await.status, with("new").await.status), (200, 200));
    world.change_tenant(|tenant| tenant.key_hashes = vec![KeyHash::from_key("new")]).await;
    assert_eq!((with(world.ana.key).await.status, with("new").await.status), (401, 200));
}

#[tokio::test]
async fn tenant_inactive() {
    let world = World::start().await;
    for lifecycle in [Lifecycle::Suspended, Lifecycle::Deprovisioning] {
        world.change_tenant(|tenant| tenant.lifecycle = lifecycle).await;
        let answer = world.get(LIST).await;
        assert_eq!(answer.error(), (403, "tenant_inactive".to_owned()), "{lifecycle:?}");
    }
    assert!(world.journal.entries().is_empty());
}

#[tokio::test]
async fn invalid_request_names_the_parameter() {
    let world = World::start().await;
    let long = format!("messages/?q={}", "x".repeat(1_001));
    let cases = [
        ("messages/?max_results=0", "max_results"),
        ("messages/?max_results=11", "max_results"),
        ("messages/?max_results=five", "max_results"),
        ("messages/?max_results=5&max_results=6", "max_results"),
        (&long, "q"),
        ("messages/?query=x", "query"),
        ("messages/1/?thread_limit=0", "thread_limit"),
        ("messages/1/?thread_limit=11", "thread_limit"),
        ("messages/1/?include_thread=yes", "include_thread"),
        ("messages/1/?q=x", "q"),
        ("messages/..%2F..%2Fthreads/", "id"),
        ("messages/1%3Fformat=raw/", "id"),
        ("threads/", "path"),
        ("messages/1/attachments/", "path"),
    ];
    for (below, parameter) in cases {
        let answer = world.get(&format!("gmail/{below}")).await;
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{below}");
        assert!(answer.detail().starts_with(&format!("`{parameter}` ")), "{below}: {}", answer.detail());
    }
    assert!(world.journal.entries().is_empty());
}

#[tokio::test]
async fn integration_not_connected() {
    let world = World::start().await;
    let carl = Runtime { tenant: TenantId::random(), key: "key-of-carl", account: "carl@example.com" };
    world.add_tenant(&carl, 3).await;
    let never = world.get_as(&carl, LIST).await;
    assert_eq!(never.error(), (404, "integration_not_connected".to_owned()));
    assert!(never.detail().contains("/connect"));
    // What the disconnect job leaves behind.
    world.change(Provider::Gmail, |row| (row.status, row.secret_version) = (Status::Revoked, String::new())).await;
    assert_eq!(world.get(LIST).await.error(), (404, "integration_not_connected".to_owned()));
}

#[tokio::test]
async fn integration_inactive_says_how_to_reconnect() {
    let world = World::start().await;
    for status in [Status::Expired, Status::Revoked] {
        world.change(Provider::Gmail, |row| row.status = status).await;
        let answer = world.get(LIST).await;
        assert_eq!(answer.error(), (409, "integration_inactive".to_owned()), "{status:?}");
        assert!(answer.detail().contains("Gmail") && answer.detail().contains("/connect"));
    }
    assert!(world.journal.entries().is_empty());
}

#[tokio::test]
async fn integration_inactive_when_google_has_ended_the_grant() {
    let world = World::start().await;
    world.google.person_revokes(world.ana.account);
    assert_eq!(world.get(LIST).await.error(), (409, "integration_inactive".to_owned()));
    let row = world.store.load_integration(world.ana.tenant, Provider::Gmail).await.expect("a table").expect("a row");
    assert_eq!(row.status, Status::Expired);
}

#[tokio::test]
async fn integration_scope_insufficient_by_what_was_granted() {
    let world = World::start().await;
    world.connects(&world.ana, Provider::Gmail, &[Provider::GoogleCalendar.scope()]).await;
    world.forget_calls();
    assert_eq!(world.get(LIST).await.error(), (409, "integration_scope_insufficient".to_owned()));
    assert!(world.journal.entries().is_empty());
}

#[tokio::test]
async fn message_not_found() {
    let world = World::start().await;
    for id in ["00000000deadbeef", "never-an-id"] {
        let answer = world.get(&format!("gmail/messages/{id}/")).await;
        assert_eq!(answer.error(), (404, "message_not_found".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn provider_not_configured() {
    for setting in ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] {
        let world = World::start_with(|env| env.without(setting)).await;
        assert_eq!(world.get(LIST).await.error(), (503, "provider_not_configured".to_owned()), "{setting}");
    }
}

#[tokio::test]
async fn provider_rate_limited_says_for_how_long() {
    let world = World::start().await;
    for (failure, seconds) in [
        (Failure::Throttled(Some(7)), "7"),
        (Failure::Throttled(None), "30"),
        (Failure::Throttled(Some(86_400)), "300"),
        (Failure::UsageLimit, "30"),
    ] {
        for endpoint in [Endpoint::MessagesList, Endpoint::MessagesGet] {
            world.google.faults.fail_next(endpoint, failure.clone());
            let answer = world.get(LIST).await;
            assert_eq!(answer.error(), (429, "provider_rate_limited".to_owned()), "{failure:?}");
            assert_eq!(answer.retry_after(), Some(seconds), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn integration_refresh_failed_and_a_later_call_succeeds() {
    let world = World::start().await;
    world.clock.advance(HOUR);
    for failure in [Failure::Status(503), Failure::Throttled(Some(9)), Failure::NotJson] {
        world.google.faults.fail_next(Endpoint::Token, failure.clone());
        assert_eq!(world.get(LIST).await.error(), (502, "integration_refresh_failed".to_owned()), "{failure:?}");
    }
    world.clock.advance(HOUR);
    assert_eq!(world.get(LIST).await.status, 200);
}

#[tokio::test]
async fn provider_request_failed_gives_googles_status() {
    let world = World::start().await;
    let cases = [
        (Endpoint::MessagesList, Failure::Status(500), json!(500)),
        (Endpoint::MessagesGet, Failure::Status(503), json!(503)),
        (Endpoint::MessagesList, Failure::NotJson, Value::Null),
        (Endpoint::MessagesList, Failure::Echo, json!(400)),
    ];
    for (endpoint, failure, status) in cases {
        world.google.faults.fail_next(endpoint, failure.clone());
        let answer = world.get(LIST).await;
        assert_eq!(answer.error(), (502, "provider_request_failed".to_owned()), "{failure:?}");
        assert_eq!(answer.json()["provider_status"], status, "{failure:?}");
    }
    let row = world.store.load_integration(world.ana.tenant, Provider::Gmail).await.expect("a table").expect("a row");
    assert_eq!(row.status, Status::Active);
}

#[tokio::test]
async fn store_unavailable_whether_table_or_vault_is_down() {
    let world = World::start().await;
    world.table.faults.set_down(true);
    let answer = world.get(LIST).await;
    assert_eq!(answer.error(), (503, "store_unavailable".to_owned()));
    assert!(answer.retry_after().is_some());
    world.table.faults.set_down(false);
    world.azure.vault.faults.fail_all(key_vault::Failure::Throttled(11));
    let answer = world.get(LIST).await;
    assert_eq!(answer.error(), (503, "store_unavailable".to_owned()));
    assert!(answer.retry_after().is_some());
    world.azure.vault.faults.recover();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.get(LIST).await.status, 200);
}
