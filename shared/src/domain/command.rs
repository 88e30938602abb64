//! The commands that the webhook answers itself; every other text goes to the assistant.
//!
//! A command is the first word of a message, `/name` or `/name@bot`. <https://core.telegram.org/bots/features#commands>

use super::integration::Provider;
use super::sign_in::SignInId;

/// A command with its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/start`; with the sign-in whose start token a deep link passed on.
    Start(Option<SignInId>),
    /// `/connect`.
    Connect,
    /// `/disconnect`, for all services or for the one named.
    Disconnect(ServiceSelection),
    /// `/status`.
    Status,
    /// `/billing`.
    Billing,
    /// `/timezone`, with the zone's name if one was given.
    TimeZone(Option<String>),
    /// `/help`.
    Help,
}

/// The services that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceSelection {
    /// Every service: the argument is empty or `all`.
    All,
    /// The one service that the argument names.
    One(Provider),
    /// The argument names no service.
    Unknown,
}

impl Command {
    /// Reads the command that a message begins with. `None` means that the message is for the assistant: it has no
    /// command, none of ours, or one addressed to another bot. `bot` is our user name, without `@`.
    pub fn parse(text: &str, bot: &str) -> Option<Self> {
        let (first, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let command = first.strip_prefix('/')?;
        let name = match command.split_once('@') {
            Some((name, addressee)) if addressee.eq_ignore_ascii_case(bot) => name,
            Some(_) => return None,
            None => command,
        };
        let argument = argument.trim();
        match name.to_ascii_lowercase().as_str() {
            "start" => Some(Self::Start(SignInId::from_parameter(argument))),
            "connect" => Some(Self::Connect),
            "disconnect" => Some(Self::Disconnect(ServiceSelection::from_argument(argument))),
            "status" => Some(Self::Status),
            "billing" => Some(Self::Billing),
            "timezone" => Some(Self::TimeZone(Some(argument.to_owned()).filter(|name| !name.is_empty()))),
            "help" => Some(Self::Help),
            _ => None,
        }
    }
}

impl ServiceSelection {
    fn from_argument(argument: &str) -> Self {
        match argument.to_ascii_lowercase().as_str() {
            "" | "all" => Self::All,
            "gmail" | "mail" => Self::One(Provider::Gmail),
            "calendar" | "google-calendar" | "google calendar" => Self::One(Provider::GoogleCalendar),
            _ => Self::Unknown,
        }
    }

    /// The selected services; empty for an unknown name.
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
        let calendar = Command::Disconnect(ServiceSelection::One(Provider::GoogleCalendar));
        let token = "t".repeat(43);
        let zone = |name: &str| Command::TimeZone(Some(name.to_owned()));
        for (text, expected) in [
            ("/start", Some(Command::Start(None))),
            ("/start abc-123", Some(Command::Start(None))),
            (&format!("/start {token}"), Some(Command::Start(SignInId::from_parameter(&token)))),
            ("/START@NBHD_bot", Some(Command::Start(None))),
            ("/connect", Some(Command::Connect)),
            ("/disconnect", Some(Command::Disconnect(ServiceSelection::All))),
            ("/disconnect Gmail", Some(Command::Disconnect(ServiceSelection::One(Provider::Gmail)))),
            ("/disconnect\ncalendar ", Some(calendar)),
            ("/disconnect outlook", Some(Command::Disconnect(ServiceSelection::Unknown))),
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
