//! What a runtime may call, parameter by parameter: everything that is not in this table is refused.
//!
//! The table follows the Bot API's own order and names (<https://core.telegram.org/bots/api#available-methods>). It
//! lists what is refused within an allowed method too, so that a new parameter of Telegram's cannot be overlooked: a
//! test holds the table to Telegram's published contract.
//!
//! File ids and callback query ids are not checked against the tenant: Telegram makes them unguessable, and a runtime
//! learns only those that its own chat's updates carry.

use Rule::{Decimal, Flag, List, Media, Object, OwnChat, Refused, Text, Url, Whole};

/// A method that is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name, as Telegram spells it.
    pub name: &'static str,
    /// Which limit it counts against.
    pub pace: Pace,
    /// Its parameters, in groups.
    pub parameters: &'static [&'static [Parameter]],
}

/// A parameter, or a field of a nested object, and what it must hold.
pub type Parameter = (&'static str, Rule);

/// Which of a tenant's limits a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Something appears or changes in the chat.
    Send,
    /// Anything else that costs Telegram a call.
    Call,
}

/// What a parameter must hold to be passed on.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// The tenant's own chat, as a number or as its digits.
    OwnChat,
    /// A whole number.
    Whole,
    /// A number.
    Decimal,
    /// True or false.
    Flag,
    /// Any text.
    Text,
    /// An http(s) address.
    Url,
    /// A file sent along, an `attach://` name of one, a file id, or an http(s) address that Telegram fetches.
    Media,
    /// An object of these fields and no others.
    Object(&'static [Parameter]),
    /// A list of values of one kind.
    List(&'static Self),
    /// Known to Telegram and never passed on; why.
    Refused(&'static str),
}

impl Method {
    /// The allowed method of this name, which Telegram compares without regard to case.
    pub fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name.eq_ignore_ascii_case(name))
    }

    /// All its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        self.parameters.iter().copied().flatten()
    }

    /// Whether it speaks to a chat; then it must name the tenant's.
    pub fn names_a_chat(&self) -> bool {
        self.parameters().any(|(name, _)| *name == "chat_id")
    }
}

/// Every method that is passed on.
pub const METHODS: &[Method] = &[
    // Text and media.
    send("sendMessage", &[DELIVERY, MARKUP, TEXT]),
    send("sendPhoto", &[DELIVERY, MARKUP, CAPTION, ABOVE, &[("photo", Media), ("has_spoiler", Flag)]]),
    send(
        "sendLivePhoto",
        &[DELIVERY, MARKUP, CAPTION, ABOVE, &[("live_photo", Media), ("photo", Media), ("has_spoiler", Flag)]],
    ),
    send(
        "sendAudio",
        &[
            DELIVERY,
            MARKUP,
            CAPTION,
            &[("audio", Media), ("duration", Whole), ("performer", Text), ("title", Text), ("thumbnail", Media)],
        ],
    ),
    send(
        "sendDocument",
        &[
            DELIVERY,
            MARKUP,
            CAPTION,
            &[("document", Media), ("thumbnail", Media), ("disable_content_type_detection", Flag)],
        ],
    ),
    send(
        "sendVideo",
        &[
            DELIVERY,
            MARKUP,
            CAPTION,
            ABOVE,
            FRAME,
            &[("video", Media), ("cover", Media), ("start_timestamp", Whole), ("supports_streaming", Flag)],
        ],
    ),
    send("sendAnimation", &[DELIVERY, MARKUP, CAPTION, ABOVE, FRAME, &[("animation", Media)]]),
    send("sendVoice", &[DELIVERY, MARKUP, CAPTION, &[("voice", Media), ("duration", Whole)]]),
    send(
        "sendVideoNote",
        &[DELIVERY, MARKUP, &[("video_note", Media), ("duration", Whole), ("length", Whole), ("thumbnail", Media)]],
    ),
    send("sendMediaGroup", &[DELIVERY, &[("media", List(&INPUT_MEDIA))]]),
    send("sendLocation", &[DELIVERY, MARKUP, PLACE]),
    send("sendVenue", &[DELIVERY, MARKUP, VENUE]),
    send(
        "sendContact",
        &[DELIVERY, MARKUP, &[("phone_number", Text), ("first_name", Text), ("last_name", Text), ("vcard", Text)]],
    ),
    send("sendPoll", &[DELIVERY, MARKUP, POLL]),
    send("sendDice", &[DELIVERY, MARKUP, &[("emoji", Text)]]),
    send("sendSticker", &[DELIVERY, MARKUP, &[("sticker", Media), ("emoji", Text)]]),
    // What is shown beside messages.
    call("sendChatAction", &[CHAT, &[("message_thread_id", Whole), ("action", Text)]]),
    call("setMessageReaction", &[CHAT, MESSAGE, &[("reaction", List(&REACTION)), ("is_big", Flag)]]),
    call(
        "answerCallbackQuery",
        &[&[
            ("callback_query_id", Text),
            ("text", Text),
            ("show_alert", Flag),
            ("url", Refused("it opens an address without the person's doing")),
            ("cache_time", Whole),
        ]],
    ),
    // Edits and deletes.
    send("editMessageText", &[EDIT, TEXT, &[("rich_message", RICH)]]),
    send("editMessageCaption", &[EDIT, CAPTION, ABOVE]),
    send("editMessageMedia", &[EDIT, &[("media", INPUT_MEDIA)]]),
    send("editMessageLiveLocation", &[EDIT, PLACE]),
    send("stopMessageLiveLocation", &[EDIT]),
    send("editMessageReplyMarkup", &[EDIT]),
    send("stopPoll", &[EDIT]),
    call("deleteMessage", &[CHAT, MESSAGE]),
    call("deleteMessages", &[CHAT, &[("message_ids", List(&Whole))]]),
    // Files: the answer's path is replaced by one that is signed for this tenant.
    call("getFile", &[&[("file_id", Text)]]),
];

