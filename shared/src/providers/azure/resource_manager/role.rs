//! The role that lets a tenant's identity read one secret.

use serde_json::json;
use uuid::Uuid;

use super::{Client, Error, Group, KEY_VAULT_SECRETS_USER, ResourceId};

const API_VERSION: &str = "2022-04-01";

/// A role of a principal on a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleAssignment {
    /// The resource id of the assignment.
    pub id: ResourceId,
    /// The last segment of the id; `None` when it is no GUID.
    pub name: Option<Uuid>,
    /// The resource that the role is for.
    pub scope: ResourceId,
    /// The principal that has the role, a GUID.
    pub principal_id: String,
    /// The resource id of the role's definition.
    pub role_definition_id: String,
}

/// The outcome of [`Client::grant_secret`]; each variant is the caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// The principal has the role on the scope.
    InPlace,
    /// A new principal is not known everywhere yet (`PrincipalNotFound`): retry after seconds to minutes.
    PrincipalUnknown,
    /// The name belongs to an assignment of another principal or scope, and assignments cannot be changed: revoke it,
    /// then grant again.
    NameTaken,
    /// The Azure subscription has 4,000 assignments, which is the limit.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits>
    LimitReached,
}

impl Client {
    /// Lets a principal read one secret (`scope` from [`vault_secret`](super::Group::vault_secret)). It may take effect
    /// minutes later.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the role is assigned is then unknown.
    pub async fn grant_secret(
        &self,
        scope: &ResourceId,
        name: Uuid,
        principal_id: &str,
    ) -> Result<GrantOutcome, Error> {
        let azure_subscription = scope.subscription_id();
        let definitions =
            format!("/subscriptions/{azure_subscription}/providers/Microsoft.Authorization/roleDefinitions");
        let role = format!("{definitions}/{KEY_VAULT_SECRETS_USER}");
        let properties =
            json!({"roleDefinitionId": role, "principalId": principal_id, "principalType": "ServicePrincipal"});
        let body = json!({"properties": properties});
        let id = scope.role_assignment(name);
        match self.put::<wire::RoleAssignment>(&id, API_VERSION, &body).await {
            Ok(_) => Ok(GrantOutcome::InPlace),
            Err(Error::Refused { status, reason }) => match reason.as_str() {
                "RoleAssignmentExists" => Ok(GrantOutcome::InPlace),
                "PrincipalNotFound" => Ok(GrantOutcome::PrincipalUnknown),
                "RoleAssignmentUpdateNotPermitted" => Ok(GrantOutcome::NameTaken),
                "RoleAssignmentLimitExceeded" => Ok(GrantOutcome::LimitReached),
                _ => Err(Error::Refused { status, reason }),
            },
            Err(error) => Err(error),
        }
    }

    /// Fetches a role assignment on a scope.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this name.
    pub async fn get_role_assignment(&self, scope: &ResourceId, name: Uuid) -> Result<RoleAssignment, Error> {
        self.get::<wire::RoleAssignment>(&scope.role_assignment(name), API_VERSION).await.map(Into::into)
    }

    /// Lists the role assignments on a group and everything in it, and those above it.
    /// <https://learn.microsoft.com/rest/api/authorization/role-assignments/list-for-resource-group>
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list_role_assignments(&self, group: &Group) -> Result<Vec<RoleAssignment>, Error> {
        let all = self.list::<wire::RoleAssignment>(&group.role_assignments(), API_VERSION).await?;
        Ok(all.into_iter().map(Into::into).collect())
    }

    /// Deletes a role assignment, and returns whether there was one of this name.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn revoke_role(&self, scope: &ResourceId, name: Uuid) -> Result<bool, Error> {
        self.delete(&scope.role_assignment(name), API_VERSION).await
    }
}

impl RoleAssignment {
    /// Whether this assignment lets its principal read secrets, and its scope is `scope`.
    pub fn is_reader_of(&self, scope: &ResourceId) -> bool {
        let role = self.role_definition_id.rsplit('/').next().and_then(|name| Uuid::parse_str(name).ok());
        role == Some(KEY_VAULT_SECRETS_USER) && self.scope == *scope
    }
}

/// Azure's own form.
mod wire {
    use serde::Deserialize;

    use super::{ResourceId, Uuid};

    #[derive(Deserialize)]
    pub(super) struct RoleAssignment {
        id: ResourceId,
        name: String,
        properties: RoleAssignmentProperties,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RoleAssignmentProperties {
        scope: ResourceId,
        principal_id: String,
        role_definition_id: String,
    }

    impl From<RoleAssignment> for super::RoleAssignment {
        fn from(RoleAssignment { id, name, properties }: RoleAssignment) -> Self {
            let RoleAssignmentProperties { scope, principal_id, role_definition_id } = properties;
            // The same principal is spelled as its identity spells it.
            let principal_id = principal_id.to_ascii_lowercase();
            Self { id, name: Uuid::parse_str(&name).ok(), scope, principal_id, role_definition_id }
        }
    }
}
