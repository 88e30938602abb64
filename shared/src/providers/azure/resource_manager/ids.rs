//! Resource ids: the one place that builds them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The built-in role that reads secrets' values and nothing else.
/// <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security#key-vault-secrets-user>
pub const KEY_VAULT_SECRETS_USER: Uuid = Uuid::from_u128(0x4633_458b_17de_408a_b874_0445_c86b_69e6);

/// A resource group, which holds resources of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// The id of the Azure subscription, a GUID.
    pub subscription_id: String,
    /// Its name within the Azure subscription.
    pub name: String,
}

/// A resource id, such as `/subscriptions/…/resourceGroups/…/providers/…`.
///
/// Azure ignores case in resource ids, and returns them in a case of its own: two that differ only in case are equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub(super) String);

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl Group {
    /// The id of a user-assigned identity.
    pub fn identity(&self, name: &str) -> ResourceId {
        self.resource("Microsoft.ManagedIdentity/userAssignedIdentities", name)
    }

    /// The list of its user-assigned identities.
    pub(super) fn identities(&self) -> ResourceId {
        ResourceId(format!("{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities", self.id()))
    }

    /// The list of its container apps.
    pub(super) fn apps(&self) -> ResourceId {
        ResourceId(format!("{}/providers/Microsoft.App/containerApps", self.id()))
    }

    /// The list of the shares of a storage account.
    pub(super) fn shares(&self, account: &str) -> ResourceId {
        ResourceId(format!("{}/shares", self.file_service(account)))
    }

    /// The list of the storages of an environment.
    pub(super) fn storages(&self, environment: &str) -> ResourceId {
        ResourceId(format!("{}/storages", self.environment(environment)))
    }

    /// The list of the role assignments on the group, above it and below it.
    pub(super) fn role_assignments(&self) -> ResourceId {
        ResourceId(format!("{}/providers/Microsoft.Authorization/roleAssignments", self.id()))
    }

    /// The id of one secret of a vault, which is the scope of a role.
    /// <https://learn.microsoft.com/azure/key-vault/general/rbac-guide>
    pub fn vault_secret(&self, vault: &str, secret: &str) -> ResourceId {
        self.resource("Microsoft.KeyVault/vaults", vault).child("secrets", secret)
    }

    /// The id of a file share of a storage account.
    pub fn share(&self, account: &str, share: &str) -> ResourceId {
        self.file_service(account).child("shares", share)
    }

    /// The id of a managed environment of container apps.
    pub fn environment(&self, name: &str) -> ResourceId {
        self.resource("Microsoft.App/managedEnvironments", name)
    }

    /// The id of the storage that makes a file share known to an environment.
    pub fn storage(&self, environment: &str, storage: &str) -> ResourceId {
        self.environment(environment).child("storages", storage)
    }

    /// The id of a container app.
    pub fn app(&self, name: &str) -> ResourceId {
        self.resource("Microsoft.App/containerApps", name)
    }

    /// The id of the Azure subscription that the group belongs to.
    pub fn subscription(&self) -> ResourceId {
        ResourceId(format!("/subscriptions/{}", self.subscription_id))
    }

    pub(super) fn id(&self) -> ResourceId {
        self.subscription().child("resourceGroups", &self.name)
    }

    /// The id of a storage account's file service, which its shares belong to.
    pub(super) fn file_service(&self, account: &str) -> ResourceId {
        self.resource("Microsoft.Storage/storageAccounts", account).child("fileServices", "default")
    }

    fn resource(&self, kind: &str, name: &str) -> ResourceId {
        ResourceId(format!("{}/providers/{kind}/{name}", self.id().0))
    }
}

impl ResourceId {
    /// The id as text, in the case that it was made or returned with.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: the name of the resource.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The id of the Azure subscription, which is the second segment.
    pub(super) fn subscription_id(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }

    pub(super) fn child(&self, kind: &str, name: &str) -> Self {
        Self(format!("{}/{kind}/{name}", self.0))
    }

    /// The id of a role assignment on this scope.
    pub(super) fn role_assignment(&self, name: Uuid) -> Self {
        Self(format!("{}/providers/Microsoft.Authorization/roleAssignments/{name}", self.0))
    }

    /// Whether every segment has only characters that our names have, so that none can lead to another resource.
    pub(super) fn is_plain(&self) -> bool {
        let is_plain_segment = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.()".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(known)
        };
        self.0.strip_prefix('/').is_some_and(|path| path.split('/').all(is_plain_segment))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_documentation() {
        let group = Group { subscription_id: "S".to_owned(), name: "rg".to_owned() };
        let below = |rest: &str| format!("/subscriptions/S/resourceGroups/rg/providers/{rest}");
        let secret = group.vault_secret("v", "s");
        let name = Uuid::nil();
        assert_eq!(secret.as_str(), below("Microsoft.KeyVault/vaults/v/secrets/s"));
        assert_eq!(
            secret.role_assignment(name).as_str(),
            below(&format!(
                "Microsoft.KeyVault/vaults/v/secrets/s/providers/Microsoft.Authorization/roleAssignments/{name}"
            ))
        );
        let share = below("Microsoft.Storage/storageAccounts/a/fileServices/default/shares/f");
        assert_eq!(group.share("a", "f").as_str(), share);
        assert_eq!(group.storage("e", "f").as_str(), below("Microsoft.App/managedEnvironments/e/storages/f"));
        assert_eq!(group.app("a"), ResourceId(below("microsoft.app/containerapps/A")));
        assert_ne!(group.app("a"), group.app("b"));
        assert_eq!(group.app("a").subscription_id(), "S");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_not_plain() {
        let group = Group { subscription_id: "S".to_owned(), name: "rg".to_owned() };
        assert!(group.app("a-1").is_plain());
        for name in ["", "..", "a?b", "a#b", "a%2fb", "a b", "a/../b"] {
            assert!(!group.app(name).is_plain(), "{name}");
        }
    }
}
