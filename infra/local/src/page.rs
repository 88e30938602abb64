//! The page of the local world: one person's chat with the bot, and what the functions did.

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
        .route("/local/state", get(state))
        .route("/local/say", post(say))
        .with_state((chat, trace))
}

#[derive(Serialize)]
struct Shown {
    name: String,
    chat: Vec<Line>,
    trace: Vec<Invocation>,
}

async fn state(State((chat, trace)): State<(Chat, Trace)>) -> Json<Shown> {
    Json(Shown { name: chat.name().to_owned(), chat: chat.lines(), trace: trace.all() })
}

#[derive(Deserialize)]
struct Said {
    text: String,
}

/// Takes JSON only, which no other site's page can send without asking first.
async fn say(State((chat, _)): State<(Chat, Trace)>, Json(said): Json<Said>) -> StatusCode {
    chat.says(&said.text);
    StatusCode::NO_CONTENT
}
