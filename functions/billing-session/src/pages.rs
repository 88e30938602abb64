//! The pages between the chat and Stripe.

use axum::http::StatusCode;
use nbhd::domain::subscription::Tier;
use nbhd::flows::billing_link::{BillingLink, Destination};
use nbhd::tokens::Claims;
use nbhd::web::{Button, Page};
use qrcode::{Color, QrCode};

use crate::App;

/// Whose assistant, and which tier.
pub(crate) fn choose(app: &App, link: &Claims<BillingLink>, token: &str) -> Page {
    let action = app.links.form_url(Destination::Checkout);
    let mut page = Page::new(StatusCode::OK, "Your own assistant")
        .facts(&[("Assistant of", &link.content.name), ("It answers", "in Telegram, to this person alone")])
        .text(
            "Choose a plan. The next page is Stripe’s: it shows the price, and you can turn back there. You can cancel \
             at any time with /billing.",
        );
    for tier in Tier::ALL {
        let (button, label) = match tier {
            Tier::Basic => (Button::Main, "Basic: for everyday questions"),
            Tier::Plus => (Button::Main, "Plus: for heavy use"),
        };
        page = page.form(&action, &[("link", token), ("tier", tier.as_str())], button, label);
    }
    page.leading_to(app.origin_of(Destination::Checkout))
        .text("Is that not your name? Then close this page: you would pay for somebody else’s assistant.")
}

/// Whose subscription.
pub(crate) fn manage(app: &App, link: &Claims<BillingLink>, token: &str) -> Page {
    Page::new(StatusCode::OK, "Your subscription")
        .facts(&[("Assistant of", &link.content.name)])
        .text("On Stripe’s page you can pay what is open, change your card, see your invoices, or cancel.")
        .form(&app.links.form_url(Destination::Portal), &[("link", token)], Button::Main, "Continue to Stripe")
        .leading_to(app.origin_of(Destination::Portal))
        .text("Is that not your name? Then close this page.")
}

/// Nobody pays twice.
pub(crate) fn subscribed(app: &App, token: &str) -> Page {
    Page::new(StatusCode::CONFLICT, "You already have a subscription")
        .text("It is not ended, so a second one would charge you twice. You can manage the one you have.")
        .form(&app.links.form_url(Destination::Portal), &[("link", token)], Button::Main, "Manage it at Stripe")
        .leading_to(app.origin_of(Destination::Portal))
        .code("already_subscribed")
}

/// Where a person goes on after Stripe's pages: back to the bot.
pub(crate) fn back(app: &App, from: &str) -> Page {
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
    let address = format!("https://t.me/{}", app.bot);
    let page = Page::new(StatusCode::OK, title).text(text).link(&address, "Open the bot in Telegram");
    match QrCode::new(&address) {
        Ok(code) => {
            let dark: Vec<bool> = code.to_colors().into_iter().map(|color| color == Color::Dark).collect();
            page.text("Are you on another device? Point your phone’s camera here:").squares(code.width(), &dark)
        }
        // Only an address longer than any bot's has no code.
        Err(_) => page,
    }
}
