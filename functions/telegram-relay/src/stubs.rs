//! Stubs of the methods about the bot itself.
//!
//! The bot is shared, and every runtime sets its webhook and its commands as it starts, so the relay answers these
//! calls itself; their parameters have no effect.

use serde_json::{Value, json};

const BOT_NAME: &str = "NBHD United";

/// The shared bot, as a runtime sees it.
#[derive(Clone, Debug)]
pub(crate) struct BotIdentity {
    /// The bot's user id.
    pub(crate) id: i64,
    /// The bot's user name, without `@`.
    pub(crate) username: String,
}

/// The methods that the relay answers itself.
pub const METHODS: [&str; 7] =
    ["getMe", "getWebhookInfo", "setWebhook", "deleteWebhook", "getMyCommands", "setMyCommands", "deleteMyCommands"];

/// The result of `method` if it is one of [`METHODS`]; the case of its name does not matter.
pub(crate) fn stub_result(method: &str, bot: &BotIdentity) -> Option<Value> {
    let known = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method))?;
    Some(match known {
        "getMe" => me(bot),
        "getWebhookInfo" => json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0}),
        "getMyCommands" => json!([]),
        _ => json!(true),
    })
}

/// <https://core.telegram.org/bots/api#getme>
fn me(bot: &BotIdentity) -> Value {
    json!({
        "id": bot.id,
        "is_bot": true,
        "first_name": BOT_NAME,
        "username": bot.username,
        "can_join_groups": false,
        "can_read_all_group_messages": false,
        "supports_inline_queries": false,
        "can_connect_to_business": false,
        "has_main_web_app": false,
    })
}
