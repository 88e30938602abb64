//! The bot's own replies: a `sendMessage` as the body of the webhook's answer, which costs no request.
//!
//! Telegram does not say how such a call went. A reply goes to the topic of the message that it answers, and is lost
//! when the person deletes that topic before it arrives.
//! See <https://core.telegram.org/bots/api#making-requests-when-getting-updates>.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::{Integration, Status};
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd::domain::update::PrivateUpdate;
use serde::Serialize;

/// A `sendMessage` as the answer to an update.
#[derive(Debug, Serialize)]
pub(crate) struct Reply {
    method: &'static str,
    chat_id: ChatId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: String,
    link_preview_options: LinkPreview,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_markup: Option<Keyboard>,
}

#[derive(Debug, Serialize)]
struct LinkPreview {
    is_disabled: bool,
}

#[derive(Debug, Serialize)]
struct Keyboard {
    inline_keyboard: Vec<[Button; 1]>,
}

/// A button that opens an address.
#[derive(Debug, Serialize)]
pub(crate) struct Button {
    /// The button's label.
    pub(crate) text: &'static str,
    /// The https address that it opens.
    pub(crate) url: String,
}

impl Reply {
    /// The same reply in a topic of its chat.
    pub(crate) fn in_topic(self, topic: Option<i64>) -> Self {
        Self { message_thread_id: topic, ..self }
    }
}

/// A reply of plain text.
pub(crate) fn text_reply(chat: ChatId, text: impl Into<String>) -> Reply {
    Reply {
        method: "sendMessage",
        chat_id: chat,
        message_thread_id: None,
        text: text.into(),
        link_preview_options: LinkPreview { is_disabled: true },
        reply_markup: None,
    }
}

pub(crate) fn welcome(chat: ChatId, subscribe: Button) -> Reply {
    let text = "Welcome to NBHD United: a private assistant of your own, here in Telegram.\n\n\
                You have no assistant yet. Subscribe, and it is made for you within minutes. The button works for 10 \
                minutes; write to me again for a new one.";
    with_buttons(chat, text, [subscribe])
}

pub(crate) fn suspended(chat: ChatId, manage: Button) -> Reply {
    let text = "Your assistant is paused, so this was not passed on. See to your subscription, then write again. The \
                button works for 10 minutes; send /billing for a new one.";
    with_buttons(chat, text, [manage])
}

pub(crate) fn slow_down(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "That is more than I can take at once, so your last messages were not passed on. Give me a minute.",
    )
}

pub(crate) fn private_chats_only(chat: ChatId) -> Reply {
    text_reply(chat, "I only work in private chats. Open a chat with me and write there.")
}

pub(crate) fn out_of_order(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "Something on our side is out of order, so this was not passed on. We have been told; try again later.",
    )
}

pub(crate) fn start(chat: ChatId, is_ready: bool) -> Reply {
    let state = if is_ready {
        "Your assistant is here: just write to it."
    } else {
        "Your assistant is being made ready. Write to it already: it will read everything."
    };
    text_reply(
        chat,
        format!("{state}\n\nSend /connect to let it read your Gmail and Google Calendar, or /help for more."),
    )
}

pub(crate) fn connect(chat: ChatId, buttons: impl IntoIterator<Item = Button>) -> Reply {
    let text = "What may your assistant read? It can only read, never send or change anything.\n\n\
                The buttons work for 10 minutes. They lead to Google, and then you confirm here that it was you.";
    with_buttons(chat, text, buttons)
}

/// To the link's own chat, which has confirmed.
pub(crate) fn confirmed(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "Thank you. Go back to the page in your browser: it goes on by itself, and nothing is connected before that.",
    )
}

/// To the link's own chat, after the five minutes.
pub(crate) fn confirmed_too_late(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "That took longer than five minutes, so nothing was connected, and the link no longer works. Send /connect for \
         a new one.",
    )
}

/// To the link's own chat, after another chat had the same code.
pub(crate) fn confirmed_elsewhere(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "This code also came from another Telegram account, so nothing was connected, and the link no longer works. \
         Send /connect for a new one, and show neither link nor code to anybody.",
    )
}

/// To any other chat.
pub(crate) fn someone_elses_link(chat: ChatId, was_completed: bool) -> Reply {
    let outcome = if was_completed {
        "It was completed before you wrote, so what you chose at Google may have been connected to it."
    } else {
        "Nothing was connected, and that link no longer works."
    };
    text_reply(
        chat,
        format!(
            "⚠️ The link that you opened was for somebody else’s assistant, which asked to read your Google account. \
             {outcome}\n\nGoogle may still list NBHD United among the apps with access: remove it at \
             https://myaccount.google.com/connections\n\nOnly open links to connect an account that I sent to you \
             here."
        ),
    )
}

fn with_buttons(chat: ChatId, text: &str, buttons: impl IntoIterator<Item = Button>) -> Reply {
    let inline_keyboard = buttons.into_iter().map(|button| [button]).collect();
    Reply { reply_markup: Some(Keyboard { inline_keyboard }), ..text_reply(chat, text) }
}

pub(crate) fn help(chat: ChatId) -> Reply {
    text_reply(
        chat,
        "Everything you write goes to your assistant, except these:\n\n\
         /connect – let it read Gmail or Google Calendar\n\
         /disconnect – take that back; /disconnect gmail or /disconnect calendar for one of them\n\
         /status – what is connected, and how your assistant is\n\
         /timezone – your time zone, such as /timezone Europe/Berlin\n\
         /billing – your subscription\n\
         /help – this list",
    )
}

pub(crate) fn billing(chat: ChatId, manage: Button) -> Reply {
    let text = "Your subscription: pay what is open, change your card, see your invoices, or cancel.\n\n\
                The button works for 10 minutes and is yours alone: do not pass it on.";
    with_buttons(chat, text, [manage])
}

pub(crate) fn status(update: &PrivateUpdate, tenant: &Tenant, integrations: &[Integration], now: Timestamp) -> Reply {
    let assistant = match tenant.lifecycle {
        Lifecycle::Pending | Lifecycle::Provisioning => "being made ready",
        Lifecycle::Active => "running",
        Lifecycle::Suspended => "paused; send /billing to resume",
        Lifecycle::Deprovisioning => "being removed",
    };
    let zone = tenant.time_zone.as_ref().map_or("not known; set it with /timezone", |zone| &zone.name);
    let mut lines = vec![format!("Assistant: {assistant}"), format!("You in Telegram: {}", update.person.account())];
    lines.extend(tenant.running_gift(now).map(|gift| format!("Free until the end of {} (UTC)", gift.last_day())));
    for provider in nbhd::domain::integration::Provider::ALL {
        let row = integrations.iter().find(|row| row.provider == provider);
        lines.push(format!("{}: {}", provider.display_name(), describe_integration(row)));
    }
    lines.push(format!("Time zone: {zone}"));
    text_reply(update.chat, lines.join("\n"))
}

fn describe_integration(row: Option<&Integration>) -> String {
    match row.map(|row| (row.status, row.account.as_deref())) {
        Some((Status::Active, Some(account))) => format!("connected as {account}"),
        Some((Status::Active, None)) => "connected".to_owned(),
        Some((Status::Expired, _)) => "Google ended the connection; send /connect to renew it".to_owned(),
        Some((Status::Revoked, _)) | None => "not connected".to_owned(),
    }
}
