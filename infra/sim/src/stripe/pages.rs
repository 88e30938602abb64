//! The pages a person sees at Stripe: Checkout and the customer portal. Plain forms, no script.

use std::fmt::Write as _;

use axum::extract::{Form, Path, State as Extracted};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use nbhd::clock::Timestamp;
use serde::Deserialize;

use super::World;
use super::billing::{DAY, SubscriptionStart};
use super::state::{Card, SessionStatus, State};

const STYLE: &str = include_str!("pages.css");

/// What a person presses, and whether the terms are ticked.
#[derive(Debug, Deserialize)]
pub(super) struct Pressed {
    action: String,
    #[serde(default)]
    terms: Option<String>,
}

/// Why a press leads nowhere: what the page says.
pub(super) type Notice = &'static str;

pub(super) async fn checkout(Extracted(world): Extracted<World>, Path(id): Path<String>) -> Response {
    checkout_page(&world.lock_current(), &id, None)
}

pub(super) async fn press_checkout(
    Extracted(world): Extracted<World>,
    Path(id): Path<String>,
    Form(pressed): Form<Pressed>,
) -> Response {
    let now = world.clock.now();
    let mut state = world.lock_current();
    let outcome = match pressed.action.as_str() {
        "pay" => pay(&mut state, &id, pressed.terms.is_some(), Card::Works, now),
        "code" => pay(&mut state, &id, pressed.terms.is_some(), Card::None, now),
        "decline" => pay(&mut state, &id, pressed.terms.is_some(), Card::Fails, now),
        _ => turn_back(&state, &id),
    };
    match outcome {
        Ok(target) => see_other(target),
        Err(notice) => checkout_page(&state, &id, Some(notice)),
    }
}

pub(super) async fn portal(Extracted(world): Extracted<World>, Path(id): Path<String>) -> Response {
    portal_page(&world.lock_current(), &id)
}

pub(super) async fn press_portal(
    Extracted(world): Extracted<World>,
    Path(id): Path<String>,
    Form(pressed): Form<Pressed>,
) -> Response {
    let now = world.clock.now();
    let mut state = world.lock_current();
    let Some(customer) = state.portals.get(&id).map(|portal| portal.customer.clone()) else { return page_not_found() };
    let newest = state.subscriptions_of(&customer).first().map(|known| known.id.clone()).unwrap_or_default();
    match pressed.action.as_str() {
        "card" => {
            if let Some(customer) = state.customers.get_mut(&customer) {
                customer.card = Card::Works;
            }
            state.pay_open(&customer, now);
        }
        "cancel" => state.cancel(&newest, now),
        "cancel-later" => state.set_cancel_at_period_end(&newest, true, now),
        "keep" => state.set_cancel_at_period_end(&newest, false, now),
        "resume" => state.resume(&newest, now),
        _ => {}
    }
    portal_page(&state, &id)
}

/// Pays a session with a card, or ([`Card::None`]) with a promotion code for all of it; the address the browser is sent
/// to.
pub(super) fn pay(state: &mut State, id: &str, agreed: bool, card: Card, now: Timestamp) -> Result<String, Notice> {
    let session = state.sessions.get(id).ok_or("There is no such page.")?.clone();
    match session.status {
        SessionStatus::Open if session.terms && !agreed => return Err("You have to agree to the terms."),
        SessionStatus::Open if card == Card::None && session.promotion_codes != Some(true) => {
            return Err("This page takes no promotion codes.");
        }
        SessionStatus::Open if card == Card::Fails => return Err("Your card was declined."),
        SessionStatus::Open => {}
        SessionStatus::Complete => return Err("This was paid before."),
        SessionStatus::Expired => return Err("This page has expired."),
    }
    if let Some(customer) = state.customers.get_mut(&session.customer) {
        customer.card = card;
    }
    let metadata = session.subscription_metadata.clone();
    let start = match session.trial_days {
        Some(days) => SubscriptionStart::Trial(DAY * u32::try_from(days).unwrap_or(0)),
        None if card == Card::None => SubscriptionStart::Free,
        None => SubscriptionStart::Paid,
    };
    let subscription = state.subscribe(&session.customer, &session.price, start, metadata, now);
    if let Some(session) = state.sessions.get_mut(id) {
        session.status = SessionStatus::Complete;
        session.subscription = Some(subscription);
    }
    let object = super::objects::session(state, id);
    state.emit("checkout.session.completed", object, now);
    Ok(session.success_url.replace("{CHECKOUT_SESSION_ID}", id))
}

/// Where the way back leads.
pub(super) fn turn_back(state: &State, id: &str) -> Result<String, Notice> {
    let session = state.sessions.get(id).ok_or("There is no such page.")?;
    session.cancel_url.clone().ok_or("There is no way back from here.")
}

