//! What a refusal by Azure means where the request itself is not at fault.

use serde_json::Value;

use super::Error;
use crate::domain::step_error::{IMAGE_UNREADABLE, SCOPE_LOCKED, SECRET_UNREADABLE};
use crate::providers::http;

/// The most bytes of a locked scope's name that are passed on.
const MAX_NAME_BYTES: usize = 64;

/// Codes of a 409 that another operation on the same resource causes: it is repeated later.
///
/// <https://github.com/microsoft/azure-container-apps/issues/175> (`ContainerAppLockConflict`),
/// <https://github.com/microsoft/azure-container-apps/issues/701> (`ManagedEnvironmentOperationInProgress`),
/// <https://github.com/hashicorp/terraform-provider-azurerm/issues/15166> (`ShareBeingDeleted`)
const BUSY: [&str; 5] = [
    "ContainerAppOperationInProgress",
    "ContainerAppLockConflict",
    "ManagedEnvironmentOperationInProgress",
    "AnotherOperationInProgress",
    "ShareBeingDeleted",
];

/// What stands in the way of a request that is not at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody locked a scope against changes or deletions (`ScopeLocked`); only a person removes the lock.
    Locked {
        /// The last segment of the locked scope's id: a group, an account, an app.
        scope: Option<String>,
    },
    /// Another operation on the resource is under way.
    Busy,
    /// The app's identity cannot read a secret yet: a role takes up to 10 minutes to take effect.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>
    SecretUnreadable,
    /// The app's identity cannot pull the image, yet or at all.
    ImageUnreadable,
}

impl Obstacle {
    /// What a refusal of the resource manager comes from; `None` when from the request.
    pub fn of(error: &Error) -> Option<Self> {
        let Error::Refused { status, reason } = error else { return None };
        let (code, detail) = reason.split_once('/').unwrap_or((reason, ""));
        match (code, detail) {
            (SCOPE_LOCKED, scope) => {
                Some(Self::Locked { scope: Some(scope.to_owned()).filter(|scope| !scope.is_empty()) })
            }
            (_, SECRET_UNREADABLE) => Some(Self::SecretUnreadable),
            (_, IMAGE_UNREADABLE) => Some(Self::ImageUnreadable),
            (code, _) if *status == 409 && BUSY.contains(&code) => Some(Self::Busy),
            (_, _) => None,
        }
    }
}

/// Azure's code in a refusal's body, with what only its sentence says after a slash: the scope that is locked, or that
/// the app's identity could not read something.
///
/// Container Apps check a secret and an image while the PUT is answered, with a code that they also use for fields that
/// are wrong (`InvalidParameterValueInContainerTemplate`):
/// <https://github.com/microsoft/azure-container-apps/issues/1159>. A lock is named by the scope that it is on:
/// <https://github.com/Azure/azure-cli/issues/20232>.
pub(super) fn parse_reason(body: &[u8]) -> String {
    let code = super::super::parse_code(body);
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    add_detail(code, &parsed["error"])
}

/// The same of the error of an operation.
pub(super) fn parse_operation_error(error: &Value) -> String {
    add_detail(http::loggable_code(error["code"].as_str()), error)
}

fn add_detail(code: String, error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or_default();
    let lower = message.to_ascii_lowercase();
    let detail = if code == SCOPE_LOCKED {
        locked_scope(message)
    } else if lower.contains("unable to get value using managed identity") {
        Some(SECRET_UNREADABLE)
    } else if lower.contains("unable to pull image using managed identity") {
        Some(IMAGE_UNREADABLE)
    } else {
        None
    };
    detail.map_or_else(|| code.clone(), |detail| format!("{code}/{detail}"))
}

/// The last segment of the first scope that is said to be locked.
fn locked_scope(message: &str) -> Option<&str> {
    let (_, scopes) = message.split_once("locked: '")?;
    let name = scopes.split('\'').next()?.rsplit('/').next()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_plain);
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(status: u16, code: &str, message: &str) -> Option<Obstacle> {
        let body = serde_json::json!({"error": {"code": code, "message": message}}).to_string();
        Obstacle::of(&Error::Refused { status, reason: parse_reason(body.as_bytes()) })
    }

    #[test]
    fn a_lock_is_named_by_its_scope_and_by_nothing_that_is_no_name() {
        let locked = |scope: &str| {
            let message = format!(
                "The scope '/a/b' cannot perform write operation because following scope(s) are \
                                   locked: '{scope}'. Please remove the lock and try again."
            );
            obstacle(409, "ScopeLocked", &message)
        };
        let named = |scope: &str| Some(Obstacle::Locked { scope: Some(scope.to_owned()) });
        assert_eq!(locked("/subscriptions/s/resourceGroups/nbhd-1_a"), named("nbhd-1_a"));
        for odd in ["", "/subscriptions/s/", "/a/two words", "/a/<b>", &"x".repeat(65)] {
            assert_eq!(locked(odd), Some(Obstacle::Locked { scope: None }), "{odd}");
        }
        assert_eq!(obstacle(409, "ScopeLocked", "Locked."), Some(Obstacle::Locked { scope: None }));
    }

    #[test]
    fn what_an_identity_cannot_read_yet_is_told_from_a_field_that_is_wrong() {
        let put = |message: &str| obstacle(400, "InvalidParameterValueInContainerTemplate", message);
        let secret = "Field 'configuration.secrets' is invalid with details: 'Invalid value: \"k\": Unable to get \
                      value using Managed identity /a/b for secret k.'";
        assert_eq!(put(secret), Some(Obstacle::SecretUnreadable));
        assert_eq!(put("'x': unable to pull image using Managed identity /a/b"), Some(Obstacle::ImageUnreadable));
        assert_eq!(put("Field 'template.containers.x.image' is invalid: MANIFEST_UNKNOWN"), None);
    }

    #[test]
    fn only_a_conflict_with_another_operation_is_one() {
        for code in BUSY {
            assert_eq!(obstacle(409, code, "m"), Some(Obstacle::Busy));
            assert_eq!(obstacle(400, code, "m"), None);
        }
        assert_eq!(obstacle(409, "NameNotAvailable", "m"), None);
    }
}
