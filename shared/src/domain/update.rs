//! Reads from a Telegram update whose it is and what its text says. Nothing else of it is read here.
//!
//! The parser is total: it sorts any bytes into one of the kinds below. It requires no field that it does not use, so
//! that a field that Telegram adds or changes never causes a genuine message to be refused.
//! <https://core.telegram.org/bots/api#update>

use super::ids::ChatId;
use super::lenient_json::{Fields, replace_lone_surrogates};
use super::person::Person;

/// The topic that every forum has; nothing is sent to it by its number.
const GENERAL_TOPIC: i64 = 1;

/// An update, sorted by how the webhook processes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A person acted in their private chat with the bot.
    Private(PrivateUpdate),
    /// A message in a group or a channel, where the bot serves nobody.
    NonPrivate {
        /// Telegram's number of the update.
        update_id: i64,
        /// The group or channel.
        chat: ChatId,
        /// The topic of the group that the message is in.
        topic: Option<i64>,
        /// The message's text; empty when it has none.
        text: String,
    },
    /// An update that the bot does not process; carries a reason from a fixed list, for the log.
    Unusable(&'static str),
}

/// A message, an edited message or a pressed button in a private chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateUpdate {
    /// Telegram's number of the update; it grows with each one.
    pub update_id: i64,
    /// The chat; its id is also the person's user id.
    pub chat: ChatId,
    /// The id of the message, or of the one whose button was pressed; unique within the chat.
    pub message_id: Option<i64>,
    /// The topic of the chat that the message is in (`message_thread_id`), when the chat is divided into topics.
    pub topic: Option<i64>,
    /// Whether the message is one item of an album; an album has at most ten, and each comes as an update.
    pub is_album_item: bool,
    /// Whether it is a new message, written by the chat's own person: what may confirm something.
    pub is_new_message: bool,
    /// The person, as far as Telegram describes them.
    pub person: Person,
    /// The message's text; empty when it has none, or is a pressed button.
    pub text: String,
}

/// The kinds of update that a person causes in a chat with the bot.
const KINDS: [&str; 3] = ["message", "edited_message", "callback_query"];

impl Update {
    /// Parses the body of a webhook request; never fails.
    pub fn parse(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = replace_lone_surrogates(text.trim_start_matches('\u{feff}'));
        let Some(update) = Fields::parse(&text) else { return Self::Unusable("not_json") };
        let Some(update_id) = update.integer("update_id") else { return Self::Unusable("no_update_id") };
        let Some((kind, content)) = KINDS.iter().find_map(|kind| Some((*kind, update.object(kind)?))) else {
            return Self::Unusable(Self::other_kind(&update));
        };
        let pressed = if kind == "callback_query" { content.object("message") } else { None };
        let message = pressed.as_ref().unwrap_or(&content);
        let Some(chat) = message.object("chat") else { return Self::Unusable("no_chat") };
        let Some(id) = chat.integer("id") else { return Self::Unusable("no_chat") };

        let topic = message.integer("message_thread_id").filter(|_| message.is_true("is_topic_message"));
        let text = content.text("text");
        let from = content.object("from");
        match chat.text("type").as_str() {
            "private" => Self::Private(PrivateUpdate {
                update_id,
                chat: ChatId(id),
                message_id: message.integer("message_id"),
                topic,
                is_album_item: !content.text("media_group_id").is_empty(),
                is_new_message: kind == "message" && is_written_by(from.as_ref(), id),
                person: from.map(|user| Person::from_fields(&user)).unwrap_or_default(),
                text,
            }),
            "group" | "supergroup" | "channel" => {
                let topic = topic.filter(|topic| *topic != GENERAL_TOPIC);
                Self::NonPrivate { update_id, chat: ChatId(id), topic, text }
            }
            _ => Self::Unusable("no_chat_type"),
        }
    }

