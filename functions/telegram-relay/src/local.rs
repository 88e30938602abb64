//! Methods about the bot itself, answered here: the bot is shared, and at every start a runtime would seize its webhook
//! and its commands. Their parameters have no effect.

use serde_json::{Value, json};

const BOT_NAME: &str = "NBHD United";

/// The shared bot, as a runtime sees it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Its user id.
    pub(crate) id: i64,
    /// Its name behind `@`.
    pub(crate) username: String,
}

/// The methods answered here.
pub const METHODS: [&str; 7] =
    ["getMe", "getWebhookInfo", "setWebhook", "deleteWebhook", "getMyCommands", "setMyCommands", "deleteMyCommands"];

/// The result of `method`, when it is one of [`METHODS`]; its name is compared without regard to case.
pub(crate) fn result(method: &str, bot: &Identity) -> Option<Value> {
    let known = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method))?;
    Some(match known {
        "getMe" => me(bot),
        "getWebhookInfo" => json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0}),
        "getMyCommands" => json!([]),
        _ => json!(true),
    })
}

/// <https://core.telegram.org/bots/api#getme>
fn me(bot: &Identity) -> Value {
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
