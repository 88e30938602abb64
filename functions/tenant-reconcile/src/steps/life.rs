//! What changes in the table alone, and what a person is told of it.

use nbhd::domain::plan::Step;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::tenant::Lifecycle;
use nbhd::domain::work::{Notice, jitter};
use nbhd::providers::Error;
use nbhd::providers::telegram::MessageOptions;
use nbhd::store::{Place, RouteChange};
use nbhd::telemetry::metric;

use super::{Effect, Job};
use crate::failure::Failure;

/// Asks Stripe what it says now, after the row was read: who writes it between the two is noticed, and nothing is
/// written on top of them.
pub(crate) async fn sync<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let stripe = job.app.stripe.as_ref().ok_or_else(|| Failure::failed("stripe_not_configured"))?;
    let customer = job.tenant.customer.as_deref().ok_or_else(|| Failure::failed("no_customer"))?;
    let known = job.tenant.subscription.as_ref();
    // What Stripe does not speak of, or speaks of in words that are new to us, stays as it is.
    let told = stripe.word(customer, known).await?.subscription;
    let is_news = told.as_ref().is_some_and(|told| Some(told) != known);
    let now = job.app.clock.now();
    let effect = Effect::write(move |tenant| {
        if told.is_some() {
            tenant.subscription.clone_from(&told);
        }
        tenant.work.synced_at = Some(now);
    });
    Ok(if is_news { effect.found("an event was lost") } else { effect })
}

/// The lifecycle and the route change in one write: there is never a route to a tenant that is not entitled to one.
pub(crate) fn move_to<'a>(job: &Job<'a>, to: Lifecycle) -> Effect<'a> {
    let now = job.app.clock.now();
    let effect = Effect::write(move |tenant| {
        tenant.lifecycle = to;
        let work = &mut tenant.work;
        match to {
            Lifecycle::Provisioning => work.generation_since = work.generation_since.or(Some(now)),
            // What an earlier call may have left running has to be found.
            Lifecycle::Suspended => work.observed_at = None,
            Lifecycle::Pending | Lifecycle::Active | Lifecycle::Deprovisioning => {}
        }
    });
    let set = |status| Some(RouteChange::Set { status, runtime_url: None, activated_at: None });
    let route = match to {
        Lifecycle::Provisioning => set(RouteStatus::Provisioning),
        Lifecycle::Suspended => set(RouteStatus::Suspended),
        Lifecycle::Deprovisioning => Some(RouteChange::Remove),
        Lifecycle::Pending | Lifecycle::Active => None,
    };
    Effect { route, ..effect }
}

/// The first of the shards with room, beginning at another one for each tenant.
pub(crate) async fn choose_shard<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let settings = &job.app.settings;
    let count = settings.shards.len().max(1);
    let first = usize::from(job.tenant.tenant_id.as_bytes()[7]) % count;
    let limit = settings.tenants_per_subscription;
    for shard in settings.shards.iter().cycle().skip(first).take(count) {
        // The write itself refuses a place too many; this only finds the shard to try.
        if job.app.store.tenants_in(&shard.subscription).await? < limit {
            let chosen = shard.clone();
            let effect = Effect::write(move |tenant| tenant.work.shard = Some(chosen.clone()));
            let place = Some(Place::Take { subscription: &shard.subscription, limit });
            return Ok(Effect { place, ..effect });
        }
    }
    metric("ShardsFull", 1);
    Err(Failure::failed("shards_full"))
}

pub(crate) fn activate<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let app = job.tenant.work.resources.app.as_ref().filter(|app| app.healthy);
    let fqdn = app.and_then(|app| app.fqdn.as_deref()).ok_or_else(|| Failure::failed("no_address"))?;
    let route = RouteChange::Set {
        status: RouteStatus::Active,
        runtime_url: Some(format!("https://{fqdn}")),
        activated_at: Some(job.app.clock.now()),
    };
    let now = job.app.clock.now();
    let effect = Effect::write(move |tenant| {
        tenant.lifecycle = Lifecycle::Active;
        tenant.work.observed_at = Some(now + jitter(tenant.tenant_id, nbhd::domain::plan::OBSERVED_EVERY));
    });
    Ok(Effect { route: Some(route), ..effect })
}

