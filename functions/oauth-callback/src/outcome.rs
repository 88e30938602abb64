//! How a sign-in ended.

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::domain::sign_in::SignInId;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What is recorded on the nonce of a link: which sign-in spent it, and how that ended. A link that was opened in two
/// browsers has one nonce, and neither browser is shown what the other one connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedOutcome {
    pub(crate) sign_in: SignInId,
    pub(crate) outcome: Outcome,
}

/// How a sign-in ended. The integrations' own rows hold the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Connected { providers: Vec<Provider>, at: Timestamp },
    Failed(Failure),
}
