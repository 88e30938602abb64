//! Wiring of `billing-session`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    nbhd::telemetry::init("billing-session");
    let env = Env::load().await?;
    let app = billing_session::App::new(&env, Clock::System)?;
    lambda_http::run(billing_session::router(app)).await
}
