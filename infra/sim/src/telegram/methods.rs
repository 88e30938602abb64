//! What each method does to the simulator's state, and what it answers.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::params::Params;
use super::state::{Sent, State, private_chat};
use super::{Inner, Refusal, media};

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
        "setWebhook" => set_webhook(&mut state, &params),
        "deleteWebhook" => {
            state.webhook = super::state::Webhook::default();
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(webhook_info(&state)),
        "sendChatAction" => chat_action(&mut state, &params),
        "sendMediaGroup" => media_group(inner, &mut state, &params),
        "editMessageText" => edit(inner, &mut state, &params, "text"),
        "editMessageCaption" => edit(inner, &mut state, &params, "caption"),
        "editMessageMedia" => edit(inner, &mut state, &params, "media"),
        "editMessageReplyMarkup" => edit(inner, &mut state, &params, "reply_markup"),
        "deleteMessage" => {
            delete(&mut state, &params, vec![message_id(&params)?])?;
            Ok(json!(true))
        }
        "deleteMessages" => delete_several(&mut state, &params),
        "setMessageReaction" => react(&mut state, &params),
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
    let chat_object = private_chat(chat, state.reachable(chat)?);
    let text = params.text("text").or_else(|| params.text("caption")).unwrap_or_default();
    check_lengths(&params)?;
    let reply_to = params.json("reply_parameters").and_then(|reply| reply["message_id"].as_i64());

    let message_id = state.next_number();
    let mut message = json!({
        "message_id": message_id, "from": inner.bot(), "chat": chat_object, "date": inner.clock.now().seconds(),
    });
    for (name, value) in content {
        message[name] = value;
    }
    if let Some(caption) = params.text("caption") {
        message["caption"] = json!(caption);
    }
    // Only inline keyboards are part of the message itself.
    if let Some(markup) = params.json("reply_markup").filter(|markup| markup.get("inline_keyboard").is_some()) {
        message["reply_markup"] = markup;
    }
    state.sent.push(Sent {
        chat,
        message_id,
        method: method.to_owned(),
        text,
        reply_to,
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
        let (content, own) = media::of_input_media(state, params, &item)?;
        messages.push(send_content(inner, state, "sendMediaGroup", chat, content, own)?);
    }
    Ok(Value::Array(messages))
}

fn edit(inner: &Inner, state: &mut State, params: &Params, what: &str) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    state.reachable(chat)?;
    check_lengths(params)?;
    let media = match (what, params.json("media")) {
        ("media", Some(item)) => Some(media::of_input_media(state, params, &item)?.0),
        ("media", None) => return Err(Refusal::bad_request("can't parse media JSON object")),
        _ => None,
    };
    let sent = state.sent_mut(chat, message_id).ok_or_else(|| Refusal::bad_request("message to edit not found"))?;
    match what {
        "text" | "caption" => {
            let text = params.text(what).unwrap_or_default();
            if what == "text" && text.is_empty() {
                return Err(Refusal::bad_request("message text is empty"));
            }
            if sent.text == text && params.text("reply_markup").is_none() {
                let unchanged = "message is not modified: specified new message content and reply markup are exactly \
                                 the same as a current content and reply markup of the message";
                return Err(Refusal::bad_request(unchanged));
            }
            sent.text.clone_from(&text);
            sent.message[what] = json!(text);
        }
        _ => {}
    }
    for (name, value) in media.unwrap_or_default() {
        sent.message[name] = value;
    }
    if let Some(markup) = params.json("reply_markup") {
        sent.message["reply_markup"] = markup;
    }
    sent.message["edit_date"] = json!(inner.clock.now().seconds());
    Ok(sent.message.clone())
}

fn delete(state: &mut State, params: &Params, message_ids: Vec<i64>) -> Result<(), Refusal> {
    let chat = chat_id(params)?;
    state.reachable(chat)?;
    for message_id in message_ids {
        let sent = state.sent_mut(chat, message_id);
        sent.ok_or_else(|| Refusal::bad_request("message to delete not found"))?.deleted = true;
    }
    Ok(())
}

fn delete_several(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let ids = params.json("message_ids").and_then(|ids| serde_json::from_value::<Vec<i64>>(ids).ok());
    let ids = ids.ok_or_else(|| Refusal::bad_request("can't parse message identifiers JSON object"))?;
    // Those that are gone already are skipped: <https://core.telegram.org/bots/api#deletemessages>.
    let chat = chat_id(params)?;
    let there = ids.into_iter().filter(|id| state.sent_mut(chat, *id).is_some()).collect::<Vec<_>>();
    delete(state, params, there)?;
    Ok(json!(true))
}

fn react(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    state.reachable(chat)?;
    let reactions = match params.json("reaction") {
        Some(Value::Array(reactions)) => reactions,
        _ => Vec::new(),
    };
    let emoji = reactions.iter().filter_map(|reaction| reaction["emoji"].as_str().map(str::to_owned)).collect();
    // The bot also reacts to what people wrote, which is not kept here.
    if let Some(sent) = state.sent_mut(chat, message_id) {
        sent.reactions = emoji;
    }
    Ok(json!(true))
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
    state.reachable(chat)?;
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Refusal::bad_request("wrong parameter action in request"));
    }
    state.actions.push((chat, action));
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

fn chat_id(params: &Params) -> Result<i64, Refusal> {
    if params.text("chat_id").is_none_or(|chat| chat.is_empty()) {
        return Err(Refusal::bad_request("chat_id is empty"));
    }
    params.integer("chat_id").ok_or_else(|| Refusal::bad_request("chat not found"))
}

fn message_id(params: &Params) -> Result<i64, Refusal> {
    params.integer("message_id").ok_or_else(|| Refusal::bad_request("message identifier is not specified"))
}

fn required(params: &Params, name: &str) -> Result<String, Refusal> {
    let missing = || Refusal::bad_request(&format!("parameter \"{name}\" is required"));
    params.text(name).filter(|text| !text.is_empty()).ok_or_else(missing)
}

fn check_lengths(params: &Params) -> Result<(), Refusal> {
    let longer = |name: &str, most: usize| params.text(name).is_some_and(|text| text.chars().count() > most);
    if longer("text", LONGEST_TEXT) {
        return Err(Refusal::bad_request("message is too long"));
    }
    if longer("caption", LONGEST_CAPTION) {
        return Err(Refusal::bad_request("message caption is too long"));
    }
    Ok(())
}
