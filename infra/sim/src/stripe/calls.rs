//! What each call does.

use std::time::Duration;

use nbhd::clock::Timestamp;
use serde_json::Value;

use super::api::Refused;
use super::objects;
use super::params::Params;
use super::state::{Card, Customer, InvoiceStatus, Portal, Session, SessionStatus, State};

/// The answer, and what of it is to be expanded.
type Answer = Result<(Value, Vec<String>), Refused>;

/// Pages of lists. <https://docs.stripe.com/api/pagination>
const PAGE: [&str; 3] = ["limit", "starting_after", "ending_before"];

/// How long a Checkout session can be paid. <https://docs.stripe.com/api/checkout/sessions/create>
const SESSION_LASTS: Duration = Duration::from_secs(24 * 3600);
/// <https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-subscription_data-trial_period_days>
const LONGEST_TRIAL_DAYS: i64 = 730;
const SHORTEST_SESSION: Duration = Duration::from_secs(30 * 60);

pub(super) fn create_customer(state: &mut State, text: &str, now: Timestamp) -> Answer {
    let params = Params::read(text, &["metadata", "name", "email", "description"])?;
    let metadata = params.metadata(&["metadata"])?.unwrap_or_default();
    let customer = Customer { id: state.next_id("cus"), created: now, metadata, card: Card::None, is_deleted: false };
    let id = customer.id.clone();
    state.customers.insert(id.clone(), customer);
    let object = objects::customer(state, &id);
    state.emit("customer.created", object.clone(), now);
    Ok((object, params.expand()))
}

pub(super) fn customer(state: &State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &[])?;
    if state.customers.get(id).is_some_and(|customer| customer.is_deleted) {
        return Ok((objects::deleted_customer(id), Vec::new()));
    }
    known_customer(state, id, None)?;
    Ok((objects::customer(state, id), params.expand()))
}

pub(super) fn update_customer(state: &mut State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &["metadata", "name", "email", "description"])?;
    known_customer(state, id, None)?;
    if let (Some(metadata), Some(customer)) = (params.metadata(&["metadata"])?, state.customers.get_mut(id)) {
        customer.metadata.extend(metadata);
        customer.metadata.retain(|_, value| !value.is_empty());
    }
    Ok((objects::customer(state, id), params.expand()))
}

pub(super) fn list_customers(state: &State, text: &str) -> Answer {
    let params = Params::read(text, &PAGE)?;
    let known = state.customers.values().rev().filter(|customer| !customer.is_deleted);
    let newest_first = known.map(|customer| objects::customer(state, &customer.id));
    page(newest_first.collect(), &params, "/v1/customers")
}

pub(super) fn list_prices(state: &State, text: &str) -> Answer {
    let params = Params::read(text, &[&PAGE[..], &["active", "type", "product"]].concat())?;
    page(state.prices.iter().map(objects::price).collect(), &params, "/v1/prices")
}

pub(super) fn price(state: &State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &[])?;
    let known = state.price(id).ok_or_else(|| Refused::missing("price", id, None))?;
    Ok((objects::price(known), params.expand()))
}

