//! What the stand-in says, without a model: it greets, counts the bytes of a file, and answers questions about mail and
//! the day through the runtime endpoints.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::Settings;

const FILE_TEXT: &str = "I have your file";

/// An assistant with the tools a container has.
pub(super) struct Assistant {
    http: reqwest::Client,
    settings: Settings,
}

impl Assistant {
    pub(super) fn new(settings: Settings) -> anyhow::Result<Self> {
        Ok(Self { http: nbhd::http::client_with_roots(None)?, settings })
    }

    /// One turn: an update in, at most one message out. A message the relay refuses is lost, as in OpenClaw.
    pub(super) async fn answer_update(&self, update: &Value) {
        let message = &update["message"];
        let Some(chat) = message["chat"]["id"].as_i64() else { return };
        let reply = match (message["text"].as_str(), message["document"]["file_id"].as_str()) {
            (Some(text), _) => self.reply_to(text).await,
            (None, Some(file_id)) => self.describe_file(file_id).await,
            (None, None) => return,
        };
        let text = reply.unwrap_or_else(|error| format!("I could not do that: {error}."));
        let _ = self.call_bot_api("sendMessage", &json!({ "chat_id": chat, "text": text })).await;
    }

    async fn reply_to(&self, text: &str) -> anyhow::Result<String> {
        let asked = text.to_lowercase();
        let (mail, day) = (asked.contains("inbox") || asked.contains("mail"), asked.contains("day"));
        let mut parts = Vec::new();
        if mail {
            parts.push(self.summarize_inbox().await.unwrap_or_else(|error| error.to_string()));
        }
        if day {
            parts.push(self.summarize_day().await.unwrap_or_else(|error| error.to_string()));
        }
        if parts.is_empty() {
            parts.push(format!("You said: {text}\nAsk me about your inbox or your day."));
        }
        Ok(parts.join("\n\n"))
    }

    async fn summarize_inbox(&self) -> anyhow::Result<String> {
        let list = self.call_endpoint("gmail/messages/?max_results=5").await?;
        let messages = list["messages"].as_array().context("the list has no messages")?;
        let mut lines = vec![format!("Your {} newest messages:", messages.len())];
        for message in messages {
            lines.push(format!("• {} ({})", text_of(&message["subject"]), text_of(&message["from"])));
        }
        if let Some(id) = messages.first().and_then(|newest| newest["id"].as_str()) {
            let newest = self.call_endpoint(&format!("gmail/messages/{id}/?include_thread=false")).await?;
            let body = text_of(&newest["body_text"]);
            let beginning = body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(empty)");
            lines.push(format!("The newest begins: {beginning}"));
            if newest["hidden_text_removed"] == true {
                lines.push("It also hides text that you would not see. I left that out.".to_owned());
            }
        }
        Ok(lines.join("\n"))
    }

    async fn summarize_day(&self) -> anyhow::Result<String> {
        let list = self.call_endpoint("google-calendar/events/").await?;
        let events = list["events"].as_array().context("the list has no events")?;
        let mut lines = vec![format!("Your day ({}):", text_of(&list["time_zone"]))];
        lines.extend(events.iter().filter_map(describe_event));
        if lines.len() == 1 {
            lines.push("Nothing is planned.".to_owned());
        }
        Ok(lines.join("\n"))
    }

    async fn describe_file(&self, file_id: &str) -> anyhow::Result<String> {
        let file = self.call_bot_api("getFile", &json!({ "file_id": file_id })).await?;
        let path = file["file_path"].as_str().context("the relay gave no path")?;
        let Settings { api_root, bot_token, .. } = &self.settings;
        let request = self.http.get(format!("{api_root}/file/bot{bot_token}/{path}"));
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        if !answer.status().is_success() {
            bail!("the relay refused the file with status {}", answer.status().as_u16());
        }
        Ok(format!("{FILE_TEXT}: {} bytes.", answer.bytes().await?.len()))
    }

    /// A call of the Bot API at the relay.
    async fn call_bot_api(&self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let Settings { api_root, bot_token, .. } = &self.settings;
        let request = self.http.post(format!("{api_root}/bot{bot_token}/{method}"));
        let request = request.header("content-type", "application/json").body(parameters.to_string());
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let mut answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        if answer["ok"] != true {
            bail!("the relay refused `{method}`: {}", text_of(&answer["description"]));
        }
        Ok(answer["result"].take())
    }

    /// A call of a runtime endpoint; its `detail`, written for people, is the error.
    async fn call_endpoint(&self, path: &str) -> anyhow::Result<Value> {
        let Settings { api_base_url, tenant_id, internal_key, .. } = &self.settings;
        let request = self
            .http
            .get(format!("{api_base_url}/api/v1/integrations/runtime/{tenant_id}/{path}"))
            .header("x-nbhd-internal-key", internal_key)
            .header("x-nbhd-tenant-id", tenant_id);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let is_success = answer.status().is_success();
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        if !is_success {
            bail!("{}", text_of(&answer["detail"]));
        }
        Ok(answer)
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One line about an event, with what it is to the person; `None` for one that they declined.
fn describe_event(event: &Value) -> Option<String> {
    let answer = match event["own_response"].as_str() {
        Some("declined") => return None,
        Some("needsAction") => " (not answered)",
        Some("tentative") => " (perhaps)",
        _ => "",
    };
    let kind = match event["event_type"].as_str() {
        Some("workingLocation") => "working from: ",
        Some("outOfOffice") => "out of office: ",
        Some("focusTime") => "focus time: ",
        Some("birthday") => "birthday: ",
        _ => "",
    };
    let place = event["location"].as_str().map(|place| format!(", {place}")).unwrap_or_default();
    Some(format!("• {} {kind}{}{place}{answer}", start_of(event), text_of(&event["summary"])))
}

/// `09:30` of a timed event, `all day` of the others.
fn start_of(event: &Value) -> String {
    let start = &event["start"];
    let moment = start["dateTime"].as_str().or_else(|| start["date_time"].as_str()).or_else(|| start.as_str());
    match moment.and_then(|moment| moment.get(11..16)) {
        Some(time) => time.to_owned(),
        None => "all day".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declined_is_left_out_and_what_is_no_meeting_is_named() {
        let event = |own: Value, kind: &str| {
            let event = json!({ "summary": "Board", "start": "2027-01-15T09:30:00+01:00", "own_response": own,
                "event_type": kind, "location": "Room 1" });
            describe_event(&event)
        };
        let line = |text: &str| Some(format!("• 09:30 {text}"));
        assert_eq!(event(json!(null), "default"), line("Board, Room 1"));
        assert_eq!(event(json!("accepted"), "default"), line("Board, Room 1"));
        assert_eq!(event(json!("declined"), "default"), None);
        assert_eq!(event(json!("tentative"), "default"), line("Board, Room 1 (perhaps)"));
        assert_eq!(event(json!("needsAction"), "focusTime"), line("focus time: Board, Room 1 (not answered)"));
        assert_eq!(event(json!(null), "workingLocation"), line("working from: Board, Room 1"));
    }
}
