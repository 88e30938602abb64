//! Wiring of `reconcile-sweep`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use nbhd::clock::Clock;
use nbhd::config::Env;
use reconcile_sweep::{App, handle};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    nbhd::telemetry::init("reconcile-sweep");
    let env = Env::load().await?;
    let app = App::from_env(&env, Clock::System)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        Ok::<_, Error>(handle(&app, &event.payload, &event.context.request_id).await)
    }))
    .await
}