fn checkout_page(state: &State, id: &str, notice: Option<Notice>) -> Response {
    let Some(session) = state.sessions.get(id) else { return page_not_found() };
    let Some(price) = state.price(&session.price) else { return page_not_found() };
    let mut body = format!(
        "<section class=\"order\"><p class=\"brand\">NBHD United</p><p>Subscribe to {}</p>\
         <p class=\"price\">${}.{:02} <small>per month</small></p>",
        price.name,
        price.amount / 100,
        price.amount % 100
    );
    if let Some(days) = session.trial_days {
        let _ = write!(body, "<p>{days} days free</p>");
    }
    body.push_str("</section><section>");
    match session.status {
        SessionStatus::Open => {
            body.push_str("<h1>Pay with card</h1>");
            if let Some(notice) = notice {
                let _ = write!(body, "<p class=\"error\" role=\"alert\">{notice}</p>");
            }
            body.push_str(
                "<form method=\"post\"><p class=\"card\"><span>4242 4242 4242 4242</span><span>12 / 34</span>\
                 <span>123</span></p>",
            );
            if session.terms {
                body.push_str(
                    "<label><input type=\"checkbox\" name=\"terms\" value=\"yes\"> \
                     I agree to NBHD United’s Terms of Service and Privacy Policy</label>",
                );
            }
            body.push_str(
                "<button name=\"action\" value=\"pay\">Pay and subscribe</button>\
                 <button class=\"quiet\" name=\"action\" value=\"decline\">Pay with a card that is declined</button>\
                 <button class=\"quiet\" name=\"action\" value=\"cancel\">← Back</button>",
            );
            if session.promotion_codes == Some(true) {
                body.push_str(
                    "<button class=\"quiet\" name=\"action\" value=\"code\">Use a promotion code for all of it",
                );
                body.push_str("</button>");
            }
            body.push_str("</form>");
        }
        SessionStatus::Complete => body.push_str("<h1>You’re all done here</h1><p>This was paid.</p>"),
        SessionStatus::Expired => body.push_str("<h1>This page has expired</h1><p>Ask for a new link.</p>"),
    }
    body.push_str("</section>");
    render_page("Checkout", &body)
}

fn portal_page(state: &State, id: &str) -> Response {
    let Some(portal) = state.portals.get(id) else { return page_not_found() };
    let mut body = String::from("<section class=\"order\"><p class=\"brand\">NBHD United</p>");
    if let Some(back) = &portal.return_url {
        let _ = write!(body, "<p><a href=\"{}\">← Return</a></p>", escape_html(back));
    }
    body.push_str("</section><section><h1>Your subscription</h1>");
    let button = |action: &str, label: &str| {
        format!("<button class=\"quiet\" name=\"action\" value=\"{action}\">{label}</button>")
    };
    match state.subscriptions_of(&portal.customer).first() {
        None => body.push_str("<p>There is none.</p>"),
        Some(known) => {
            let name = state.price(&known.price).map_or("", |price| price.name);
            let end = known.period.1.rfc3339();
            let label = if known.cancel_at_period_end { "Ends" } else { "Renews" };
            let _ = write!(body, "<dl><dt>{name}</dt><dd>{}</dd><dt>{label}</dt><dd>{}</dd>", known.status, &end[..10]);
            let due: i64 = state.open_invoices(&known.id).iter().map(|invoice| invoice.amount).sum();
            let _ = write!(body, "<dt>To pay</dt><dd>${}.{:02}</dd></dl><form method=\"post\">", due / 100, due % 100);
            body.push_str(&button("card", "Use a new card and pay what is open"));
            match (known.status, known.cancel_at_period_end) {
                ("canceled" | "incomplete_expired", _) => {}
                ("paused", _) => body.push_str(&button("resume", "Resume")),
                (_, true) => body.push_str(&button("keep", "Keep the subscription")),
                (_, false) => body.push_str(&button("cancel-later", "Cancel at the end of the period")),
            }
            if !known.is_over() {
                body.push_str(&button("cancel", "Cancel now"));
            }
            body.push_str("</form>");
        }
    }
    body.push_str("</section>");
    render_page("Billing", &body)
}

fn see_other(target: String) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, target)]).into_response()
}

fn page_not_found() -> Response {
    (StatusCode::NOT_FOUND, render_page("Not found", "<section><h1>There is no such page</h1></section>"))
        .into_response()
}

fn render_page(title: &str, body: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} – Stripe (simulated)</title>\
         <style>{STYLE}</style><main>{body}</main></html>"
    );
    Html(page).into_response()
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
