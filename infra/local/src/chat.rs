//! One person's private chat with the bot: what they wrote and what came back, for the terminal and the page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nbhd_sim::telegram::Telegram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether the person wrote it.
    pub mine: bool,
    /// What it says.
    pub text: String,
    /// The links below it.
    pub buttons: Vec<Button>,
}

/// A button that opens a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What it says.
    pub text: String,
    /// Where it leads.
    pub url: String,
}

/// The chat; clones are the same one.
#[derive(Clone, Debug)]
pub struct Chat {
    telegram: Telegram,
    id: i64,
    name: String,
    /// What the person wrote, and after how many of the bot's messages.
    said: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Chat {
    /// The chat of a person who has started the bot.
    pub fn of(telegram: &Telegram, id: i64, name: &str) -> Self {
        telegram.knows(id, name);
        Self { telegram: telegram.clone(), id, name: name.to_owned(), said: Arc::default() }
    }

    /// Its identity, which in a private chat is the person's.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The person's name in Telegram.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The person writes `text`; it is delivered when Telegram's updates are.
    pub fn says(&self, text: &str) {
        let place = self.answers().len();
        self.said().push((place, text.to_owned()));
        self.telegram.says(self.id, text);
    }

    /// What the bot wrote, oldest first.
    pub fn answers(&self) -> Vec<Line> {
        let sent = self.telegram.sent_to(self.id).into_iter().filter(|sent| !sent.deleted);
        sent.map(|sent| Line { mine: false, buttons: buttons(&sent.message), text: sent.text }).collect()
    }

    /// Everything, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        let mut said = self.said().clone().into_iter().peekable();
        let mut lines = Vec::new();
        for (place, answer) in self.answers().into_iter().enumerate() {
            while let Some((_, text)) = said.next_if(|(after, _)| *after <= place) {
                lines.push(Line { mine: true, text, buttons: Vec::new() });
            }
            lines.push(answer);
        }
        lines.extend(said.map(|(_, text)| Line { mine: true, text, buttons: Vec::new() }));
        lines
    }

    fn said(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inline keyboard's links. <https://core.telegram.org/bots/api#inlinekeyboardmarkup>
fn buttons(message: &Value) -> Vec<Button> {
    let rows = message["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten();
    let buttons = rows.flat_map(|row| row.as_array().into_iter().flatten());
    buttons.filter_map(|button| Button::deserialize(button).ok()).collect()
}
