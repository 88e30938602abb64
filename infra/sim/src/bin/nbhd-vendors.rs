//! Starts simulated vendors and runs a command against them: clients nobody here wrote, for one.
//!
//! The command finds in `NBHD_VENDORS` the vendors' settings as a JSON object; this ends as the command does. The
//! setting `VENDORS_CONTROL_URL` leads to what a client cannot bring about: `POST /throttle/{vault,gateway}` and
//! `POST /spend/{hash}/{micros}`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use nbhd::clock::Clock;
use nbhd_sim::azure::Azure;
use nbhd_sim::journal::Journal;
use nbhd_sim::model_gateway::ModelGateway;
use nbhd_sim::server::Server;
use nbhd_sim::{key_vault, model_gateway};
use tokio::process::Command;

/// Seconds in the `Retry-After` of a throttled answer.
const WAIT: u32 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: nbhd-vendors COMMAND [ARGUMENT…]")?;

    let journal = Journal::new();
    let azure = Azure::start(Clock::System, journal.clone()).await?;
    let gateway = ModelGateway::start(Clock::System, &journal).await?;
    let mut settings: BTreeMap<&str, String> = azure.settings().into_iter().chain(gateway.settings()).collect();
    settings.insert("AZURE_CLIENT_SECRET", azure.entra.client_secret().to_owned());
    let control = Server::start(control(azure.vault.clone(), gateway)).await?;
    settings.insert("VENDORS_CONTROL_URL", control.base_url());

    let settings = serde_json::to_string(&settings)?;
    let command = Command::new(&program).args(arguments).env("NBHD_VENDORS", settings).kill_on_drop(true).status();
    let status = command.await.with_context(|| format!("`{}` did not start", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn control(vault: key_vault::KeyVault, gateway: ModelGateway) -> Router {
    let throttle = async |State((vault, gateway)): Vendors, Path(vendor): Path<String>| {
        match vendor.as_str() {
            "vault" => vault.fail_next(key_vault::Operation::Get, key_vault::Failure::Throttled(WAIT)),
            "gateway" => {
                gateway.fail_next(model_gateway::Operation::List, model_gateway::Failure::Throttled(Some(WAIT)));
            }
            _ => return StatusCode::NOT_FOUND,
        }
        StatusCode::NO_CONTENT
    };
    let spend = async |State((_, gateway)): Vendors, Path((hash, micros)): Path<(String, u64)>| {
        gateway.spends(&hash, micros);
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route("/throttle/{vendor}", post(throttle))
        .route("/spend/{hash}/{micros}", post(spend))
        .with_state((vault, gateway))
}

type Vendors = State<(key_vault::KeyVault, ModelGateway)>;
