//! A tenant's container.
//! <https://learn.microsoft.com/azure/templates/microsoft.app/2026-01-01/containerapps>

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, Error, Group, ResourceId, StartOutcome, Tags, drift};

pub(super) const API_VERSION: &str = "2026-01-01";

/// The app that a PUT asks for: one container, one port, one revision at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerAppSpec {
    /// The Azure region, such as `eastus`.
    pub location: String,
    /// The tags that the app carries.
    pub tags: Tags,
    /// The managed environment that it runs in.
    pub environment: ResourceId,
    /// Every identity that the platform uses for it. The container itself gets no token of any.
    pub identities: Vec<ResourceId>,
    /// The host of the registry that has its image, and the identity that may pull it.
    pub registry: (String, ResourceId),
    /// The secrets that its environment variables name.
    pub secrets: Vec<SecretReference>,
    /// The port that the ingress, which takes https alone, sends requests to.
    pub port: u16,
    /// The container's name.
    pub container: String,
    /// The image, by digest: `registry/repository@sha256:…`.
    pub image: String,
    /// The limit of its CPU, in cores.
    pub cpu: f64,
    /// The limit of its memory, in GiB; Azure wants twice the cores.
    pub memory_gib: f64,
    /// The environment variables of its process, in order.
    pub env: Vec<(String, EnvValue)>,
    /// The checks by which the platform learns that it is up.
    pub probes: Vec<Probe>,
    /// The file shares that are mounted into it.
    pub volumes: Vec<Volume>,
    /// The fewest and the most replicas.
    pub replicas: (u32, u32),
    /// How long a replica may take to end, in seconds: 0 to 600.
    pub termination_grace_seconds: u32,
}

/// A secret whose value stays in a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    /// Its name in the app.
    pub name: String,
    /// Its address in the vault. Without a version, Azure reads a changed value within 30 minutes.
    pub key_vault_url: String,
    /// The identity that reads it.
    pub identity: ResourceId,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// A text that is no secret.
    Plain(String),
    /// The value of the [`SecretReference`] of this name.
    Secret(String),
}

/// A health check of the container over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What a failure leads to.
    pub kind: ProbeKind,
    /// The path of the request; a status of 200 to 399 is a success.
    pub path: &'static str,
    /// The port of the request.
    pub port: u16,
    /// Seconds between two checks: 1 to 240.
    pub period_seconds: u32,
    /// How long an answer may take, in seconds: 1 to 240.
    pub timeout_seconds: u32,
    /// How many failures in a row count: 1 to 10. With the period, how long a start may take.
    pub failure_threshold: u32,
}

/// What a failed probe leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// The other probes wait for it, and its failure restarts the container.
    Startup,
    /// A container that fails it gets no requests.
    Readiness,
    /// A container that fails it is restarted.
    Liveness,
}

/// A file share that is mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the app.
    pub name: String,
    /// The name under which the environment knows the share.
    pub storage: String,
    /// The directory at which the container finds it.
    pub mount_path: String,
}

/// A container app as Azure has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerApp {
    /// Its resource id, in the case that Azure returns.
    pub id: ResourceId,
    /// How the last change to it went.
    pub provisioning: ProvisioningState,
    /// Whether it was stopped; an app that runs may still have no replica.
    pub running: RunningState,
    /// The host name of its ingress, which takes https.
    pub fqdn: Option<String>,
    /// The name of its newest revision.
    pub latest_revision: Option<String>,
    /// The tags that it carries.
    pub tags: Tags,
    body: Value,
}

/// How the last change to an app went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningState {
    /// It is in effect.
    Succeeded,
    /// It is not done yet.
    InProgress,
    /// It failed, or was canceled.
    Failed,
    /// The app is being deleted.
    Deleting,
}

impl ProvisioningState {
    /// The state of a resource by its body. One without a state has succeeded.
    /// <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations#provisioningstate-values>
    pub(super) fn of(body: &Value) -> Self {
        body["properties"]["provisioningState"].as_str().map_or(Self::Succeeded, Self::parse)
    }

    /// Reads a state, which services spell in any letter case. One that is not known is between two others.
    pub(super) fn parse(state: &str) -> Self {
        match state.to_ascii_lowercase().as_str() {
            "succeeded" => Self::Succeeded,
            "failed" | "canceled" | "cancelled" => Self::Failed,
            "deleting" => Self::Deleting,
            _ => Self::InProgress,
        }
    }
}

/// Whether an app was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningState {
    /// It runs, or starts a replica when a request arrives.
    Running,
    /// No request starts a replica until [`Client::start_app`].
    Stopped,
    /// Azure gives no status, or one between the two.
    Unclear,
}

impl Client {
    /// Creates an app, or changes the existing one to this. Azure knows no precondition: one caller at a time.
    ///
    /// # Errors
    /// [`Error::Refused`] when Azure refuses the app. After any other, whether the change began is unknown.
    pub async fn put_app(&self, group: &Group, name: &str, app: &ContainerAppSpec) -> Result<StartOutcome, Error> {
        self.start((Method::PUT, &group.app(name), ""), API_VERSION, Some(&app.body())).await
    }

