//! What a refusal of Telegram's means where its status does not say it.

use super::super::Error;

/// Whether Telegram refused a message because the person blocked the bot or the chat does not exist.
///
/// Only the description tells the second. <https://core.telegram.org/bots/api#making-requests>
pub fn is_chat_closed(error: &Error) -> bool {
    matches!(error, Error::Refused { status, reason } if *status == 403 || reason.contains("chat not found"))
}
