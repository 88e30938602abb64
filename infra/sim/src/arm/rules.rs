//! What Azure refuses, and what it makes of what it accepts.

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use serde_json::{Value, json};

use super::apps::ChangeKind;
use super::state::{Refusal, RuleResult, State, invalid};
use super::target::Target;
use super::{ENVIRONMENT, LOCATION};

/// Where roles are defined.
const ROLE_DEFINITIONS: &str = "/providers/microsoft.authorization/roledefinitions/";
/// Where identities are.
const IDENTITIES: &str = "/providers/microsoft.managedidentity/userassignedidentities/";

impl State {
    /// Creates or changes what is not a container app: the status and the body of the answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is created by a PUT")]
    pub(super) fn put(
        &mut self,
        id: &str,
        target: Target<'_>,
        body: Value,
        now: Timestamp,
    ) -> RuleResult<(u16, Value)> {
        let kept = match target {
            Target::Identity => self.accept_identity(id, body)?,
            Target::Role { scope } => self.accept_role(id, scope, &body, now)?,
            Target::Share => self.accept_share(id, &body, now)?,
            Target::Storage => self.accept_storage(&body)?,
            _ => return Err(invalid("InvalidResourceType", "The resource type cannot be created.")),
        };
        let is_new = self.insert(id, kept, now);
        let shown = self.get(id).unwrap_or_default();
        // Environment storages are always answered with 200.
        let created = is_new && target != Target::Storage;
        Ok((if created { 201 } else { 200 }, shown))
    }

