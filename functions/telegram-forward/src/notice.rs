//! The bot's own messages to a person whose message waits, or was dead-lettered.

use nbhd::domain::route::Route;
use nbhd::providers::telegram::MessageOptions;
use nbhd::providers::{Error, NetworkFailure};

use crate::App;
use crate::decide::{Reason, Wait};
use crate::message::QueuedUpdate;

/// Shows `typing` while the container wakes up and, if the person of `notified` is to hear of it, sends a notice. A
/// failure here is logged and never fails the message.
pub(crate) async fn notify_waiting(app: &App, queued: &QueuedUpdate, wait: Wait, notified: Option<&Route>) {
    let topic = queued.content().and_then(|update| update.topic);
    if wait == Wait::Waking
        && let Err(error) = app.bot.send_chat_action(queued.chat, "typing", topic).await
    {
        tracing::warn!(
            code = "chat_action_failed",
            error = %error,
            "Telegram did not take the chat action; the chat shows no `typing`"
        );
    }
    if let Some(route) = notified
        && let Err(error) = send_waiting_notice(app, route, topic, wait).await
    {
        tracing::warn!(
            code = "waiting_notice_failed",
            error = %error,
            "the notice to wait may not have been sent; the message stays on the queue all the same"
        );
    }
}

/// Marks the route, then sends the notice: a crash between the two loses the notice and never repeats it. The mark is
/// cleared again if Telegram certainly did not show the notice.
async fn send_waiting_notice(app: &App, route: &Route, topic: Option<i64>, wait: Wait) -> Result<(), crate::Error> {
    if !app.store.record_waking_notice(route, app.clock.now()).await? {
        return Ok(());
    }
    let chat = route.chat_id;
    let text = match wait {
        Wait::Setup if route.waking_notice_at.is_some() => {
            "Setting up your assistant takes longer than usual. Your messages are safe: they will be delivered as soon \
             as it is ready, and you need not send them again."
        }
        Wait::Setup => {
            "Your assistant is still being set up. Your message is safe: it will be delivered as soon as it is ready."
        }
        Wait::NewKeys => {
            "Your assistant is being updated. Your message is safe: it will be delivered as soon as that is done."
        }
        Wait::Waking => "Your assistant is waking up. Your message is safe: it will be delivered in a moment.",
    };
    let options = MessageOptions { topic, silent: true, ..MessageOptions::default() };
    let sent = app.bot.send_message(chat, text, options).await;
    if let Err(
        Error::RateLimited { .. }
        | Error::Failed { .. }
        | Error::Unreachable { cause: NetworkFailure::NotConnected | NetworkFailure::ConnectionLost },
    ) = sent
    {
        app.store.clear_waking_notice(chat).await?;
    }
    sent.map(|_| ()).map_err(crate::Error::Telegram)
}

/// Tells the person which message was not delivered, and what to do. A person who blocked the bot gets nothing, and the
/// message counts as processed.
///
/// # Errors
/// Telegram's [`Error`] when it may take the notice later.
pub(crate) async fn notify_dead_lettered(app: &App, queued: &QueuedUpdate, reason: Reason) -> Result<(), Error> {
    let (reply_to, topic) = queued.content().map_or((None, None), |update| (update.message_id, update.topic));
    let options = MessageOptions { topic, reply_to, ..MessageOptions::default() };
    match app.bot.send_message(queued.chat, dead_letter_text(reason), options).await {
        Ok(_) => Ok(()),
        Err(error @ Error::Refused { .. }) => {
            tracing::warn!(
                code = "dead_letter_notice_refused",
                error = %error,
                "Telegram refused the notice of a dead letter; the person is not notified"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

const fn dead_letter_text(reason: Reason) -> &'static str {
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
        Reason::Failed => {
            "This message was not delivered: your assistant failed on it again and again. Please send it in another \
             form."
        }
        Reason::Expired => {
            "This message was not delivered: your assistant could not be reached for a long time. Please send it again \
             later."
        }
    }
}
