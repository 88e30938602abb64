//! Settings that are kept in SSM's parameter store.
//!
//! A setting `ssm:/name` stands for the SSM parameter of that name. All of them are read when a function starts, in one
//! call for every ten, so that no secret lies in a function's plain configuration. A setting whose parameter does not
//! exist counts as not set.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::aws::Service;
use crate::config::{ConfigError, Env};

/// `GetParameters` takes at most ten names a call.
const PARAMETERS_PER_CALL: usize = 10;
const SSM_PREFIX: &str = "ssm:";

/// The only call that is made to SSM. It is written by hand, because SSM's crate of the SDK describes each of the
/// service's hundred and forty errors in statics, which the loader relocates at every start of every function (a third
/// of all relocations).
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameters<'a> {
    names: &'a [String],
    with_decryption: bool,
}

/// SSM's answer. A name that SSM does not know is absent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetParametersOutput {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

impl Env {
    /// Reads the process environment and replaces every `ssm:` value with its parameter.
    ///
    /// # Errors
    /// [`ConfigError::Parameters`] when the parameter store fails.
    pub async fn load() -> Result<Self, ConfigError> {
        Self::from_process().resolve().await
    }

    /// Replaces every `ssm:` value with its parameter. A setting whose parameter does not exist is removed: a client
    /// that requires it fails by its name, and one that does not treats it as absent.
    ///
    /// # Errors
    /// [`ConfigError::Parameters`] when the parameter store fails.
    pub async fn resolve(mut self) -> Result<Self, ConfigError> {
        let references = self.with_prefix(SSM_PREFIX);
        if references.is_empty() {
            return Ok(self);
        }
        let parameters = fetch_parameters(&self, &references).await?;
        for (setting, parameter) in references {
            self = if let Some(value) = parameters.get(&parameter) {
                self.with(&setting, value.expose_secret())
            } else {
                tracing::error!(
                    code = "parameter_missing",
                    setting,
                    "SSM parameter does not exist; the setting counts as not set"
                );
                self.without(&setting)
            };
        }
        Ok(self)
    }
}

/// Fetches the parameters that `references` name (pairs of setting and parameter); returns values by parameter.
async fn fetch_parameters(
    env: &Env,
    references: &[(String, String)],
) -> Result<BTreeMap<String, SecretString>, ConfigError> {
    let settings = || references.iter().map(|(setting, _)| format!("`{setting}`")).collect::<Vec<_>>().join(", ");
    let failed = |reason: String| ConfigError::Parameters { names: settings(), reason };
    let service = Service::from_env(env, "ssm")?;
    let mut names: Vec<String> = references.iter().map(|(_, parameter)| parameter.clone()).collect();
    names.sort();
    names.dedup();
    let mut values = BTreeMap::new();
    for batch in names.chunks(PARAMETERS_PER_CALL) {
        let request = GetParameters { names: batch, with_decryption: true };
        let output: GetParametersOutput =
            service.call_json("AmazonSSM.GetParameters", &request).await.map_err(failed)?;
        values.extend(output.parameters.into_iter().map(|known| (known.name, SecretString::from(known.value))));
    }
    Ok(values)
}
