//! Starts simulated vendors and runs a command against them: clients nobody here wrote, for one.
//!
//! The command finds in `NBHD_VENDORS` the vendors' settings as a JSON object; this ends as the command does. The
//! setting `VENDORS_CONTROL_URL` leads to what a client cannot bring about: `POST /throttle/{vault,arm,gateway}`,
//! `POST /principals/{looks}` and `POST /spend/{hash}/{micros}`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use nbhd::clock::Clock;
use nbhd_sim::arm::{self, Arm};
use nbhd_sim::azure::{Azure, VAULT};
use nbhd_sim::journal::Journal;
use nbhd_sim::key_vault::{self, KeyVault};
use nbhd_sim::model_gateway::{self, ModelGateway};
use nbhd_sim::server::Server;
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
    let group = azure.arm.group();
    settings.insert("ARM_SUBSCRIPTION", group.subscription_id);
    settings.insert("ARM_GROUP", group.name);
    settings.insert("ARM_LOCATION", arm::LOCATION.to_owned());
    settings.insert("ARM_ENVIRONMENT", arm::ENVIRONMENT.to_owned());
    settings.insert("ARM_ACCOUNT", arm::ACCOUNT.to_owned());
    settings.insert("ARM_VAULT", VAULT.to_owned());
    let control = Server::start(control((azure.vault.clone(), azure.arm.clone(), gateway))).await?;
    settings.insert("VENDORS_CONTROL_URL", control.base_url());

    let settings = serde_json::to_string(&settings)?;
    let command = Command::new(&program).args(arguments).env("NBHD_VENDORS", settings).kill_on_drop(true).status();
    let status = command.await.with_context(|| format!("`{}` did not start", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Vendors = (KeyVault, Arm, ModelGateway);

fn control(vendors: Vendors) -> Router {
    let throttle = async |State((vault, arm, gateway)): State<Vendors>, Path(vendor): Path<String>| {
        match vendor.as_str() {
            "vault" => vault.faults.fail_next(key_vault::Operation::Get, key_vault::Failure::Throttled(WAIT)),
            "arm" => arm.faults.fail_next(arm::Operation::Get, arm::Failure::Throttled(WAIT)),
            "gateway" => {
                gateway.faults.fail_next(model_gateway::Operation::List, model_gateway::Failure::Throttled(Some(WAIT)));
            }
            _ => return StatusCode::NOT_FOUND,
        }
        StatusCode::NO_CONTENT
    };
    let principals = async |State((_, arm, _)): State<Vendors>, Path(looks): Path<u32>| {
        arm.delays_principals(arm::Pace::Polls(looks));
        StatusCode::NO_CONTENT
    };
    let spend = async |State((_, _, gateway)): State<Vendors>, Path((hash, micros)): Path<(String, u64)>| {
        gateway.spends(&hash, micros);
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route("/throttle/{vendor}", post(throttle))
        .route("/principals/{looks}", post(principals))
        .route("/spend/{hash}/{micros}", post(spend))
        .with_state(vendors)
}
