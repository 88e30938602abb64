//! After a removal: what was removed is looked for once more by its name, minutes and a day later, because a request
//! that was under way can have made it anew; and Stripe is asked whether the person came back.
//!
//! A tombstone has no lease: everything here is safe to do twice and at once, and whoever writes second starts over.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd::domain::late_effects::Recheck;
use nbhd::domain::plan::{OBSERVED_EVERY, Part, SYNCED_EVERY};
use nbhd::domain::subscription::Subscription;
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::domain::work::Work;
use nbhd::flows::comeback::Comeback;
use nbhd::store;
use nbhd::telemetry::metric;

use crate::App;
use crate::failure::Failure;
use crate::steps::{Effect, Job, remove_by_name};
use crate::worker::Error;

/// When a recheck that a vendor could not serve is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Does what is due of a removed tenant; the tenant, when its person pays again.
pub(crate) async fn run(app: &App, tombstone: Tombstone) -> Result<Option<Tenant>, Error> {
    match run_due(app, tombstone).await {
        // Who changed it meanwhile began anew, or did the same.
        Err(store::Error::Conflict) => Ok(None),
        ended => Ok(ended?),
    }
}

async fn run_due(app: &App, tombstone: Tombstone) -> Result<Option<Tenant>, store::Error> {
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
    let work = Work { shard, ..Work::new() };
    // Not a tenant any more, but one whose parts have the same names in the same place.
    let mut removed = Tenant { work, ..Tenant::new(tombstone.tenant_id, ChatId(0)) };
    for part in parts(&removed) {
        removed.version = tombstone.version;
        match remove_by_name(&Job::new(app, &removed), part, since).await {
            Ok(false) => {}
            Ok(true) => tombstone = amend(app, tombstone, part).await?,
            Err(failure) => return postpone(app, tombstone, part, failure).await,
        }
    }
    tombstone.recheck.done(app.clock.now());
    let version = tombstone.version;
    app.store.save_tombstone(&tombstone, version).await?;
    tracing::info!(code = "rechecked", "a removed tenant was looked for once more");
    Ok(())
}

fn parts(tenant: &Tenant) -> impl Iterator<Item = Part> + use<> {
    let was_built = tenant.work.shard.is_some() || tenant.work.leftovers.is_some();
    Part::ALL.into_iter().filter(move |part| was_built || !part.is_in_shard())
}

async fn amend(app: &App, tombstone: Tombstone, part: Part) -> Result<Tombstone, store::Error> {
    found(part);
    let (mut amended, version) = (tombstone.clone(), tombstone.version);
    amended.amend(part.as_str(), app.clock.now());
    app.store.save_tombstone(&amended, version).await
}

fn found(part: Part) {
    metric("LateEffectsRemoved", 1);
    tracing::warn!(code = "late_effect", what = part.as_str(), "found after the removal of its tenant, and removed");
}

/// The recheck is tried again after a while, from the beginning.
async fn postpone(app: &App, tombstone: Tombstone, part: Part, failure: Failure) -> Result<(), store::Error> {
    let (mut tombstone, version, now) = (tombstone.clone(), tombstone.version, app.clock.now());
    let wait = match failure {
        Failure::Store(error) => return Err(error),
        Failure::Waits { code, delay } => {
            // An app and a secret take a while to go: they are found when they are seen, and not when they are gone.
            if matches!(part, Part::App | Part::Secret) {
                found(part);
                tombstone.amend(part.as_str(), now);
            }
            tracing::info!(code, what = part.as_str(), "what was found after a removal is being deleted");
            delay
        }
        Failure::Failed { code, delay, .. } => {
            metric("RechecksFailed", 1);
            tracing::warn!(code, what = part.as_str(), "a removed tenant could not be looked for, and is again later");
            RETRY_AFTER.max(delay.unwrap_or_default())
        }
    };
    tombstone.recheck.postpone(now, wait);
    app.store.save_tombstone(&tombstone, version).await.map(drop)
}

/// As [`recheck`], for a tenant whose person came back before it was done.
pub(crate) async fn remove_leftovers<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let since = job.tenant.work.leftovers.as_ref().map(|leftovers| leftovers.since);
    let since = since.ok_or_else(|| Failure::failed("no_leftovers"))?;
    let mut what = Vec::new();
    for part in parts(job.tenant).filter(|part| part.is_in_shard()) {
        if remove_by_name(job, part, since).await? {
            found(part);
            what.push(part.as_str());
        }
    }
    let effect = Effect::done(|tenant| tenant.work.leftovers = None);
    Ok(if what.is_empty() { effect } else { effect.found(what.join(", ")) })
}

/// The person may have paid without our hearing of it: after Stripe was last asked, or at a checkout since then.
async fn ask_stripe(app: &App, tombstone: Tombstone, now: Timestamp) -> Result<TenantRecord, store::Error> {
    let version = tombstone.version;
    let asked = match tombstone.customer.as_deref().zip(app.stripe.as_ref()) {
        Some((customer, stripe)) => Some(stripe.word(customer, None).await),
        None => None,
    };
    let again = match asked {
        None => None,
        Some(Ok(word)) => {
            let has_ended = |known: &Subscription| known.ended_at.is_some();
            let waits = word.subscription.as_ref().is_some_and(|known| !has_ended(known));
            match Comeback::of(&tombstone, word, now) {
                Comeback::As(tenant) => {
                    tracing::warn!(code = "comeback_unheard", "every event of a new subscription was lost");
                    let saved = app.store.save_tenant(&tenant, Some(version)).await?;
                    return Ok(TenantRecord::Live(Box::new(saved)));
                }
                Comeback::NotYet => waits.then_some(SYNCED_EVERY),
                Comeback::AsNobody => {
                    metric("StripeEventsUnmatched", 1);
                    tracing::error!(code = "unmatched", "a removed person pays for something that names no chat");
                    None
                }
            }
        }
        Some(Err(error)) => {
            tracing::warn!(code = "unanswered", %error, "Stripe is asked again");
            Some(OBSERVED_EVERY)
        }
    };
    let ask_stripe_at = again.map(|after| now + after);
    let saved = app.store.save_tombstone(&Tombstone { ask_stripe_at, ..tombstone }, version).await?;
    Ok(TenantRecord::Deleted(Box::new(saved)))
}