pub(super) fn create_checkout(state: &mut State, text: &str, now: Timestamp) -> Answer {
    let known = [
        "mode",
        "customer",
        "client_reference_id",
        "success_url",
        "cancel_url",
        "line_items",
        "consent_collection",
        "subscription_data",
        "metadata",
        "expires_at",
        "locale",
        "allow_promotion_codes",
        "ui_mode",
    ];
    let params = Params::read(text, &known)?;
    if params.choice("mode", &["subscription"])?.is_none() {
        params.required("mode")?;
    }
    let customer = params.required("customer")?;
    known_customer(state, customer, Some("customer"))?;
    let price = match params.list("line_items") {
        [item] if item["quantity"] == "1" => item["price"].as_str().unwrap_or_default(),
        _ => return Err(Refused::invalid("This simulator sells one price, once", Some("line_items"))),
    };
    if state.price(price).is_none() {
        return Err(Refused::missing("price", price, Some("line_items[0][price]")));
    }
    let expires_at = params.number("expires_at")?.map_or(now + SESSION_LASTS, Timestamp::from_seconds);
    if expires_at < now + SHORTEST_SESSION || expires_at > now + SESSION_LASTS {
        return Err(Refused::invalid("`expires_at` is between 30 minutes and 24 hours from now", Some("expires_at")));
    }
    let terms = params.choice("consent_collection/terms_of_service", &["none", "required"])? == Some("required");
    let trial_days = params.number("subscription_data/trial_period_days")?;
    if trial_days.is_some_and(|days| !(1..=LONGEST_TRIAL_DAYS).contains(&days)) {
        let name = "subscription_data[trial_period_days]";
        return Err(Refused::invalid("A trial has at least 1 day, and at most 730", Some(name)));
    }
    let text = |name: &str| params.text(name).map(str::to_owned);
    let session = Session {
        id: String::new(),
        customer: customer.to_owned(),
        price: price.to_owned(),
        status: SessionStatus::Open,
        created: now,
        expires_at,
        success_url: params.required("success_url")?.to_owned(),
        cancel_url: text("cancel_url"),
        reference: text("client_reference_id"),
        terms,
        promotion_codes: params.flag("allow_promotion_codes")?,
        trial_days,
        metadata: params.metadata(&["metadata"])?.unwrap_or_default(),
        subscription_metadata: params.metadata(&["subscription_data", "metadata"])?.unwrap_or_default(),
        subscription: None,
    };
    let id = state.next_id("cs_test");
    state.sessions.insert(id.clone(), Session { id: id.clone(), ..session });
    Ok((objects::session(state, &id), params.expand()))
}

pub(super) fn list_checkouts(state: &State, text: &str) -> Answer {
    let params = Params::read(text, &[&PAGE[..], &["customer", "status", "subscription"]].concat())?;
    let status = params.choice("status", &["open", "complete", "expired"])?;
    let (customer, subscription) = (params.text("customer"), params.text("subscription"));
    let found = state.sessions.values().rev().filter(|session| {
        customer.is_none_or(|id| session.customer == id)
            && subscription.is_none_or(|id| session.subscription.as_deref() == Some(id))
    });
    let found = found.map(|session| objects::session(state, &session.id));
    let fits = |session: &Value| status.is_none_or(|status| session["status"] == status);
    page(found.filter(fits).collect(), &params, "/v1/checkout/sessions")
}

pub(super) fn checkout(state: &State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &[])?;
    known_session(state, id)?;
    Ok((objects::session(state, id), params.expand()))
}

/// Expires a page that nobody paid. <https://docs.stripe.com/api/checkout/sessions/expire>
pub(super) fn expire_checkout(state: &mut State, id: &str, text: &str, now: Timestamp) -> Answer {
    let params = Params::read(text, &[])?;
    if known_session(state, id)?.status != SessionStatus::Open {
        return Err(Refused::invalid("Only Checkout Sessions with a status in [\"open\"] can be expired.", None));
    }
    state.expire_session(id, now);
    Ok((objects::session(state, id), params.expand()))
}

pub(super) fn create_portal(state: &mut State, text: &str, now: Timestamp) -> Answer {
    let params = Params::read(text, &["customer", "return_url", "locale"])?;
    let customer = params.required("customer")?.to_owned();
    known_customer(state, &customer, Some("customer"))?;
    let id = state.next_id("bps");
    let portal =
        Portal { id: id.clone(), customer, created: now, return_url: params.text("return_url").map(str::to_owned) };
    let object = objects::portal(state, &portal);
    state.portals.insert(id, portal);
    Ok((object, params.expand()))
}

pub(super) fn list_subscriptions(state: &State, text: &str) -> Answer {
    let params = Params::read(text, &[&PAGE[..], &["customer", "status", "price"]].concat())?;
    let statuses = [
        "active",
        "all",
        "canceled",
        "ended",
        "incomplete",
        "incomplete_expired",
        "past_due",
        "paused",
        "trialing",
        "unpaid",
    ];
    // Without a status, whatever has not been canceled. <https://docs.stripe.com/api/subscriptions/list>
    let asked = params.choice("status", &statuses)?;
    let fits = |status: &str| match asked {
        None => status != "canceled",
        Some("all") => true,
        Some("ended") => ["canceled", "incomplete_expired"].contains(&status),
        Some(asked) => status == asked,
    };
    let customers: Vec<&str> = match params.text("customer") {
        Some(customer) => vec![&known_customer(state, customer, Some("customer"))?.id],
        None => state.customers.keys().map(String::as_str).collect(),
    };
    let found = customers.into_iter().flat_map(|customer| state.subscriptions_of(customer));
    let found = found.filter(|known| fits(known.status)).map(|known| objects::subscription(state, &known.id));
    page(found.collect(), &params, "/v1/subscriptions")
}

