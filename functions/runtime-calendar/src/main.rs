//! Wiring of `runtime-calendar`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("runtime-calendar");
    let env = Env::load().await?;
    let app = runtime_calendar::App::from_env(&env, Clock::System)?;
    nbhd::web::run(runtime_calendar::router(app)).await
}
