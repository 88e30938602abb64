//! One person's private chat with the bot, for the terminal and the page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nbhd_sim::telegram::Telegram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether the person wrote it.
    pub mine: bool,
    /// The message's text.
    pub text: String,
    /// The buttons below it.
    pub buttons: Vec<Button>,
}

/// A button that opens a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// The button's label.
    pub text: String,
    /// The address that it opens.
    pub url: String,
}

/// A chat; clones share it.
#[derive(Clone, Debug)]
pub struct Chat {
    telegram: Telegram,
    id: i64,
    name: String,
    /// The person's messages, each with the number of the bot's messages before it.
    sent: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Chat {
    /// Opens the chat of a person who has started the bot.
    pub fn open(telegram: &Telegram, id: i64, name: &str) -> Self {
        telegram.knows(id, name);
        Self { telegram: telegram.clone(), id, name: name.to_owned(), sent: Arc::default() }
    }

    /// The chat's id, which in a private chat is the person's.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The person's name in Telegram.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes `text` as the person; the simulated Telegram delivers it with its next updates.
    pub fn says(&self, text: &str) {
        let place = self.answers().len();
        self.lock_sent().push((place, text.to_owned()));
        self.telegram.says(self.id, text);
    }

    /// The bot's messages, oldest first.
    pub fn answers(&self) -> Vec<Line> {
        let answers = self.telegram.sent_to(self.id).into_iter().filter(|sent| !sent.deleted);
        answers.map(|sent| Line { mine: false, buttons: read_buttons(&sent.message), text: sent.text }).collect()
    }

    /// The messages of both, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        let mut sent = self.lock_sent().clone().into_iter().peekable();
        let mut lines = Vec::new();
        for (place, answer) in self.answers().into_iter().enumerate() {
            while let Some((_, text)) = sent.next_if(|(after, _)| *after <= place) {
                lines.push(Line { mine: true, text, buttons: Vec::new() });
            }
            lines.push(answer);
        }
        lines.extend(sent.map(|(_, text)| Line { mine: true, text, buttons: Vec::new() }));
        lines
    }

    fn lock_sent(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the buttons of a message's inline keyboard. <https://core.telegram.org/bots/api#inlinekeyboardmarkup>
fn read_buttons(message: &Value) -> Vec<Button> {
    let rows = message["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten();
    let buttons = rows.flat_map(|row| row.as_array().into_iter().flatten());
    buttons.filter_map(|button| Button::deserialize(button).ok()).collect()
}
