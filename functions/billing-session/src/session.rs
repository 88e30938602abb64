//! Creating the customer and the sessions at Stripe. Every step is idempotent: a repetition finds what was created.

use std::time::Duration;

use nbhd::domain::due::{Due, Kind};
use nbhd::domain::gift::Gift;
use nbhd::domain::ids::TenantId;
use nbhd::domain::subscription::Tier;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::flows::billing_link::BillingLink;
use nbhd::providers;
use nbhd::providers::stripe::{Client, CreatedObject, MISSING, Session, report_deleted_customer};
use nbhd::store::{self, BillingUpdate};
use nbhd::tokens::Claims;

use crate::App;
use crate::refusal::Refusal;
use crate::requests::{self, Offer, StripeCall};

/// How often a write, or a session, is tried. Only a second tab or the reconciler comes between.
const MAX_ATTEMPTS: usize = 4;
/// When Stripe is asked about a checkout whose events have not arrived.
const CHECKOUT_CHECK_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens a Checkout session for `tier`, and returns the address of its page; `None` when there already is a
/// subscription that can be paid or resumed.
///
/// At most one page that was handed out can be paid, so that nobody pays for two subscriptions or has two trials: the
/// others are expired before a session is made, and again before its address is handed out. Whoever made a session at
/// the same time finds the other one then, because each lists after it made its own; the newest stays. A page that
/// nobody paid costs nobody the trial.
pub(crate) async fn open_checkout(
    app: &App,
    stripe: &Client,
    link: &Claims<BillingLink>,
    tier: Tier,
) -> Result<Option<String>, Refusal> {
    let (tenant, chat) = (app.resolve_tenant(&link.content), link.content.chat_id);
    let mut payer = find_or_create_customer(app, stripe, tenant, &link.content, None).await?;
    for _ in 0..MAX_ATTEMPTS {
        let customer = payer.customer.as_str();
        let has_trialed = match fetch_state(app, stripe, customer).await? {
            CustomerState::Subscribed => {
                schedule_check(app, tenant, Duration::ZERO).await?;
                return Ok(None);
            }
            CustomerState::Deleted => {
                payer = find_or_create_customer(app, stripe, tenant, &link.content, Some(customer)).await?;
                continue;
            }
            CustomerState::Unsubscribed { has_trialed } => has_trialed,
        };
        let trial_days = if payer.trial_spent || has_trialed { 0 } else { app.trial_days };
        let offer = Offer { tier, trial_days };
        let known = stripe.list_sessions(customer).await.map_err(map_stripe_error)?;
        let reusable = known.iter().find(|session| offer.is_made_by(session));
        if !expire_all_but(stripe, &known, reusable.map(|session| session.id.as_str())).await? {
            continue;
        }
        if let Some(page) = reusable.and_then(|session| session.url.clone()) {
            return Ok(Some(page));
        }
        // Tabs that submit the same at the same time use the same key.
        let last = known.first().map_or("none", |session| session.id.as_str());
        let key = format!("checkout-{tenant}-{tier}-after-{last}");
        let base = app.links.base().as_str();
        let request = requests::create_checkout(customer, stripe.price(tier), offer, tenant, chat, base);
        let created = match stripe.create(&request.path, request.form, &key).await {
            // Stripe may still list what a deleted customer had.
            Err(providers::Error::Refused { reason, .. })
                if reason == MISSING && stripe.is_customer_deleted(customer).await.map_err(map_stripe_error)? =>
            {
                payer = find_or_create_customer(app, stripe, tenant, &link.content, Some(customer)).await?;
                continue;
            }
            created => created.map_err(map_stripe_error)?,
        };
        if !is_only_page(stripe, customer, &created.id).await? {
            continue;
        }
        tracing::info!(code = "checkout_created", tier = tier.as_str(), "Checkout session created; redirecting to it");
        return created.url.map(Some).ok_or(Refusal::StripeUnavailable);
    }
    Err(Refusal::StripeUnavailable)
}

/// Expires every open session but one; `false` when Stripe refuses, because one of them was paid or expired just now.
async fn expire_all_but(stripe: &Client, known: &[Session], kept: Option<&str>) -> Result<bool, Refusal> {
    for other in known.iter().filter(|session| session.url.is_some() && Some(session.id.as_str()) != kept) {
        match stripe.expire_session(&other.id).await {
            Ok(()) => {}
            Err(providers::Error::Refused { .. }) => return Ok(false),
            Err(error) => return Err(map_stripe_error(error)),
        }
    }
    Ok(true)
}