/// From here on both generations open what the tenant may reach.
pub(crate) fn begin_rotation<'a>(job: &Job<'a>) -> Effect<'a> {
    let now = job.app.clock.now();
    let effect = Effect::write(move |tenant| {
        tenant.rotation_requested = false;
        tenant.other_generation = Some(tenant.generation + 1);
        tenant.work.generation_since = Some(now);
    });
    with_route(job, effect)
}

/// The container runs with the new generation, and nothing else opens anything.
pub(crate) fn end_rotation<'a>(job: &Job<'a>) -> Effect<'a> {
    let effect = Effect::write(|tenant| {
        if let Some(newest) = tenant.other_generation.take() {
            tenant.generation = newest;
        }
        let newest = tenant.work.resources.keys.iter();
        tenant.key_hashes = newest.map(|keys| keys.internal.clone()).collect();
    });
    with_route(job, effect)
}

/// The route carries the generations: it changes with them and keeps its status.
fn with_route<'a>(job: &Job<'a>, effect: Effect<'a>) -> Effect<'a> {
    let status = match job.tenant.lifecycle {
        Lifecycle::Active => RouteStatus::Active,
        Lifecycle::Provisioning => RouteStatus::Provisioning,
        Lifecycle::Pending | Lifecycle::Suspended | Lifecycle::Deprovisioning => RouteStatus::Suspended,
    };
    Effect { route: Some(RouteChange::Set { status, runtime_url: None, activated_at: None }), ..effect }
}

/// Said before it is marked: a crash between the two says it once more, and never not at all.
pub(crate) async fn tell<'a>(job: &Job<'a>, notice: Notice) -> Result<Effect<'a>, Failure> {
    let sent = job.app.bot.send_message(job.tenant.chat_id, text(notice), MessageOptions::default()).await;
    let detail = match sent {
        Ok(_) => None,
        // They blocked the bot, or left: they cannot be told.
        Err(Error::Refused { .. }) => Some("the person cannot be told"),
        Err(error @ (Error::Unauthorized | Error::NotFound)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    let effect = Effect::done(move |tenant| tenant.work.told = Some(notice));
    Ok(Effect { detail: detail.map(str::to_owned), ..effect })
}

const fn text(notice: Notice) -> &'static str {
    match notice {
        Notice::Ready => {
            "Your assistant is ready. Write to it here, as to a person. Once you /connect them, it can read your mail \
             and calendar."
        }
        Notice::Suspended => {
            "Your assistant is paused, and nothing of it is lost. To resume it, send /billing; it is back as soon as \
             the payment is made."
        }
        Notice::Resumed => "Your assistant is back. Write to it here.",
        Notice::Removed => {
            "Your assistant was removed with everything it kept, and your Google accounts are disconnected. To begin \
             again, send /billing."
        }
        Notice::Replaced => {
            "Your former assistant was removed with everything it kept, and your Google accounts are disconnected. \
             Since you have paid again, a new one is being set up: it will write to you within about 20 minutes."
        }
        Notice::ReadyAnew => {
            "Your new assistant is ready. Write to it here, as to a person. What the earlier one knew is gone: tell \
             the new one what it should know, and /connect your mail and calendar again."
        }
        Notice::SuspendedAnew => "Your new assistant is paused before it was ready. To have it set up, send /billing.",
    }
}

/// Whether a step only writes, so that no other worker has to be kept out before it.
pub(crate) const fn only_writes(step: Step) -> bool {
    match step {
        Step::Move(_) | Step::ChooseShard | Step::BeginRotation | Step::EndRotation | Step::Activate | Step::Sync => {
            true
        }
        Step::Observe
        | Step::RemoveLeftovers
        | Step::MakeIdentity
        | Step::WriteKeys { .. }
        | Step::SetModelKey { .. }
        | Step::GrantRole
        | Step::MakeShare
        | Step::MakeStorage
        | Step::ChooseRelease
        | Step::AwaitOperation
        | Step::StopApp
        | Step::AwaitNoReplica
        | Step::PutApp
        | Step::StartApp
        | Step::CheckHealth
        | Step::DropFormerKeys
        | Step::EndTurn { .. }
        | Step::Tell(_)
        | Step::Remove(_)
        | Step::Bury => false,
    }
}
