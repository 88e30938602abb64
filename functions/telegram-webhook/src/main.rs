//! Wiring of `telegram-webhook`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("telegram-webhook");
    let env = Env::load().await?;
    let app = telegram_webhook::App::new(&env, Clock::System)?;
    nbhd::web::run(telegram_webhook::router(app)).await
}
