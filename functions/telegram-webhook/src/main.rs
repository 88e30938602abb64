//! Wiring of `telegram-webhook`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    nbhd::telemetry::init("telegram-webhook");
    let env = Env::load().await?;
    let app = telegram_webhook::App::new(&env, Clock::System)?;
    lambda_http::run(telegram_webhook::router(app)).await
}
