//! The pages between the chat and Stripe.

use axum::http::StatusCode;
use nbhd::domain::gift::Gift;
use nbhd::domain::subscription::Tier;
use nbhd::flows::billing_link::{BillingLink, Destination};
use nbhd::tokens::Claims;
use nbhd::web::{ButtonStyle, Page};

use crate::App;

/// Names the person whose assistant is paid for, and offers the tiers; to somebody with a gift, beside it.
pub(crate) fn checkout_page(app: &App, link: &Claims<BillingLink>, token: &str, gift: Option<Gift>) -> Page {
    let action = app.links.form_url(Destination::Checkout);
    let mut page = Page::new(StatusCode::OK, "Your own assistant")
        .definition_list(&[("Assistant of", &link.content.name), ("It answers", "in Telegram, to this person alone")]);
    if let Some(gift) = gift {
        page = page.text(&format!(
            "This assistant is a gift, free until the end of {} (UTC). What you pay for begins at once.",
            gift.last_day()
        ));
    }
    if app.trial_days > 0 {
        page = page.text(&format!("The first {} days are free for those who have had no trial yet.", app.trial_days));
    }
    page = page.text(
        "Choose a plan. The next page is Stripe’s: it shows the price, takes a promotion code, and you can turn back \
         there. You can cancel at any time with /billing.",
    );
    for tier in Tier::ALL {
        let label = match tier {
            Tier::Basic => "Basic: for everyday questions",
            Tier::Plus => "Plus: for heavy use",
        };
        page = page.form(&action, &[("link", token), ("tier", tier.as_str())], ButtonStyle::Primary, label);
    }
    page.allow_redirect_to(app.stripe_origin(Destination::Checkout))
        .text("Is that not your name? Then close this page: you would pay for somebody else’s assistant.")
}

/// Names the person whose subscription it is, and leads to Stripe's customer portal.
pub(crate) fn portal_page(app: &App, link: &Claims<BillingLink>, token: &str) -> Page {
    Page::new(StatusCode::OK, "Your subscription")
        .definition_list(&[("Assistant of", &link.content.name)])
        .text("On Stripe’s page you can pay what is open, change your card, see your invoices, or cancel.")
        .form(&app.links.form_url(Destination::Portal), &[("link", token)], ButtonStyle::Primary, "Continue to Stripe")
        .allow_redirect_to(app.stripe_origin(Destination::Portal))
        .text("Is that not your name? Then close this page.")
}

/// Refuses a second subscription, so that nobody pays twice.
pub(crate) fn already_subscribed_page(app: &App, token: &str) -> Page {
    Page::new(StatusCode::CONFLICT, "You already have a subscription")
        .text("It is not ended, so a second one would charge you twice. You can manage the one you have.")
        .form(&app.links.form_url(Destination::Portal), &[("link", token)], ButtonStyle::Primary, "Manage it at Stripe")
        .allow_redirect_to(app.stripe_origin(Destination::Portal))
        .code("already_subscribed")
}

/// Leads a person who comes back from Stripe's pages on to the bot.
pub(crate) fn return_page(app: &App, from: &str) -> Page {
    let (title, text) = match from {
        "checkout" => (
            "Thank you",
            "Your assistant is being made ready. That takes a few minutes; then the bot writes to you in Telegram. You \
             can already write to it: your assistant will read everything.",
        ),
        "cancel" => (
            "Nothing was charged",
            "You turned back before paying. If you change your mind, send /start to the bot in Telegram.",
        ),
        _ => (
            "All set",
            "What you changed at Stripe reaches your assistant within a minute. You can go back to Telegram.",
        ),
    };
    Page::new(StatusCode::OK, title)
        .text(text)
        .link(&app.bot_address, "Open the bot in Telegram")
        .text("Are you on another device? Point your phone’s camera here:")
        .qr_code(&app.bot_address)
}