pub(super) fn subscription(state: &State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &[])?;
    known_subscription(state, id)?;
    Ok((objects::subscription(state, id), params.expand()))
}

pub(super) fn update_subscription(state: &mut State, id: &str, text: &str, now: Timestamp) -> Answer {
    let params = Params::read(text, &["metadata", "cancel_at_period_end"])?;
    known_subscription(state, id)?;
    if let Some(metadata) = params.metadata(&["metadata"])? {
        state.change(id, now, |known| known.metadata.extend(metadata));
    }
    if let Some(later) = params.flag("cancel_at_period_end")? {
        state.set_cancel_at_period_end(id, later, now);
    }
    Ok((objects::subscription(state, id), params.expand()))
}

pub(super) fn cancel_subscription(state: &mut State, id: &str, text: &str, now: Timestamp) -> Answer {
    let params = Params::read(text, &[])?;
    known_subscription(state, id)?;
    state.cancel(id, now);
    Ok((objects::subscription(state, id), params.expand()))
}

pub(super) fn list_invoices(state: &State, text: &str) -> Answer {
    let params = Params::read(text, &[&PAGE[..], &["customer", "subscription", "status"]].concat())?;
    let status = params.choice("status", &["draft", "open", "paid", "uncollectible", "void"])?;
    let fits = |given: InvoiceStatus| match given {
        InvoiceStatus::Draft => status.is_none_or(|status| status == "draft"),
        InvoiceStatus::Uncollectible => status.is_none_or(|status| status == "uncollectible"),
        InvoiceStatus::Open => status.is_none_or(|status| status == "open"),
        InvoiceStatus::Paid => status.is_none_or(|status| status == "paid"),
        InvoiceStatus::Void => status.is_none_or(|status| status == "void"),
    };
    let (customer, subscription) = (params.text("customer"), params.text("subscription"));
    let found = state.invoices.values().rev().filter(|invoice| {
        fits(invoice.status)
            && customer.is_none_or(|id| invoice.customer == id)
            && subscription.is_none_or(|id| invoice.subscription == id)
    });
    page(found.map(|invoice| objects::invoice(state, &invoice.id)).collect(), &params, "/v1/invoices")
}

pub(super) fn invoice(state: &State, id: &str, text: &str) -> Answer {
    let params = Params::read(text, &[])?;
    if !state.invoices.contains_key(id) {
        return Err(Refused::missing("invoice", id, None));
    }
    Ok((objects::invoice(state, id), params.expand()))
}

/// One page of `all`, which is newest first.
fn page(all: Vec<Value>, params: &Params, url: &str) -> Answer {
    let limit = match params.number("limit")? {
        None => 10,
        Some(limit @ 1..=100) => usize::try_from(limit).unwrap_or(100),
        Some(_) => return Err(Refused::invalid("Limit must be between 1 and 100", Some("limit"))),
    };
    let skipped = match params.text("starting_after") {
        None => 0,
        Some(id) => match all.iter().position(|object| object["id"] == id) {
            Some(place) => place + 1,
            None => return Err(Refused::missing("object", id, Some("starting_after"))),
        },
    };
    let has_more = all.len() > skipped + limit;
    let data = all.into_iter().skip(skipped).take(limit).collect();
    Ok((objects::list(data, has_more, url), params.expand()))
}

fn known_customer<'a>(state: &'a State, id: &str, param: Option<&str>) -> Result<&'a Customer, Refused> {
    let known = state.customers.get(id).filter(|customer| !customer.is_deleted);
    known.ok_or_else(|| Refused::missing("customer", id, param))
}

fn known_session<'a>(state: &'a State, id: &str) -> Result<&'a Session, Refused> {
    state.sessions.get(id).ok_or_else(|| Refused::missing("checkout.session", id, None))
}

fn known_subscription(state: &State, id: &str) -> Result<(), Refused> {
    if state.subscriptions.contains_key(id) { Ok(()) } else { Err(Refused::missing("subscription", id, None)) }
}
