//! The undo button of the result page.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use nbhd::flows::connect_link::UndoRequest;
use nbhd::flows::disconnect;
use nbhd::web::{self, Page};
use serde::Deserialize;

use crate::App;

/// What the button submits.
#[derive(Deserialize)]
pub(crate) struct Button {
    undo: String,
}

/// Why nothing was taken back.
enum Failure {
    CrossSite,
    Invalid,
    Unavailable,
}

/// Takes back the connections that the button was made for; a later one stays.
pub(crate) async fn undo(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    button: Result<Form<Button>, FormRejection>,
) -> Response {
    let token = button.map(|Form(button)| button.undo).unwrap_or_default();
    match take_back(&app, &headers, &token).await {
        Ok(()) => {
            tracing::info!(code = "undone", "connection taken back");
            Page::new(StatusCode::OK, "Taken back")
                .text(
                    "The connection is ended: the assistant can no longer read the account, and its access is deleted.",
                )
                .text("You can close this page.")
                .into_response()
        }
        Err(failure) => failure.page(),
    }
}

async fn take_back(app: &App, headers: &HeaderMap, token: &str) -> Result<(), Failure> {
    if !web::is_same_origin(headers, &app.links.base().origin()) {
        return Err(Failure::CrossSite);
    }
    let undo = app.links.read_undo(token, app.clock.now()).map_err(|_| Failure::Invalid)?.content;
    web::record_tenant(undo.tenant_id);
    end(app, &undo).await.map_err(|error| {
        tracing::error!(error = %error, "the connection was not taken back");
        Failure::Unavailable
    })
}

async fn end(app: &App, undo: &UndoRequest) -> Result<(), disconnect::Error> {
    for provider in &undo.providers {
        let row = app.store.integration(undo.tenant_id, *provider).await?;
        if row.is_some_and(|row| row.connected_at == undo.connected_at) {
            disconnect::request(&app.store, &app.disconnects, undo.tenant_id, *provider, app.clock.now()).await?;
        }
    }
    Ok(())
}

impl Failure {
    fn page(&self) -> Response {
        let (status, code, title, text) = match self {
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "Please use the button on the page",
                "This request did not come from our own page. Send /disconnect to the bot in Telegram instead.",
            ),
            Self::Invalid => (
                StatusCode::FORBIDDEN,
                "invalid_undo",
                "This button no longer works",
                "Send /disconnect to the bot in Telegram to end a connection.",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "We could not take it back yet",
                "Something on our side is down. Press the button again in a minute, or send /disconnect to the bot in \
                 Telegram.",
            ),
        };
        tracing::info!(code, "not taken back");
        Page::new(status, title).text(text).code(code).into_response()
    }
}
