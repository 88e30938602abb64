//! Container apps: revisions, replicas and the operations that change them; no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{Refusal, RuleResult, State, has_settled};
use super::{ContainerEvent, Pace, StateSpelling};

/// How long an app without a smallest number of replicas keeps its last one after a request.
const IDLE_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Apps {
    /// By the app's name in lower case.
    by_id: BTreeMap<String, AppState>,
    operations: BTreeMap<String, Change>,
    /// What containers have to do, in order.
    pub(super) changes: VecDeque<ContainerEvent>,
    pub(super) overlaps: u32,
}

#[derive(Debug)]
struct AppState {
    id: String,
    /// `127.0.0.1:port`, once its ingress is up.
    fqdn: String,
    revision: u32,
    state: &'static str,
    stopped: bool,
    replica: Option<Running>,
    last_request: Timestamp,
    operation: Option<String>,
}

#[derive(Debug, Default)]
struct Running {
    url: Option<String>,
}

/// A change that goes on, or has ended.
#[derive(Debug)]
struct Change {
    app: String,
    kind: ChangeKind,
    since: Timestamp,
    polls: u32,
    pace: Pace,
    fails: Option<&'static str>,
    ended: bool,
}

/// What an operation does to its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Put,
    Delete,
    Start,
    Stop,
}

/// A container app at a moment.
#[derive(Clone, Debug)]
pub struct AppView {
    /// Its full name.
    pub id: String,
    /// Its own name.
    pub name: String,
    /// The body of its last PUT, with what Azure adds.
    pub body: Value,
    /// Whether it was stopped, so that no request wakes it.
    pub is_stopped: bool,
    /// How many replicas it has: 0 or 1.
    pub replicas: u32,
}

/// How far an operation is.
pub(super) enum Progress {
    Running,
    Succeeded(ChangeKind, String),
    Failed(&'static str),
}

/// Whether an app takes a request.
pub(super) enum Admission {
    /// The app does not exist, or was stopped.
    NotFound,
    /// A replica is being started first.
    Starting,
    /// A replica runs; the address of its container, if one answers there.
    Running(Option<String>),
}

const BUSY: Refusal = Refusal(
    StatusCode::CONFLICT,
    "ContainerAppOperationInProgress",
    "Cannot modify a container app because there is an operation in progress.",
);

impl AppView {
    /// A tag of it.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.body["tags"][name].as_str()
    }

    /// A plain variable of its container.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.variable(name)?["value"].as_str()
    }

    /// The name of the app's secret that a variable of its container holds.
    pub fn secret_of(&self, name: &str) -> Option<&str> {
        self.variable(name)?["secretRef"].as_str()
    }

    /// The image of its container.
    pub fn image(&self) -> Option<&str> {
        self.container()["image"].as_str()
    }

    fn container(&self) -> &Value {
        &self.body["properties"]["template"]["containers"][0]
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        self.container()["env"].as_array()?.iter().find(|variable| variable["name"] == name)
    }
}

impl Apps {
    pub(super) fn views(&self) -> Vec<AppView> {
        self.by_id.values().map(|app| app.view(Value::Null)).collect()
    }

    /// The full names of all apps, in lower case, that have no address yet or one already.
    pub(super) fn names(&self) -> Vec<String> {
        self.by_id.keys().cloned().collect()
    }

    /// An app's ingress is up.
    pub(super) fn set_ingress(&mut self, key: &str, fqdn: String) {
        if let Some(app) = self.by_id.get_mut(key) {
            app.fqdn = fqdn;
        }
    }

    /// The container behind an app answers there.
    pub(super) fn set_container(&mut self, id: &str, url: Option<String>) {
        if let Some(replica) = self.by_id.get_mut(&id.to_ascii_lowercase()).and_then(|app| app.replica.as_mut()) {
            replica.url = url;
        }
    }

    pub(super) fn replicas(&self, key: &str) -> Option<(String, u32)> {
        self.by_id.get(key).map(|app| (app.revision_name(), u32::from(app.replica.is_some())))
    }

    /// The app is no more.
    pub(super) fn remove(&mut self, key: &str, body: &Value) {
        let Some(app) = self.by_id.remove(key) else { return };
        self.operations.retain(|_, change| change.app != key || change.ended);
        let view = app.view(body.clone());
        if app.replica.is_some() {
            self.changes.push_back(ContainerEvent::Ended(view.clone()));
        }
        self.changes.push_back(ContainerEvent::Deleted(view));
    }

