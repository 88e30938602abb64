//! Wiring of `scheduled-refresh`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use nbhd::clock::Clock;
use nbhd::config::Env;
use scheduled_refresh::{App, handle_event};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    nbhd::telemetry::init("scheduled-refresh");
    let env = Env::load().await?;
    let app = App::from_env(&env, Clock::System)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        Ok::<_, Error>(handle_event(&app, event.payload, &event.context.request_id).await?)
    }))
    .await
}
