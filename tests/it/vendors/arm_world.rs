//! A simulated Azure, the client of its resource manager, and a tenant's parts in it.

use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::config::Env;
use nbhd::providers::azure::credential;
use nbhd::providers::azure::resource_manager::container_app::{EnvValue, Probe, ProbeKind, SecretReference, Volume};
use nbhd::providers::azure::resource_manager::{
    Client, ContainerApp, ContainerAppSpec, GrantOutcome, Group, Identity, Operation, PollOutcome, ResourceId, Share,
    StartOutcome, Storage, Tags,
};
use nbhd_sim::arm::contract::Contract;
use nbhd_sim::arm::{ACCOUNT, Arm, ENVIRONMENT, LOCATION};
use nbhd_sim::azure::{Azure, VAULT};
use nbhd_sim::journal::Journal;
use serde_json::Value;
use uuid::Uuid;

pub(crate) const NAME: &str = "nbhd-t1";
pub(crate) const SECRET: &str = "runtime-t1";
pub(crate) const ROLE: Uuid = Uuid::from_u128(1);

pub(crate) struct World {
    pub(crate) azure: Azure,
    pub(crate) arm: Arm,
    pub(crate) client: Client,
    pub(crate) group: Group,
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) async fn start() -> Self {
        let (journal, clock) = (Journal::new(), Clock::manual(Timestamp::from_seconds(1_795_000_000)));
        let azure = Azure::start(clock.clone(), journal.clone()).await.expect("free ports");
        let http = nbhd::http::client_with_roots(Some(azure.authority.bundle())).expect("a bundle");
        let env = Env::from_pairs(azure.settings());
        let identity = credential::from_env(&env, &http).expect("settings");
        let client = Client::new(&env, &http, &identity).expect("settings");
        let (arm, group) = (azure.arm.clone(), azure.arm.group());
        Self { azure, arm, client, group, clock, journal, http }
    }

    /// Everything an app needs, and the app as it shall be.
    pub(crate) async fn prepare_app(&self) -> ContainerAppSpec {
        self.azure.vault.put(SECRET, "the runtime's keys");
        let identity = self.identity().await;
        let scope = self.group.vault_secret(VAULT, SECRET);
        let granted = self.client.grant_secret(&scope, ROLE, &identity.principal_id).await.expect("granted");
        assert_eq!(granted, GrantOutcome::InPlace);
        self.client.put_share(&self.group, ACCOUNT, &share()).await.expect("a share");
        self.client.put_storage(&self.group, ENVIRONMENT, NAME, &self.storage()).await.expect("a storage");
        self.intended_app()
    }

    /// The same with the app itself, up and running.
    pub(crate) async fn deploy_app(&self) -> ContainerAppSpec {
        let app = self.prepare_app().await;
        let put = self.client.put_app(&self.group, NAME, &app).await.expect("begun");
        self.await_operation(put).await;
        app
    }

    pub(crate) async fn identity(&self) -> Identity {
        self.client.put_identity(&self.group, NAME, LOCATION, &tags()).await.expect("an identity")
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage {
            account: ACCOUNT.to_owned(),
            share: NAME.to_owned(),
            key_url: format!("{}/secrets/files-key", self.azure.vault.base_url()),
            key_identity: self.group.identity("nbhd-environment"),
        }
    }

    pub(crate) fn intended_app(&self) -> ContainerAppSpec {
        let identity = self.group.identity(NAME);
        let puller = Group { name: "shared".to_owned(), ..self.group.clone() }.identity("nbhd-pull");
        let probe = |kind| Probe {
            kind,
            path: "/healthz",
            port: 8787,
            period_seconds: 10,
            timeout_seconds: 5,
            failure_threshold: 3,
        };
        ContainerAppSpec {
            location: LOCATION.to_owned(),
            tags: tags(),
            environment: self.group.environment(ENVIRONMENT),
            identities: vec![identity.clone(), puller.clone()],
            registry: ("nbhd.azurecr.io".to_owned(), puller),
            secrets: vec![SecretReference {
                name: "runtime".to_owned(),
                key_vault_url: format!("{}/secrets/{SECRET}", self.azure.vault.base_url()),
                identity,
            }],
            port: 8787,
            container: "openclaw".to_owned(),
            image: format!("nbhd.azurecr.io/openclaw@sha256:{}", "a".repeat(64)),
            cpu: 1.0,
            memory_gib: 2.0,
            env: vec![
                ("NBHD_TENANT_ID".to_owned(), EnvValue::Plain("t1".to_owned())),
                ("NBHD_SECRETS".to_owned(), EnvValue::Secret("runtime".to_owned())),
            ],
            probes: [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness].map(probe).to_vec(),
            volumes: vec![Volume {
                name: "state".to_owned(),
                storage: NAME.to_owned(),
                mount_path: "/data".to_owned(),
            }],
            replicas: (0, 1),
            termination_grace_seconds: 420,
        }
    }

    /// Follows an operation to its good end; how often it was asked about.
    pub(crate) async fn await_operation(&self, started: StartOutcome) -> u32 {
        let mut operation = pending(started);
        for polls in 1..=20 {
            match self.client.poll(&operation).await.expect("an answer") {
                PollOutcome::Pending(next) => operation = next,
                PollOutcome::Done => return polls,
                PollOutcome::Failed { code } => panic!("it failed: {code}"),
                PollOutcome::Unknown => panic!("it is not known"),
            }
            self.clock.advance(operation.retry_after());
        }
        panic!("it does not end")
    }

    pub(crate) async fn app(&self) -> ContainerApp {
        self.client.get_app(&self.group, NAME).await.expect("an app")
    }

    /// The status of a request through the app's ingress, as the forwarding function would make it.
    pub(crate) async fn visit(&self, path: &str) -> u16 {
        let fqdn = self.app().await.fqdn.expect("an ingress");
        let request = self.http.get(format!("https://{fqdn}{path}")).timeout(Duration::from_secs(10));
        request.send().await.expect("an answer").status().as_u16()
    }

    /// Every item of a list.
    pub(crate) async fn list(&self, path: String, query: &str) -> Vec<Value> {
        let id = serde_json::from_value(path.into()).expect("a text");
        self.client.list(&id, query).await.expect("a list")
    }

    /// The role assignments on a scope, above it and below it.
    pub(crate) async fn role_assignments(&self, scope: &ResourceId) -> Vec<Value> {
        self.list(format!("{scope}/providers/Microsoft.Authorization/roleAssignments"), "2022-04-01").await
    }

    /// What went over the wire, held to Microsoft's descriptions.
    pub(crate) fn assert_contract(&self) {
        let Some(report) = Contract::load().map(|contract| contract.check(&self.journal)) else { return };
        assert!(report.requests > 0);
        assert_eq!(report.violations, Vec::<String>::new());
    }
}

pub(crate) fn pending(started: StartOutcome) -> Operation {
    match started {
        StartOutcome::Pending(operation) => operation,
        StartOutcome::Done | StartOutcome::Busy => panic!("it goes on: {started:?}"),
    }
}

pub(crate) fn share() -> Share {
    Share { name: NAME.to_owned(), quota: 5, metadata: Tags::from([("nbhd_tenant".to_owned(), "t1".to_owned())]) }
}

pub(crate) fn tags() -> Tags {
    Tags::from([("nbhd-tenant".to_owned(), "t1".to_owned())])
}
