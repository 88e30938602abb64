//! The least an HTTP function can be: what the functions' cold starts are measured against.

use axum::Router;
use axum::routing::any;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::run(Router::new().fallback(any(|body: String| async { body }))).await
}
