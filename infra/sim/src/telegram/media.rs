//! What a message of each kind carries: <https://core.telegram.org/bots/api#message>.

use serde_json::{Map, Value, json};

use super::Refusal;
use super::methods::{read_text, required};
use super::params::{ParamValue, Params};
use super::state::State;

/// Sends of one file: the method, and the parameter, which is also the message's field.
const FILES: [(&str, &str); 9] = [
    ("sendPhoto", "photo"),
    ("sendLivePhoto", "live_photo"),
    ("sendAudio", "audio"),
    ("sendDocument", "document"),
    ("sendVideo", "video"),
    ("sendAnimation", "animation"),
    ("sendVoice", "voice"),
    ("sendVideoNote", "video_note"),
    ("sendSticker", "sticker"),
];

const OTHERS: [&str; 6] = ["sendMessage", "sendLocation", "sendVenue", "sendContact", "sendDice", "sendPoll"];

/// Whether `method` sends one message.
pub(super) fn is_send(method: &str) -> bool {
    OTHERS.contains(&method) || FILES.iter().any(|(send, _)| *send == method)
}

/// The fields of the message that a call of `method` makes.
pub(super) fn content(state: &mut State, method: &str, params: &Params) -> Result<Map<String, Value>, Refusal> {
    if let Some((_, kind)) = FILES.iter().find(|(send, _)| *send == method) {
        let source = params.text(kind);
        return Ok(single_field(kind, file_object(kind, &resolve_file(state, params, kind, kind, source.as_deref())?)));
    }
    match method {
        "sendMessage" => match read_text(params, "text")? {
            Some(text) if !text.trim().is_empty() => Ok(single_field("text", json!(text))),
            Some(_) | None => Err(Refusal::bad_request("message text is empty")),
        },
        "sendLocation" => Ok(single_field("location", location(params)?)),
        "sendVenue" => {
            let (title, address) = (required(params, "title")?, required(params, "address")?);
            Ok(single_field("venue", json!({"location": location(params)?, "title": title, "address": address})))
        }
        "sendContact" => {
            let (number, name) = (required(params, "phone_number")?, required(params, "first_name")?);
            Ok(single_field("contact", json!({"phone_number": number, "first_name": name})))
        }
        "sendPoll" => poll(state, params),
        _ => Ok(single_field(
            "dice",
            json!({"emoji": params.text("emoji").unwrap_or_else(|| "🎲".to_owned()), "value": 4}),
        )),
    }
}

/// The message fields and the parameters of one item of a media group or of an edit.
pub(super) fn read_input_media(
    state: &mut State,
    params: &Params,
    item: &Value,
) -> Result<(Map<String, Value>, Params), Refusal> {
    let kind = item["type"].as_str().unwrap_or_default();
    if !["photo", "live_photo", "audio", "document", "video", "animation"].contains(&kind) {
        return Err(Refusal::bad_request("can't parse InputMedia: type is wrong"));
    }
    let source = item["media"].as_str();
    let attached = source.and_then(|source| source.strip_prefix("attach://")).unwrap_or_default();
    let file_id = resolve_file(state, params, kind, attached, source)?;
    let mut own = Params { values: params.values.clone(), uploads: params.uploads.clone() };
    own.values.remove("media");
    if let Some(caption) = item["caption"].as_str() {
        own.values.insert("caption".to_owned(), ParamValue::Typed(json!(caption)));
    }
    Ok((single_field(kind, file_object(kind, &file_id)), own))
}

/// A file comes as an upload, as the identifier of a known file, or as a URL that Telegram fetches.
fn resolve_file(
    state: &mut State,
    params: &Params,
    kind: &str,
    part: &str,
    source: Option<&str>,
) -> Result<String, Refusal> {
    if let Some(upload) = params.uploads.get(part) {
        return Ok(state.store_file(&format!("{kind}s"), upload));
    }
    match source {
        Some(attached) if attached.starts_with("attach://") => attached_part(state, params, kind, attached),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(format!("FETCHED-{}", url.len())),
        Some(file_id) if state.files.contains_key(file_id) => Ok(file_id.to_owned()),
        Some(file_id) if !file_id.is_empty() => Err(Refusal::bad_request("wrong file identifier/HTTP URL specified")),
        _ => Err(Refusal::bad_request(&format!("there is no {kind} in the request"))),
    }
}

fn attached_part(state: &mut State, params: &Params, kind: &str, attached: &str) -> Result<String, Refusal> {
    let part = attached.trim_start_matches("attach://");
    let upload = params.uploads.get(part).ok_or_else(|| Refusal::bad_request("the attached file is absent"))?;
    Ok(state.store_file(&format!("{kind}s"), upload))
}

fn file_object(kind: &str, file_id: &str) -> Value {
    let mut file = json!({"file_id": file_id, "file_unique_id": format!("U{file_id}")});
    let mut with = |name: &str, value: Value| file[name] = value;
    match kind {
        "photo" | "live_photo" | "sticker" | "video" | "animation" => {
            with("width", json!(640));
            with("height", json!(480));
        }
        "video_note" => with("length", json!(240)),
        _ => {}
    }
    if ["audio", "live_photo", "video", "animation", "voice", "video_note"].contains(&kind) {
        with("duration", json!(3));
    }
    if kind == "sticker" {
        with("type", json!("regular"));
        with("is_animated", json!(false));
        with("is_video", json!(false));
    }
    // A photo is there in several sizes.
    if kind == "photo" { json!([file]) } else { file }
}

fn poll(state: &mut State, params: &Params) -> Result<Map<String, Value>, Refusal> {
    let question = required(params, "question")?;
    let Some(Value::Array(options)) = params.json("options") else {
        return Err(Refusal::bad_request("poll must have at least 1 option"));
    };
    let option = |(place, option): (usize, &Value)| {
        let text = option["text"].as_str().or_else(|| option.as_str()).unwrap_or_default();
        json!({"persistent_id": place.to_string(), "text": text, "voter_count": 0})
    };
    let options: Vec<Value> = options.iter().enumerate().map(option).collect();
    let poll = json!({
        "id": state.next_number().to_string(), "question": question, "options": options, "total_voter_count": 0,
        "is_closed": false, "is_anonymous": true, "type": "regular", "allows_multiple_answers": false,
        "allows_revoting": false, "members_only": false,
    });
    Ok(single_field("poll", poll))
}

pub(super) fn location(params: &Params) -> Result<Value, Refusal> {
    let degrees = |name: &str| params.text(name).and_then(|text| text.parse::<f64>().ok());
    match (degrees("latitude"), degrees("longitude")) {
        (Some(latitude), Some(longitude)) => Ok(json!({"latitude": latitude, "longitude": longitude})),
        _ => Err(Refusal::bad_request("latitude or longitude is empty")),
    }
}

pub(super) fn single_field(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}
