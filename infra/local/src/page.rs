//! Serves the page of the local world: one person's chat with the bot, and what the functions did.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::chat::{Chat, Line};
use crate::trace::{Invocation, Trace};

const PAGE: &str = include_str!("page.html");

/// The page at `/`, and what its script asks for below `/local`.
pub(crate) fn router(chat: Chat, trace: Trace) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/local/state", get(read_state))
        .route("/local/say", post(write_message))
        .with_state((chat, trace))
}

#[derive(Serialize)]
struct PageState {
    name: String,
    chat: Vec<Line>,
    trace: Vec<Invocation>,
}

async fn read_state(State((chat, trace)): State<(Chat, Trace)>) -> Json<PageState> {
    Json(PageState { name: chat.name().to_owned(), chat: chat.lines(), trace: trace.folded(0) })
}

#[derive(Deserialize)]
struct NewMessage {
    text: String,
}

/// Takes JSON only, which no other site's page can send without asking first.
async fn write_message(State((chat, _)): State<(Chat, Trace)>, Json(message): Json<NewMessage>) -> StatusCode {
    chat.says(&message.text);
    StatusCode::NO_CONTENT
}
