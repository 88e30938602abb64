//! A model that answers from a script, at a price. <https://openrouter.ai/docs/api_reference/overview>

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Gateway, Refusal, credential};
use super::keys::usd;
use super::{Inner, Reply, random};

/// What a token costs when no script says otherwise, in millionths of a USD: question and answer.
const PRICES: (u64, u64) = (3, 15);

#[derive(Deserialize)]
struct Asked {
    model: String,
    messages: Vec<Value>,
    #[serde(default)]
    stream: bool,
}

/// An answer, and what it cost.
struct Completion {
    id: String,
    created: i64,
    model: String,
    text: String,
    usage: Value,
}

/// `POST /chat/completions`. The cost is booked when the answer is complete.
pub(super) async fn complete(State(inner): Gateway, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    let completion = answer(&inner, &headers, &body)?;
    Ok(if completion.1 { completion.0.streamed() } else { Json(completion.0.whole()).into_response() })
}

fn answer(inner: &Inner, headers: &HeaderMap, body: &[u8]) -> Result<(Completion, bool), Refusal> {
    let given = credential(headers).ok_or_else(|| Refusal::unauthorized("Missing Authentication header"))?;
    if given == inner.management_key {
        let message = "Management keys cannot be used for completions";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "permission_denied", message));
    }
    let now = inner.now();
    let mut state = inner.lock();
    let next = state.replies.front().cloned();
    let key = state.keys.find_by_credential(given).ok_or_else(|| Refusal::unauthorized("User not found."))?;
    if key.disabled {
        return Err(Refusal::unauthorized("API key disabled"));
    }
    if key.is_exhausted(now) {
        let message = "Key limit exceeded. Manage it using https://openrouter.ai/settings/keys";
        let refusal = Refusal::new(StatusCode::PAYMENT_REQUIRED, "payment_required", message);
        return Err(Refusal { limit_source: Some("openrouter_key_limit"), ..refusal });
    }
    let asked: Asked =
        serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("Invalid input: {error}")))?;
    if asked.messages.is_empty() {
        return Err(Refusal::invalid("Input required: specify \"prompt\" or \"messages\""));
    }
    if !asked.model.contains('/') {
        return Err(Refusal::invalid(format!("{} is not a valid model ID", asked.model)));
    }
    let prompt_tokens = asked.messages.iter().map(|message| tokens(&message.to_string())).sum::<u64>();
    let Reply { text, cost_micros } = next.unwrap_or_else(|| {
        let text = format!("I have read {} message(s).", asked.messages.len());
        let cost_micros = prompt_tokens * PRICES.0 + tokens(&text) * PRICES.1;
        Reply { text, cost_micros }
    });
    key.spend(cost_micros, now);
    state.replies.pop_front();
    let usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens(&text),
        "total_tokens": prompt_tokens + tokens(&text),
        "cost": usd(cost_micros),
        "is_byok": false,
    });
    let id = format!("gen-{}-{}", now.seconds(), &random()[..20]);
    Ok((Completion { id, created: now.seconds(), model: asked.model, text, usage }, asked.stream))
}

impl Completion {
    fn whole(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": [{
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": self.text, "refusal": null},
            }],
            "usage": self.usage,
        })
    }

    /// Server-sent events: a comment to keep the connection, a chunk for each word, the reason of the end, the usage.
    fn streamed(&self) -> Response {
        let mut events = ": OPENROUTER PROCESSING\n\n".to_owned();
        let mut chunk = |delta: Value, finish_reason: Value, usage: Option<&Value>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
            let mut chunk = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "choices": [choice],
            });
            if let Some(usage) = usage {
                chunk["usage"] = usage.clone();
            }
            let _ = write!(events, "data: {chunk}\n\n");
        };
        for word in self.text.split_inclusive(' ') {
            chunk(json!({"role": "assistant", "content": word}), Value::Null, None);
        }
        chunk(json!({"role": "assistant", "content": ""}), "stop".into(), None);
        chunk(json!({"role": "assistant", "content": ""}), Value::Null, Some(&self.usage));
        events.push_str("data: [DONE]\n\n");
        ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
    }
}

/// About four characters are a token.
fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}
