//! The parameter store as far as a function's init uses it: `GetParameters`, answered at once.

use axum::routing::post;
use axum::{Json, Router};
use nbhd_sim::server::Server;
use serde_json::{Value, json};

use crate::cold::secret;

/// Answers a parameter `/nbhd/<setting>` with the secret of that setting; it stops when dropped.
pub(crate) struct ParameterStore {
    server: Server,
}

impl ParameterStore {
    pub(crate) async fn start() -> std::io::Result<Self> {
        Ok(Self { server: Server::start(Router::new().route("/", post(get_parameters))).await? })
    }

    /// For `AWS_ENDPOINT_URL_SSM`.
    pub(crate) fn base_url(&self) -> String {
        self.server.base_url()
    }
}

/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
async fn get_parameters(body: String) -> Json<Value> {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let names = request["Names"].as_array().cloned().unwrap_or_default();
    let parameter = |name: Value| {
        let setting = name.as_str().and_then(|name| name.strip_prefix("/nbhd/")).unwrap_or_default();
        json!({ "Name": name, "Value": secret(setting) })
    };
    Json(json!({ "Parameters": names.into_iter().map(parameter).collect::<Vec<_>>(), "InvalidParameters": [] }))
}
