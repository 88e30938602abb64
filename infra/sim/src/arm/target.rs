//! What a path names. Azure compares paths without regard to case.

use super::Operation;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Identity,
    Identities,
    Role {
        scope: &'a str,
    },
    Roles {
        scope: &'a str,
    },
    Share,
    Shares,
    Storage,
    Storages,
    App,
    Apps,
    /// `start` or `stop` of the app before it.
    Action {
        app: &'a str,
        starts: bool,
    },
    Revisions {
        app: &'a str,
    },
    Replicas {
        app: &'a str,
    },
    Resources,
    Status {
        operation: &'a str,
    },
    Result {
        operation: &'a str,
    },
    Unknown,
}

impl<'a> Target<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        const ROLES: &str = "/providers/microsoft.authorization/roleassignments";
        let lower = path.to_ascii_lowercase();
        if let Some(at) = lower.rfind(ROLES) {
            let scope = &path[..at];
            return match &lower[at + ROLES.len()..] {
                "" => Self::Roles { scope },
                name if name.rfind('/') == Some(0) => Self::Role { scope },
                _ => Self::Unknown,
            };
        }
        let segments: Vec<&str> = lower.split('/').skip(1).collect();
        let last = path.rsplit('/').next().unwrap_or_default();
        let up = |levels: usize| path.rsplitn(levels + 1, '/').last().unwrap_or_default();
        let ["subscriptions", _, rest @ ..] = segments.as_slice() else { return Self::Unknown };
        match rest {
            ["providers", "microsoft.app", "locations", _, "containerappoperationstatuses", _] => {
                Self::Status { operation: last }
            }
            ["providers", "microsoft.app", "locations", _, "containerappoperationresults", _] => {
                Self::Result { operation: last }
            }
            ["resourcegroups", _, "resources"] => Self::Resources,
            ["resourcegroups", _, "providers", below @ ..] => match below {
                ["microsoft.managedidentity", "userassignedidentities"] => Self::Identities,
                ["microsoft.managedidentity", "userassignedidentities", _] => Self::Identity,
                ["microsoft.storage", "storageaccounts", _, "fileservices", "default", "shares"] => Self::Shares,
                ["microsoft.storage", "storageaccounts", _, "fileservices", "default", "shares", _] => Self::Share,
                ["microsoft.app", "managedenvironments", _, "storages"] => Self::Storages,
                ["microsoft.app", "managedenvironments", _, "storages", _] => Self::Storage,
                ["microsoft.app", "containerapps"] => Self::Apps,
                ["microsoft.app", "containerapps", _] => Self::App,
                ["microsoft.app", "containerapps", _, "start"] => Self::Action { app: up(1), starts: true },
                ["microsoft.app", "containerapps", _, "stop"] => Self::Action { app: up(1), starts: false },
                ["microsoft.app", "containerapps", _, "revisions"] => Self::Revisions { app: up(1) },
                ["microsoft.app", "containerapps", _, "revisions", _, "replicas"] => Self::Replicas { app: up(3) },
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// What is asked of it, when its method is one it has.
    pub(super) fn operation(self, method: &str) -> Option<Operation> {
        Some(match (method, self) {
            ("PUT", Self::Identity) => Operation::PutIdentity,
            ("DELETE", Self::Identity) => Operation::DeleteIdentity,
            ("PUT", Self::Role { .. }) => Operation::PutRole,
            ("DELETE", Self::Role { .. }) => Operation::DeleteRole,
            ("PUT", Self::Share) => Operation::PutShare,
            ("DELETE", Self::Share) => Operation::DeleteShare,
            ("PUT", Self::Storage) => Operation::PutStorage,
            ("DELETE", Self::Storage) => Operation::DeleteStorage,
            ("PUT", Self::App) => Operation::PutApp,
            ("DELETE", Self::App) => Operation::DeleteApp,
            ("POST", Self::Action { starts: true, .. }) => Operation::StartApp,
            ("POST", Self::Action { starts: false, .. }) => Operation::StopApp,
            ("GET", Self::Status { .. } | Self::Result { .. }) => Operation::Poll,
            ("GET", Self::Identity | Self::Role { .. } | Self::Share | Self::Storage | Self::App) => Operation::Get,
            (
                "GET",
                Self::Roles { .. }
                | Self::Identities
                | Self::Apps
                | Self::Shares
                | Self::Storages
                | Self::Revisions { .. }
                | Self::Replicas { .. }
                | Self::Resources,
            ) => Operation::List,
            _ => return None,
        })
    }

    /// The type of the resource itself, where it is one.
    pub(super) fn kind(self) -> Option<&'static str> {
        match self {
            Self::Identity => Some("Microsoft.ManagedIdentity/userAssignedIdentities"),
            Self::Role { .. } => Some("Microsoft.Authorization/roleAssignments"),
            Self::Share => Some("Microsoft.Storage/storageAccounts/fileServices/shares"),
            Self::Storage => Some("Microsoft.App/managedEnvironments/storages"),
            Self::App => Some("Microsoft.App/containerApps"),
            Self::Roles { .. }
            | Self::Identities
            | Self::Apps
            | Self::Shares
            | Self::Storages
            | Self::Action { .. }
            | Self::Revisions { .. }
            | Self::Replicas { .. }
            | Self::Resources
            | Self::Status { .. }
            | Self::Result { .. }
            | Self::Unknown => None,
        }
    }
}
