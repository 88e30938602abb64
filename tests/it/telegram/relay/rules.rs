//! The rules are held to Telegram's contract: every method is decided on, and so is every parameter of an allowed one.

use axum::http::StatusCode;
use nbhd::config::Env;
use nbhd_sim::testbed::{BOT_ID, BOT_SECRET};
use serde_json::json;
use telegram_relay::rules::{METHODS, Method, Parameter, RICH_METHODS, RICH_REFUSAL, Rule};
use telegram_relay::stubs;

use super::samples::{Api, Field, names_someone, samples};
use super::world::{ANA, World};

/// Methods that are refused by design, and why. A method of the contract that stands nowhere has to be decided on.
#[rustfmt::skip]
const REFUSED: &[(&str, &[&str])] = &[
    ("they take messages from any chat", &["copyMessage", "copyMessages", "forwardMessage", "forwardMessages"]),
    ("they would take over the shared bot", &[
        "close", "getManagedBotAccessSettings", "getManagedBotToken", "getMyDefaultAdministratorRights", "getUpdates",
        "logOut", "removeMyProfilePhoto", "replaceManagedBotToken", "setManagedBotAccessSettings", "setMyDescription",
        "setMyDefaultAdministratorRights", "setMyName", "setMyProfilePhoto", "setMyShortDescription",
        "setChatMenuButton", "getChatMenuButton", "getMyDescription", "getMyName", "getMyShortDescription",
    ]),
    ("they spend or take payments", &[
        "answerPreCheckoutQuery", "answerShippingQuery", "convertGiftToStars", "createInvoiceLink",
        "editUserStarSubscription", "getAvailableGifts", "getMyStarBalance", "getStarTransactions",
        "giftPremiumSubscription", "refundStarPayment", "sendGift", "sendInvoice", "sendPaidMedia", "transferGift",
        "upgradeGift", "approveSuggestedPost", "declineSuggestedPost",
    ]),
    ("they act for someone's business account", &[
        "deleteBusinessMessages", "deleteStory", "editMessageChecklist", "editStory", "getBusinessAccountGifts",
        "getBusinessAccountStarBalance", "getBusinessConnection", "postStory", "readBusinessMessage",
        "removeBusinessAccountProfilePhoto", "repostStory", "sendChecklist", "setBusinessAccountBio",
        "setBusinessAccountGiftSettings", "setBusinessAccountName", "setBusinessAccountProfilePhoto",
        "setBusinessAccountUsername", "transferBusinessAccountStars",
    ]),
    ("they answer in other chats", &[
        "answerGuestQuery", "answerInlineQuery", "answerWebAppQuery", "savePreparedInlineMessage",
        "savePreparedKeyboardButton", "answerChatJoinRequestQuery", "sendChatJoinRequestWebApp",
    ]),
    ("they tell about people", &[
        "getChat", "getChatAdministrators", "getChatGifts", "getChatMember", "getChatMemberCount", "getUserChatBoosts",
        "getUserGifts", "getUserPersonalChatMessages", "getUserProfileAudios", "getUserProfilePhotos",
        "removeChatVerification", "removeUserVerification", "setPassportDataErrors", "setUserEmojiStatus",
        "verifyChat", "verifyUser",
    ]),
    ("they manage groups and channels", &[
        "approveChatJoinRequest", "banChatMember", "banChatSenderChat", "closeForumTopic", "closeGeneralForumTopic",
        "createChatInviteLink", "createChatSubscriptionInviteLink", "createForumTopic", "declineChatJoinRequest",
        "deleteAllMessageReactions", "deleteChatPhoto", "deleteChatStickerSet", "deleteForumTopic",
        "deleteMessageReaction", "editChatInviteLink", "editChatSubscriptionInviteLink", "editForumTopic",
        "editGeneralForumTopic", "exportChatInviteLink", "getForumTopicIconStickers", "hideGeneralForumTopic",
        "leaveChat", "pinChatMessage", "promoteChatMember", "reopenForumTopic", "reopenGeneralForumTopic",
        "restrictChatMember", "revokeChatInviteLink", "setChatAdministratorCustomTitle", "setChatDescription",
        "setChatMemberTag", "setChatPermissions", "setChatPhoto", "setChatStickerSet", "setChatTitle",
        "unbanChatMember", "unbanChatSenderChat", "unhideGeneralForumTopic", "unpinAllChatMessages",
        "unpinAllForumTopicMessages", "unpinAllGeneralForumTopicMessages", "unpinChatMessage",
    ]),
    ("sticker sets and games belong to the bot as a whole", &[
        "addStickerToSet", "createNewStickerSet", "deleteStickerFromSet", "deleteStickerSet",
        "getCustomEmojiStickers", "getGameHighScores", "getStickerSet", "replaceStickerInSet", "sendGame",
        "setCustomEmojiStickerSetThumbnail", "setGameScore", "setStickerEmojiList", "setStickerKeywords",
        "setStickerMaskPosition", "setStickerPositionInSet", "setStickerSetThumbnail", "setStickerSetTitle",
        "uploadStickerFile",
    ]),
    ("their markup embeds media and people that are not checked here", &[
        "sendMessageDraft", "sendRichMessage", "sendRichMessageDraft",
    ]),
];

