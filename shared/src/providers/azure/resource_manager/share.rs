//! A tenant's file share, and what makes it known to an environment of container apps.

use serde_json::json;

use super::{Client, Error, Group, ResourceId, Tags, container_app};

const API_VERSION: &str = "2025-06-01";

/// A file share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name in its storage account.
    pub name: String,
    /// The most that it may hold, in GiB.
    pub quota: u32,
    /// Set when it is created; shares have no tags. A key is an identifier (`A-Za-z0-9_`).
    pub metadata: Tags,
}

/// A storage of a managed environment, which makes a file share known to it.
///
/// The account's key stays in a vault, where the environment's own identity reads it: it passes through no function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The name of the storage account.
    pub account: String,
    /// The name of the share in it.
    pub share: String,
    /// The address of the secret with the account's key, such as `https://v.vault.azure.net/secrets/files-key`.
    pub key_url: String,
    /// The environment's identity that reads the key.
    pub key_identity: ResourceId,
}

impl Client {
    /// Creates a share of at most `quota` GiB (1 to 102,400), or sets the quota of the existing one.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the share exists is then unknown.
    pub async fn put_share(&self, group: &Group, account: &str, share: &Share) -> Result<(), Error> {
        let properties = json!({"shareQuota": share.quota, "metadata": share.metadata});
        let id = group.share(account, &share.name);
        self.put::<wire::Share>(&id, API_VERSION, &json!({"properties": properties})).await.map(|_| ())
    }

    /// Fetches a share.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn get_share(&self, group: &Group, account: &str, name: &str) -> Result<Share, Error> {
        self.get::<wire::Share>(&group.share(account, name), API_VERSION).await.map(Into::into)
    }

    /// Lists the names of an account's shares, those that are soft-deleted left out.
    /// <https://learn.microsoft.com/rest/api/storagerp/file-shares/list>
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list_shares(&self, group: &Group, account: &str) -> Result<Vec<String>, Error> {
        Ok(self.list::<wire::Named>(&group.shares(account), API_VERSION).await?.into_iter().map(|it| it.name).collect())
    }

    /// Deletes a share with its files, and returns whether there was one. An account with soft delete for shares keeps
    /// it for its retention.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_share(&self, group: &Group, account: &str, name: &str) -> Result<bool, Error> {
        self.delete(&group.share(account, name), API_VERSION).await
    }

    /// Creates or changes the storage that makes a share known to an environment.
    ///
    /// # Errors
    /// Azure cannot serve now; whether the storage exists is then unknown.
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
        self.put::<wire::Storage>(&group.storage(environment, name), container_app::API_VERSION, &body)
            .await
            .map(|_| ())
    }

    /// Fetches a storage of an environment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; [`Error::Malformed`] when it is not a share whose key lies in a vault.
    pub async fn get_storage(&self, group: &Group, environment: &str, name: &str) -> Result<Storage, Error> {
        self.get::<wire::Storage>(&group.storage(environment, name), container_app::API_VERSION).await.map(Into::into)
    }

    /// Lists the names of an environment's storages.
    /// <https://learn.microsoft.com/rest/api/resource-manager/containerapps/managed-environments-storages/list>
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list_storages(&self, group: &Group, environment: &str) -> Result<Vec<String>, Error> {
        let all = self.list::<wire::Named>(&group.storages(environment), container_app::API_VERSION).await?;
        Ok(all.into_iter().map(|it| it.name).collect())
    }

    /// Deletes a storage of an environment, and returns whether there was one of this name.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_storage(&self, group: &Group, environment: &str, name: &str) -> Result<bool, Error> {
        self.delete(&group.storage(environment, name), container_app::API_VERSION).await
    }
}

/// Azure's own form.
mod wire {
    use serde::Deserialize;

    use super::{ResourceId, Tags};

    /// An item of a list of which only the name counts.
    #[derive(Deserialize)]
    pub(super) struct Named {
        pub(super) name: String,
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