    /// The name of a kind that the bot does not process, from a fixed list: text from outside is never copied to a log.
    fn other_kind(update: &Fields<'_>) -> &'static str {
        const OTHERS: [&str; 22] = [
            "my_chat_member",
            "chat_member",
            "chat_join_request",
            "channel_post",
            "edited_channel_post",
            "message_reaction",
            "message_reaction_count",
            "inline_query",
            "chosen_inline_result",
            "poll",
            "poll_answer",
            "shipping_query",
            "pre_checkout_query",
            "purchased_paid_media",
            "business_connection",
            "business_message",
            "edited_business_message",
            "deleted_business_messages",
            "guest_message",
            "chat_boost",
            "removed_chat_boost",
            "managed_bot",
        ];
        OTHERS.into_iter().find(|kind| update.contains(kind)).unwrap_or("unknown_kind")
    }
}

/// Whether a person, and no bot, wrote it in their own private chat, whose id is theirs.
fn is_written_by(from: Option<&Fields<'_>>, chat: i64) -> bool {
    from.is_some_and(|user| user.integer("id") == Some(chat) && !user.is_true("is_bot"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_private_message_yields_who_and_what() {
        let update = json!({"update_id": 7, "message": {
            "message_id": 1, "date": 0, "text": "/start", "chat": {"id": 1001, "type": "private"},
            "from": {"id": 1001, "is_bot": false, "first_name": "Ana\u{7}\u{202e}", "last_name": "Lima"},
        }});
        let expected = PrivateUpdate {
            update_id: 7,
            chat: ChatId(1001),
            message_id: Some(1),
            topic: None,
            is_album_item: false,
            is_new_message: true,
            person: Person { name: "Ana Lima".to_owned(), username: None, id_ending: "1001".to_owned() },
            text: "/start".to_owned(),
        };
        assert_eq!(parse(&update), Update::Private(expected));
    }

    #[test]
    fn a_new_message_is_one_that_the_chats_own_person_wrote() {
        let message = |from: Value| json!({"chat": {"id": 5, "type": "private"}, "from": from, "text": "hi"});
        let own = json!({"id": 5, "is_bot": false});
        for (kind, message, expected) in [
            ("message", message(own.clone()), true),
            ("edited_message", message(own.clone()), false),
            (
                "callback_query",
                json!({"id": "1", "from": own, "message": message(json!({"id": 1, "is_bot": true}))}),
                false,
            ),
            ("message", message(json!({"id": 6, "is_bot": false})), false),
            ("message", message(json!({"id": 5, "is_bot": true})), false),
            ("message", message(json!(null)), false),
        ] {
            let update = json!({"update_id": 7, kind: message});
            let Update::Private(private) = parse(&update) else { panic!("{update}") };
            assert_eq!(private.is_new_message, expected, "{update}");
        }
    }

    #[test]
    fn a_topic_is_one_that_telegram_calls_so_and_never_the_general_one_of_a_group() {
        let message = |chat: &str, thread: Value, is_topic: bool| {
            let chat = json!({"id": 5, "type": chat});
            json!({"chat": chat, "message_thread_id": thread, "is_topic_message": is_topic})
        };
        let topic = |update: Value| match parse(&update) {
            Update::Private(private) => private.topic,
            Update::NonPrivate { topic, .. } => topic,
            Update::Unusable(reason) => panic!("{reason}"),
        };
        for (chat, thread, is_topic, expected) in [
            ("private", json!(77), true, Some(77)),
            ("private", json!(77), false, None),
            ("private", json!("77"), true, None),
            ("supergroup", json!(77), true, Some(77)),
            ("supergroup", json!(1), true, None),
        ] {
            let message = message(chat, thread, is_topic);
            assert_eq!(topic(json!({"update_id": 7, "message": message})), expected, "{message}");
            let pressed = json!({"update_id": 7, "callback_query": {"id": "1", "message": message}});
            assert_eq!(topic(pressed), expected, "{message}");
        }
    }

    #[test]
    fn what_json_readers_differ_about_does_not_refuse_a_message() {
        let deep = format!("{}{}", "{\"a\":".repeat(50_000), "1".to_owned() + &"}".repeat(50_000));
        let chat = r#""chat":{"id":1001,"type":"private"}"#;
        for extra in [
            r#""entities":[{"length":1e999,"offset":-123456789012345678901234567890}]"#.to_owned(),
            format!("\"reply_to_message\":{deep}"),
            r#""caption":"\ud83d","\udc00":1,"document":{"file_name":"\udfff.pdf"}"#.to_owned(),
            r#""chat":{"id":9,"type":"private"}"#.to_owned(),
            r#""text":"first""#.to_owned(),
        ] {
            let from = r#""from":{"id":1001,"first_name":"A\ud83d","last_name":"\u0000B"}"#;
            let body = format!(
                "\u{feff}{{\"update_id\":7,\"message\":{{{extra},{from},{chat},\"text\":\"/start \\ud83d\"}}}}"
            );
            let Update::Private(private) = Update::parse(body.as_bytes()) else { panic!("a private message") };
            assert_eq!((private.chat, private.person.name.as_str()), (ChatId(1001), "A\u{fffd} B"));
            assert_eq!(private.text, "/start \u{fffd}");
        }
        let body = b"{\"update_id\":7,\"message\":{\"chat\":{\"id\":1001,\"type\":\"private\"},\"text\":\"\xff\"}}";
        assert!(matches!(Update::parse(body), Update::Private(private) if private.text == "\u{fffd}"));
    }

    #[test]
    fn fields_of_an_unexpected_type_do_not_refuse_a_message() {
        let update = json!({"update_id": 7, "message": {
            "message_id": "x", "text": {"rich": []}, "chat": {"id": 1001, "type": "private", "title": 5}, "from": "Ana",
        }});
        let Update::Private(private) = parse(&update) else { panic!("still a private message") };
        assert_eq!((private.person.name.as_str(), private.text.as_str()), ("", ""));
    }

    #[test]
    fn edits_and_pressed_buttons_are_the_persons_too() {
        let chat = json!({"id": 1001, "type": "private"});
        let edited = json!({"update_id": 7, "edited_message": {"chat": chat, "text": "hi"}});
        let pressed =
            json!({"update_id": 8, "callback_query": {"id": "1", "data": "/start", "message": {"chat": chat}}});
        for update in [edited, pressed] {
            assert!(matches!(parse(&update), Update::Private(private) if private.text != "/start"), "{update}");
        }
    }

    #[test]
    fn everything_else_is_named_from_a_fixed_list() {
        let group = json!({"id": -100, "type": "supergroup"});
        for (update, expected) in [
            (json!(null), Update::Unusable("not_json")),
            (json!({"update_id": "7", "message": {}}), Update::Unusable("no_update_id")),
            (json!({"update_id": 7}), Update::Unusable("unknown_kind")),
            (json!({"update_id": 7, "secret_name": {}}), Update::Unusable("unknown_kind")),
            (json!({"update_id": 7, "my_chat_member": {"chat": group}}), Update::Unusable("my_chat_member")),
            (json!({"update_id": 7, "channel_post": {"chat": group}}), Update::Unusable("channel_post")),
            (json!({"update_id": 7, "message": {"text": "hi"}}), Update::Unusable("no_chat")),
            (json!({"update_id": 7, "callback_query": {"inline_message_id": "1"}}), Update::Unusable("no_chat")),
            (json!({"update_id": 7, "message": {"chat": {"id": 5}}}), Update::Unusable("no_chat_type")),
            (
                json!({"update_id": 7, "message": {"chat": group, "text": "hi"}}),
                Update::NonPrivate { update_id: 7, chat: ChatId(-100), topic: None, text: "hi".to_owned() },
            ),
        ] {
            assert_eq!(parse(&update), expected, "{update}");
        }
        assert_eq!(Update::parse(b"{"), Update::Unusable("not_json"));
        assert_eq!(Update::parse(b"\xff\xfe"), Update::Unusable("not_json"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_sorted(body in proptest::collection::vec(any::<u8>(), 0..512)) {
            Update::parse(&body);
        }

        #[test]
        fn anything_in_an_updates_shape_is_sorted(
            kind in "message|edited_message|callback_query|channel_post|[a-z_]{1,9}",
            chat in nonsense(),
            content in nonsense(),
            update_id in nonsense(),
        ) {
            let mut update = json!({"update_id": update_id});
            update[kind.as_str()] = json!({"chat": chat, "message": content, "from": content, "text": content});
            parse(&update);
        }
    }

    fn parse(update: &Value) -> Update {
        Update::parse(update.to_string().as_bytes())
    }

    /// Any JSON at all.
    fn nonsense() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("id|type|text|chat|first_name|[a-z]{1,5}", inner, 0..4)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<serde_json::Map<_, _>>())),
            ]
        })
    }
}
