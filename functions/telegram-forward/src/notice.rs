//! What a person is told while a message waits, and when it is given up.

use nbhd::domain::ids::ChatId;
use nbhd::providers::Error;
use nbhd::providers::telegram::MessageOptions;

use crate::App;
use crate::decide::{Reason, Wait};
use crate::message::Inbound;

/// Shows that something is going on and, when `tell`, says once what. Never worth failing a message for.
pub(crate) async fn waiting(app: &App, chat: ChatId, wait: Wait, tell: bool) {
    if wait == Wait::Waking
        && let Err(error) = app.bot.send_chat_action(chat, "typing").await
    {
        tracing::warn!(code = "action_failed", error = %error, "the chat shows no `typing`");
    }
    if tell && let Err(error) = tell_once(app, chat, wait).await {
        tracing::warn!(code = "notice_failed", error = %error, "the person does not know why they wait");
    }
}

/// The mark comes first, so that a crash between the two costs a courtesy and never repeats one. It is taken back when
/// Telegram surely did not show the message.
async fn tell_once(app: &App, chat: ChatId, wait: Wait) -> Result<(), crate::Error> {
    if !app.store.mark_waking_told(chat, app.clock.now()).await? {
        return Ok(());
    }
    let text = match wait {
        Wait::Setup => {
            "Your assistant is still being set up. Your message is safe: it will be delivered as soon as it is ready."
        }
        Wait::Waking => "Your assistant is waking up. Your message is safe: it will be delivered in a moment.",
    };
    let sent = app.bot.send_message(chat, text, MessageOptions { silent: true, ..MessageOptions::default() }).await;
    if let Err(Error::RateLimited { .. } | Error::Failed { .. } | Error::Unreachable { timed_out: false, .. }) = sent {
        app.store.clear_waking_told(chat).await?;
    }
    sent.map(|_| ()).map_err(crate::Error::Telegram)
}

/// Says which message was not delivered, and what to do. A person who cannot be told, because they blocked the bot, is
/// not told.
///
/// # Errors
/// When Telegram may take the message later.
pub(crate) async fn given_up(app: &App, inbound: &Inbound, reason: Reason) -> Result<(), Error> {
    let options = MessageOptions { reply_to: inbound.message_id(), ..MessageOptions::default() };
    match app.bot.send_message(inbound.chat, text(reason), options).await {
        Ok(_) => Ok(()),
        Err(error @ Error::Refused { .. }) => {
            tracing::warn!(code = "notice_refused", error = %error, "the person cannot be told");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

const fn text(reason: Reason) -> &'static str {
    match reason {
        Reason::NoAssistant => {
            "This message was not delivered: there is no assistant for this chat any more. Send /start to begin again."
        }
        Reason::Suspended => {
            "This message was not delivered: your assistant is paused. To resume it, send /billing; then send this \
             message again."
        }
        Reason::Rejected => {
            "This message was not delivered: your assistant could not read it. Please send it in another form."
        }
        Reason::Expired => {
            "This message was not delivered: your assistant could not be reached for a long time. Please send it again \
             later."
        }
    }
}
