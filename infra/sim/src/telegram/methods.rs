//! What each method does to the simulator's state, and what it answers.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::params::Params;
use super::state::{Action, Sent, State, private_chat};
use super::{Inner, Refusal, edits, html, media};

/// Longest text of a message, in characters: <https://core.telegram.org/bots/api#sendmessage>.
const LONGEST_TEXT: usize = 4096;
/// Longest caption: <https://core.telegram.org/bots/api#sendphoto>.
const LONGEST_CAPTION: usize = 1024;
/// Largest file `getFile` prepares, in bytes: <https://core.telegram.org/bots/api#getfile>.
const LARGEST_DOWNLOAD: usize = 20 * 1024 * 1024;

pub(super) fn perform(inner: &Inner, method: &str, params: Params) -> Result<Value, Refusal> {
    let mut state = inner.state();
    match method {
        "getMe" => Ok(me(inner)),
        "getChat" => chat(&state, &params),
        "setWebhook" => set_webhook(&mut state, &params),
        "deleteWebhook" => {
            state.webhook = super::state::Webhook::default();
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(webhook_info(&state)),
        "sendChatAction" => chat_action(&mut state, &params),
        "sendMediaGroup" => media_group(inner, &mut state, &params),
        "editMessageText"
        | "editMessageCaption"
        | "editMessageMedia"
        | "editMessageReplyMarkup"
        | "editMessageLiveLocation"
        | "stopMessageLiveLocation" => edits::edit(inner, &mut state, method, &params),
        "stopPoll" => edits::stop_poll(&mut state, &params),
        "deleteMessage" => edits::delete(&mut state, &params),
        "deleteMessages" => edits::delete_several(&mut state, &params),
        "setMessageReaction" => edits::react(&mut state, &params),
        "answerCallbackQuery" => answer_callback(&mut state, &params),
        "getFile" => file(&state, &params),
        _ if media::is_send(method) => send(inner, &mut state, method, params),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "Not Found")),
    }
}

fn me(inner: &Inner) -> Value {
    let mut bot = inner.bot();
    for (ability, has) in
        [("can_join_groups", true), ("can_read_all_group_messages", false), ("supports_inline_queries", false)]
    {
        bot[ability] = json!(has);
    }
    bot
}

/// A `ChatFullInfo` with what every chat has.
fn chat(state: &State, params: &Params) -> Result<Value, Refusal> {
    let id = chat_id(params)?;
    let mut chat = private_chat(id, state.find_reachable(id)?);
    chat["accent_color_id"] = json!(0);
    chat["max_reaction_count"] = json!(11);
    let kinds = ["unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"];
    chat["accepted_gift_types"] = kinds.into_iter().map(|kind| (kind.to_owned(), json!(true))).collect();
    Ok(chat)
}

fn send(inner: &Inner, state: &mut State, method: &str, params: Params) -> Result<Value, Refusal> {
    let chat = chat_id(&params)?;
    let content = media::content(state, method, &params)?;
    send_content(inner, state, method, chat, content, params)
}

/// Puts a message of the bot into `chat` and answers it.
fn send_content(
    inner: &Inner,
    state: &mut State,
    method: &str,
    chat: i64,
    content: Map<String, Value>,
    params: Params,
) -> Result<Value, Refusal> {
    let chat_object = private_chat(chat, state.find_reachable(chat)?);
    let caption = read_text(&params, "caption")?;
    let text = read_text(&params, "text")?.or_else(|| caption.clone()).unwrap_or_default();
    let topic = state.find_topic(chat, &params)?;
    let reply_to = state.find_replied(chat, &params)?;

    let message_id = state.next_number();
    let mut message = json!({
        "message_id": message_id, "from": inner.bot(), "chat": chat_object, "date": inner.clock.now().seconds(),
    });
    if let Some(topic) = topic {
        message["message_thread_id"] = json!(topic);
        message["is_topic_message"] = json!(true);
    }
    for (name, value) in content {
        message[name] = value;
    }
    if let Some(caption) = caption {
        message["caption"] = json!(caption);
    }
    // Only inline keyboards are part of the message itself.
    if let Some(markup) = params.json("reply_markup").filter(|markup| markup.get("inline_keyboard").is_some()) {
        message["reply_markup"] = markup;
    }
    if let Some(replied_to) = reply_to.and_then(|id| state.sent_mut(chat, id)) {
        message["reply_to_message"] = replied_to.message.clone();
        // "will not contain further reply_to_message fields"
        message["reply_to_message"].as_object_mut().map(|replied_to| replied_to.remove("reply_to_message"));
    }
    state.sent.push(Sent {
        chat,
        message_id,
        method: method.to_owned(),
        text,
        reply_to,
        topic,
        params,
        message: message.clone(),
        reactions: Vec::new(),
        deleted: false,
    });
    Ok(message)
}

