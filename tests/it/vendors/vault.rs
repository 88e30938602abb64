//! The vault's client against its simulator, and the simulator against Microsoft's description.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp, Waiter};
use nbhd::config::Env;
use nbhd::domain::ids::TenantId;
use nbhd::providers::Error;
use nbhd::providers::azure::key_vault::Vault;
use nbhd::providers::azure::vaults::Vaults;
use nbhd_sim::azure::Azure;
use nbhd_sim::entra::ENTRA;
use nbhd_sim::journal::Journal;
use nbhd_sim::key_vault::contract::Contract;
use nbhd_sim::key_vault::{Failure, KEY_VAULT, KeyVault, Operation};
use secrecy::{ExposeSecret as _, SecretString};

const NAME: &str = "google-tenant-gmail";

#[tokio::test]
async fn what_is_set_is_read_back_with_its_version() {
    let world = World::start().await;
    let first = world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    let second = world.vault().set(NAME, tenant(), &"two".into()).await.expect("set");

    let latest = world.vault().get_latest(NAME).await.expect("read");
    assert_eq!((latest.value.expose_secret(), latest.version), ("two", second));
    let earlier = world.vault().get_version(NAME, &first).await.expect("read");
    assert_eq!((earlier.value.expose_secret(), earlier.version), ("one", first));
}

#[tokio::test]
async fn every_version_says_whose_it_is() {
    let world = World::start().await;
    for value in ["one", "two"] {
        world.vault().set(NAME, tenant(), &value.into()).await.expect("set");
        let tags = world.azure.vault.tags(NAME);
        assert_eq!(tags.get("nbhd_tenant"), Some(&tenant().to_string()));
    }
}

#[tokio::test]
async fn a_vault_that_protects_from_purging_says_when_it_purges_by_itself() {
    let world = World::start().await;
    world.azure.vault.protects_from_purge();
    world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    world.vault().delete(NAME).await.expect("deleted");
    assert!(matches!(world.vault().purge(NAME).await, Err(Error::Refused { status: 403, .. })));
    let at = world.vault().get_scheduled_purge(NAME).await.expect("told");
    assert_eq!(at, Some(world.clock.now() + Duration::from_secs(90 * 24 * 3600)));
}

#[tokio::test]
async fn a_process_signs_in_once() {
    let world = World::start().await;
    for _ in 0..3 {
        world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    }
    assert_eq!(world.journal.entries_of(ENTRA).len(), 1);
    // The first request is bare and asks for the challenge.
    assert_eq!(world.journal.entries_of(KEY_VAULT).len(), 4);
}

#[tokio::test]
async fn only_the_vaults_word_counts_as_disabled() {
    let world = World::start().await;
    let first = world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    world.azure.vault.faults.fail_next(Operation::Update, Failure::NotJson);
    assert!(matches!(world.vault().disable(NAME, &first).await, Err(Error::Malformed { .. })));
    world.vault().disable(NAME, &first).await.expect("disabled");
}

#[tokio::test]
async fn a_name_never_written_is_not_found() {
    let world = World::start().await;
    assert!(matches!(world.vault().get_latest(NAME).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_disabled_version_is_refused_and_the_latest_is_not() {
    let world = World::start().await;
    let first = world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    world.vault().set(NAME, tenant(), &"two".into()).await.expect("set");
    world.vault().disable(NAME, &first).await.expect("disabled");

    let refused = world.vault().get_version(NAME, &first).await;
    assert!(matches!(refused, Err(Error::Refused { status: 403, reason }) if reason == "SecretDisabled"));
    assert_eq!(world.vault().get_latest(NAME).await.expect("read").value.expose_secret(), "two");
}

#[tokio::test]
async fn no_version_is_never_the_latest() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    assert!(matches!(world.vault().get_version(NAME, "").await, Err(Error::NotFound)));
    assert!(matches!(world.vault().disable(NAME, "").await, Err(Error::NotFound)));
    assert!(world.vault().get_latest(NAME).await.is_ok());
}

#[tokio::test]
async fn a_deleted_secret_is_not_found_and_then_purged() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    world.vault().delete(NAME).await.expect("deleted");
    assert!(matches!(world.vault().get_latest(NAME).await, Err(Error::NotFound)));
    assert!(world.azure.vault.is_soft_deleted(NAME));

    world.vault().purge(NAME).await.expect("purged");
    assert!(world.azure.vault.names().is_empty());
}

#[tokio::test]
async fn deleting_and_purging_twice_is_done_as_well() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    for _ in 0..2 {
        world.vault().delete(NAME).await.expect("deleted");
        world.vault().purge(NAME).await.expect("purged");
    }
}

#[tokio::test]
async fn a_purge_waits_for_the_deletion_to_end() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    world.azure.vault.delays_changes(1);
    world.vault().delete(NAME).await.expect("deleted");
    let early = world.vault().purge(NAME).await;
    assert!(matches!(early, Err(Error::Refused { status: 409, reason }) if reason == "ObjectIsBeingDeleted"));
    world.vault().purge(NAME).await.expect("purged");
}

