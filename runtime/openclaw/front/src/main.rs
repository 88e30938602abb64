//! Wiring of the front.

use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    nbhd::telemetry::init("nbhd-front");
    nbhd_front::run(&Env::from_process()).await
}