    /// Adds what Azure adds to an app's body.
    pub(super) fn add_state(&self, key: &str, body: &mut Value, spelling: StateSpelling) {
        let Some(app) = self.by_id.get(key) else { return };
        let kind = app.operation.as_ref().and_then(|id| self.operations.get(id)).map(|change| change.kind);
        let state = match kind {
            Some(ChangeKind::Delete) => "Deleting",
            Some(ChangeKind::Put | ChangeKind::Start | ChangeKind::Stop) => "InProgress",
            None => app.state,
        };
        let running = match (kind, app.stopped) {
            (Some(_), _) => "Progressing",
            (None, true) => "Stopped",
            (None, false) => "Running",
        };
        let revision = app.revision_name();
        let environment = body["properties"]["environmentId"].clone();
        let properties = &mut body["properties"];
        match spelling {
            StateSpelling::Documented => {
                (properties["provisioningState"], properties["runningStatus"]) = (json!(state), json!(running));
            }
            StateSpelling::LowerCase => {
                properties["provisioningState"] = json!(state.to_ascii_lowercase());
                properties["runningStatus"] = json!(running.to_ascii_lowercase());
            }
            StateSpelling::Absent => {
                if state != "Succeeded" {
                    properties["provisioningState"] = json!(state);
                }
                properties["runningStatus"] = json!(running);
            }
        }
        properties["managedEnvironmentId"] = environment;
        properties["latestRevisionName"] = json!(revision);
        properties["latestReadyRevisionName"] = json!(revision);
        properties["outboundIpAddresses"] = json!(["127.0.0.1"]);
        if !app.fqdn.is_empty() {
            properties["latestRevisionFqdn"] = json!(app.fqdn);
            properties["configuration"]["ingress"]["fqdn"] = json!(app.fqdn);
        }
    }
}

impl AppState {
    fn revision_name(&self) -> String {
        format!("{}--{:07}", self.id.rsplit('/').next().unwrap_or_default(), self.revision)
    }

    fn view(&self, body: Value) -> AppView {
        let name = self.id.rsplit('/').next().unwrap_or_default().to_owned();
        let replicas = u32::from(self.replica.is_some());
        AppView { id: self.id.clone(), name, body, is_stopped: self.stopped, replicas }
    }
}

impl State {
    pub(super) fn app_views(&self) -> Vec<AppView> {
        let bodied = |view: AppView| AppView { body: self.get(&view.id).unwrap_or_default(), ..view };
        self.apps.views().into_iter().map(bodied).collect()
    }

    /// Begins a change; returns the operation's id, and whether the app is new. `body` is for a PUT.
    pub(super) fn begin(
        &mut self,
        (kind, id): (ChangeKind, &str),
        body: Option<Value>,
        fails: Option<&'static str>,
        now: Timestamp,
    ) -> RuleResult<(String, bool)> {
        let key = id.to_ascii_lowercase();
        self.count_poll(&key, now);
        if self.apps.by_id.get(&key).is_some_and(|app| app.operation.is_some()) {
            return Err(BUSY);
        }
        let mut is_new = false;
        let mut deploys = false;
        if let Some(body) = body {
            let former = self.find(id).map(|resource| resource.body["properties"]["template"].clone());
            is_new = former.is_none();
            deploys = former.is_none_or(|former| former != body["properties"]["template"]);
            self.insert(id, body, now);
        }
        let operation = Uuid::new_v4().to_string();
        let app = self.apps.by_id.entry(key.clone()).or_insert_with(|| AppState {
            id: id.to_owned(),
            fqdn: String::new(),
            revision: 0,
            state: "Succeeded",
            stopped: false,
            replica: None,
            last_request: now,
            operation: None,
        });
        app.operation = Some(operation.clone());
        app.revision += u32::from(deploys);
        let starts = match kind {
            ChangeKind::Put => deploys && !app.stopped,
            ChangeKind::Start => std::mem::take(&mut app.stopped) || app.replica.is_none(),
            ChangeKind::Delete | ChangeKind::Stop => false,
        };
        let change =
            Change { app: key.clone(), kind, since: now, polls: 0, pace: self.operations_pace, fails, ended: false };
        self.apps.operations.insert(operation.clone(), change);
        if starts && fails.is_none() {
            self.start_replica(&key, now);
        }
        self.apply_due_changes(now);
        Ok((operation, is_new))
    }

