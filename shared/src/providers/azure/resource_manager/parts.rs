//! What lies around a container app: its identity, the role on its secret, its share and the environment's storage.

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Client, Error, Group, KEY_VAULT_SECRETS_USER, ResourceId, Tags};

const IDENTITY: &str = "2024-11-30";
const AUTHORIZATION: &str = "2022-04-01";
const STORAGE: &str = "2025-06-01";
const RESOURCES: &str = "2021-04-01";
const APP: &str = super::container_app::API_VERSION;

/// A user-assigned identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its full name, as Azure spells it.
    pub id: ResourceId,
    /// What roles are assigned to. A deleted identity made anew has another one.
    pub principal_id: String,
    /// What it signs in as.
    pub client_id: String,
    /// Its tags.
    pub tags: Tags,
}

/// A role on a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleAssignment {
    /// The assignment's own full name.
    pub id: ResourceId,
    /// Its last part, when it is a GUID as it should be.
    pub name: Option<Uuid>,
    /// What it is about.
    pub scope: ResourceId,
    /// Who has it.
    pub principal_id: String,
    /// Which role: the full name of its definition.
    pub role_definition_id: String,
}

/// What became of a role assignment; each variant is the caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The principal has the role on the scope.
    InPlace,
    /// A new principal is not known everywhere yet (`PrincipalNotFound`): try again in a while.
    PrincipalUnknown,
    /// The name stands for another principal or scope, and assignments cannot be changed: revoke it, then grant anew.
    NameTaken,
    /// The subscription is full: 4,000 assignments.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits>
    LimitReached,
}

/// A file share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name in its account.
    pub name: String,
    /// In GiB.
    pub quota: u32,
    /// What it was created with. Shares have no tags; keys here must be identifiers (`A-Za-z0-9_`).
    pub metadata: Tags,
}

/// What makes a file share known to an environment.
///
/// The account's key stays in a vault, where the environment's own identity reads it: it passes through no function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The storage account.
    pub account: String,
    /// The share of it.
    pub share: String,
    /// The secret with the account's key, such as `https://v.vault.azure.net/secrets/files-key`.
    pub key_url: String,
    /// The environment's identity that reads the key.
    pub key_identity: ResourceId,
}

/// A resource as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Resource {
    /// Its full name, as Azure spells it.
    pub id: ResourceId,
    /// Its own name.
    pub name: String,
    /// Its type, such as `Microsoft.App/containerApps`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

impl Client {
    /// Creates an identity, or sets the tags of the one there is. Its principal may stay unknown elsewhere for minutes.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the identity exists is then unknown.
    pub async fn put_identity(
        &self,
        group: &Group,
        name: &str,
        location: &str,
        tags: &Tags,
    ) -> Result<Identity, Error> {
        let body = json!({"location": location, "tags": tags, "properties": {}});
        self.put::<wire::Identity>(&group.identity(name), IDENTITY, &body).await.map(Into::into)
    }

