//! The confirmation in Telegram, before which no code is exchanged.
//!
//! A link may have been passed on, and the person in front of the page may be somebody else than the one whose
//! assistant would read. So the page shows a start token, and it counts only when the link's own chat sends it: whoever
//! was led here by a stranger's link sends it from their own chat, which spends the link.

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use nbhd::domain::sign_in::SignIn;
use nbhd::store::SignInStart;
use nbhd::web::Page;
use secrecy::ExposeSecret as _;

use crate::App;
use crate::callback::VerifiedCallback;
use crate::consent::load_tenant;
use crate::failure::Failure;

/// How soon the page asks again. In five minutes that is at most 75 reads.
const RELOAD_AFTER_SECONDS: u32 = 4;

/// What is known of the confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// Nobody has sent the token yet.
    Awaited,
    /// The link's chat sent it, and the sign-in may be completed.
    Given,
    /// The link's chat sent it, and the sign-in's time is over: only an outcome that exists can be shown.
    Over,
}

/// Reads the sign-in, with one read, and begins it at its browser's first arrival.
pub(crate) async fn check(app: &App, callback: &VerifiedCallback, now: Timestamp) -> Result<Confirmation, Failure> {
    if let Some(sign_in) = app.store.load_sign_in(&callback.sign_in).await.map_err(Failure::from_store)? {
        return judge(&sign_in, now);
    }
    if callback.state.is_expired(now) {
        return Err(Failure::ExpiredState);
    }
    let (jti, content) = (&callback.state.jti, &callback.state.content);
    load_tenant(app, content.connect.tenant_id).await?;
    let sign_in = SignIn::new(jti, content.connect.tenant_id, &content.browser, now);
    match app.store.begin_sign_in(&callback.sign_in, &sign_in, now).await.map_err(Failure::from_store)? {
        // Another tab may be at the same point: the reload finds what it wrote.
        SignInStart::Fresh | SignInStart::Known => {
            tracing::info!(
                code = "confirmation_awaited",
                services = callback.services.as_str(),
                "consent given at Google; nothing is connected until the link's chat confirms it"
            );
            Ok(Confirmation::Awaited)
        }
        SignInStart::LinkSpent => Err(Failure::ReplayedState),
    }
}

fn judge(sign_in: &SignIn, now: Timestamp) -> Result<Confirmation, Failure> {
    if sign_in.refused_by.is_some() {
        return Err(Failure::OtherChat);
    }
    match (sign_in.confirmed_at.is_some(), sign_in.is_over(now)) {
        (true, false) => Ok(Confirmation::Given),
        (true, true) => Ok(Confirmation::Over),
        (false, true) => Err(Failure::NotConfirmed),
        (false, false) => Ok(Confirmation::Awaited),
    }
}

/// Asks for the confirmation, and loads itself anew until there is one.
pub(crate) fn waiting_page(app: &App, callback: &VerifiedCallback) -> Page {
    let person = &callback.state.content.connect.person;
    let address = format!("{}?start={}", app.bot_address, callback.start_token.expose_secret());
    Page::new(StatusCode::OK, "Confirm it in Telegram")
        .definition_list(&[("Assistant of", &person.name), ("In Telegram", &person.account())])
        .text(
            "Nothing is connected yet. Open the bot in your own Telegram and press Start there; then come back to this \
             page, which goes on by itself.",
        )
        .button_link(&address, "Open the bot in Telegram")
        .text("Is Telegram on another device? Point its camera here:")
        .qr_code(&address)
        .text(
            "Never show or send this code to anybody, whoever asks for it: with it they could read your mail. It works \
             for five minutes.",
        )
        .text(
            "Did somebody else send you the link that led here? Then nothing is connected. Close this page, or open \
             the bot in your own Telegram all the same: that ends the link.",
        )
        .reload_after(RELOAD_AFTER_SECONDS)
}
