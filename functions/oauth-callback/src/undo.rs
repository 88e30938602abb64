//! The undo button of the result page.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use nbhd::flows::connect_link::UndoRequest;
use nbhd::flows::disconnect;
use nbhd::web::{self, ErrorPage, Page};
use serde::Deserialize;

use crate::App;

/// What the button submits.
#[derive(Deserialize)]
pub(crate) struct UndoForm {
    undo: String,
}

/// Why nothing was undone.
pub(crate) enum UndoFailure {
    CrossSite,
    Invalid,
    Unavailable,
}

/// Ends the integrations that the button was made for; one that was connected later stays.
pub(crate) async fn handle_undo(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<UndoForm>, FormRejection>,
) -> Result<Page, UndoFailure> {
    if !web::is_same_origin(&headers, &app.links.base().origin()) {
        return Err(UndoFailure::CrossSite);
    }
    let token = form.map(|Form(form)| form.undo).unwrap_or_default();
    let undo = app.links.read_undo(&token, app.clock.now()).map_err(|_| UndoFailure::Invalid)?.content;
    web::record_tenant(undo.tenant_id);
    request_disconnects(&app, &undo).await.map_err(|error| {
        tracing::error!(
            code = "undo_failed",
            error = %error,
            "the consent was not undone; its person is asked to press the button again"
        );
        UndoFailure::Unavailable
    })?;
    tracing::info!(code = "undone", "consent undone; its tokens will be removed");
    Ok(Page::new(StatusCode::OK, "Taken back")
        .text("The connection is ended: the assistant can no longer read the account, and its access is deleted.")
        .text("You can close this page."))
}

async fn request_disconnects(app: &App, undo: &UndoRequest) -> Result<(), disconnect::Error> {
    for provider in &undo.providers {
        let row = app.store.load_integration(undo.tenant_id, *provider).await?;
        if row.is_some_and(|row| row.connected_at == undo.connected_at) {
            disconnect::request(&app.store, &app.disconnects, undo.tenant_id, *provider, app.clock.now()).await?;
        }
    }
    Ok(())
}

impl IntoResponse for UndoFailure {
    fn into_response(self) -> Response {
        let page = match self {
            Self::CrossSite => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "cross_site",
                title: "Please use the button on the page",
                text: "This request did not come from our own page. Send /disconnect to the bot in Telegram instead.",
            },
            Self::Invalid => ErrorPage {
                status: StatusCode::FORBIDDEN,
                code: "invalid_undo",
                title: "This button no longer works",
                text: "Send /disconnect to the bot in Telegram to end a connection.",
            },
            Self::Unavailable => ErrorPage {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "store_unavailable",
                title: "We could not take it back yet",
                text: "Something on our side is down. Press the button again in a minute, or send /disconnect to the \
                       bot in Telegram.",
            },
        };
        page.into_page().into_response()
    }
}