    /// An identity.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn identity(&self, group: &Group, name: &str) -> Result<Identity, Error> {
        self.get::<wire::Identity>(&group.identity(name), IDENTITY).await.map(Into::into)
    }

    /// Deletes an identity; whether there was one. Its role assignments stay behind.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_identity(&self, group: &Group, name: &str) -> Result<bool, Error> {
        self.delete(&group.identity(name), IDENTITY).await
    }

    /// Lets a principal read one secret (`scope` from [`Group::vault_secret`]). It may take effect minutes later.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the role is assigned is then unknown.
    pub async fn grant_secret(&self, scope: &ResourceId, name: Uuid, principal_id: &str) -> Result<Granted, Error> {
        let subscription = scope.subscription_id();
        let role = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{KEY_VAULT_SECRETS_USER}"
        );
        let properties =
            json!({"roleDefinitionId": role, "principalId": principal_id, "principalType": "ServicePrincipal"});
        let body = json!({"properties": properties});
        let id = scope.role_assignment(name);
        match self.put::<wire::RoleAssignment>(&id, AUTHORIZATION, &body).await {
            Ok(_) => Ok(Granted::InPlace),
            Err(Error::Refused { status, reason }) => match reason.as_str() {
                "RoleAssignmentExists" => Ok(Granted::InPlace),
                "PrincipalNotFound" => Ok(Granted::PrincipalUnknown),
                "RoleAssignmentUpdateNotPermitted" => Ok(Granted::NameTaken),
                "RoleAssignmentLimitExceeded" => Ok(Granted::LimitReached),
                _ => Err(Error::Refused { status, reason }),
            },
            Err(error) => Err(error),
        }
    }

    /// A role assignment on a scope.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this name.
    pub async fn role_assignment(&self, scope: &ResourceId, name: Uuid) -> Result<RoleAssignment, Error> {
        self.get::<wire::RoleAssignment>(&scope.role_assignment(name), AUTHORIZATION).await.map(Into::into)
    }

    /// Ends a role assignment; whether there was one of this name.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn revoke(&self, scope: &ResourceId, name: Uuid) -> Result<bool, Error> {
        self.delete(&scope.role_assignment(name), AUTHORIZATION).await
    }

    /// Every role assignment that concerns a scope: on it, above it and below it. With [`Group::subscription`], all of
    /// a subscription: those of its 4,000 that are in use.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn role_assignments(&self, scope: &ResourceId) -> Result<Vec<RoleAssignment>, Error> {
        let list = ResourceId(format!("{scope}/providers/Microsoft.Authorization/roleAssignments"));
        let found: Vec<wire::RoleAssignment> = self.list(&list, AUTHORIZATION).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// Creates a share of at most `quota` GiB (1 to 102,400), or sets the quota of the one there is.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the share exists is then unknown.
    pub async fn put_share(&self, group: &Group, account: &str, share: &Share) -> Result<(), Error> {
        let properties = json!({"shareQuota": share.quota, "metadata": share.metadata});
        let id = group.share(account, &share.name);
        self.put::<wire::Share>(&id, STORAGE, &json!({"properties": properties})).await.map(|_| ())
    }

    /// A share.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn share(&self, group: &Group, account: &str, name: &str) -> Result<Share, Error> {
        self.get::<wire::Share>(&group.share(account, name), STORAGE).await.map(Into::into)
    }

    /// Deletes a share with all it holds; whether there was one. An account with soft delete for shares
    /// keeps it for its retention.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_share(&self, group: &Group, account: &str, name: &str) -> Result<bool, Error> {
        self.delete(&group.share(account, name), STORAGE).await
    }

    /// The shares of an account.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn shares(&self, group: &Group, account: &str) -> Result<Vec<Share>, Error> {
        let list = ResourceId(format!("{}/shares", group.shares(account)));
        let found: Vec<wire::Share> = self.list(&list, STORAGE).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// Makes a share known to an environment.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the share is known is then unknown.
    pub async fn put_storage(
        &self,
        group: &Group,
        environment: &str,
        name: &str,
        storage: &Storage,
    ) -> Result<(), Error> {
        let azure_file = json!({
            "accountName": storage.account,
            "shareName": storage.share,
            "accessMode": "ReadWrite",
            "accountKeyVaultProperties": {"keyVaultUrl": storage.key_url, "identity": storage.key_identity},
        });
        let body = json!({"properties": {"azureFile": azure_file}});
        self.put::<wire::Storage>(&group.storage(environment, name), APP, &body).await.map(|_| ())
    }

    /// What an environment knows under a name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing; [`Error::Malformed`] when it is not a share whose key lies in a vault.
    pub async fn storage(&self, group: &Group, environment: &str, name: &str) -> Result<Storage, Error> {
        self.get::<wire::Storage>(&group.storage(environment, name), APP).await.map(Into::into)
    }

    /// Makes an environment forget a share; whether it knew one of this name.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_storage(&self, group: &Group, environment: &str, name: &str) -> Result<bool, Error> {
        self.delete(&group.storage(environment, name), APP).await
    }

    /// The names under which an environment knows shares.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn storages(&self, group: &Group, environment: &str) -> Result<Vec<String>, Error> {
        let list = ResourceId(format!("{}/storages", group.environment(environment)));
        let found: Vec<wire::Named> = self.list(&list, APP).await?;
        Ok(found.into_iter().map(|named| named.name).collect())
    }

    /// The identities and container apps of a group that carry a tag, whatever its value. Role assignments, shares and
    /// environment storages have no tags and lists of their own.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn resources(&self, group: &Group, tag: &str) -> Result<Vec<Resource>, Error> {
        let list = ResourceId(format!("{}/resources", group.id()));
        self.list(&list, &format!("{RESOURCES}&$filter=tagName%20eq%20%27{tag}%27")).await
    }
}

impl RoleAssignment {
    /// Whether it lets its principal read the secrets of `scope`, and nothing else.
    pub fn is_reader_of(&self, scope: &ResourceId) -> bool {
        let role = self.role_definition_id.rsplit('/').next().and_then(|name| Uuid::parse_str(name).ok());
        role == Some(KEY_VAULT_SECRETS_USER) && scope.is(self.scope.as_str())
    }
}

/// Azure's own forms.
mod wire {
    use serde::Deserialize;

    use super::{ResourceId, Tags, Uuid};

    #[derive(Deserialize)]
    pub(super) struct Named {
        pub(super) name: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Identity {
        id: ResourceId,
        #[serde(default)]
        tags: Tags,
        properties: IdentityProperties,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct IdentityProperties {
        principal_id: String,
        client_id: String,
    }

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

    #[derive(Deserialize)]
    pub(super) struct Share {
        name: String,
        #[serde(default)]
        properties: ShareProperties,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ShareProperties {
        #[serde(default)]
        share_quota: u32,
        #[serde(default)]
        metadata: Tags,
    }

    #[derive(Deserialize)]
    pub(super) struct Storage {
        properties: StorageProperties,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct StorageProperties {
        azure_file: AzureFile,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AzureFile {
        account_name: String,
        share_name: String,
        account_key_vault_properties: KeyVaultProperties,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct KeyVaultProperties {
        key_vault_url: String,
        identity: ResourceId,
    }

    impl From<Identity> for super::Identity {
        fn from(Identity { id, tags, properties }: Identity) -> Self {
            Self { id, tags, principal_id: properties.principal_id, client_id: properties.client_id }
        }
    }

    impl From<RoleAssignment> for super::RoleAssignment {
        fn from(RoleAssignment { id, name, properties }: RoleAssignment) -> Self {
            let RoleAssignmentProperties { scope, principal_id, role_definition_id } = properties;
            Self { id, name: Uuid::parse_str(&name).ok(), scope, principal_id, role_definition_id }
        }
    }

    impl From<Share> for super::Share {
        fn from(Share { name, properties }: Share) -> Self {
            Self { name, quota: properties.share_quota, metadata: properties.metadata }
        }
    }

    impl From<Storage> for super::Storage {
        fn from(Storage { properties: StorageProperties { azure_file } }: Storage) -> Self {
            let KeyVaultProperties { key_vault_url, identity } = azure_file.account_key_vault_properties;
            let (account, share) = (azure_file.account_name, azure_file.share_name);
            Self { account, share, key_url: key_vault_url, key_identity: identity }
        }
    }
}