const fn send(name: &'static str, parameters: &'static [&'static [Parameter]]) -> Method {
    Method { name, pace: Pace::Send, parameters }
}

const fn call(name: &'static str, parameters: &'static [&'static [Parameter]]) -> Method {
    Method { name, pace: Pace::Call, parameters }
}

const BUSINESS: Rule = Refused("it names a chat of someone else's business account");
const PAYMENT: Rule = Refused("it spends or takes payments");
const RICH: Rule = Refused("its markup embeds media and people that are not checked here");
const MINI_APP: Rule = Refused("it hands the person's identity to a website");
const CHAT_PICKER: Rule = Refused("it asks for other chats or people");

/// Where every method speaks to.
const CHAT: &[Parameter] = &[("chat_id", OwnChat), ("business_connection_id", BUSINESS)];

/// Which message is meant.
const MESSAGE: &[Parameter] = &[("message_id", Whole)];

/// Where and how every send is delivered.
const DELIVERY: &[Parameter] = &[
    ("chat_id", OwnChat),
    ("business_connection_id", BUSINESS),
    ("message_thread_id", Whole),
    ("direct_messages_topic_id", Refused("it names a topic of a channel's direct messages")),
    ("disable_notification", Flag),
    ("protect_content", Flag),
    ("allow_paid_broadcast", PAYMENT),
    ("message_effect_id", Text),
    ("suggested_post_parameters", PAYMENT),
    ("reply_parameters", REPLY),
];

const MARKUP: &[Parameter] = &[("reply_markup", KEYBOARD)];

const TEXT: &[Parameter] =
    &[("text", Text), ("parse_mode", Text), ("entities", List(&ENTITY)), ("link_preview_options", LINK_PREVIEW)];

const CAPTION: &[Parameter] = &[("caption", Text), ("parse_mode", Text), ("caption_entities", List(&ENTITY))];

const ABOVE: &[Parameter] = &[("show_caption_above_media", Flag)];

/// How a moving picture is shown.
const FRAME: &[Parameter] =
    &[("duration", Whole), ("width", Whole), ("height", Whole), ("thumbnail", Media), ("has_spoiler", Flag)];

const PLACE: &[Parameter] = &[
    ("latitude", Decimal),
    ("longitude", Decimal),
    ("horizontal_accuracy", Decimal),
    ("live_period", Whole),
    ("heading", Whole),
    ("proximity_alert_radius", Whole),
];

const VENUE: &[Parameter] = &[
    ("latitude", Decimal),
    ("longitude", Decimal),
    ("title", Text),
    ("address", Text),
    ("foursquare_id", Text),
    ("foursquare_type", Text),
    ("google_place_id", Text),
    ("google_place_type", Text),
];

const POLL: &[Parameter] = &[
    ("question", Text),
    ("question_parse_mode", Text),
    ("question_entities", List(&ENTITY)),
    ("options", List(&POLL_OPTION)),
    ("is_anonymous", Flag),
    ("type", Text),
    ("allows_multiple_answers", Flag),
    ("allows_revoting", Flag),
    ("shuffle_options", Flag),
    ("allow_adding_options", Flag),
    ("hide_results_until_closes", Flag),
    ("members_only", Flag),
    ("country_codes", List(&Text)),
    ("correct_option_ids", List(&Whole)),
    ("explanation", Text),
    ("explanation_parse_mode", Text),
    ("explanation_entities", List(&ENTITY)),
    ("explanation_media", POLL_MEDIA),
    ("open_period", Whole),
    ("close_date", Whole),
    ("is_closed", Flag),
    ("description", Text),
    ("description_parse_mode", Text),
    ("description_entities", List(&ENTITY)),
    ("media", POLL_MEDIA),
];

const POLL_OPTION: Rule =
    Object(&[("text", Text), ("text_parse_mode", Text), ("text_entities", List(&ENTITY)), ("media", POLL_MEDIA)]);

const POLL_MEDIA: Rule = Refused("a poll is sent as text");

/// What every edit names.
const EDIT: &[Parameter] = &[
    ("chat_id", OwnChat),
    ("message_id", Whole),
    ("business_connection_id", BUSINESS),
    ("inline_message_id", Refused("it names a message in any chat")),
    ("reply_markup", INLINE_KEYBOARD),
];

/// <https://core.telegram.org/bots/api#replyparameters>
const REPLY: Rule = Object(&[
    ("message_id", Whole),
    ("chat_id", OwnChat),
    ("allow_sending_without_reply", Flag),
    ("quote", Text),
    ("quote_parse_mode", Text),
    ("quote_entities", List(&ENTITY)),
    ("quote_position", Whole),
    ("checklist_task_id", Whole),
    ("poll_option_id", Text),
]);

/// <https://core.telegram.org/bots/api#messageentity>
const ENTITY: Rule = Object(&[
    ("type", Text),
    ("offset", Whole),
    ("length", Whole),
    ("url", Url),
    ("user", Refused("Telegram would answer with that person's name")),
    ("language", Text),
    ("custom_emoji_id", Text),
    ("unix_time", Whole),
    ("date_time_format", Text),
]);

/// <https://core.telegram.org/bots/api#linkpreviewoptions>
const LINK_PREVIEW: Rule = Object(&[
    ("is_disabled", Flag),
    ("url", Url),
    ("prefer_small_media", Flag),
    ("prefer_large_media", Flag),
    ("show_above_text", Flag),
]);

/// <https://core.telegram.org/bots/api#reactiontype>
const REACTION: Rule = Object(&[("type", Text), ("emoji", Text), ("custom_emoji_id", Text)]);

/// Any of `InputMedia`; which fields belong together is Telegram's to say.
/// <https://core.telegram.org/bots/api#inputmedia>
const INPUT_MEDIA: Rule = Object(&[
    ("type", Text),
    ("media", Media),
    ("thumbnail", Media),
    ("cover", Media),
    ("photo", Media),
    ("caption", Text),
    ("parse_mode", Text),
    ("caption_entities", List(&ENTITY)),
    ("show_caption_above_media", Flag),
    ("has_spoiler", Flag),
    ("width", Whole),
    ("height", Whole),
    ("duration", Whole),
    ("start_timestamp", Whole),
    ("supports_streaming", Flag),
    ("performer", Text),
    ("title", Text),
    ("disable_content_type_detection", Flag),
]);

/// An inline keyboard, a reply keyboard, its removal, or a forced reply.
/// <https://core.telegram.org/bots/api#inlinekeyboardmarkup>
const KEYBOARD: Rule = Object(&[
    BUTTONS,
    ("keyboard", List(&List(&BUTTON))),
    ("is_persistent", Flag),
    ("resize_keyboard", Flag),
    ("one_time_keyboard", Flag),
    ("input_field_placeholder", Text),
    ("selective", Flag),
    ("remove_keyboard", Flag),
    ("force_reply", Flag),
]);

/// The only kind a message that is edited can have.
const INLINE_KEYBOARD: Rule = Object(&[BUTTONS]);

const BUTTONS: Parameter = ("inline_keyboard", List(&List(&INLINE_BUTTON)));

/// <https://core.telegram.org/bots/api#inlinekeyboardbutton>
const INLINE_BUTTON: Rule = Object(&[
    ("text", Text),
    ("icon_custom_emoji_id", Text),
    ("style", Text),
    ("url", Url),
    ("callback_data", Text),
    ("web_app", MINI_APP),
    ("login_url", MINI_APP),
    ("switch_inline_query", CHAT_PICKER),
    ("switch_inline_query_current_chat", CHAT_PICKER),
    ("switch_inline_query_chosen_chat", CHAT_PICKER),
    ("copy_text", Object(&[("text", Text)])),
    ("callback_game", Refused("there are no games")),
    ("pay", PAYMENT),
]);

/// <https://core.telegram.org/bots/api#keyboardbutton>
const BUTTON: Rule = Object(&[
    ("text", Text),
    ("icon_custom_emoji_id", Text),
    ("style", Text),
    ("request_users", CHAT_PICKER),
    ("request_chat", CHAT_PICKER),
    ("request_managed_bot", CHAT_PICKER),
    ("request_contact", Flag),
    ("request_location", Flag),
    ("request_poll", Object(&[("type", Text)])),
    ("web_app", MINI_APP),
]);