/// Makes the session `own`, whose address nobody has yet, the only one that can be paid; or, when a newer one or a
/// payment came in between, expires it and returns `false`.
async fn is_only_page(stripe: &Client, customer: &str, own: &str) -> Result<bool, Refusal> {
    let listed = stripe.list_sessions(customer).await.map_err(map_stripe_error)?;
    let newest = listed.iter().find(|session| session.url.is_some());
    let is_newest = newest.is_some_and(|session| session.id == own);
    if is_newest && expire_all_but(stripe, &listed, Some(own)).await? {
        return Ok(true);
    }
    match stripe.expire_session(own).await {
        Ok(()) | Err(providers::Error::Refused { .. }) => Ok(false),
        Err(error) => Err(map_stripe_error(error)),
    }
}

/// A tenant for whom nobody pays, so that there is nothing to manage at Stripe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpaid {
    /// What an operator gave it, while that runs.
    pub(crate) gift: Option<Gift>,
}

/// What the row says of a tenant for whom nobody pays; `None` for all others, of whom Stripe knows more.
pub(crate) async fn find_unpaid(app: &App, link: &Claims<BillingLink>) -> Result<Option<Unpaid>, Refusal> {
    let record = app.store.tenant_record(app.resolve_tenant(&link.content)).await.map_err(Refusal::from_store)?;
    let has_customer = record.as_ref().and_then(TenantRecord::customer).is_some();
    let gift = match &record {
        Some(TenantRecord::Live(tenant)) => tenant.running_gift(app.clock.now()),
        Some(TenantRecord::Deleted(_)) | None => None,
    };
    let is_subscribed = match &record {
        Some(TenantRecord::Live(tenant)) => tenant.subscription.as_ref().is_some_and(|known| known.status.is_open()),
        Some(TenantRecord::Deleted(_)) | None => false,
    };
    Ok((!has_customer || (gift.is_some() && !is_subscribed)).then_some(Unpaid { gift }))
}

/// Opens a portal session, and returns the address of its page; `None` when there is no subscription that can be paid
/// or resumed.
pub(crate) async fn open_portal(
    app: &App,
    stripe: &Client,
    link: &Claims<BillingLink>,
) -> Result<Option<String>, Refusal> {
    let record = app.store.tenant_record(app.resolve_tenant(&link.content)).await.map_err(Refusal::from_store)?;
    let Some(customer) = record.as_ref().and_then(TenantRecord::customer) else { return Ok(None) };
    if fetch_state(app, stripe, customer).await? != CustomerState::Subscribed {
        return Ok(None);
    }
    let request = requests::create_portal(customer, app.links.base().as_str());
    // Each press creates a session of its own: an earlier one may have been closed.
    let key = format!("portal-{}-{}", link.jti, app.clock.now().millis());
    let created = send(stripe, request, &key).await?;
    tracing::info!(code = "portal_created", "portal session created; redirecting to it");
    created.url.map(Some).ok_or(Refusal::StripeUnavailable)
}

/// What Stripe says of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CustomerState {
    /// They have a subscription that can be paid or resumed.
    Subscribed,
    /// They have none.
    Unsubscribed {
        /// Whether one that they had had a trial.
        has_trialed: bool,
    },
    /// They were deleted: nothing can be sold to them.
    Deleted,
}

/// Asks Stripe, because the row may not show yet what was paid a minute ago in another tab.
async fn fetch_state(app: &App, stripe: &Client, customer: &str) -> Result<CustomerState, Refusal> {
    let fetched = stripe.fetch_subscription(customer, None, app.clock.now()).await;
    let snapshot = fetched.map_err(map_stripe_error)?;
    Ok(match snapshot.subscription {
        _ if snapshot.is_customer_deleted => CustomerState::Deleted,
        Some(counts) if counts.status.is_open() => CustomerState::Subscribed,
        Some(_) | None => CustomerState::Unsubscribed { has_trialed: snapshot.has_trialed },
    })
}

/// Who pays for a tenant.
#[derive(Debug)]
struct Payer {
    /// Their id at Stripe, `cus_…`.
    customer: String,
    /// Whether they had a trial before, be it as another customer.
    trial_spent: bool,
}

