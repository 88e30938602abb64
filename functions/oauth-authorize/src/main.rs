//! Wiring of `oauth-authorize`.

use nbhd::clock::Clock;
use nbhd::config::Env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nbhd::web::Error> {
    nbhd::telemetry::init("oauth-authorize");
    let env = Env::load().await?;
    let app = oauth_authorize::App::new(&env, Clock::System)?;
    nbhd::web::run(oauth_authorize::router(app)).await
}
