//! Wiring of `reconcile-sweep`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use nbhd::clock::Clock;
use nbhd::config::Env;
use reconcile_sweep::{App, queue_due, queue_inventory};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    nbhd::telemetry::init("reconcile-sweep");
    let env = Env::load().await?;
    let app = App::from_env(&env, Clock::System)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        if event.payload["job"] == "inventory" {
            queue_inventory(&app, &event.context.request_id).await;
            return Ok(Value::Null);
        }
        let report = queue_due(&app, &event.context.request_id).await;
        Ok::<_, Error>(json!({ "due": report.due, "queued": report.queued }))
    }))
    .await
}
