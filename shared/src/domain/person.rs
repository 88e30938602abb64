//! Who a person is in Telegram, as far as others may be shown it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient_json::Fields;
use super::visible::visible_line;

/// The most characters of a display name; a longer one is cut.
const LONGEST_NAME: usize = 64;

/// How many digits of a Telegram id are shown: enough to tell two people apart, too few to find one.
const SHOWN_DIGITS: usize = 4;

/// What the pages show of the person whose assistant is connected.
///
/// A person chooses their display name freely, so it proves nothing; their user name is theirs alone, and the digits of
/// their id cannot be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The display name: `First Last`, at most 64 characters, without what is invisible; empty when Telegram gives
    /// none.
    pub name: String,
    /// The user name without `@`, 5 to 32 of `A-Za-z0-9_`. <https://core.telegram.org/bots/api#user>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The last digits of the Telegram id.
    #[serde(default)]
    pub id_ending: String,
}

impl Person {
    /// Reads a `User`, or the `Chat` of a private chat, of the Bot API.
    pub fn from_json(user: &Value) -> Self {
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        Self::new(user["id"].as_i64(), &text("first_name"), &text("last_name"), text("username"))
    }

    pub(super) fn from_fields(user: &Fields<'_>) -> Self {
        Self::new(user.integer("id"), &user.text("first_name"), &user.text("last_name"), user.text("username"))
    }

    fn new(id: Option<i64>, first: &str, last: &str, username: String) -> Self {
        let whole = format!("{first} {last}");
        let name = visible_line(&whole).text.trim().chars().take(LONGEST_NAME).collect();
        let is_valid = (1..=32).contains(&username.len())
            && username.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let digits = id.map(|id| id.unsigned_abs().to_string()).unwrap_or_default();
        let id_ending = digits.get(digits.len().saturating_sub(SHOWN_DIGITS)..).unwrap_or_default().to_owned();
        Self { name, username: Some(username).filter(|_| is_valid), id_ending }
    }

    /// What tells this person from everybody who gave themselves the same name.
    pub fn account(&self) -> String {
        let username = self.username.as_ref().map_or_else(|| "no username".to_owned(), |name| format!("@{name}"));
        format!("{username} · id ending in {}", self.id_ending)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn two_people_of_one_name_differ_in_what_neither_can_choose() {
        let ada = Person::from_json(&json!({"id": 4_711_001, "first_name": "Ada", "username": "ada_l"}));
        let other = Person::from_json(&json!({"id": 4_711_002, "first_name": "A\u{200b}da\u{2060}"}));
        assert_eq!(ada.name, other.name);
        assert_eq!(ada.account(), "@ada_l · id ending in 1001");
        assert_eq!(other.account(), "no username · id ending in 1002");
    }

    #[test]
    fn what_is_no_user_name_counts_as_none() {
        for username in [json!(""), json!("@ada"), json!("ada lovelace"), json!("аda"), json!(7), json!("a".repeat(33))]
        {
            assert_eq!(Person::from_json(&json!({"id": 1, "username": username})).username, None, "{username}");
        }
        assert_eq!(Person::from_json(&json!({"id": 17})).id_ending, "17");
        assert_eq!(Person::from_json(&json!("Ada")), Person::default());
    }

    proptest! {
        #[test]
        fn a_name_is_short_and_printable(first in ".{0,200}", last in ".{0,200}") {
            let name = Person::from_json(&json!({"first_name": first, "last_name": last})).name;
            prop_assert!(name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control));
        }
    }
}
