//! Wiring of `tenant-reconcile`.

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use nbhd::clock::Clock;
use nbhd::config::Env;
use tenant_reconcile::{App, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    nbhd::telemetry::init("tenant-reconcile");
    let env = Env::load().await?;
    let app = App::new(&env, Clock::System)?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<SqsEvent>| {
        Ok::<_, Error>(handle(&app, event.payload, &event.context.request_id).await.1)
    }))
    .await
}
