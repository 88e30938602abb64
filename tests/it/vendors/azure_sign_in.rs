//! How a function proves itself at Azure: by the role it runs as, for which AWS vouches, and by no stored secret.

use std::ops::Deref;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::providers::Error;
use nbhd::providers::azure::key_vault::Vault;
use nbhd::providers::azure::vaults::Vaults;
use nbhd_sim::azure::Azure;
use nbhd_sim::entra::{ENTRA, FederatedCredential};
use nbhd_sim::journal::{Entry, Journal};
use nbhd_sim::sts::contract::Contract;
use nbhd_sim::sts::{Failure, STS};

const NAME: &str = "google-tenant-gmail";
const AUDIENCE: &str = "api://AzureADTokenExchange";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test]
async fn aws_vouches_for_the_role_once_and_the_vault_opens() {
    let world = World::start().await;
    assert!(world.journal.entries().is_empty(), "nothing is asked before it is needed");
    world.azure.vault.put(NAME, "value");
    for _ in 0..3 {
        world.vault().get_latest(NAME).await.expect("read");
    }
    let vault = world.vault();
    world.journal.clear();
    for _ in 0..3 {
        vault.get_latest(NAME).await.expect("read");
    }
    assert_eq!((world.journal.entries_of(STS).len(), world.journal.entries_of(ENTRA).len()), (1, 1));
    assert!(world.journal.entries_of(ENTRA).iter().all(|entry| !entry.contains_text("client_secret")));
}

