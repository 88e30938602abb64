//! Wiring of `stripe-webhook`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    nbhd::telemetry::init("stripe-webhook");
    let env = Env::load().await?;
    let app = stripe_webhook::App::new(&env, Clock::System)?;
    lambda_http::run(stripe_webhook::router(app)).await
}
