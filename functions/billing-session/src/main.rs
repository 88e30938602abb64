//! Wiring of `billing-session`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("billing-session");
    let env = Env::load().await?;
    let app = billing_session::App::new(&env, Clock::System)?;
    nbhd::web::run(billing_session::router(app)).await
}