    fn accept_identity(&self, id: &str, mut body: Value) -> RuleResult<Value> {
        check_location(&body)?;
        let name = last_segment(id);
        if !(3..=128).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
            return Err(invalid("InvalidResourceName", "The name is invalid."));
        }
        let former = self.find(id).map(|resource| resource.body["properties"].clone());
        body["properties"] = former.unwrap_or_else(Self::new_principal);
        Ok(body)
    }

    fn accept_role(&mut self, id: &str, scope: &str, body: &Value, now: Timestamp) -> RuleResult<Value> {
        let properties = &body["properties"];
        let text = |name: &str| properties[name].as_str().unwrap_or_default().to_owned();
        let (principal, role) = (text("principalId"), text("roleDefinitionId"));
        if uuid::Uuid::parse_str(last_segment(id)).is_err() {
            return Err(invalid("InvalidRoleAssignmentId", "The role assignment ID must be a GUID."));
        }
        if !role.to_ascii_lowercase().contains(ROLE_DEFINITIONS) || uuid::Uuid::parse_str(last_segment(&role)).is_err()
        {
            return Err(invalid("RoleDefinitionDoesNotExist", "The specified role definition does not exist."));
        }
        let same = |kept: &Value, name: &str, given: &str| {
            kept["properties"][name].as_str().is_some_and(|kept| kept.eq_ignore_ascii_case(given))
        };
        let is_same = |kept: &Value| {
            same(kept, "principalId", &principal) && same(kept, "scope", scope) && same(kept, "roleDefinitionId", &role)
        };
        // A name is one assignment's in the whole directory.
        if let Some(named) =
            self.assignments().find(|other| last_segment(&other.id).eq_ignore_ascii_case(last_segment(id)))
        {
            if is_same(&named.body) {
                return Ok(named.body.clone());
            }
            let message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.";
            return Err(invalid("RoleAssignmentUpdateNotPermitted", message));
        }
        if self.assignments().any(|other| is_same(&other.body)) {
            return Err(Refusal(StatusCode::CONFLICT, "RoleAssignmentExists", "The role assignment already exists."));
        }
        if !self.has_found_principal(&principal, now) {
            return Err(invalid("PrincipalNotFound", "The principal does not exist in the directory."));
        }
        if self.count_assignments(scope.split('/').nth(2).unwrap_or_default()) >= self.most_assignments {
            return Err(invalid("RoleAssignmentLimitExceeded", "The number of role assignments exceeded the limit."));
        }
        let now = now.rfc3339();
        Ok(json!({"properties": {
            "roleDefinitionId": role,
            "principalId": principal,
            "principalType": properties.get("principalType").cloned().unwrap_or_else(|| json!("ServicePrincipal")),
            "scope": scope,
            "createdOn": now,
            "updatedOn": now,
            "createdBy": uuid::Uuid::nil(),
            "updatedBy": uuid::Uuid::nil(),
        }}))
    }

    fn accept_share(&self, id: &str, body: &Value, now: Timestamp) -> RuleResult<Value> {
        let name = last_segment(id);
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(3..=63).contains(&name.len()) || !name.bytes().all(known) || name.contains("--") {
            return Err(invalid("InvalidResourceName", "The share name is invalid."));
        }
        let given = &body["properties"];
        let identifier = |key: &String| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if given["metadata"].as_object().is_some_and(|metadata| !metadata.keys().all(identifier)) {
            return Err(invalid(
                "InvalidMetadata",
                "The metadata specified is invalid. It has characters that are not permitted.",
            ));
        }
        let quota = given["shareQuota"].as_u64().unwrap_or(5_120);
        if !(1..=102_400).contains(&quota) {
            return Err(invalid("InvalidHeaderValue", "The quota is out of range."));
        }
        let former = self.find(id).map(|resource| &resource.body["properties"]);
        let metadata = given.get("metadata").or_else(|| former.and_then(|former| former.get("metadata"))).cloned();
        let mut properties = json!({
            "shareQuota": quota,
            "enabledProtocols": "SMB",
            "accessTier": "TransactionOptimized",
            "leaseState": "available",
            "leaseStatus": "unlocked",
            "lastModifiedTime": now.rfc3339(),
        });
        if let Some(metadata) = metadata {
            properties["metadata"] = metadata;
        }
        Ok(json!({"etag": "\"0x8D589847D51C7DE\"", "properties": properties}))
    }

    fn accept_storage(&self, body: &Value) -> RuleResult<Value> {
        let file = &body["properties"]["azureFile"];
        for name in ["accountName", "shareName", "accessMode"] {
            if file[name].as_str().is_none_or(str::is_empty) {
                return Err(invalid(
                    "ManagedEnvironmentStorageInvalid",
                    "The storage lacks an account, a share or a mode.",
                ));
            }
        }
        let key = &file["accountKeyVaultProperties"];
        if file["accountKey"].is_null() && key["keyVaultUrl"].is_null() {
            return Err(invalid("ManagedEnvironmentStorageInvalid", "The storage lacks its account's key."));
        }
        let mut kept = body.clone();
        if let Some(file) = kept["properties"]["azureFile"].as_object_mut() {
            // Never shown again.
            file.remove("accountKey");
        }
        Ok(kept)
    }

    /// Begins a PUT of a container app; its operation, and whether the app is new.
    pub(super) fn put_app(
        &mut self,
        id: &str,
        mut body: Value,
        fails: Option<&'static str>,
        now: Timestamp,
    ) -> RuleResult<(String, bool)> {
        check_location(&body)?;
        let name = last_segment(id);
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let well_named =
            name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-') && !name.contains("--");
        if !(2..=32).contains(&name.len()) || !name.bytes().all(known) || !well_named {
            return Err(invalid(
                "ContainerAppInvalidName",
                "A name has at most 32 of a-z, 0-9 and -, and begins with a letter.",
            ));
        }
        let environment = &body["properties"]["environmentId"];
        let environment = environment.as_str().unwrap_or_default().to_owned();
        let group = id.rsplitn(5, '/').last().unwrap_or_default();
        if !environment
            .eq_ignore_ascii_case(&format!("{group}/providers/Microsoft.App/managedEnvironments/{ENVIRONMENT}"))
        {
            return Err(Refusal(StatusCode::NOT_FOUND, "ManagedEnvironmentNotFound", "The environment was not found."));
        }
        self.identities_of(&mut body)?;
        let properties = &body["properties"];
        check_containers(properties)?;
        for volume in items(&properties["template"]["volumes"]) {
            let storage = volume["storageName"].as_str().unwrap_or_default();
            if volume["storageType"] == "AzureFile" && self.find(&format!("{environment}/storages/{storage}")).is_none()
            {
                return Err(invalid(
                    "ManagedEnvironmentStorageNotFound",
                    "A volume names a storage that does not exist.",
                ));
            }
        }
        self.check_secrets(properties, now)?;
        let fails = fails.or_else(|| self.find_deploy_failure(&environment, &body));
        self.begin((ChangeKind::Put, id), Some(body), fails, now)
    }

    /// An app's identity reads its secrets while the PUT is answered; a new role has no effect for minutes.
    /// <https://github.com/microsoft/azure-container-apps/issues/1159>
    fn check_secrets(&self, properties: &Value, now: Timestamp) -> RuleResult<()> {
        let secrets = items(&properties["configuration"]["secrets"]);
        let mut known = secrets.iter().filter(|secret| secret["keyVaultUrl"].is_string() && !self.vaults.is_empty());
        if known.all(|secret| self.is_secret_readable(secret, now)) {
            return Ok(());
        }
        let message = "The following field(s) are either invalid or missing. Field 'configuration.secrets' is invalid \
                       with details: 'Unable to get value using Managed identity.'";
        Err(invalid("InvalidParameterValueInContainerTemplate", message))
    }

    /// Why an app will not start although its PUT is accepted.
    fn find_deploy_failure(&self, environment: &str, body: &Value) -> Option<&'static str> {
        let properties = &body["properties"];
        for volume in items(&properties["template"]["volumes"]) {
            let storage = volume["storageName"].as_str().unwrap_or_default();
            let storage = self.find(&format!("{environment}/storages/{storage}"))?;
            let file = &storage.body["properties"]["azureFile"];
            let (account, share) = (file["accountName"].as_str()?, file["shareName"].as_str()?);
            let group = storage.id.rsplitn(7, '/').last()?;
            let accounts = format!("{group}/providers/Microsoft.Storage/storageAccounts");
            if self.find(&format!("{accounts}/{account}/fileServices/default/shares/{share}")).is_none() {
                return Some("ContainerAppVolumeMountFailed");
            }
        }
        None
    }

    /// An app has identities that exist, and uses no others. Azure adds their principals.
    fn identities_of(&self, body: &mut Value) -> RuleResult<()> {
        let missing = invalid("FailedIdentityOperation", "An identity of the app does not exist.");
        let mut identities = body["identity"]["userAssignedIdentities"].as_object().cloned().unwrap_or_default();
        for (id, shown) in &mut identities {
            if let Some(resource) = self.find(id) {
                let properties = &resource.body["properties"];
                *shown = json!({"principalId": properties["principalId"], "clientId": properties["clientId"]});
            } else if id.to_ascii_lowercase().contains(IDENTITIES) && self.is_ours(id) {
                return Err(missing);
            }
        }
        let configuration = &body["properties"]["configuration"];
        let used = ["secrets", "registries", "identitySettings"].map(|name| items(&configuration[name]));
        for identity in used.into_iter().flatten().filter_map(|user| user["identity"].as_str()) {
            if !identities.keys().any(|id| id.eq_ignore_ascii_case(identity)) {
                return Err(invalid("InvalidRequestContent", "The app uses an identity that it does not have."));
            }
        }
        body["identity"]["userAssignedIdentities"] = Value::Object(identities);
        Ok(())
    }

    /// Whether a name lies in a group of this world: elsewhere anything may exist, such as the identity that pulls.
    fn is_ours(&self, id: &str) -> bool {
        let lower = id.to_ascii_lowercase();
        self.groups.iter().any(|group| {
            let (subscription, name) = (&group.subscription_id, &group.name);
            lower.starts_with(&format!("/subscriptions/{subscription}/resourcegroups/{name}/").to_ascii_lowercase())
        })
    }
}

