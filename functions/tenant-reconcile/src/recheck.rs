//! After a removal: what was removed is rechecked by its name, minutes and a day later, because a request
//! that was under way can have made it anew; and Stripe is asked whether the person came back.
//!
//! A tombstone has no lease: everything here is safe to do twice and at once, and whoever writes second starts over.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd::domain::late_effects::Recheck;
use nbhd::domain::plan::{OBSERVED_EVERY, Part, SYNCED_EVERY};
use nbhd::domain::reconcile_status::ReconcileStatus;
use nbhd::domain::subscription::Subscription;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::flows::reactivation::Reactivation;
use nbhd::store;
use nbhd::telemetry::metric;

use crate::App;
use crate::failure::{Failure, LOCKED_FOR, report_lock};
use crate::steps::{StepContext, parts_to_recheck, remove_by_name, report_late_effect};

/// When a recheck that a vendor could not serve is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Does what is due of a removed tenant; the tenant, when its person pays again.
pub(crate) async fn recheck_if_due(app: &App, tombstone: Tombstone) -> Result<Option<Tenant>, store::Error> {
    match do_what_is_due(app, tombstone).await {
        // Who changed it meanwhile began anew, or did the same.
        Err(store::Error::Conflict) => Ok(None),
        ended => ended,
    }
}

async fn do_what_is_due(app: &App, tombstone: Tombstone) -> Result<Option<Tenant>, store::Error> {
    let now = app.clock.now();
    let is_due = |at: Timestamp| at <= now;
    let mut tombstone = tombstone;
    if tombstone.ask_stripe_at.is_some_and(is_due) {
        tombstone = match ask_stripe(app, tombstone, now).await? {
            TenantRecord::Live(tenant) => return Ok(Some(*tenant)),
            TenantRecord::Deleted(tombstone) => *tombstone,
        };
    }
    if tombstone.recheck.at.is_some_and(is_due) {
        recheck(app, tombstone).await?;
    }
    Ok(None)
}

/// Removes whatever bears the tenant's names. Each thing found is on the receipt before the next one is looked for, and
/// that it was looked for is written when all of it was.
async fn recheck(app: &App, tombstone: Tombstone) -> Result<(), store::Error> {
    let mut tombstone = tombstone;
    let Recheck { shard, since, .. } = tombstone.recheck.clone();
    let reconcile = ReconcileStatus { shard, ..ReconcileStatus::new() };
    // It is not a tenant any more, but one whose parts have the same names in the same place.
    let mut removed = Tenant { reconcile, ..Tenant::new(tombstone.tenant_id, ChatId(0)) };
    for part in parts_to_recheck(&removed) {
        removed.version = tombstone.version;
        match remove_by_name(&StepContext::new(app, &removed), part, since).await {
            Ok(false) => {}
            Ok(true) => tombstone = record_late(app, tombstone, part).await?,
            Err(failure) => return postpone(app, tombstone, part, failure).await,
        }
    }
    tombstone.recheck.done(app.clock.now());
    let version = tombstone.version;
    app.store.save_tombstone(&tombstone, version).await?;
    tracing::info!(code = "rechecked", "a removed tenant was rechecked; nothing of it is left");
    Ok(())
}

async fn record_late(app: &App, tombstone: Tombstone, part: Part) -> Result<Tombstone, store::Error> {
    report_late_effect(part);
    let (mut amended, version) = (tombstone.clone(), tombstone.version);
    amended.record_late(part, app.clock.now());
    app.store.save_tombstone(&amended, version).await
}

/// The recheck is tried again after a while, from the beginning.
async fn postpone(app: &App, tombstone: Tombstone, part: Part, failure: Failure) -> Result<(), store::Error> {
    let (mut tombstone, version, now) = (tombstone.clone(), tombstone.version, app.clock.now());
    let wait = match failure {
        Failure::Store(error) => return Err(error),
        Failure::Waiting { reason, delay } => {
            // An app and a secret take a while to go: they are found when they are seen, and not when they are gone.
            if matches!(part, Part::App | Part::Secret) {
                report_late_effect(part);
                tombstone.record_late(part, now);
            }
            let (code, what) = (reason.as_str(), part.description());
            tracing::info!(code, what, "what was found after a removal is being deleted; it is rechecked");
            delay
        }
        Failure::Locked { scope } => {
            report_lock(scope.as_deref(), part.description());
            LOCKED_FOR
        }
        Failure::Failed { error, retry_after } => {
            metric("RechecksFailed", 1);
            let what = part.description();
            tracing::warn!(code = "recheck_failed", what, %error, "a removed tenant was not rechecked; it is retried");
            RETRY_AFTER.max(retry_after.unwrap_or_default())
        }
    };
    tombstone.recheck.postpone(now, wait);
    app.store.save_tombstone(&tombstone, version).await.map(drop)
}

/// The person may have paid without our hearing of it: after Stripe was last asked, or at a checkout since then.
async fn ask_stripe(app: &App, tombstone: Tombstone, now: Timestamp) -> Result<TenantRecord, store::Error> {
    let mut tombstone = tombstone;
    let version = tombstone.version;
    let asked = match tombstone.customer.as_deref().zip(app.stripe.as_ref()) {
        Some((customer, stripe)) => Some(stripe.fetch_subscription(customer, None, now).await),
        None => None,
    };
    let again = match asked {
        None => None,
        Some(Ok(snapshot)) => {
            let has_ended = |known: &Subscription| known.ended_at.is_some();
            tombstone.trial_spent |= snapshot.has_trialed;
            let waits = snapshot.subscription.as_ref().is_some_and(|known| !has_ended(known));
            match Reactivation::decide(&tombstone, snapshot, now) {
                Reactivation::Tenant(tenant) => {
                    tracing::warn!(
                        code = "reactivation_event_lost",
                        "a removed tenant pays again and no event said so; it is reactivated"
                    );
                    let saved = app.store.save_tenant(&tenant, Some(version)).await?;
                    return Ok(TenantRecord::Live(Box::new(saved)));
                }
                Reactivation::NotEntitled => waits.then_some(SYNCED_EVERY),
                Reactivation::Unmatched => {
                    metric("StripeEventsUnmatched", 1);
                    tracing::error!(
                        code = "stripe_customer_unmatched",
                        "a removed tenant's customer pays, but for no chat that we know; the tenant stays removed"
                    );
                    None
                }
            }
        }
        Some(Err(error)) => {
            tracing::warn!(
                code = "stripe_unavailable",
                %error,
                "Stripe did not answer about a removed tenant; it is asked again later"
            );
            Some(OBSERVED_EVERY)
        }
    };
    let ask_stripe_at = again.map(|after| now + after);
    let saved = app.store.save_tombstone(&Tombstone { ask_stripe_at, ..tombstone }, version).await?;
    Ok(TenantRecord::Deleted(Box::new(saved)))
}
