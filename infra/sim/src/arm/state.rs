//! The resources that exist, and what follows from them; no I/O.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use nbhd::providers::azure::resource_manager::{Group, KEY_VAULT_SECRETS_USER, Tags};
use serde_json::{Value, json};
use uuid::Uuid;

use super::apps::Apps;
use super::target::Target;
use super::{ACCOUNT, ENVIRONMENT, LockLevel, OperationUrl, Pace, Resource, Secrets, StateSpelling};
use crate::key_vault::KeyVault;

/// <https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits>
const MOST_ASSIGNMENTS: usize = 4_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) groups: Vec<Group>,
    pub(super) vaults: Vec<(String, KeyVault)>,
    pub(super) apps: Apps,
    resources: BTreeMap<String, StoredResource>,
    pub(super) operations_pace: Pace,
    pub(super) principals_pace: Pace,
    pub(super) roles_pace: Pace,
    /// Locked scopes.
    pub(super) locks: Vec<(String, LockLevel)>,
    pub(super) operation_url: OperationUrl,
    pub(super) state_spelling: StateSpelling,
    pub(super) retry_after: u32,
    pub(super) most_assignments: usize,
    /// Whether every DELETE finds nothing and has no effect.
    pub(super) ignores_deletes: bool,
}

/// A resource, by its name in lower case.
#[derive(Debug)]
pub(super) struct StoredResource {
    pub(super) id: String,
    kind: &'static str,
    pub(super) body: Value,
    pub(super) created: Timestamp,
    /// How often a role assignment asked for its principal.
    polls: u32,
}

/// An error answer: `ErrorResponse`.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str, pub(super) &'static str);

pub(super) type RuleResult<T> = Result<T, Refusal>;

pub(super) const fn invalid(code: &'static str, message: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, code, message)
}

impl State {
    pub(super) fn new(group: Group) -> Self {
        Self {
            groups: vec![group],
            vaults: Vec::new(),
            apps: Apps::default(),
            resources: BTreeMap::new(),
            operations_pace: Pace::Polls(1),
            principals_pace: Pace::Immediate,
            roles_pace: Pace::Immediate,
            locks: Vec::new(),
            operation_url: OperationUrl::Documented,
            state_spelling: StateSpelling::Documented,
            retry_after: 1,
            most_assignments: MOST_ASSIGNMENTS,
            ignores_deletes: false,
        }
    }

    /// Whether the group in a path exists; a role's scope may lie in any group of a subscription.
    pub(super) fn check_path(&self, path: &str) -> RuleResult<()> {
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

    pub(super) fn find(&self, id: &str) -> Option<&StoredResource> {
        self.resources.get(&id.to_ascii_lowercase())
    }

    pub(super) fn body_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.resources.get_mut(&id.to_ascii_lowercase()).map(|resource| &mut resource.body)
    }

    /// Creates a resource, or replaces its body; returns whether it is new.
    pub(super) fn insert(&mut self, id: &str, body: Value, now: Timestamp) -> bool {
        let Some(kind) = Target::of(id).kind() else { return false };
        let key = id.to_ascii_lowercase();
        if let Some(resource) = self.resources.get_mut(&key) {
            resource.body = body;
            return false;
        }
        self.resources.insert(key, StoredResource { id: id.to_owned(), kind, body, created: now, polls: 0 });
        true
    }

