//! Wiring of `telegram-relay`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    nbhd::telemetry::init("telegram-relay");
    let env = Env::load().await?;
    let app = telegram_relay::App::new(&env, Clock::System)?;
    lambda_http::run(telegram_relay::router(app)).await
}