/// Checks what Azure requires of an app's containers.
fn check_containers(properties: &Value) -> RuleResult<()> {
    let (template, configuration) = (&properties["template"], &properties["configuration"]);
    let named = |list: &Value, name: &Value| items(list).iter().any(|item| item["name"] == *name);
    if template["terminationGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds > 600) {
        return Err(invalid(
            "InvalidParameterValueInContainerTemplate",
            "The termination grace period is at most 600 s.",
        ));
    }
    let containers = items(&template["containers"]);
    if containers.is_empty() {
        return Err(invalid("ContainerAppContainersRequired", "The app has no container."));
    }
    for container in containers {
        if container["image"].as_str().is_none_or(str::is_empty) {
            return Err(invalid("ContainerAppImageRequired", "A container has no image."));
        }
        let memory = container["resources"]["memory"].as_str().and_then(|text| text.strip_suffix("Gi"));
        let memory = memory.and_then(|text| text.parse::<f64>().ok());
        if container["resources"]["cpu"].as_f64().map(|cpu| cpu * 2.0) != memory {
            return Err(invalid("ContainerAppInvalidResourceTotal", "Memory in GiB is twice the cores."));
        }
        for variable in items(&container["env"]) {
            if variable["secretRef"].is_string() && !named(&configuration["secrets"], &variable["secretRef"]) {
                return Err(invalid(
                    "ContainerAppSecretRefNotFound",
                    "A variable refers to a secret that does not exist.",
                ));
            }
        }
        for probe in items(&container["probes"]) {
            let within = |name: &str, most| probe[name].as_u64().is_none_or(|given| (1..=most).contains(&given));
            if !within("failureThreshold", 10) || !within("periodSeconds", 240) || !within("timeoutSeconds", 240) {
                return Err(invalid("ContainerAppProbeInvalid", "A probe is out of its bounds."));
            }
        }
        for mount in items(&container["volumeMounts"]) {
            if !named(&template["volumes"], &mount["volumeName"]) {
                return Err(invalid("ContainerAppVolumeNotFound", "A container mounts a volume that does not exist."));
            }
        }
    }
    Ok(())
}

fn check_location(body: &Value) -> RuleResult<()> {
    match body["location"].as_str() {
        Some(LOCATION) => Ok(()),
        Some(_) => Err(invalid("LocationNotAvailableForResourceType", "The location is not available.")),
        None => Err(invalid("LocationRequired", "The location property is required for this definition.")),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn last_segment(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}
