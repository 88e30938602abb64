//! What can be asked of the resource manager, and how each request can fail.

use axum::http::StatusCode;

/// A kind of request to the resource manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Create or tag an identity.
    PutIdentity,
    /// Delete an identity.
    DeleteIdentity,
    /// Assign a role.
    PutRole,
    /// End a role assignment.
    DeleteRole,
    /// Create a file share.
    PutShare,
    /// Delete a file share.
    DeleteShare,
    /// Make a share known to an environment.
    PutStorage,
    /// Make an environment forget a share.
    DeleteStorage,
    /// Create or change a container app.
    PutApp,
    /// Delete a container app.
    DeleteApp,
    /// Start a container app.
    StartApp,
    /// Stop a container app.
    StopApp,
    /// Poll an operation.
    Poll,
    /// Read one resource.
    Get,
    /// Any of the lists.
    List,
}

/// What a lock forbids. <https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockLevel {
    /// To delete what is locked, and what lies in it.
    CanNotDelete,
    /// To change it as well.
    ReadOnly,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429 with `Retry-After`, in seconds.
    Throttled(u32),
    /// This status, without an effect.
    Status(StatusCode),
    /// This status with this code of Azure's, without an effect.
    Refused(StatusCode, &'static str),
    /// The request has its effect, and the connection breaks before its answer is there.
    AnswerLost,
    /// The connection breaks, without an effect.
    ConnectionLost,
    /// 200 with a body that is no JSON, without an effect.
    NotJson,
    /// The change of a container app that the request begins ends as Failed.
    Provisioning,
}