    /// Fetches an app.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn get_app(&self, group: &Group, name: &str) -> Result<ContainerApp, Error> {
        let body: Value = self.get(&group.app(name), API_VERSION).await?;
        ContainerApp::from_json(body).ok_or_else(|| Error::malformed("no container app"))
    }

    /// Lists the apps of a group; what is no app is left out.
    /// <https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps/list-by-resource-group>
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list_apps(&self, group: &Group) -> Result<Vec<ContainerApp>, Error> {
        let all: Vec<Value> = self.list(&group.apps(), API_VERSION).await?;
        Ok(all.into_iter().filter_map(ContainerApp::from_json).collect())
    }

    /// Deletes an app; [`StartOutcome::Done`] also when there is none.
    ///
    /// # Errors
    /// Azure cannot serve now. Whether the deletion began is then unknown.
    pub async fn delete_app(&self, group: &Group, name: &str) -> Result<StartOutcome, Error> {
        self.start((Method::DELETE, &group.app(name), ""), API_VERSION, None).await
    }

    /// Starts an app that was stopped.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none. After any other, whether the operation began is unknown.
    pub async fn start_app(&self, group: &Group, name: &str) -> Result<StartOutcome, Error> {
        self.start((Method::POST, &group.app(name), "/start"), API_VERSION, None).await
    }

    /// Stops an app: its replicas end, and no request starts a new one.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none. After any other, whether the operation began is unknown.
    pub async fn stop_app(&self, group: &Group, name: &str) -> Result<StartOutcome, Error> {
        self.start((Method::POST, &group.app(name), "/stop"), API_VERSION, None).await
    }

    /// Counts the replicas of all revisions of an app.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such app.
    pub async fn count_replicas(&self, group: &Group, name: &str) -> Result<u32, Error> {
        #[derive(Deserialize)]
        struct Revision {
            properties: Properties,
        }
        #[derive(Deserialize)]
        struct Properties {
            #[serde(default)]
            replicas: u32,
        }
        let list = ResourceId(format!("{}/revisions", group.app(name)));
        let revisions: Vec<Revision> = self.list(&list, API_VERSION).await?;
        Ok(revisions.iter().map(|revision| revision.properties.replicas).sum())
    }
}

impl ContainerAppSpec {
    /// The body of a PUT.
    pub fn body(&self) -> Value {
        let identities: Map<String, Value> = self.identities.iter().map(|id| (id.to_string(), json!({}))).collect();
        let settings: Vec<Value> =
            self.identities.iter().map(|id| json!({"identity": id, "lifecycle": "None"})).collect();
        let secrets: Vec<Value> = self.secrets.iter().map(SecretReference::body).collect();
        let (server, puller) = &self.registry;
        let (min, max) = self.replicas;
        json!({
            "location": self.location,
            "tags": self.tags,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": identities},
            "properties": {
                "environmentId": self.environment,
                "configuration": {
                    "activeRevisionsMode": "Single",
                    "identitySettings": settings,
                    "ingress": {
                        "external": true,
                        "targetPort": self.port,
                        "transport": "http",
                        "allowInsecure": false,
                        "traffic": [{"latestRevision": true, "weight": 100}],
                    },
                    "registries": [{"server": server, "identity": puller}],
                    "secrets": secrets,
                },
                "template": {
                    "terminationGracePeriodSeconds": self.termination_grace_seconds,
                    "containers": [self.container()],
                    "scale": {"minReplicas": min, "maxReplicas": max},
                    "volumes": self.volumes.iter().map(Volume::body).collect::<Vec<_>>(),
                },
            },
        })
    }

    fn container(&self) -> Value {
        let env: Vec<Value> = self
            .env
            .iter()
            .map(|(name, value)| match value {
                EnvValue::Plain(value) => json!({"name": name, "value": value}),
                EnvValue::Secret(secret) => json!({"name": name, "secretRef": secret}),
            })
            .collect();
        let mounts =
            self.volumes.iter().map(|volume| json!({"volumeName": volume.name, "mountPath": volume.mount_path}));
        json!({
            "name": self.container,
            "image": self.image,
            "resources": {"cpu": self.cpu, "memory": format!("{}Gi", self.memory_gib)},
            "env": env,
            "probes": self.probes.iter().map(Probe::body).collect::<Vec<_>>(),
            "volumeMounts": mounts.collect::<Vec<_>>(),
        })
    }
}

impl SecretReference {
    fn body(&self) -> Value {
        json!({"name": self.name, "keyVaultUrl": self.key_vault_url, "identity": self.identity})
    }
}

impl Probe {
    fn body(&self) -> Value {
        let kind = match self.kind {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        };
        json!({
            "type": kind,
            "httpGet": {"path": self.path, "port": self.port, "scheme": "HTTP"},
            "periodSeconds": self.period_seconds,
            "timeoutSeconds": self.timeout_seconds,
            "failureThreshold": self.failure_threshold,
        })
    }
}

impl Volume {
    fn body(&self) -> Value {
        json!({"name": self.name, "storageType": "AzureFile", "storageName": self.storage})
    }
}

impl ContainerApp {
    /// The paths into the app's body at which it differs from `intended`; empty when it does nowhere.
    ///
    /// A default that Azure fills in is no difference; an added variable, container, secret or volume is.
    pub fn find_drift(&self, intended: &ContainerAppSpec) -> Vec<String> {
        drift::find_drift(&intended.body(), &self.body)
    }

    /// The image of its container.
    pub fn image(&self) -> Option<&str> {
        self.body["properties"]["template"]["containers"][0]["image"].as_str()
    }

    fn from_json(body: Value) -> Option<Self> {
        let properties = &body["properties"];
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        properties.as_object()?;
        let running = match text(&properties["runningStatus"]).map(|status| status.to_ascii_lowercase()).as_deref() {
            Some("running" | "ready") => RunningState::Running,
            Some("stopped") => RunningState::Stopped,
            Some(_) | None => RunningState::Unclear,
        };
        Some(Self {
            id: ResourceId(text(&body["id"])?),
            provisioning: ProvisioningState::of(&body),
            running,
            fqdn: text(&properties["configuration"]["ingress"]["fqdn"]),
            latest_revision: text(&properties["latestRevisionName"]),
            tags: serde_json::from_value(body["tags"].clone()).unwrap_or_default(),
            body,
        })
    }
}