#[tokio::test]
async fn setting_a_deleted_name_recovers_it_however_long_that_takes() {
    for requests_to_settle in [0, 1, 3] {
        let world = World::start().await;
        world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
        world.azure.vault.delays_changes(requests_to_settle);
        world.vault().delete(NAME).await.expect("deleted");

        world.vault().set(NAME, tenant(), &"two".into()).await.expect("set");
        assert_eq!(world.azure.vault.value(NAME).as_deref(), Some("two"), "settling for {requests_to_settle}");
    }
}

#[tokio::test]
async fn a_name_that_never_settles_is_given_up() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    world.azure.vault.delays_changes(100);
    world.vault().delete(NAME).await.expect("deleted");
    let given_up = world.vault().set(NAME, tenant(), &"two".into()).await;
    assert!(matches!(given_up, Err(Error::Refused { status: 409, .. })));
}

#[tokio::test]
async fn a_throttled_vault_says_for_how_long_and_is_asked_once() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    world.journal.clear();
    world.azure.vault.faults.fail_next(Operation::Get, Failure::Throttled(7));
    let throttled = world.vault().get_latest(NAME).await;
    assert!(matches!(throttled, Err(Error::RateLimited { retry_after: Some(wait) }) if wait == Duration::from_secs(7)));
    assert_eq!(world.journal.entries_of(KEY_VAULT).len(), 1);
}

#[tokio::test]
async fn a_vault_that_is_down_is_never_a_missing_secret() {
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"value".into()).await.expect("set");
    for (failure, is_expected) in [
        (Failure::Status(StatusCode::INTERNAL_SERVER_ERROR), is_failed as fn(&Error) -> bool),
        (Failure::Status(StatusCode::SERVICE_UNAVAILABLE), is_failed),
        // A proxy's 404, or a vault address that leads elsewhere.
        (Failure::Status(StatusCode::NOT_FOUND), |error| matches!(error, Error::Refused { status: 404, .. })),
        (Failure::NotJson, |error| matches!(error, Error::Malformed { .. })),
    ] {
        world.azure.vault.faults.fail_next(Operation::Get, failure);
        let error = world.vault().get_latest(NAME).await.expect_err("down");
        assert!(is_expected(&error), "{failure:?} became {error:?}");
    }
}

#[tokio::test]
async fn a_failing_sign_in_is_never_a_missing_secret() {
    for (status, is_expected) in [
        (StatusCode::SERVICE_UNAVAILABLE, is_failed as fn(&Error) -> bool),
        (StatusCode::TOO_MANY_REQUESTS, |error| matches!(error, Error::RateLimited { .. })),
        (StatusCode::NOT_FOUND, |error| matches!(error, Error::Refused { .. })),
        (StatusCode::UNAUTHORIZED, |error| matches!(error, Error::Refused { .. })),
    ] {
        let world = World::start().await;
        world.azure.entra.faults.fail_any(status);
        let error = world.vault().get_latest(NAME).await.expect_err("no token");
        assert!(is_expected(&error), "{status} became {error:?}");
        world.clock.advance(Duration::from_secs(1));
        assert!(matches!(world.vault().get_latest(NAME).await, Err(Error::NotFound)), "the next call signs in");
    }
}

#[tokio::test]
async fn a_missing_setting_is_named() {
    let world = World::start().await;
    let http = nbhd::http::client(&world.env).expect("client");
    for name in ["KEY_VAULT_URLS", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AWS_REGION", "AWS_ACCESS_KEY_ID"] {
        let error = Vaults::new(&world.env.clone().without(name), &http, &world.clock).err().expect("missing");
        assert!(error.to_string().starts_with(&format!("`{name}` is not set")), "{error}");
    }
}

#[tokio::test]
async fn a_vault_that_throttles_is_left_alone_for_as_long_as_it_asks_and_no_other_is() {
    let (mut world, tenant) = (World::start().await, TenantId::random());
    world.azure.adds_vault().await.expect("a port");
    world.env = Env::from_pairs(world.azure.settings());
    let http = nbhd::http::client(&world.env).expect("client");
    let vaults = Vaults::new(&world.env, &http, &world.clock).expect("settings");
    let asked = vaults.choose(tenant);
    let addresses = [&world.azure.vault, &world.azure.others[0]].map(KeyVault::base_url);
    let other = addresses.iter().find(|address| **address != asked.address()).expect("two");
    let simulators = [&world.azure.vault, &world.azure.others[0]];
    let throttling = simulators.into_iter().find(|vault| vault.base_url() == asked.address()).expect("two");
    throttling.faults.fail_next(Operation::Set, Failure::Throttled(9));
    asked.set(NAME, tenant, &"value".into()).await.expect_err("throttled");

    world.journal.clear();
    world.clock.advance(Duration::from_secs(4));
    let error = asked.get_latest(NAME).await.expect_err("still resting");
    let five = Some(Duration::from_secs(5));
    assert!(matches!(error, Error::RateLimited { retry_after } if retry_after == five));
    assert!(world.journal.entries_of(KEY_VAULT).is_empty(), "it is not asked");
    let other = vaults.find(Some(other)).expect("configured");
    other.set(NAME, tenant, &"value".into()).await.expect("set");
    world.clock.advance(Duration::from_secs(5));
    asked.set(NAME, tenant, &"value".into()).await.expect("it has rested");
}

