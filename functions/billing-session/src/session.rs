//! A customer, made once, and a session at Stripe. Whatever is repeated finds what the first time made.

use std::time::Duration;

use nbhd::domain::due::{Due, Kind};
use nbhd::domain::ids::TenantId;
use nbhd::domain::subscription::Tier;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::flows::billing_link::BillingLink as Link;
use nbhd::providers;
use nbhd::providers::stripe::{Client, Created, Session};
use nbhd::store::{self, Billing};
use nbhd::tokens::Claims;

use crate::App;
use crate::refusal::Refusal;
use crate::requests::{self, Request};

/// Two tabs at once, and the reconciler: nobody changes a row so often in a row.
const ATTEMPTS: usize = 4;
/// When Stripe is asked about a checkout of which it told nothing.
const ASKED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The page of a Checkout session for `tier`; `None` when there is a subscription that can be paid or resumed.
pub(crate) async fn checkout(
    app: &App,
    stripe: &Client,
    link: &Claims<Link>,
    tier: Tier,
) -> Result<Option<String>, Refusal> {
    let (tenant, chat) = (app.tenant_of(&link.content), link.content.chat_id);
    let customer = customer(app, stripe, tenant, &link.content).await?;
    for _ in 0..ATTEMPTS {
        if is_subscribed(stripe, &customer).await? {
            has_asked(app, tenant, Duration::ZERO).await?;
            return Ok(None);
        }
        let known = stripe.sessions(&customer).await.map_err(unavailable)?;
        if !is_the_only_one(stripe, &known, tier).await? {
            continue;
        }
        // The same for tabs that are at it together: two sessions would be two subscriptions, once both are paid.
        let last = known.first().map_or("none", |session| session.id.as_str());
        let key = format!("checkout-{tenant}-{tier}-after-{last}");
        if let Some(page) = known.into_iter().find_map(|session| session.url.filter(|_| session.tier == Some(tier))) {
            return Ok(Some(page));
        }
        let base = app.links.base().as_str();
        let request = requests::checkout(&customer, stripe.price(tier), tier, tenant, chat, base);
        let created = make(stripe, request, &key).await?;
        tracing::info!(code = "checkout_made", tier = tier.as_str(), "sent to Checkout");
        return created.url.map(Some).ok_or(Refusal::StripeUnavailable);
    }
    Err(Refusal::StripeUnavailable)
}

/// Ends the sessions for another tier; not, when one of them was paid just now.
async fn is_the_only_one(stripe: &Client, known: &[Session], tier: Tier) -> Result<bool, Refusal> {
    for other in known.iter().filter(|session| session.url.is_some() && session.tier != Some(tier)) {
        match stripe.expire(&other.id).await {
            Ok(()) => {}
            Err(providers::Error::Refused { .. }) => return Ok(false),
            Err(error) => return Err(unavailable(error)),
        }
    }
    Ok(true)
}

/// The page of a portal session; `None` when there is nothing there that can be paid or resumed.
pub(crate) async fn portal(app: &App, stripe: &Client, link: &Claims<Link>) -> Result<Option<String>, Refusal> {
    let record = app.store.tenant_record(app.tenant_of(&link.content)).await.map_err(store_down)?;
    let Some(customer) = record.as_ref().and_then(TenantRecord::customer) else { return Ok(None) };
    if !is_subscribed(stripe, customer).await? {
        return Ok(None);
    }
    let request = requests::portal(customer, app.links.base().as_str());
    // Each press opens a portal of its own: an old one may have been closed.
    let key = format!("portal-{}-{}", link.jti, app.clock.now().millis());
    let created = make(stripe, request, &key).await?;
    tracing::info!(code = "portal_made", "sent to the portal");
    created.url.map(Some).ok_or(Refusal::StripeUnavailable)
}

/// Asks Stripe: the row may not know yet of what was paid a minute ago in another tab.
async fn is_subscribed(stripe: &Client, customer: &str) -> Result<bool, Refusal> {
    let word = stripe.word(customer, None).await.map_err(unavailable)?;
    Ok(word.subscription.is_some_and(|counts| counts.status.is_open()))
}

/// The tenant's customer at Stripe. A removed tenant keeps its own, and stays removed until something is paid.
async fn customer(app: &App, stripe: &Client, tenant_id: TenantId, link: &Link) -> Result<String, Refusal> {
    for _ in 0..ATTEMPTS {
        let record = app.store.tenant_record(tenant_id).await.map_err(store_down)?;
        if let Some(customer) = record.as_ref().and_then(TenantRecord::customer) {
            has_asked(app, tenant_id, ASKED_AFTER).await?;
            return Ok(customer.to_owned());
        }
        // One customer, however often and from how many tabs this is reached before its id is on the row.
        let made = make(stripe, requests::customer(tenant_id), &format!("customer-{tenant_id}")).await?;
        let read_version = record.as_ref().map(TenantRecord::version);
        let row = match record {
            Some(TenantRecord::Live(row)) => *row,
            Some(TenantRecord::Deleted(tombstone)) => tombstone.reactivate(link.chat_id, None, app.clock.now()),
            None => Tenant::new(tenant_id, link.chat_id),
        };
        // What Stripe tells of the payment may get lost on its way; then the reconciler asks.
        let due = row.due.clone().or_else(|| Some(Due::new(Kind::Reconcile, tenant_id, app.clock.now() + ASKED_AFTER)));
        let tenant = Tenant { customer: Some(made.id.clone()), due, ..row };
        let billing = Billing { tenant, read_version, stripe_ids: vec![&made.id], event: None };
        match app.store.save_billing(billing, app.clock.now()).await {
            Ok(_) => return Ok(made.id),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(store_down(error)),
        }
    }
    Err(store_down(store::Error::Conflict))
}

/// Has Stripe asked about a removed tenant `after` a while, whatever becomes of its events; about one that is there, it
/// is asked every day.
async fn has_asked(app: &App, tenant_id: TenantId, after: Duration) -> Result<(), Refusal> {
    let ask_stripe_at = Some(app.clock.now() + after);
    for _ in 0..ATTEMPTS {
        let record = app.store.tenant_record(tenant_id).await.map_err(store_down)?;
        let Some(TenantRecord::Deleted(tombstone)) = record else { return Ok(()) };
        let version = tombstone.version;
        match app.store.save_tombstone(&Tombstone { ask_stripe_at, ..*tombstone }, version).await {
            Ok(_) => return Ok(()),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(store_down(error)),
        }
    }
    Err(store_down(store::Error::Conflict))
}

async fn make(stripe: &Client, request: Request, key: &str) -> Result<Created, Refusal> {
    stripe.create(&request.path, request.form, key).await.map_err(unavailable)
}

fn unavailable(error: providers::Error) -> Refusal {
    if error.is_retryable() {
        tracing::warn!(%error, "Stripe cannot serve for now");
    } else {
        nbhd::telemetry::metric("BillingRefused", 1);
        tracing::error!(code = "refused", %error, "Stripe refuses what we ask: a person has to look");
    }
    Refusal::StripeUnavailable
}

fn store_down(error: store::Error) -> Refusal {
    tracing::error!(%error, "the table cannot serve for now");
    Refusal::StoreUnavailable
}
