//! Wiring of `tenant-reconcile`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use nbhd::clock::Clock;
use nbhd::config::Env;
use serde_json::Value;
use tenant_reconcile::{App, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    nbhd::telemetry::init("tenant-reconcile");
    let env = Env::load().await?;
    let app = App::new(&env, Clock::System)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        Ok::<_, Error>(run(&app, event.payload, &event.context.request_id).await?)
    }))
    .await
}
