//! The identity that a tenant's container has.

use serde_json::json;

use super::{Client, Error, Group, ResourceId, Tags};

const API_VERSION: &str = "2024-11-30";

/// A user-assigned identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its resource id, in the case that Azure returns.
    pub id: ResourceId,
    /// The principal to which roles are assigned, a GUID in lower case. An identity that is deleted and created again
    /// has another.
    pub principal_id: String,
    /// The id with which it signs in, a GUID.
    pub client_id: String,
    /// The tags that it carries.
    pub tags: Tags,
}

impl Client {
    /// Creates an identity, or sets the tags of the existing one. Other services may not know its principal for
    /// minutes.
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
        self.put::<wire::Identity>(&group.identity(name), API_VERSION, &body).await.map(Into::into)
    }

    /// Fetches an identity.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn get_identity(&self, group: &Group, name: &str) -> Result<Identity, Error> {
        self.get::<wire::Identity>(&group.identity(name), API_VERSION).await.map(Into::into)
    }

    /// Lists the identities of a group.
    /// <https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities/list-by-resource-group>
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn list_identities(&self, group: &Group) -> Result<Vec<Identity>, Error> {
        Ok(self.list::<wire::Identity>(&group.identities(), API_VERSION).await?.into_iter().map(Into::into).collect())
    }

    /// Deletes an identity, and returns whether there was one. Its role assignments stay.
    ///
    /// # Errors
    /// Azure cannot serve now.
    pub async fn delete_identity(&self, group: &Group, name: &str) -> Result<bool, Error> {
        self.delete(&group.identity(name), API_VERSION).await
    }
}

/// Azure's own form.
mod wire {
    use serde::Deserialize;

    use super::{ResourceId, Tags};

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

    impl From<Identity> for super::Identity {
        fn from(Identity { id, tags, properties }: Identity) -> Self {
            let principal_id = properties.principal_id.to_ascii_lowercase();
            Self { id, tags, principal_id, client_id: properties.client_id }
        }
    }
}