    /// Deletes a resource; returns whether it existed.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let key = id.to_ascii_lowercase();
        let Some(resource) = self.resources.remove(&key) else { return false };
        self.apps.remove(&key, &resource.body);
        true
    }

    /// Whether a DELETE finds a resource of this name.
    pub(super) fn is_deletable(&self, id: &str) -> bool {
        !self.ignores_deletes && self.find(id).is_some()
    }

    /// A resource as a GET shows it.
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        self.find(id).map(|resource| self.render(resource))
    }

    fn render(&self, resource: &StoredResource) -> Value {
        let mut body = resource.body.clone();
        body["id"] = json!(resource.id);
        body["name"] = json!(resource.id.rsplit('/').next());
        body["type"] = json!(resource.kind);
        self.apps.add_state(&resource.id.to_ascii_lowercase(), &mut body, self.state_spelling);
        body
    }

    /// The resources whose names begin with `prefix` and are of `kind`.
    pub(super) fn list_below(&self, prefix: &str, kind: &str) -> Vec<Value> {
        let prefix = prefix.to_ascii_lowercase();
        let inside = self.resources.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        inside.filter(|(_, resource)| resource.kind == kind).map(|(_, resource)| self.render(resource)).collect()
    }

    /// The tracked resources of a group: those that have tags.
    pub(super) fn list_tagged(&self, group: &str, tag: Option<&str>) -> Vec<Value> {
        let tracked = |kind: &str| kind.ends_with("/containerApps") || kind.ends_with("/userAssignedIdentities");
        let prefix = format!("{}/", group.to_ascii_lowercase());
        let inside = self.resources.iter().filter(|(key, resource)| key.starts_with(&prefix) && tracked(resource.kind));
        inside
            .filter(|(_, resource)| tag.is_none_or(|tag| resource.body["tags"].get(tag).is_some()))
            .map(|(_, resource)| {
                let (name, location) = (resource.id.rsplit('/').next(), &resource.body["location"]);
                let tags = &resource.body["tags"];
                json!({"id": resource.id, "name": name, "type": resource.kind, "location": location, "tags": tags})
            })
            .collect()
    }

    pub(super) fn list_resources(&self) -> Vec<Resource> {
        let tags = |resource: &StoredResource| {
            let found = [&resource.body["tags"], &resource.body["properties"]["metadata"]];
            found.into_iter().find_map(|tags| serde_json::from_value::<Tags>(tags.clone()).ok()).unwrap_or_default()
        };
        self.resources
            .values()
            .map(|resource| Resource { id: resource.id.clone(), kind: resource.kind, tags: tags(resource) })
            .collect()
    }

    /// The role assignments of a subscription.
    pub(super) fn count_assignments(&self, subscription: &str) -> usize {
        let prefix = format!("/subscriptions/{}/", subscription.to_ascii_lowercase());
        let roles =
            self.resources.iter().filter(|(_, resource)| resource.kind == "Microsoft.Authorization/roleAssignments");
        roles.filter(|(key, _)| key.starts_with(&prefix)).count()
    }

    pub(super) fn assignments(&self) -> impl Iterator<Item = &StoredResource> {
        self.resources.values().filter(|resource| resource.kind == "Microsoft.Authorization/roleAssignments")
    }

    /// The role assignments that concern a scope: on it, above it and below it.
    pub(super) fn list_assignments(&self, scope: &str) -> Vec<Value> {
        let asked = scope.to_ascii_lowercase();
        let concerns = |resource: &&StoredResource| {
            let on = resource.body["properties"]["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
            is_scope_of(&on, &asked) || is_scope_of(&asked, &on)
        };
        self.assignments().filter(concerns).map(|resource| self.render(resource)).collect()
    }

    /// The scope whose lock forbids a request.
    pub(super) fn locked_scope(&self, method: &str, path: &str) -> Option<&str> {
        let forbids = |level| match level {
            LockLevel::CanNotDelete => method == "DELETE",
            LockLevel::ReadOnly => method != "GET",
        };
        let path = path.to_ascii_lowercase();
        let locked = |scope: &str| is_scope_of(&scope.to_ascii_lowercase(), &path);
        self.locks.iter().find(|(scope, level)| forbids(*level) && locked(scope)).map(|(scope, _)| scope.as_str())
    }

    /// The principals that may read a secret. A role on a scope above the secret counts as well.
    pub(super) fn readers(&self, vault: &str, secret: &str) -> Vec<String> {
        let principal =
            |resource: &StoredResource| resource.body["properties"]["principalId"].as_str().map(str::to_owned);
        self.reader_roles(vault, secret).into_iter().filter_map(principal).collect()
    }

    /// Whether the role by which an app's identity reads a secret has taken effect.
    pub(super) fn is_secret_readable(&self, secret: &Value, now: Timestamp) -> bool {
        let identity = secret["identity"].as_str().and_then(|id| self.find(id));
        let principal = identity.map(|identity| &identity.body["properties"]["principalId"]);
        let named = secret["keyVaultUrl"].as_str().and_then(|url| url.split_once("/secrets/"));
        let Some((vault_url, path)) = named else { return false };
        let vault = self.vaults.iter().find(|(_, server)| server.base_url() == vault_url);
        let name = path.split('/').next().unwrap_or_default();
        let is_effective = |role: &StoredResource| {
            Some(&role.body["properties"]["principalId"]) == principal
                && has_settled(self.roles_pace, role.polls, role.created, now)
        };
        let roles = vault.map(|(vault, _)| self.reader_roles(vault, name)).unwrap_or_default();
        roles.into_iter().any(is_effective) && self.secret_value(secret).is_some()
    }

    fn reader_roles(&self, vault: &str, secret: &str) -> Vec<&StoredResource> {
        let below = format!("/providers/microsoft.keyvault/vaults/{vault}/secrets/{secret}").to_ascii_lowercase();
        let secrets = self.groups.iter().map(|group| {
            let (subscription, name) = (&group.subscription_id, &group.name);
            format!("/subscriptions/{subscription}/resourcegroups/{name}{below}").to_ascii_lowercase()
        });
        let secrets: Vec<String> = secrets.collect();
        let reads = |resource: &&StoredResource| {
            let properties = &resource.body["properties"];
            let role = properties["roleDefinitionId"].as_str().unwrap_or_default();
            let on = properties["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
            role.to_ascii_lowercase().ends_with(&KEY_VAULT_SECRETS_USER.to_string())
                && secrets.iter().any(|secret| is_scope_of(&on, secret))
        };
        self.assignments().filter(reads).collect()
    }

    /// The values behind an app's secrets, those that the identities they name may read.
    pub(super) fn secret_values(&self, app: &Value) -> Secrets {
        let secrets = app["properties"]["configuration"]["secrets"].as_array().into_iter().flatten();
        let named = |secret: &Value| Some((secret["name"].as_str()?.to_owned(), self.secret_value(secret)?));
        secrets.filter_map(named).collect()
    }

    pub(super) fn secret_value(&self, secret: &Value) -> Option<String> {
        let url = secret["keyVaultUrl"].as_str()?;
        let (vault_url, path) = url.split_once("/secrets/")?;
        let (vault, server) = self.vaults.iter().find(|(_, server)| server.base_url() == vault_url)?;
        let identity = self.find(secret["identity"].as_str()?)?;
        let principal = identity.body["properties"]["principalId"].as_str()?;
        let (named, version) = path.split_once('/').map_or((path, None), |(name, version)| (name, Some(version)));
        let may = self.readers(vault, named).iter().any(|reader| reader == principal);
        let value = || version.map_or_else(|| server.value(named), |version| server.version_value(named, version));
        may.then(value).flatten()
    }

    /// Whether role assignments know the principal of an identity yet; each call counts as a poll.
    pub(super) fn has_found_principal(&mut self, principal_id: &str, now: Timestamp) -> bool {
        let pace = self.principals_pace;
        let is_it = |resource: &&mut StoredResource| resource.body["properties"]["principalId"] == principal_id;
        let identities =
            self.resources.values_mut().filter(|resource| resource.kind.ends_with("/userAssignedIdentities"));
        let Some(resource) = identities.into_iter().find(is_it) else { return false };
        let settled = has_settled(pace, resource.polls, resource.created, now);
        resource.polls += 1;
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

/// Whether a change that began at `since` has settled after so many polls.
pub(super) fn has_settled(pace: Pace, polls: u32, since: Timestamp, now: Timestamp) -> bool {
    match pace {
        Pace::Immediate => true,
        Pace::Polls(unsettled) => polls >= unsettled,
        Pace::After(time) => now.since(since) >= time,
    }
}

/// Whether `below` is `scope` or lies below it.
fn is_scope_of(scope: &str, below: &str) -> bool {
    below.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
