//! A tenant's container.
//! <https://learn.microsoft.com/azure/templates/microsoft.app/2026-01-01/containerapps>

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, Error, Group, ResourceId, Started, Tags, drift};

pub(super) const API_VERSION: &str = "2026-01-01";

/// What a container app shall be: one container, one port, at most a few replicas, one revision at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerApp {
    /// The region, such as `eastus`.
    pub location: String,
    /// The app's tags.
    pub tags: Tags,
    /// The environment it runs in.
    pub environment: ResourceId,
    /// All identities it has. The platform uses them; the container itself gets no token of any.
    pub identities: Vec<ResourceId>,
    /// Where its image is pulled from: the registry's host, and the identity that may pull.
    pub registry: (String, ResourceId),
    /// The secrets it refers to.
    pub secrets: Vec<Secret>,
    /// The one port that the ingress, over https alone, leads to.
    pub port: u16,
    /// The container's name.
    pub container: String,
    /// The image, by digest: `registry/repository@sha256:…`.
    pub image: String,
    /// In cores.
    pub cpu: f64,
    /// In GiB: twice the cores.
    pub memory_gib: f64,
    /// The environment of its process, in this order.
    pub env: Vec<(String, EnvValue)>,
    /// How the platform learns that it is up.
    pub probes: Vec<Probe>,
    /// The shares it sees.
    pub volumes: Vec<Volume>,
    /// The fewest and the most replicas.
    pub replicas: (u32, u32),
    /// How long a replica may take to end, in seconds: 0 to 600.
    pub termination_grace_seconds: u32,
}

/// A secret whose value stays in a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the app.
    pub name: String,
    /// Its address; without a version it is read anew within 30 minutes of a change.
    pub key_vault_url: String,
    /// The identity that reads it.
    pub identity: ResourceId,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// This text, which is no secret.
    Plain(String),
    /// The value of the app's secret of this name.
    Secret(String),
}

/// A question to the container over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What depends on it.
    pub kind: ProbeKind,
    /// The path asked for; 200 to 399 is a yes.
    pub path: &'static str,
    /// The port asked at.
    pub port: u16,
    /// Seconds between two questions: 1 to 240.
    pub period_seconds: u32,
    /// How long an answer may take, in seconds: 1 to 240.
    pub timeout_seconds: u32,
    /// How many noes in a row count: 1 to 10. With the period, how long a start may take.
    pub failure_threshold: u32,
}

/// What depends on a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Whether the others begin.
    Startup,
    /// Whether requests are led to it.
    Readiness,
    /// Whether it is left running.
    Liveness,
}

/// A share that the container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the app.
    pub name: String,
    /// The environment's name of the share.
    pub storage: String,
    /// Where the container sees it.
    pub mount_path: String,
}

/// A container app as Azure has it.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its full name, as Azure spells it.
    pub id: ResourceId,
    /// How the last change to it went.
    pub provisioning: Provisioning,
    /// Whether it was stopped, whatever its replicas do.
    pub running: Running,
    /// Where it is reached, over https: a host name.
    pub fqdn: Option<String>,
    /// The revision last made.
    pub latest_revision: Option<String>,
    /// Its tags.
    pub tags: Tags,
    body: Value,
}

/// How the last change to an app went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// It is in effect.
    Succeeded,
    /// It goes on.
    InProgress,
    /// It failed, or was given up.
    Failed,
    /// The app is being deleted.
    Deleting,
}

/// Whether an app was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// It runs, or would on a request.
    Running,
    /// Nothing wakes it until it is started.
    Stopped,
    /// Azure does not say, or says that it changes.
    Unclear,
}

impl Client {
    /// Creates an app, or changes the one there is to this. Azure knows no precondition: one caller at a time.
    ///
    /// # Errors
    /// Azure cannot serve now, and whether it began is unknown; or refuses the app ([`Error::Refused`]).
    pub async fn put_app(&self, group: &Group, name: &str, app: &ContainerApp) -> Result<Started, Error> {
        self.start((Method::PUT, &group.app(name), ""), API_VERSION, Some(&app.body())).await
    }

    /// An app.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn app(&self, group: &Group, name: &str) -> Result<App, Error> {
        let body: Value = self.get(&group.app(name), API_VERSION).await?;
        App::read(body).ok_or_else(|| super::malformed("no container app"))
    }

    /// Deletes an app; done as well when there is none.
    ///
    /// # Errors
    /// Azure cannot serve now, and whether it began is unknown.
    pub async fn delete_app(&self, group: &Group, name: &str) -> Result<Started, Error> {
        self.start((Method::DELETE, &group.app(name), ""), API_VERSION, None).await
    }

    /// Starts an app that was stopped.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; any other: whether it began is unknown.
    pub async fn start_app(&self, group: &Group, name: &str) -> Result<Started, Error> {
        self.start((Method::POST, &group.app(name), "/start"), API_VERSION, None).await
    }

    /// Stops an app: its replicas end, and no request wakes it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; any other: whether it began is unknown.
    pub async fn stop_app(&self, group: &Group, name: &str) -> Result<Started, Error> {
        self.start((Method::POST, &group.app(name), "/stop"), API_VERSION, None).await
    }

    /// How many replicas an app has, those of all its revisions together.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such app.
    pub async fn replicas(&self, group: &Group, name: &str) -> Result<u32, Error> {
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

impl ContainerApp {
    /// The body of a PUT.
    pub fn body(&self) -> Value {
        let identities: Map<String, Value> = self.identities.iter().map(|id| (id.to_string(), json!({}))).collect();
        let settings: Vec<Value> =
            self.identities.iter().map(|id| json!({"identity": id, "lifecycle": "None"})).collect();
        let secrets: Vec<Value> = self.secrets.iter().map(Secret::body).collect();
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

impl Secret {
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

impl App {
    /// Where this app departs from what it shall be, as paths into its body; empty when nowhere.
    ///
    /// Defaults that Azure fills in are no departures; an added variable, container, secret or volume is.
    pub fn departures(&self, intended: &ContainerApp) -> Vec<String> {
        drift::departures(&intended.body(), &self.body)
    }

    /// The image of its container.
    pub fn image(&self) -> Option<&str> {
        self.body["properties"]["template"]["containers"][0]["image"].as_str()
    }

    fn read(body: Value) -> Option<Self> {
        let properties = &body["properties"];
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let provisioning = match properties["provisioningState"].as_str()? {
            "Succeeded" => Provisioning::Succeeded,
            "Failed" | "Canceled" => Provisioning::Failed,
            "Deleting" => Provisioning::Deleting,
            _ => Provisioning::InProgress,
        };
        let running = match properties["runningStatus"].as_str() {
            Some("Running" | "Ready") => Running::Running,
            Some("Stopped") => Running::Stopped,
            Some(_) | None => Running::Unclear,
        };
        Some(Self {
            id: ResourceId(text(&body["id"])?),
            provisioning,
            running,
            fqdn: text(&properties["configuration"]["ingress"]["fqdn"]),
            latest_revision: text(&properties["latestRevisionName"]),
            tags: serde_json::from_value(body["tags"].clone()).unwrap_or_default(),
            body,
        })
    }
}
