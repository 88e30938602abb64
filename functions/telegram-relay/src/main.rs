//! Wiring of `telegram-relay`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("telegram-relay");
    let env = Env::load().await?;
    let app = telegram_relay::App::new(&env, Clock::System)?;
    nbhd::web::run(telegram_relay::router(app)).await
}
