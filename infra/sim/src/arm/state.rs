//! What there is, and what is said about it; no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use nbhd::providers::azure::resource_manager::{Group, KEY_VAULT_SECRETS_USER, Tags};
use serde_json::{Value, json};
use uuid::Uuid;

use super::apps::Apps;
use super::target::Target;
use super::{ACCOUNT, Announced, ENVIRONMENT, Held, Pace, Secrets};
use crate::key_vault::KeyVault;

/// <https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits>
const MOST_ASSIGNMENTS: usize = 4_000;
const IDLE_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct State {
    pub(super) groups: Vec<Group>,
    pub(super) vaults: Vec<(String, KeyVault)>,
    pub(super) apps: Apps,
    things: BTreeMap<String, Thing>,
    pub(super) operations_take: Pace,
    pub(super) principals_take: Pace,
    pub(super) announced: Announced,
    pub(super) retry_after: u32,
    pub(super) roles_take: Duration,
    pub(super) idle_after: Duration,
    pub(super) most_assignments: usize,
    /// Whether who deletes something is told that there is nothing.
    pub(super) deletes_nothing: bool,
}

/// A resource, by its name in lower case.
#[derive(Debug)]
pub(super) struct Thing {
    pub(super) id: String,
    kind: &'static str,
    pub(super) body: Value,
    pub(super) created: Timestamp,
    /// How often a new principal was looked for.
    looks: u32,
}

/// An error answer: `ErrorResponse`.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str, pub(super) &'static str);

pub(super) type Allowed<T> = Result<T, Refusal>;

pub(super) const fn bad(code: &'static str, message: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, code, message)
}

impl State {
    pub(super) fn with(group: Group) -> Self {
        Self {
            groups: vec![group],
            vaults: Vec::new(),
            apps: Apps::default(),
            things: BTreeMap::new(),
            operations_take: Pace::Looks(1),
            principals_take: Pace::AtOnce,
            announced: Announced::Documented,
            retry_after: 1,
            roles_take: Duration::ZERO,
            idle_after: IDLE_AFTER,
            most_assignments: MOST_ASSIGNMENTS,
            deletes_nothing: false,
        }
    }

    /// Whether the group in a path exists; a role's scope may lie in any group of a subscription.
    pub(super) fn knows(&self, path: &str) -> Allowed<()> {
        let lower = path.to_ascii_lowercase();
        let mut segments = lower.split('/').skip(1);
        let subscription = segments.nth(1).unwrap_or_default();
        let here = || self.groups.iter().filter(|group| group.subscription_id.eq_ignore_ascii_case(subscription));
        if here().next().is_none() {
            return Err(Refusal(StatusCode::NOT_FOUND, "SubscriptionNotFound", "The subscription could not be found."));
        }
        let group = segments.next().filter(|kind| *kind == "resourcegroups").and_then(|_| segments.next());
        if group.is_some_and(|name| !here().any(|group| group.name.eq_ignore_ascii_case(name))) {
            return Err(Refusal(StatusCode::NOT_FOUND, "ResourceGroupNotFound", "Resource group could not be found."));
        }
        for (kind, name) in [("storageaccounts", ACCOUNT), ("managedenvironments", ENVIRONMENT)] {
            let parent = lower.split_once(&format!("/{kind}/")).and_then(|(_, rest)| rest.split('/').next());
            if parent.is_some_and(|parent| parent != name) {
                let message = "Can not perform requested operation on nested resource. Parent resource not found.";
                return Err(Refusal(StatusCode::NOT_FOUND, "ParentResourceNotFound", message));
            }
        }
        Ok(())
    }

    pub(super) fn thing(&self, id: &str) -> Option<&Thing> {
        self.things.get(&id.to_ascii_lowercase())
    }