#[tokio::test]
async fn a_role_an_issuer_or_an_audience_that_is_not_trusted_is_refused() {
    let changes: [fn(&mut FederatedCredential); 3] = [
        |trusted| trusted.subject = "arn:aws:iam::123456789012:role/another".to_owned(),
        |trusted| trusted.issuer = "https://another.tokens.sts.global.api.aws".to_owned(),
        |trusted| trusted.audience = "api://another".to_owned(),
    ];
    for change in changes {
        let world = World::start().await;
        world.azure.entra.changes_trust(change);
        let refused = world.vault().get_latest(NAME).await;
        assert!(matches!(refused, Err(Error::Refused { status: 401, .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_sts_that_is_down_is_a_blip_and_the_next_call_signs_in() {
    for (failure, is_expected) in [
        (
            Failure::Refusal(500, "InternalFailure"),
            (|error| matches!(error, Error::Failed { status: 500 })) as Expected,
        ),
        (Failure::Refusal(503, "ServiceUnavailable"), |error| matches!(error, Error::Failed { status: 503 })),
        (Failure::Refusal(400, "Throttling"), |error| matches!(error, Error::RateLimited { .. })),
        (Failure::NotXml, |error| matches!(error, Error::Malformed { .. })),
    ] {
        let world = World::start().await;
        let vault = world.vault();
        world.azure.sts.faults.fail_any(failure);
        let error = vault.get_latest(NAME).await.expect_err("no sign-in");
        assert!(is_expected(&error) && error.is_retryable(), "{failure:?} became {error:?}");
        // A sign-in that is throttled is no different from a vault that is.
        world.clock.advance(std::time::Duration::from_secs(1));
        assert!(world.journal.entries_of(ENTRA).is_empty());
        assert!(matches!(vault.get_latest(NAME).await, Err(Error::NotFound)));
    }
    let world = World::start().await;
    let nobody = world.vault_of(&world.env.clone().with("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9"));
    let error = nobody.get_latest(NAME).await.expect_err("no sign-in");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_account_that_does_not_federate_is_told_as_such() {
    let world = World::start().await;
    world.azure.sts.faults.fail_any(Failure::Refusal(403, "OutboundWebIdentityFederationDisabledException"));
    let refused = world.vault().get_latest(NAME).await;
    let Err(Error::Refused { status: 403, reason }) = refused else { panic!("a final word: {refused:?}") };
    assert_eq!(reason, "OutboundWebIdentityFederationDisabledException");
}

#[tokio::test]
async fn a_client_secret_is_used_where_one_is_set() {
    let world = World::start().await;
    world.azure.vault.put(NAME, "value");
    for (secret, opens) in [(world.azure.entra.client_secret(), true), ("wrong", false)] {
        let vault = world.vault_of(&world.env.clone().with("AZURE_CLIENT_SECRET", secret));
        let read = vault.get_latest(NAME).await;
        assert!(if opens { read.is_ok() } else { matches!(read, Err(Error::Refused { status: 401, .. })) });
    }
    assert!(world.journal.entries_of(STS).is_empty());
}

#[tokio::test]
async fn entra_takes_only_an_assertion_that_is_whole_and_current() {
    let world = World::start().await;
    let genuine = world.azure.sts.issues_token(AUDIENCE, 300);
    assert_eq!(world.asserts(&genuine, ASSERTION_TYPE).await, StatusCode::OK);
    assert_eq!(world.asserts(&genuine, "jwt").await, StatusCode::BAD_REQUEST);
    let (signed, signature) = genuine.rsplit_once('.').expect("a token");
    let mut other = signature.to_owned();
    other.replace_range(..1, if signature.starts_with('A') { "B" } else { "A" });
    for forged in [format!("{signed}.{other}"), format!("{signed}."), signed.to_owned(), "x.y.z".to_owned()] {
        assert_eq!(world.asserts(&forged, ASSERTION_TYPE).await, StatusCode::UNAUTHORIZED, "{forged}");
    }
    let elsewhere = world.azure.sts.issues_token("sts.amazonaws.com", 300);
    assert_eq!(world.asserts(&elsewhere, ASSERTION_TYPE).await, StatusCode::UNAUTHORIZED);
    world.clock.advance(Duration::from_secs(300));
    assert_eq!(world.asserts(&genuine, ASSERTION_TYPE).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_error_carries_an_assertion() {
    let world = World::start().await;
    world.azure.entra.changes_trust(|trusted| trusted.subject.clear());
    let error = format!("{:?}", world.vault().get_latest(NAME).await);
    let issued = world.azure.sts.issued();
    assert!(issued.len() == 1 && !error.contains(&issued[0]) && !error.contains("eyJ"), "{error}");
}

#[tokio::test]
async fn every_request_and_every_answer_is_as_aws_describes_it() {
    let Some(contract) = Contract::load() else { return };
    let world = World::start().await;
    let _ = world.vault().get_latest(NAME).await.expect_err("not there");
    let entry = world.journal.entries_of(STS).pop().expect("one request");
    assert_eq!(contract.violations(&entry), Vec::<String>::new());

    let request = String::from_utf8(entry.request.to_vec()).expect("a form");
    let answer = String::from_utf8(entry.answer.to_vec()).expect("XML");
    let asked = |from: &str, to: &str| Entry { request: request.replace(from, to).into(), ..entry.clone() };
    for departing in [
        asked("GetWebIdentityToken", "GetIdentityToken"),
        asked("DurationSeconds=300", "DurationSeconds=30"),
        asked("SigningAlgorithm", "Algorithm"),
        asked("Audience.member.1", "Audience.member.1=&Audience.member.2"),
        Entry { path: "/sts".to_owned(), ..entry.clone() },
        Entry { answer: answer.replace("Expiration", "Expires").into(), ..entry.clone() },
    ] {
        assert!(!contract.violations(&departing).is_empty(), "{:?}", departing.request);
    }
}

type Expected = fn(&Error) -> bool;

struct World {
    azure: Azure,
    journal: Journal,
    clock: Clock,
    env: Env,
    http: reqwest::Client,
}

/// The vaults of settings that name one.
struct OnlyVault(Vaults);

impl Deref for OnlyVault {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        self.0.find(None).expect("at least one")
    }
}

impl World {
    async fn start() -> Self {
        let (journal, clock) = (Journal::new(), Clock::manual(Timestamp::from_seconds(1_800_000_000)));
        let azure = Azure::start(clock.clone(), journal.clone()).await.expect("loopback ports");
        let env = Env::from_pairs(azure.settings());
        let http = nbhd::http::client(&env).expect("a client");
        Self { azure, journal, clock, env, http }
    }

    fn vault(&self) -> OnlyVault {
        self.vault_of(&self.env)
    }

    fn vault_of(&self, env: &Env) -> OnlyVault {
        OnlyVault(Vaults::new(env, &self.http, &self.clock).expect("settings"))
    }

    /// What Entra says to an assertion.
    async fn asserts(&self, assertion: &str, kind: &str) -> StatusCode {
        let setting = |name| self.env.required(name, "").expect("set");
        let url = format!("{}/{}/oauth2/v2.0/token", setting("AZURE_AUTHORITY_HOST"), setting("AZURE_TENANT_ID"));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", setting("AZURE_CLIENT_ID")),
            ("scope", "https://vault.azure.net/.default"),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
        ];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        request.send().await.expect("an answer").status()
    }
}
