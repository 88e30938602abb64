//! Wiring of `stripe-webhook`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("stripe-webhook");
    let env = Env::load().await?;
    let app = stripe_webhook::App::new(&env, Clock::System)?;
    nbhd::web::run(stripe_webhook::router(app)).await
}
