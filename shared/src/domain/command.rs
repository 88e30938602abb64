//! The commands we answer ourselves; every other text is the assistant's.
//!
//! A command is the first word of a message, `/name` or `/name@bot`. <https://core.telegram.org/bots/features#commands>

use super::integration::Provider;

/// A command and what followed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/start`, with or without a deep link's payload.
    Start,
    /// `/connect`.
    Connect,
    /// `/disconnect`, of all services or of the ones named.
    Disconnect(Services),
    /// `/status`.
    Status,
    /// `/billing`.
    Billing,
    /// `/timezone`, with the name given.
    TimeZone(Option<String>),
    /// `/help`.
    Help,
}

/// Which services a command speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// All there are.
    All,
    /// One of them.
    One(Provider),
    /// A name that is no service's.
    Unknown,
}

impl Command {
    /// Reads the command a message begins with; `None` when it is the assistant's: no command, none of ours, or one
    /// addressed to another bot. `bot` is our user name, without `@`.
    pub fn parse(text: &str, bot: &str) -> Option<Self> {
        let (word, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let word = word.strip_prefix('/')?;
        let name = match word.split_once('@') {
            Some((name, addressee)) if addressee.eq_ignore_ascii_case(bot) => name,
            Some(_) => return None,
            None => word,
        };
        let argument = argument.trim();
        match name.to_ascii_lowercase().as_str() {
            "start" => Some(Self::Start),
            "connect" => Some(Self::Connect),
            "disconnect" => Some(Self::Disconnect(Services::named(argument))),
            "status" => Some(Self::Status),
            "billing" => Some(Self::Billing),
            "timezone" => Some(Self::TimeZone(Some(argument.to_owned()).filter(|name| !name.is_empty()))),
            "help" => Some(Self::Help),
            _ => None,
        }
    }
}

impl Services {
    fn named(argument: &str) -> Self {
        match argument.to_ascii_lowercase().as_str() {
            "" | "all" => Self::All,
            "gmail" | "mail" => Self::One(Provider::Gmail),
            "calendar" | "google-calendar" | "google calendar" => Self::One(Provider::GoogleCalendar),
            _ => Self::Unknown,
        }
    }

    /// The services meant; none for a name that is no service's.
    pub fn providers(self) -> Vec<Provider> {
        match self {
            Self::All => Provider::ALL.to_vec(),
            Self::One(provider) => vec![provider],
            Self::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_first_word_with_or_without_our_name() {
        let calendar = Command::Disconnect(Services::One(Provider::GoogleCalendar));
        let zone = |name: &str| Command::TimeZone(Some(name.to_owned()));
        for (text, expected) in [
            ("/start", Some(Command::Start)),
            ("/start abc-123", Some(Command::Start)),
            ("/START@NBHD_bot", Some(Command::Start)),
            ("/connect", Some(Command::Connect)),
            ("/disconnect", Some(Command::Disconnect(Services::All))),
            ("/disconnect Gmail", Some(Command::Disconnect(Services::One(Provider::Gmail)))),
            ("/disconnect\ncalendar ", Some(calendar)),
            ("/disconnect outlook", Some(Command::Disconnect(Services::Unknown))),
            ("/status", Some(Command::Status)),
            ("/billing", Some(Command::Billing)),
            ("/timezone", Some(Command::TimeZone(None))),
            ("/timezone  Europe/Berlin ", Some(zone("Europe/Berlin"))),
            ("/help", Some(Command::Help)),
            ("/help@another_bot", None),
            ("/helpme", None),
            ("/remind me", None),
            ("start", None),
            (" /start", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(Command::parse(text, "nbhd_bot"), expected, "{text:?}");
        }
    }
}
