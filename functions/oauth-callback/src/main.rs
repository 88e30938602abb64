//! Wiring of `oauth-callback`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("oauth-callback");
    let env = Env::load().await?;
    let app = oauth_callback::App::new(&env, Clock::System)?;
    nbhd::web::run(oauth_callback::router(app)).await
}
