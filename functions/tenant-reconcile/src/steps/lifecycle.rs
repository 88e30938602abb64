//! What changes in the table alone, and the messages to the person about it.

use std::borrow::Cow;

use nbhd::clock::Timestamp;
use nbhd::domain::backups::Backups;
use nbhd::domain::generation::KeyId;
use nbhd::domain::plan::Learned;
use nbhd::domain::reconcile_status::Notice;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::step_error::StepError;
use nbhd::domain::tenant::Lifecycle;
use nbhd::providers::Error;
use nbhd::providers::stripe::report_deleted_customer;
use nbhd::providers::telegram::MessageOptions;
use nbhd::store::{RouteChange, ShardSlot};
use nbhd::telemetry::metric;

use super::{StepContext, StepResult};
use crate::failure::Failure;

/// Asks Stripe about the customer, after the row was read: a write between the two is noticed, and nothing is written
/// on top of it.
pub(crate) async fn sync<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let stripe = context.app.stripe.as_ref().ok_or_else(|| StepError::precondition("stripe_not_configured"))?;
    let customer = context.tenant.customer.as_deref().ok_or_else(|| StepError::precondition("no_customer"))?;
    let known = context.tenant.subscription.as_ref();
    let snapshot = stripe.fetch_subscription(customer, known, context.app.clock.now()).await?;
    let (current, is_deleted, has_trialed) =
        (snapshot.subscription, snapshot.is_customer_deleted, snapshot.has_trialed);
    let is_news = current.as_ref().is_some_and(|current| Some(current) != known);
    if is_news && is_deleted {
        report_deleted_customer(customer);
    }
    let result = StepResult::new(Learned::SubscriptionFetched { subscription: current, has_trialed });
    Ok(if is_news { result.with_detail("an event was lost") } else { result })
}

/// The lifecycle and the route change in one write: there is never a route to a tenant that is not entitled to one.
pub(crate) fn change_lifecycle<'a>(context: &StepContext<'a>, to: Lifecycle) -> StepResult<'a> {
    const fn set(status: RouteStatus) -> Option<RouteChange> {
        Some(RouteChange::Set { status, runtime_url: None, activated_at: None })
    }
    let route = match to {
        Lifecycle::Provisioning => set(RouteStatus::Provisioning),
        Lifecycle::Suspended => set(RouteStatus::Suspended),
        Lifecycle::Deprovisioning => Some(RouteChange::Remove),
        Lifecycle::Pending | Lifecycle::Active => None,
    };
    let newest_key = context.app.runtime_keys.newest().id();
    StepResult { route, ..StepResult::new(Learned::LifecycleChanged { lifecycle: to, newest_key }) }
}

/// The first of the shards with room, beginning at another one for each tenant.
pub(crate) async fn choose_shard<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let settings = &context.app.settings;
    let count = settings.shards.len().max(1);
    let first = usize::from(context.tenant.tenant_id.as_bytes()[7]) % count;
    let limit = settings.tenants_per_subscription;
    for shard in settings.shards.iter().cycle().skip(first).take(count) {
        // The write itself refuses a slot too many; this only finds the shard to try.
        let azure_subscription = &shard.azure_subscription;
        if context.app.store.tenants_in(azure_subscription).await? < limit {
            let shard_slot = Some(ShardSlot::Reserve { azure_subscription, limit });
            return Ok(StepResult { shard_slot, ..StepResult::new(Learned::ShardChosen(shard.clone())) });
        }
    }
    metric("ShardsFull", 1);
    Err(StepError::precondition("shards_full").into())
}

pub(crate) fn activate<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let app = context.tenant.reconcile.resources.app.as_ref().filter(|app| app.healthy);
    let fqdn = app.and_then(|app| app.fqdn.as_deref()).ok_or_else(|| StepError::precondition("no_address"))?;
    let route = RouteChange::Set {
        status: RouteStatus::Active,
        runtime_url: Some(format!("https://{fqdn}")),
        activated_at: Some(context.app.clock.now()),
    };
    Ok(StepResult { route: Some(route), ..StepResult::new(Learned::Activated) })
}

/// The record says who wanted the rotation, if not an operator.
pub(crate) fn begin_rotation<'a>(context: &StepContext<'a>, key: KeyId) -> StepResult<'a> {
    let result = change_generations(context, Learned::RotationStarted(key));
    let present = context.tenant.generation.key.and_then(|key| context.app.runtime_keys.find(key));
    if present.is_some() { result } else { result.with_detail("its runtime key is not listed any more") }
}

/// The route carries the generations: it changes with them and keeps its status.
pub(crate) fn change_generations<'a>(context: &StepContext<'a>, learned: Learned) -> StepResult<'a> {
    let status = match context.tenant.lifecycle {
        Lifecycle::Active => RouteStatus::Active,
        Lifecycle::Provisioning => RouteStatus::Provisioning,
        Lifecycle::Pending | Lifecycle::Suspended | Lifecycle::Deprovisioning => RouteStatus::Suspended,
    };
    let route = Some(RouteChange::Set { status, runtime_url: None, activated_at: None });
    StepResult { route, ..StepResult::new(learned) }
}

/// Sends the message before it is recorded: a crash between the two sends it once more, and never not at all.
pub(crate) async fn notify<'a>(context: &StepContext<'a>, notice: Notice) -> Result<StepResult<'a>, Failure> {
    let text = text(notice, context.app.clock.now());
    let sent = context.app.bot.send_message(context.tenant.chat_id, &text, MessageOptions::default()).await;
    let result = StepResult::new(Learned::PersonNotified(notice));
    match sent {
        Ok(_) => Ok(result),
        // They blocked the bot, or left: no message reaches them.
        Err(Error::Refused { .. }) => Ok(result.with_detail("the person cannot be notified")),
        Err(error) => Err(error.into()),
    }
}

fn text(notice: Notice, now: Timestamp) -> Cow<'static, str> {
    let text = match notice {
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
            let kept = backups_text(now);
            return Cow::Owned(format!(
                "Your assistant was removed with its files, and your Google accounts are disconnected. {kept}\n\nTo \
                 begin again, send /billing."
            ));
        }
        Notice::Replaced => {
            let kept = backups_text(now);
            return Cow::Owned(format!(
                "Your former assistant was removed with its files, and your Google accounts are disconnected. \
                 {kept}\n\nA new one is being set up for you: it will write to you within about 20 minutes."
            ));
        }
        Notice::ReadyAnew => {
            "Your new assistant is ready. Write to it here, as to a person. What the earlier one knew is gone: tell \
             the new one what it should know, and /connect your mail and calendar again."
        }
        Notice::SuspendedAnew => "Your new assistant is paused before it was ready. To have it set up, send /billing.",
    };
    Cow::Borrowed(text)
}

/// What is not gone with the removal, and when it is. The removal ends within a day of the message.
fn backups_text(now: Timestamp) -> String {
    let Backups { table_until, dead_letters_until, logs_until } = Backups::after(now);
    format!(
        "Our backups and logs still have records of it, without any of its messages or mail, until {}; messages of \
         yours that never reached it wait until {}. Then they are deleted, too.",
        table_until.max(logs_until).date(),
        dead_letters_until.date(),
    )
}
