//! Wiring of `runtime-gmail`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("runtime-gmail");
    let env = Env::load().await?;
    let app = runtime_gmail::App::from_env(&env, Clock::System)?;
    nbhd::web::run(runtime_gmail::router(app)).await
}