    pub(super) fn body_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.things.get_mut(&id.to_ascii_lowercase()).map(|thing| &mut thing.body)
    }

    /// Writes what is not there, or replaces its body; whether it was not there.
    pub(super) fn insert(&mut self, id: &str, body: Value, now: Timestamp) -> bool {
        let Some(kind) = Target::of(id).kind() else { return false };
        let key = id.to_ascii_lowercase();
        if let Some(thing) = self.things.get_mut(&key) {
            thing.body = body;
            return false;
        }
        self.things.insert(key, Thing { id: id.to_owned(), kind, body, created: now, looks: 0 });
        true
    }

    /// Deletes what is there; whether it was.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let key = id.to_ascii_lowercase();
        let Some(thing) = self.things.remove(&key) else { return false };
        self.apps.removed(&key, &thing.body);
        true
    }

    /// Whether there is something of this name that a DELETE finds.
    pub(super) fn is_deletable(&self, id: &str) -> bool {
        !self.deletes_nothing && self.thing(id).is_some()
    }

    /// A resource as a GET shows it.
    pub(super) fn shown(&self, id: &str) -> Option<Value> {
        self.thing(id).map(|thing| self.show(thing))
    }

    fn show(&self, thing: &Thing) -> Value {
        let mut body = thing.body.clone();
        body["id"] = json!(thing.id);
        body["name"] = json!(thing.id.rsplit('/').next());
        body["type"] = json!(thing.kind);
        self.apps.complete(&thing.id.to_ascii_lowercase(), &mut body);
        body
    }

    /// The resources whose names begin with `prefix` and are of `kind`.
    pub(super) fn below(&self, prefix: &str, kind: &str) -> Vec<Value> {
        let prefix = prefix.to_ascii_lowercase();
        let inside = self.things.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        inside.filter(|(_, thing)| thing.kind == kind).map(|(_, thing)| self.show(thing)).collect()
    }

    /// The tracked resources of a group: those that have tags.
    pub(super) fn tagged(&self, group: &str, tag: Option<&str>) -> Vec<Value> {
        let tracked = |kind: &str| kind.ends_with("/containerApps") || kind.ends_with("/userAssignedIdentities");
        let prefix = format!("{}/", group.to_ascii_lowercase());
        let inside = self.things.iter().filter(|(key, thing)| key.starts_with(&prefix) && tracked(thing.kind));
        inside
            .filter(|(_, thing)| tag.is_none_or(|tag| thing.body["tags"].get(tag).is_some()))
            .map(|(_, thing)| {
                let (name, location) = (thing.id.rsplit('/').next(), &thing.body["location"]);
                let tags = &thing.body["tags"];
                json!({"id": thing.id, "name": name, "type": thing.kind, "location": location, "tags": tags})
            })
            .collect()
    }

    pub(super) fn held(&self) -> Vec<Held> {
        let tags = |thing: &Thing| {
            let found = [&thing.body["tags"], &thing.body["properties"]["metadata"]];
            found.into_iter().find_map(|tags| serde_json::from_value::<Tags>(tags.clone()).ok()).unwrap_or_default()
        };
        self.things.values().map(|thing| Held { id: thing.id.clone(), kind: thing.kind, tags: tags(thing) }).collect()
    }

    /// The role assignments of a subscription.
    pub(super) fn assignments_of(&self, subscription: &str) -> usize {
        let prefix = format!("/subscriptions/{}/", subscription.to_ascii_lowercase());
        let roles = self.things.iter().filter(|(_, thing)| thing.kind == "Microsoft.Authorization/roleAssignments");
        roles.filter(|(key, _)| key.starts_with(&prefix)).count()
    }

    pub(super) fn assignments(&self) -> impl Iterator<Item = &Thing> {
        self.things.values().filter(|thing| thing.kind == "Microsoft.Authorization/roleAssignments")
    }

    /// The role assignments that concern a scope: on it, above it and below it.
    pub(super) fn assignments_about(&self, scope: &str) -> Vec<Value> {
        let asked = scope.to_ascii_lowercase();
        let concerns = |thing: &&Thing| {
            let on = thing.body["properties"]["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
            covers(&on, &asked) || covers(&asked, &on)
        };
        self.assignments().filter(concerns).map(|thing| self.show(thing)).collect()
    }

    /// Who may read a secret. A role on something above the secret counts as well.
    pub(super) fn readers(&self, vault: &str, secret: &str, now: Timestamp) -> Vec<String> {
        let below = format!("/providers/microsoft.keyvault/vaults/{vault}/secrets/{secret}").to_ascii_lowercase();
        let secrets = self.groups.iter().map(|group| {
            let (subscription, name) = (&group.subscription_id, &group.name);
            format!("/subscriptions/{subscription}/resourcegroups/{name}{below}").to_ascii_lowercase()
        });
        let secrets: Vec<String> = secrets.collect();
        let reads = |thing: &&Thing| {
            let properties = &thing.body["properties"];
            let role = properties["roleDefinitionId"].as_str().unwrap_or_default();
            let on = properties["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
            role.to_ascii_lowercase().ends_with(&KEY_VAULT_SECRETS_USER.to_string())
                && now.since(thing.created) >= self.roles_take
                && secrets.iter().any(|secret| covers(&on, secret))
        };
        let principal = |thing: &Thing| thing.body["properties"]["principalId"].as_str().map(str::to_owned);
        self.assignments().filter(reads).filter_map(principal).collect()
    }

    /// The values behind an app's secrets, those that the identities they name may read.
    pub(super) fn secret_values(&self, app: &Value, now: Timestamp) -> Secrets {
        let secrets = app["properties"]["configuration"]["secrets"].as_array().into_iter().flatten();
        let named = |secret: &Value| Some((secret["name"].as_str()?.to_owned(), self.secret_value(secret, now)?));
        secrets.filter_map(named).collect()
    }

    pub(super) fn secret_value(&self, secret: &Value, now: Timestamp) -> Option<String> {
        let url = secret["keyVaultUrl"].as_str()?;
        let (vault_url, path) = url.split_once("/secrets/")?;
        let (vault, server) = self.vaults.iter().find(|(_, server)| server.base_url() == vault_url)?;
        let identity = self.thing(secret["identity"].as_str()?)?;
        let principal = identity.body["properties"]["principalId"].as_str()?;
        let (named, version) = path.split_once('/').map_or((path, None), |(name, version)| (name, Some(version)));
        let may = self.readers(vault, named, now).iter().any(|reader| reader == principal);
        let value = || version.map_or_else(|| server.value(named), |version| server.value_of(named, version));
        may.then(value).flatten()
    }

    /// Whether a principal of an identity is known to role assignments yet; each call is a look.
    pub(super) fn finds_principal(&mut self, principal_id: &str, now: Timestamp) -> bool {
        let pace = self.principals_take;
        let is_it = |thing: &&mut Thing| thing.body["properties"]["principalId"] == principal_id;
        let identities = self.things.values_mut().filter(|thing| thing.kind.ends_with("/userAssignedIdentities"));
        let Some(thing) = identities.into_iter().find(is_it) else { return false };
        let settled = settled(pace, thing.looks, thing.created, now);
        thing.looks += 1;
        settled
    }

    pub(super) fn new_principal() -> Value {
        json!({
            "tenantId": Uuid::nil(),
            "principalId": Uuid::new_v4(),
            "clientId": Uuid::new_v4(),
        })
    }
}

/// Whether something that began at `since` and was looked at so often has settled.
pub(super) fn settled(pace: Pace, looks: u32, since: Timestamp, now: Timestamp) -> bool {
    match pace {
        Pace::AtOnce => true,
        Pace::Looks(unsettled) => looks >= unsettled,
        Pace::For(time) => now.since(since) >= time,
    }
}

/// Whether `below` is `scope` or lies below it.
fn covers(scope: &str, below: &str) -> bool {
    below.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