#[test]
fn every_method_of_the_contract_is_decided_on_exactly_once() {
    let Some(api) = Api::load() else { return };
    let refused = || REFUSED.iter().flat_map(|(_, methods)| methods.iter().copied());
    let decisions = |method: &str| {
        let allowed = METHODS.iter().filter(|known| known.name == method).count();
        let local = stubs::METHODS.iter().filter(|known| **known == method).count();
        allowed + local + refused().filter(|known| *known == method).count()
    };
    let undecided: Vec<&str> = api.methods().filter(|method| decisions(method) != 1).collect();
    assert_eq!(undecided, Vec::<&str>::new());
    let known = |method: &str| api.methods().any(|known| known == method);
    let ours = METHODS.iter().map(|method| method.name).chain(stubs::METHODS).chain(refused());
    assert_eq!(ours.filter(|method| !known(method)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_refused_method_is_no_method_and_reaches_nobody() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for (reason, methods) in REFUSED {
        for method in *methods {
            let answer = world.post(&ana, method, &json!({"chat_id": ANA})).await;
            if RICH_METHODS.contains(method) {
                answer.assert_refused(StatusCode::BAD_REQUEST, &format!("Bad Request: {RICH_REFUSAL}"));
                continue;
            }
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}: {reason}");
            answer.assert_refused(StatusCode::NOT_FOUND, "Not Found: method not found");
        }
    }
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn every_method_the_relay_passes_on_is_simulated() {
    let world = World::start().await;
    let http = nbhd::http::client(&Env::from_pairs([("", "")])).expect("a client");
    for method in METHODS {
        let url = format!("{}/bot{BOT_ID}:{BOT_SECRET}/{}", world.telegram.base_url(), method.name);
        let request = http.post(url).header("content-type", "application/json").body("{}");
        assert_eq!(request.send().await.expect("an answer").status(), 400, "{}", method.name);
    }
}

#[test]
fn every_parameter_of_an_allowed_method_has_a_rule_that_fits_the_contract() {
    let Some(api) = Api::load() else { return };
    let found: Vec<String> = METHODS.iter().flat_map(|method| gaps_of(&api, method)).collect();
    assert!(found.is_empty(), "{} gap(s):\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_gap_in_the_rules_would_be_found() {
    let Some(api) = Api::load() else { return };
    let gaps = |name, parameters| gaps_of(&api, &Method { name, parameters, ..METHODS[0] });
    assert!(gaps("deleteMessage", &[&[("chat_id", Rule::OwnChat), ("message_id", Rule::Integer)]]).is_empty());
    let faulty: [&[Parameter]; 5] = [
        &[("message_id", Rule::Integer)],
        &[("chat_id", Rule::Integer), ("message_id", Rule::Integer)],
        &[("chat_id", Rule::Text), ("message_id", Rule::Integer)],
        &[("chat_id", Rule::OwnChat), ("message_id", Rule::Text)],
        &[("chat_id", Rule::OwnChat), ("message_id", Rule::Integer), ("invented", Rule::Integer)],
    ];
    for parameters in faulty {
        assert_eq!(gaps("deleteMessage", Box::leak(Box::new([parameters]))).len(), 1, "{parameters:?}");
    }
    let nested = "sendMessage: `reply_parameters.chat_id` names someone and its rule is not `OwnChat`";
    let reply: &[Parameter] = &[("reply_parameters", Rule::Object(&[("chat_id", Rule::Integer)]))];
    assert!(gaps("sendMessage", Box::leak(Box::new([reply]))).contains(&nested.to_owned()));
}

#[tokio::test]
async fn every_accepted_parameter_reaches_telegram_as_the_contract_has_it() {
    let Some(api) = Api::load() else { return };
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let mut sent = 0;
    for method in METHODS {
        let required = api.required(method, ANA);
        for field in api.parameters(method.name) {
            let (_, rule) = method.parameters().find(|(name, _)| *name == field.name).expect("every one has a rule");
            for sample in samples(&api, &field.types, rule, ANA) {
                let mut call = required.clone();
                call[field.name] = sample;
                let answer = world.post(&ana, method.name, &call).await;
                assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS);
                sent += 1;
            }
        }
        // What the simulator does not know, or finds unfit to do, has reached it all the same.
        assert_eq!(world.calls().len(), sent, "a call of `{}` did not get through", method.name);
    }
    assert!(sent > 400, "only {sent} calls");
    let contract = nbhd_sim::telegram::contract::Contract::load().expect("present");
    let violations = contract.check(&world.journal).violations;
    assert!(violations.is_empty(), "{} violation(s):\n{}", violations.len(), violations[..10].join("\n"));
}

fn gaps_of(api: &Api, method: &Method) -> Vec<String> {
    let rules: Vec<Parameter> = method.parameters().copied().collect();
    let gaps = gaps_between(api, &api.parameters(method.name), &rules, "");
    gaps.into_iter().map(|gap| format!("{}: {gap}", method.name)).collect()
}

/// Fields of the contract without a fitting rule, and rules without a field of the contract, nested ones included.
fn gaps_between(api: &Api, fields: &[Field], rules: &[Parameter], within: &str) -> Vec<String> {
    let known = |name: &str| fields.iter().any(|field| field.name == name);
    let invented = rules.iter().filter(|(name, rule)| !known(name) && !matches!(rule, Rule::Refused(_)));
    let mut gaps: Vec<String> = invented.map(|(name, _)| format!("`{within}{name}` is not in the contract")).collect();
    for field in fields {
        let place = format!("{within}{}", field.name);
        match rules.iter().find(|(name, _)| *name == field.name) {
            None => gaps.push(format!("`{place}` has no rule")),
            Some((_, rule)) => gaps.extend(gaps_of_rule(api, field, rule, &place)),
        }
    }
    gaps
}

fn gaps_of_rule(api: &Api, field: &Field, rule: &Rule, place: &str) -> Vec<String> {
    let fits = match (field.types.as_slice(), rule) {
        (_, Rule::Refused(_) | Rule::Dropped(_)) => true,
        (_, Rule::OwnChat) => field.name.ends_with("chat_id"),
        _ if names_someone(field) => {
            return vec![format!("`{place}` names someone and its rule is not `OwnChat`")];
        }
        (["Integer"], Rule::Integer) | (["Float"], Rule::Float) | (["Boolean"], Rule::Boolean) => true,
        (["String"], rule) if field.name == "url" => matches!(rule, Rule::Url),
        (["String"], rule) if within_media(field) => matches!(rule, Rule::Media),
        (["LinkPreviewOptions"], Rule::NoPreview) => true,
        (["String"], rule) if field.name.ends_with("parse_mode") => matches!(rule, Rule::ParseMode),
        (["String"], Rule::Text) | (["InputFile", "String"], Rule::Media) => true,
        (types, Rule::List(of)) => {
            let items: Option<Vec<_>> = types.iter().map(|name| name.strip_prefix("Array of ")).collect();
            let Some(types) = items else { return vec![format!("`{place}` is not a list")] };
            return gaps_of_rule(api, &Field { types, ..field.clone() }, of, place);
        }
        (types, Rule::Object(rules) | Rule::Labelled(rules)) => {
            return gaps_between(api, &api.fields_of_any(types), rules, &format!("{place}."));
        }
        _ => false,
    };
    if fits { Vec::new() } else { vec![format!("`{place}` is {:?} and its rule {rule:?}", field.types)] }
}

/// In `InputMedia`, files are named by text.
fn within_media(field: &Field) -> bool {
    ["media", "thumbnail", "cover", "photo"].contains(&field.name)
}