/// The tenant's customer at Stripe, unless that is `deleted`, which is replaced by a new one. A removed tenant keeps a
/// customer that exists, and stays removed until it has paid.
async fn find_or_create_customer(
    app: &App,
    stripe: &Client,
    tenant_id: TenantId,
    link: &BillingLink,
    deleted: Option<&str>,
) -> Result<Payer, Refusal> {
    // The key makes it one customer, from however many tabs this runs before the id is on the row.
    let key = match deleted {
        None => format!("customer-{tenant_id}"),
        Some(deleted) => format!("customer-{tenant_id}-after-{deleted}"),
    };
    let had_trial = match deleted {
        None => false,
        // Where events were lost, nothing else tells.
        Some(deleted) => stripe.has_taken_trial(deleted).await.map_err(map_stripe_error)?,
    };
    for _ in 0..MAX_ATTEMPTS {
        let now = app.clock.now();
        let record = app.store.tenant_record(tenant_id).await.map_err(Refusal::from_store)?;
        let known = record.as_ref().and_then(TenantRecord::customer).filter(|known| Some(*known) != deleted);
        if let Some(customer) = known {
            schedule_check(app, tenant_id, CHECKOUT_CHECK_DELAY).await?;
            let trial_spent = record.as_ref().is_some_and(TenantRecord::is_trial_spent);
            return Ok(Payer { customer: customer.to_owned(), trial_spent });
        }
        let created = send(stripe, requests::create_customer(tenant_id), &key).await?;
        let read_version = record.as_ref().map(TenantRecord::version);
        let row = match record {
            Some(TenantRecord::Live(row)) => *row,
            Some(TenantRecord::Deleted(tombstone)) => tombstone.reactivate(link.chat_id, None, now),
            None => Tenant::new(tenant_id, link.chat_id),
        };
        let due = match deleted {
            // What the deleted customer had ends now: Stripe will never be asked about them again.
            Some(_) => Due::new(Kind::Reconcile, tenant_id, now),
            // The events of the payment may be lost; then the reconciler asks Stripe.
            None => {
                let check = Due::new(Kind::Reconcile, tenant_id, now + CHECKOUT_CHECK_DELAY);
                row.due.clone().filter(|due| due.at <= check.at).unwrap_or(check)
            }
        };
        let row = if deleted.is_some() { row.without_customer(now) } else { row };
        let trial_spent = row.trial_spent || had_trial;
        let tenant = Tenant { customer: Some(created.id.clone()), trial_spent, due: Some(due), ..row };
        let update = BillingUpdate { tenant, read_version, stripe_ids: vec![&created.id], event: None };
        match app.store.save_billing(update, now).await {
            Ok(_) => {
                if let Some(deleted) = deleted {
                    report_deleted_customer(deleted);
                }
                return Ok(Payer { customer: created.id, trial_spent });
            }
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(Refusal::from_store(error)),
        }
    }
    Err(Refusal::from_store(store::Error::Conflict))
}

/// Schedules a check with Stripe about a removed tenant after `delay`, in case its events are lost. A tenant that
/// exists is checked every day anyway.
async fn schedule_check(app: &App, tenant_id: TenantId, delay: Duration) -> Result<(), Refusal> {
    let ask_stripe_at = Some(app.clock.now() + delay);
    for _ in 0..MAX_ATTEMPTS {
        let record = app.store.tenant_record(tenant_id).await.map_err(Refusal::from_store)?;
        let Some(TenantRecord::Deleted(tombstone)) = record else { return Ok(()) };
        let version = tombstone.version;
        match app.store.save_tombstone(&Tombstone { ask_stripe_at, ..*tombstone }, version).await {
            Ok(_) => return Ok(()),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(Refusal::from_store(error)),
        }
    }
    Err(Refusal::from_store(store::Error::Conflict))
}

async fn send(stripe: &Client, request: StripeCall, key: &str) -> Result<CreatedObject, Refusal> {
    stripe.create(&request.path, request.form, key).await.map_err(map_stripe_error)
}

fn map_stripe_error(error: providers::Error) -> Refusal {
    if error.is_retryable() {
        tracing::warn!(code = "stripe_unavailable", %error, "Stripe did not serve; the person is asked to try again");
    } else {
        nbhd::telemetry::metric("BillingRefused", 1);
        tracing::error!(code = "stripe_refused", %error, "Stripe refused our request; an operator has to look");
    }
    Refusal::StripeUnavailable
}