#[tokio::test]
async fn an_added_vault_takes_its_share_of_new_tenants_and_no_other_choice_changes() {
    let mut world = World::start().await;
    let tenants: Vec<TenantId> = (0..2000).map(|_| TenantId::random()).collect();
    let choices = |world: &World| -> Vec<String> {
        let env = Env::from_pairs(world.azure.settings());
        let vaults = Vaults::new(&env, &nbhd::http::client(&env).expect("client"), &world.clock).expect("settings");
        tenants.iter().map(|tenant| vaults.choose(*tenant).address().to_owned()).collect()
    };
    world.azure.adds_vault().await.expect("a port");
    let before = choices(&world);
    world.azure.adds_vault().await.expect("a port");
    let after = choices(&world);
    let added = world.azure.others[1].base_url();
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == added));
    let share = after.iter().filter(|address| **address == added).count();
    assert!((550..=790).contains(&share), "{share} of 2000, expected a third");
}

#[tokio::test]
async fn a_vault_that_the_settings_do_not_have_is_not_guessed() {
    let world = World::start().await;
    assert!(world.vaults.find(Some("https://gone.vault.azure.net")).is_none());
    assert!(world.vaults.find(Some(world.vault().address())).is_some());
}

#[tokio::test]
async fn no_error_carries_the_secret() {
    let world = World::start().await;
    let secret = SecretString::from("do-not-tell");
    world.azure.vault.put(NAME, "do-not-tell");
    for failure in [Failure::NotJson, Failure::AnswerLost, Failure::Throttled(1)] {
        for operation in [Operation::Get, Operation::Set] {
            world.azure.vault.faults.fail_next(operation, failure);
        }
        let errors =
            [world.vault().get_latest(NAME).await.err(), world.vault().set(NAME, tenant(), &secret).await.err()];
        assert!(!format!("{errors:?}").contains("do-not-tell"));
    }
}

#[tokio::test]
async fn every_request_and_every_answer_is_as_microsoft_describes_it() {
    let Some(contract) = Contract::load() else { return };
    let world = World::start().await;
    let first = world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    world.vault().set(NAME, tenant(), &"two".into()).await.expect("set");
    world.vault().disable(NAME, &first).await.expect("disabled");
    let _ = world.vault().get_version(NAME, &first).await.expect_err("disabled");
    world.vault().get_latest(NAME).await.expect("read");
    world.vault().delete(NAME).await.expect("deleted");
    world.vault().set(NAME, tenant(), &"three".into()).await.expect("recovered and set");
    world.azure.vault.faults.fail_next(Operation::Get, Failure::Throttled(1));
    let _ = world.vault().get_latest(NAME).await.expect_err("throttled");
    world.clock.advance(Duration::from_secs(1));
    world.vault().delete(NAME).await.expect("deleted");
    world.vault().purge(NAME).await.expect("purged");

    let report = contract.check(&world.journal);
    assert_eq!((report.violations, report.requests), (Vec::new(), 13));
}

#[tokio::test]
async fn the_description_catches_a_departure() {
    let Some(contract) = Contract::load() else { return };
    let world = World::start().await;
    world.vault().set(NAME, tenant(), &"one".into()).await.expect("set");
    let kept = world.journal.entries_of(KEY_VAULT).pop().expect("the set");
    assert_eq!(contract.violations(&kept), Vec::<String>::new());

    let changed = [
        nbhd_sim::journal::Entry { path: format!("/keys/{NAME}?api-version=7.6"), ..kept.clone() },
        nbhd_sim::journal::Entry { request: "{}".into(), ..kept.clone() },
        nbhd_sim::journal::Entry { request: r#"{"value":"v","owner":"me"}"#.into(), ..kept.clone() },
        nbhd_sim::journal::Entry { answer: r#"{"value":7}"#.into(), ..kept.clone() },
        nbhd_sim::journal::Entry { status: Some(202), ..kept },
    ];
    for entry in changed {
        assert_eq!(contract.violations(&entry).len(), 1, "{entry:?}");
    }
}

fn tenant() -> TenantId {
    uuid::Uuid::from_u128(7).into()
}

fn is_failed(error: &Error) -> bool {
    matches!(error, Error::Failed { status: 500.. })
}

struct World {
    azure: Azure,
    journal: Journal,
    clock: Clock,
    env: Env,
    vaults: Vaults,
}

impl World {
    async fn start() -> Self {
        let journal = Journal::new();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let azure = Azure::start(clock.clone(), journal.clone()).await.expect("loopback ports");
        let env = Env::from_pairs(azure.settings());
        let http = nbhd::http::client(&env).expect("a client");
        let vaults = Vaults::new(&env, &http, &clock).expect("settings").with_waiter(&Waiter::hook(|_| async {}));
        Self { azure, journal, clock, env, vaults }
    }

    fn vault(&self) -> &Vault {
        self.vaults.find(None).expect("the first")
    }
}
