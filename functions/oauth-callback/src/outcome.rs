//! How a sign-in ended.

use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How a sign-in ended, as it is recorded on its nonce. The integrations' own rows hold the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Connected { providers: Vec<Provider>, at: Timestamp },
    Failed(Failure),
}
