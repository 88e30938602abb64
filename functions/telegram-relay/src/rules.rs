//! Lists the calls that a runtime may make, parameter by parameter: everything that is not in this table is refused.
//!
//! The table follows the Bot API's own order and names (<https://core.telegram.org/bots/api#available-methods>). It
//! lists what is refused within an allowed method too, so that a new parameter of Telegram's cannot be overlooked: a
//! test holds the table to Telegram's published contract.
//!
//! Nothing leaves the chat without the person's doing: Telegram fetches no address for a runtime, neither for a preview
//! nor for a file, and no button opens or copies anything. A link in a text stays: nobody follows it but the person.
//!
//! File ids and callback query ids are not checked against the tenant: Telegram makes them unguessable, and a runtime
//! learns only those that its own chat's updates carry.

use Rule::{
    Boolean, Dropped, Float, Integer, Labelled, List, Media, NoPreview, Object, OwnChat, ParseMode, Refused, Text, Url,
};

/// A method that the relay forwards.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The method's name as Telegram spells it.
    pub name: &'static str,
    /// The rate limit that a call counts against.
    pub pace: Pace,
    /// The method's parameters, in groups that methods share.
    pub parameters: &'static [&'static [Parameter]],
}

/// The name of a parameter, or of a nested object's field, and the rule that its value must keep.
pub type Parameter = (&'static str, Rule);

/// The one of a tenant's rate limits that a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The call shows or changes something in the chat.
    Send,
    /// Any other call to Telegram.
    Call,
}