    /// Counts a poll towards the end of the app's change.
    pub(super) fn count_poll(&mut self, key: &str, now: Timestamp) {
        let Some(operation) = self.apps.by_id.get(key).and_then(|app| app.operation.clone()) else { return };
        self.progress(&operation, now);
    }

    /// Counts a poll of an operation and returns its progress; `None` when there is none of this id.
    pub(super) fn progress(&mut self, operation: &str, now: Timestamp) -> Option<Progress> {
        self.apply_due_changes(now);
        let change = self.apps.operations.get_mut(operation)?;
        if !change.ended {
            change.polls += 1;
            return Some(Progress::Running);
        }
        let app = change.app.clone();
        Some(match change.fails {
            Some(code) => Progress::Failed(code),
            None => Progress::Succeeded(change.kind, app),
        })
    }

    /// Ends the operations that are due, and the replicas that are idle.
    pub(super) fn apply_due_changes(&mut self, now: Timestamp) {
        let due = |change: &&mut Change| !change.ended && has_settled(change.pace, change.polls, change.since, now);
        let mut ended = Vec::new();
        for change in self.apps.operations.values_mut().filter(due) {
            change.ended = true;
            ended.push((change.app.clone(), change.kind, change.fails));
        }
        for (key, kind, fails) in ended {
            self.end_change(&key, kind, fails);
        }
        let idle: Vec<String> =
            self.apps.by_id.iter().filter(|(_, app)| app.is_idle(now)).map(|(key, _)| key.clone()).collect();
        for key in idle {
            let least = self.get(&key).map(|body| body["properties"]["template"]["scale"]["minReplicas"].as_u64());
            if least.flatten().unwrap_or(0) == 0 {
                self.end_replica(&key);
            }
        }
    }

    /// Admits a request to an app, and starts a replica where it has none.
    pub(super) fn admit(&mut self, key: &str, now: Timestamp) -> Admission {
        self.apply_due_changes(now);
        let Some(app) = self.apps.by_id.get_mut(key).filter(|app| !app.stopped && app.state == "Succeeded") else {
            return Admission::NotFound;
        };
        app.last_request = now;
        match &app.replica {
            Some(replica) => Admission::Running(replica.url.clone()),
            None => {
                self.start_replica(key, now);
                Admission::Starting
            }
        }
    }

    fn end_change(&mut self, key: &str, kind: ChangeKind, fails: Option<&'static str>) {
        let Some(app) = self.apps.by_id.get_mut(key) else { return };
        app.operation = None;
        match (kind, fails) {
            (ChangeKind::Put, Some(_)) => app.state = "Failed",
            (ChangeKind::Put, None) => app.state = "Succeeded",
            (ChangeKind::Delete, None) => drop(self.remove(key)),
            (ChangeKind::Stop, None) => {
                app.stopped = true;
                self.end_replica(key);
            }
            (ChangeKind::Start, None) | (ChangeKind::Delete | ChangeKind::Start | ChangeKind::Stop, Some(_)) => {}
        }
    }

    fn start_replica(&mut self, key: &str, now: Timestamp) {
        let former = self.apps.by_id.get(key).is_some_and(|app| app.replica.is_some());
        if former {
            // Single-revision mode keeps the old replica until the new one is ready.
            self.apps.overlaps += 1;
            self.end_replica(key);
        }
        let body = self.get(key).unwrap_or_default();
        let Some(app) = self.apps.by_id.get_mut(key) else { return };
        app.replica = Some(Running::default());
        app.last_request = now;
        let view = app.view(body);
        self.apps.changes.push_back(ContainerEvent::Started(view));
    }

    fn end_replica(&mut self, key: &str) {
        let body = self.get(key).unwrap_or_default();
        let Some(app) = self.apps.by_id.get_mut(key) else { return };
        if app.replica.take().is_some() {
            let view = app.view(body);
            self.apps.changes.push_back(ContainerEvent::Ended(view));
        }
    }
}

impl AppState {
    fn is_idle(&self, now: Timestamp) -> bool {
        self.replica.is_some() && self.operation.is_none() && now.since(self.last_request) >= IDLE_AFTER
    }
}