fn media_group(inner: &Inner, state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let chat = chat_id(params)?;
    let Some(Value::Array(items)) = params.json("media") else {
        return Err(Refusal::bad_request("can't parse media JSON object"));
    };
    if !(2..=10).contains(&items.len()) {
        return Err(Refusal::bad_request("wrong number of items in media group"));
    }
    let mut messages = Vec::new();
    for item in items {
        let (content, own) = media::read_input_media(state, params, &item)?;
        messages.push(send_content(inner, state, "sendMediaGroup", chat, content, own)?);
    }
    Ok(Value::Array(messages))
}

fn answer_callback(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let query_id = required(params, "callback_query_id")?;
    let query = state.callbacks.get_mut(&query_id).filter(|query| query.answer.is_none());
    let query = query
        .ok_or_else(|| Refusal::bad_request("query is too old and response timeout expired or query ID is invalid"))?;
    query.answer = Some(params.text("text").unwrap_or_default());
    Ok(json!(true))
}

fn chat_action(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    const ACTIONS: [&str; 11] = [
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    ];
    let (chat, action) = (chat_id(params)?, required(params, "action")?);
    state.find_reachable(chat)?;
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Refusal::bad_request("wrong parameter action in request"));
    }
    let topic = state.find_topic(chat, params)?;
    state.actions.push(Action { chat, topic, action });
    Ok(json!(true))
}

fn file(state: &State, params: &Params) -> Result<Value, Refusal> {
    let file_id = required(params, "file_id")?;
    let file = state.files.get(&file_id).ok_or_else(|| Refusal::bad_request("invalid file_id"))?;
    if file.bytes.len() > LARGEST_DOWNLOAD {
        return Err(Refusal::bad_request("file is too big"));
    }
    let unique = format!("U{file_id}");
    Ok(json!({
        "file_id": file_id, "file_unique_id": unique, "file_size": file.bytes.len(), "file_path": file.path,
    }))
}

fn set_webhook(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let url = params.text("url").unwrap_or_default();
    let secret = params.text("secret_token");
    // <https://core.telegram.org/bots/api#setwebhook>
    let allowed = |secret: &String| {
        (1..=256).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if secret.as_ref().is_some_and(|secret| !allowed(secret)) {
        return Err(Refusal::bad_request("secret token contains unallowed characters"));
    }
    // Telegram itself takes https only; the local world listens on loopback.
    if !(url.starts_with("https://") || url.starts_with("http://127.0.0.1:")) {
        return Err(Refusal::bad_request("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    if params.text("drop_pending_updates").as_deref() == Some("true") {
        state.pending.clear();
    }
    state.webhook = super::state::Webhook {
        url,
        secret,
        max_connections: params.integer("max_connections").unwrap_or(40).clamp(1, 100),
        allowed_updates: params.json("allowed_updates"),
        last_error: None,
    };
    Ok(json!(true))
}

fn webhook_info(state: &State) -> Value {
    let webhook = &state.webhook;
    let mut info = json!({
        "url": webhook.url, "has_custom_certificate": false, "pending_update_count": state.pending.len(),
    });
    if webhook.max_connections > 0 {
        info["max_connections"] = json!(webhook.max_connections);
    }
    if let Some(kinds) = &webhook.allowed_updates {
        info["allowed_updates"] = kinds.clone();
    }
    if let Some((at, what)) = &webhook.last_error {
        info["last_error_date"] = json!(at.seconds());
        info["last_error_message"] = json!(what);
    }
    info
}

pub(super) fn chat_id(params: &Params) -> Result<i64, Refusal> {
    if params.text("chat_id").is_none_or(|chat| chat.is_empty()) {
        return Err(Refusal::bad_request("chat_id is empty"));
    }
    params.integer("chat_id").ok_or_else(|| Refusal::bad_request("chat not found"))
}

pub(super) fn message_id(params: &Params) -> Result<i64, Refusal> {
    params.integer("message_id").ok_or_else(|| Refusal::bad_request("message identifier is not specified"))
}

pub(super) fn required(params: &Params, name: &str) -> Result<String, Refusal> {
    let missing = || Refusal::bad_request(&format!("parameter \"{name}\" is required"));
    params.text(name).filter(|text| !text.is_empty()).ok_or_else(missing)
}

/// A text or caption as its reader sees it: markup, where `parse_mode` announces it, is gone.
pub(super) fn read_text(params: &Params, name: &str) -> Result<Option<String>, Refusal> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let is_html = params.text("parse_mode").is_some_and(|mode| mode.eq_ignore_ascii_case("html"));
    let shown = if is_html { html::render_text(&text)? } else { text };
    let (most, too_long) = match name {
        "text" => (LONGEST_TEXT, "message is too long"),
        _ => (LONGEST_CAPTION, "message caption is too long"),
    };
    if shown.chars().count() > most { Err(Refusal::bad_request(too_long)) } else { Ok(Some(shown)) }
}
