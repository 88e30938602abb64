//! What can happen to a message after it was sent: edits, reactions, deletion.

use serde_json::{Map, Value, json};

use super::methods::{chat_id, message_id, read_text};
use super::params::Params;
use super::state::State;
use super::{Inner, Refusal, media};

/// Changes what `method` changes of a message, and answers the message as it is now.
pub(super) fn edit(inner: &Inner, state: &mut State, method: &str, params: &Params) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    state.find_reachable(chat)?;
    let changes = changes(state, method, params)?;
    let sent = state.sent_mut(chat, message_id).ok_or_else(|| Refusal::bad_request("message to edit not found"))?;
    let text = changes.get("text").or_else(|| changes.get("caption")).and_then(Value::as_str);
    if let Some(text) = text {
        if sent.text == text && params.text("reply_markup").is_none() {
            let unchanged = "message is not modified: specified new message content and reply markup are exactly the \
                             same as a current content and reply markup of the message";
            return Err(Refusal::bad_request(unchanged));
        }
        text.clone_into(&mut sent.text);
    }
    for (name, value) in changes {
        sent.message[name] = value;
    }
    sent.message["edit_date"] = json!(inner.clock.now().seconds());
    Ok(sent.message.clone())
}

/// The fields of the message that `method` gives another value.
fn changes(state: &mut State, method: &str, params: &Params) -> Result<Map<String, Value>, Refusal> {
    let mut changes = match method {
        "editMessageText" => match read_text(params, "text")? {
            Some(text) if !text.is_empty() => media::single_field("text", json!(text)),
            Some(_) | None => return Err(Refusal::bad_request("message text is empty")),
        },
        "editMessageCaption" => {
            media::single_field("caption", json!(read_text(params, "caption")?.unwrap_or_default()))
        }
        "editMessageMedia" => {
            let item = params.json("media");
            let item = item.ok_or_else(|| Refusal::bad_request("can't parse media JSON object"))?;
            media::read_input_media(state, params, &item)?.0
        }
        "editMessageLiveLocation" => media::single_field("location", media::location(params)?),
        _ => Map::new(),
    };
    if let Some(markup) = params.json("reply_markup") {
        changes.insert("reply_markup".to_owned(), markup);
    }
    Ok(changes)
}

pub(super) fn stop_poll(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    let sent = state.sent_mut(chat, message_id).filter(|sent| sent.message["poll"].is_object());
    let poll = &mut sent.ok_or_else(|| Refusal::bad_request("poll can't be stopped"))?.message["poll"];
    poll["is_closed"] = json!(true);
    Ok(poll.clone())
}

pub(super) fn delete(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    state.find_reachable(chat)?;
    let sent = state.sent_mut(chat, message_id);
    sent.ok_or_else(|| Refusal::bad_request("message to delete not found"))?.deleted = true;
    Ok(json!(true))
}

/// Those that are gone already are skipped: <https://core.telegram.org/bots/api#deletemessages>.
pub(super) fn delete_several(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let chat = chat_id(params)?;
    state.find_reachable(chat)?;
    let ids = params.json("message_ids").and_then(|ids| serde_json::from_value::<Vec<i64>>(ids).ok());
    for id in ids.ok_or_else(|| Refusal::bad_request("can't parse message identifiers JSON object"))? {
        if let Some(sent) = state.sent_mut(chat, id) {
            sent.deleted = true;
        }
    }
    Ok(json!(true))
}

pub(super) fn react(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let (chat, message_id) = (chat_id(params)?, message_id(params)?);
    state.find_reachable(chat)?;
    let reactions = params.json("reaction").unwrap_or_default();
    let emoji = reactions.as_array().into_iter().flatten().filter_map(|reaction| reaction["emoji"].as_str());
    // The bot also reacts to what people wrote, which is not kept here.
    if let Some(sent) = state.sent_mut(chat, message_id) {
        sent.reactions = emoji.map(str::to_owned).collect();
    }
    Ok(json!(true))
}