/// The rule that a parameter's value must keep to be forwarded.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// The tenant's own chat, as a number or as its digits.
    OwnChat,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// A boolean, as JSON or as its text.
    Boolean,
    /// Any text.
    Text,
    /// How another text is marked up; links into Telegram are taken out of that one.
    ParseMode,
    /// An http(s) address. The object that has another one, such as a link to a person, is left out as by
    /// [`Rule::Dropped`].
    Url,
    /// A file of the call, an `attach://` name of one, or a file id; no address, which Telegram would fetch.
    Media,
    /// Options of link previews. Whatever is given, or if nothing is, they are off: a preview is fetched as soon as the
    /// text is sent, and its address can carry anything that the runtime knows.
    NoPreview,
    /// An object of these fields and no others.
    Object(&'static [Parameter]),
    /// An object of these fields and no others, or its `text` alone.
    Labelled(&'static [Parameter]),
    /// A list of values of one kind.
    List(&'static Self),
    /// A field that Telegram knows and the relay never forwards: the object that has it is left out, and the rest of
    /// the call goes on, so that a person does not lose an answer for a button. Carries the reason.
    Dropped(&'static str),
    /// A parameter that Telegram knows and the relay never forwards: the call is refused. Carries the reason.
    Refused(&'static str),
}

impl Method {
    /// Finds the allowed method of this name; like Telegram, without regard to case.
    pub fn find(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name.eq_ignore_ascii_case(name))
    }

    /// Every parameter of the method, out of all its groups.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        self.parameters.iter().copied().flatten()
    }

    /// Whether the method has a `chat_id`; a call must then name the tenant's chat.
    pub fn takes_chat_id(&self) -> bool {
        self.parameters().any(|(name, _)| *name == "chat_id")
    }
}

/// Every method that the relay forwards.
pub const METHODS: &[Method] = &[
    // Text and media.
    send("sendMessage", &[DELIVERY, MARKUP, TEXT]),
    send("sendPhoto", &[DELIVERY, MARKUP, CAPTION, ABOVE, &[("photo", Media), ("has_spoiler", Boolean)]]),
    send(
        "sendLivePhoto",
        &[DELIVERY, MARKUP, CAPTION, ABOVE, &[("live_photo", Media), ("photo", Media), ("has_spoiler", Boolean)]],
    ),
    send(
        "sendAudio",
        &[
            DELIVERY,
            MARKUP,
            CAPTION,
            &[("audio", Media), ("duration", Integer), ("performer", Text), ("title", Text), ("thumbnail", Media)],
        ],
    ),
    send(
        "sendDocument",
        &[
            DELIVERY,
            MARKUP,
            CAPTION,
            &[("document", Media), ("thumbnail", Media), ("disable_content_type_detection", Boolean)],
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
            &[("video", Media), ("cover", Media), ("start_timestamp", Integer), ("supports_streaming", Boolean)],
        ],
    ),
    send("sendAnimation", &[DELIVERY, MARKUP, CAPTION, ABOVE, FRAME, &[("animation", Media)]]),
    send("sendVoice", &[DELIVERY, MARKUP, CAPTION, &[("voice", Media), ("duration", Integer)]]),
    send(
        "sendVideoNote",
        &[DELIVERY, MARKUP, &[("video_note", Media), ("duration", Integer), ("length", Integer), ("thumbnail", Media)]],
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
    call("sendChatAction", &[CHAT, &[("message_thread_id", Integer), ("action", Text)]]),
    call("setMessageReaction", &[CHAT, MESSAGE, &[("reaction", List(&REACTION)), ("is_big", Boolean)]]),
    call(
        "answerCallbackQuery",
        &[&[
            ("callback_query_id", Text),
            ("text", Text),
            ("show_alert", Boolean),
            ("url", Refused("it opens an address without the person's doing")),
            ("cache_time", Integer),
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
    call("deleteMessages", &[CHAT, &[("message_ids", List(&Integer))]]),
    // Files: the answer's path is replaced by one that is signed for this tenant.
    call("getFile", &[&[("file_id", Text)]]),
];

const fn send(name: &'static str, parameters: &'static [&'static [Parameter]]) -> Method {
    Method { name, pace: Pace::Send, parameters }
}

const fn call(name: &'static str, parameters: &'static [&'static [Parameter]]) -> Method {
    Method { name, pace: Pace::Call, parameters }
}

/// Why no rich message is forwarded. It begins as Telegram does when it cannot read one: `OpenClaw` then sends the same
/// text as a plain message.
pub const RICH_REFUSAL: &str = "can't parse InputRichBlock: media and people in it are not checked here";

/// Methods whose whole content is a rich message.
pub const RICH_METHODS: [&str; 2] = ["sendRichMessage", "sendRichMessageDraft"];

const BUSINESS: Rule = Refused("it names a chat of someone else's business account");
const PAYMENT: Rule = Refused("it spends or takes payments");
const RICH: Rule = Refused(RICH_REFUSAL);
const MINI_APP: Rule = Dropped("it hands the person's identity to a website");
const ADDRESS: Rule = Dropped("its address is not seen before it is opened");
const CHAT_PICKER: Rule = Dropped("it asks for other chats or people");

/// The chat that a method addresses.
const CHAT: &[Parameter] = &[("chat_id", OwnChat), ("business_connection_id", BUSINESS)];

/// The message that a method refers to.
const MESSAGE: &[Parameter] = &[("message_id", Integer)];

/// The chat that every send addresses, and how it is delivered.
const DELIVERY: &[Parameter] = &[
    ("chat_id", OwnChat),
    ("business_connection_id", BUSINESS),
    ("message_thread_id", Integer),
    ("direct_messages_topic_id", Refused("it names a topic of a channel's direct messages")),
    ("disable_notification", Boolean),
    ("protect_content", Boolean),
    ("allow_paid_broadcast", PAYMENT),
    ("message_effect_id", Text),
    ("suggested_post_parameters", PAYMENT),
    ("reply_parameters", REPLY),
];

const MARKUP: &[Parameter] = &[("reply_markup", KEYBOARD)];

const TEXT: &[Parameter] =
    &[("text", Text), ("parse_mode", ParseMode), ("entities", List(&ENTITY)), ("link_preview_options", NoPreview)];

const CAPTION: &[Parameter] = &[("caption", Text), ("parse_mode", ParseMode), ("caption_entities", List(&ENTITY))];

const ABOVE: &[Parameter] = &[("show_caption_above_media", Boolean)];

/// The frame of a video or animation.
const FRAME: &[Parameter] =
    &[("duration", Integer), ("width", Integer), ("height", Integer), ("thumbnail", Media), ("has_spoiler", Boolean)];

const PLACE: &[Parameter] = &[
    ("latitude", Float),
    ("longitude", Float),
    ("horizontal_accuracy", Float),
    ("live_period", Integer),
    ("heading", Integer),
    ("proximity_alert_radius", Integer),
];

const VENUE: &[Parameter] = &[
    ("latitude", Float),
    ("longitude", Float),
    ("title", Text),
    ("address", Text),
    ("foursquare_id", Text),
    ("foursquare_type", Text),
    ("google_place_id", Text),
    ("google_place_type", Text),
];

const POLL: &[Parameter] = &[
    ("question", Text),
    ("question_parse_mode", ParseMode),
    ("question_entities", List(&ENTITY)),
    ("options", List(&POLL_OPTION)),
    ("is_anonymous", Boolean),
    ("type", Text),
    ("allows_multiple_answers", Boolean),
    ("allows_revoting", Boolean),
    ("shuffle_options", Boolean),
    ("allow_adding_options", Boolean),
    ("hide_results_until_closes", Boolean),
    ("members_only", Boolean),
    ("country_codes", List(&Text)),
    ("correct_option_ids", List(&Integer)),
    ("explanation", Text),
    ("explanation_parse_mode", ParseMode),
    ("explanation_entities", List(&ENTITY)),
    ("explanation_media", POLL_MEDIA),
    ("open_period", Integer),
    ("close_date", Integer),
    ("is_closed", Boolean),
    ("description", Text),
    ("description_parse_mode", ParseMode),
    ("description_entities", List(&ENTITY)),
    ("media", POLL_MEDIA),
];

const POLL_OPTION: Rule = Labelled(&[
    ("text", Text),
    ("text_parse_mode", ParseMode),
    ("text_entities", List(&ENTITY)),
    ("media", POLL_MEDIA),
]);

const POLL_MEDIA: Rule = Refused("a poll is sent as text");

/// The message that every edit addresses.
const EDIT: &[Parameter] = &[
    ("chat_id", OwnChat),
    ("message_id", Integer),
    ("business_connection_id", BUSINESS),
    ("inline_message_id", Refused("it names a message in any chat")),
    ("reply_markup", INLINE_KEYBOARD),
];

/// <https://core.telegram.org/bots/api#replyparameters>
const REPLY: Rule = Object(&[
    ("message_id", Integer),
    ("chat_id", OwnChat),
    ("allow_sending_without_reply", Boolean),
    ("quote", Text),
    ("quote_parse_mode", ParseMode),
    ("quote_entities", List(&ENTITY)),
    ("quote_position", Integer),
    ("checklist_task_id", Integer),
    ("poll_option_id", Text),
]);

/// <https://core.telegram.org/bots/api#messageentity>
const ENTITY: Rule = Object(&[
    ("type", Text),
    ("offset", Integer),
    ("length", Integer),
    ("url", Url),
    ("user", Dropped("Telegram would answer with that person's name")),
    ("language", Text),
    ("custom_emoji_id", Text),
    ("unix_time", Integer),
    ("date_time_format", Text),
]);

/// <https://core.telegram.org/bots/api#reactiontype>
const REACTION: Rule = Object(&[("type", Text), ("emoji", Text), ("custom_emoji_id", Text)]);

/// Any kind of `InputMedia`; Telegram itself checks which fields belong together.
/// <https://core.telegram.org/bots/api#inputmedia>
const INPUT_MEDIA: Rule = Object(&[
    ("type", Text),
    ("media", Media),
    ("thumbnail", Media),
    ("cover", Media),
    ("photo", Media),
    ("caption", Text),
    ("parse_mode", ParseMode),
    ("caption_entities", List(&ENTITY)),
    ("show_caption_above_media", Boolean),
    ("has_spoiler", Boolean),
    ("width", Integer),
    ("height", Integer),
    ("duration", Integer),
    ("start_timestamp", Integer),
    ("supports_streaming", Boolean),
    ("performer", Text),
    ("title", Text),
    ("disable_content_type_detection", Boolean),
]);

/// An inline keyboard, a reply keyboard, its removal, or a forced reply.
/// <https://core.telegram.org/bots/api#inlinekeyboardmarkup>
const KEYBOARD: Rule = Object(&[
    BUTTONS,
    ("keyboard", List(&List(&BUTTON))),
    ("is_persistent", Boolean),
    ("resize_keyboard", Boolean),
    ("one_time_keyboard", Boolean),
    ("input_field_placeholder", Text),
    ("selective", Boolean),
    ("remove_keyboard", Boolean),
    ("force_reply", Boolean),
]);

/// The only keyboard that an edited message can have.
const INLINE_KEYBOARD: Rule = Object(&[BUTTONS]);

const BUTTONS: Parameter = ("inline_keyboard", List(&List(&INLINE_BUTTON)));

/// <https://core.telegram.org/bots/api#inlinekeyboardbutton>
const INLINE_BUTTON: Rule = Object(&[
    ("text", Text),
    ("icon_custom_emoji_id", Text),
    ("style", Text),
    ("url", ADDRESS),
    ("callback_data", Text),
    ("web_app", MINI_APP),
    ("login_url", MINI_APP),
    ("switch_inline_query", CHAT_PICKER),
    ("switch_inline_query_current_chat", CHAT_PICKER),
    ("switch_inline_query_chosen_chat", CHAT_PICKER),
    ("copy_text", Dropped("it copies what the person does not see")),
    ("callback_game", Dropped("there are no games")),
    ("pay", Dropped("it takes payments")),
]);

/// <https://core.telegram.org/bots/api#keyboardbutton>
const BUTTON: Rule = Labelled(&[
    ("text", Text),
    ("icon_custom_emoji_id", Text),
    ("style", Text),
    ("request_users", CHAT_PICKER),
    ("request_chat", CHAT_PICKER),
    ("request_managed_bot", CHAT_PICKER),
    ("request_contact", Boolean),
    ("request_location", Boolean),
    ("request_poll", Object(&[("type", Text)])),
    ("web_app", MINI_APP),
]);
