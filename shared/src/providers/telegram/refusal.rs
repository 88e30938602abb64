//! What a refusal of Telegram's means where its status does not say it.

use super::super::Error;

/// Whether Telegram refused a message because the person blocked the bot or the chat does not exist.
///
/// Only the description tells the second. <https://core.telegram.org/bots/api#making-requests>
pub fn is_chat_closed(error: &Error) -> bool {
    matches!(error, Error::Refused { status, reason } if *status == 403 || reason.contains("chat not found"))
}

/// Whether Telegram refused a message because its chat has no such topic, or no longer.
/// <https://github.com/tdlib/telegram-bot-api/issues/847>
pub(super) fn is_topic_unknown(error: &Error) -> bool {
    const DESCRIPTIONS: [&str; 2] = ["message thread not found", "topic_deleted"];
    let Error::Refused { status: 400, reason } = error else { return false };
    let reason = reason.to_ascii_lowercase();
    DESCRIPTIONS.iter().any(|description| reason.contains(description))
}
