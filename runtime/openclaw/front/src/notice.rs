//! Tells a person, in our words, that one of their messages was skipped.

use std::time::Duration;

use nbhd::clock::Waiter;
use nbhd::domain::update::{PrivateUpdate, Update};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

const TEXT: &str =
    "This message was not delivered: your assistant failed on it again and again. Please send it in another form.";
const TIMEOUT: Duration = Duration::from_secs(30);
const MOST_TRIES: u32 = 4;
/// Between two tries; the relay asks for a second when it is too much at once.
const PAUSE: Duration = Duration::from_secs(3);

/// What speaks to the relay with the tenant's own capability.
#[derive(Clone, Debug)]
pub struct Notice {
    http: reqwest::Client,
    relay: String,
    token: SecretString,
}

impl Notice {
    /// Notices through the relay at `relay`, without a trailing slash.
    pub fn new(http: reqwest::Client, relay: String, token: SecretString) -> Self {
        Self { http, relay, token }
    }

    /// Tells the person who caused `update`. The chat must not wait for a relay that is down: after some tries only the
    /// log has it.
    pub async fn send(&self, update: &[u8], waiter: &Waiter) {
        let Update::Private(update) = Update::parse(update) else { return };
        for tries in 1..=MOST_TRIES {
            match self.call(&update).await {
                Ok(()) => return,
                Err(status) if tries == MOST_TRIES => {
                    tracing::error!(
                        code = "skip_notice_failed",
                        update_id = update.update_id,
                        status,
                        "a person may not know that their message was skipped"
                    );
                }
                Err(_) => waiter.wait(PAUSE).await,
            }
        }
    }

    /// # Errors
    /// The relay's status, or 0 without one.
    async fn call(&self, update: &PrivateUpdate) -> Result<(), u16> {
        let url = format!("{}/bot{}/sendMessage", self.relay, self.token.expose_secret());
        let request = self.http.post(url).timeout(TIMEOUT).header(CONTENT_TYPE, "application/json");
        match request.body(message(update).to_string()).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
            Ok(answer) => Err(answer.status().as_u16()),
            Err(_) => Err(0),
        }
    }
}

/// <https://core.telegram.org/bots/api#sendmessage>
fn message(update: &PrivateUpdate) -> Value {
    let mut message = json!({ "chat_id": update.chat.0, "text": TEXT });
    if let Some(id) = update.message_id {
        message["reply_parameters"] = json!({ "message_id": id, "allow_sending_without_reply": true });
    }
    if let Some(topic) = update.topic {
        message["message_thread_id"] = topic.into();
    }
    message
}
