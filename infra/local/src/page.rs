//! Serves the page of the local world: one person's chat with the bot, and what the functions did.

use axum::extract::{Query, State};
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
        .route("/local/telegram/{bot}", get(open_bot))
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

/// A deep link's parameter. <https://core.telegram.org/bots/features#deep-linking>
#[derive(Deserialize)]
struct DeepLink {
    start: Option<String>,
}

/// Stands in for `t.me`: the person's Telegram opens the chat with the bot, and they press Start.
async fn open_bot(State((chat, _)): State<(Chat, Trace)>, Query(link): Query<DeepLink>) -> Html<&'static str> {
    match link.start {
        Some(parameter) => chat.says(&format!("/start {parameter}")),
        None => chat.says("/start"),
    }
    Html("<!doctype html><title>Telegram</title><p>You pressed Start. The bot answers in the chat of the local world.")
}

/// Takes JSON only, which no other site's page can send without asking first.
async fn write_message(State((chat, _)): State<(Chat, Trace)>, Json(message): Json<NewMessage>) -> StatusCode {
    chat.says(&message.text);
    StatusCode::NO_CONTENT
}
