//! The story's part about payments: a stranger subscribes, leaves an invoice unpaid, pays, and cancels.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use nbhd::domain::ids::ChatId;
use nbhd::domain::subscription::{GRACE, RETENTION};
use nbhd::domain::tenant::{Lifecycle, TenantRecord};

use super::{answers_after, ask, button};
use crate::browser::Browser;
use crate::show::Show;
use crate::subscriber::Subscriber;
use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than any billing period.
const LONGEST_PERIOD: Duration = DAY.saturating_mul(32);

/// Follows the link below the bot's welcome, pays, and waits for a running assistant.
pub(super) async fn subscribes(world: &World, show: &mut Show<'_>) -> anyhow::Result<Subscriber> {
    let (chat, before) = (&world.chat, world.chat.answers().len());
    let (tables, calls) = (world.table.calls().len(), world.azure_calls());
    let link = button(chat, 0, "/billing/checkout")?;
    let done = pay(world, &link, show).await?;
    show.says("page", &done);
    world.run_until_idle().await;
    show.print_invocations();
    show.says("bot", &answers_after(chat, before));
    let subscriber = world.subscriber(ChatId(chat.id())).await?.context("she paid and has no assistant")?;
    ensure!(answers_after(chat, before).contains("ready"), "the bot did not say that the assistant is ready");
    show.print_cost("from checkout to ready", world.azure_calls() - calls, world.table.calls().len() - tables);
    show.print_list("the model gateway, the vault and Azure hold", &world.inventory());
    Ok(subscriber)
}

/// Subscribes the person of `chat`, and prints nothing.
pub(crate) async fn subscribe(world: &World, chat: ChatId) -> anyhow::Result<Subscriber> {
    if chat.0 != world.chat.id() {
        world.telegram.knows(chat, "Somebody");
    }
    world.telegram.says(chat, "/start");
    world.run_until_idle().await;
    let welcome = world.telegram.sent_to(chat).into_iter().next_back().context("the bot did not answer")?;
    let link = welcome.message["reply_markup"]["inline_keyboard"][0][0]["url"].as_str().map(str::to_owned);
    let mut silent = Show::silent(&world.trace);
    pay(world, &link.context("the welcome has no link")?, &mut silent).await?;
    world.run_until_idle().await;
    world.subscriber(chat).await?.context("a paid subscription brought no assistant")
}

/// Goes through our page, Stripe's, and ours again; returns the last heading.
async fn pay(world: &World, link: &str, show: &mut Show<'_>) -> anyhow::Result<String> {
    let mut browser = Browser::new()?;
    let page = browser.open(link).await?;
    ensure!(page.status == 200, "the link answered {}", page.status);
    show.says("page", page.heading());
    let checkout = browser.submit(page.form_action(link)?.as_str(), &page.form_fields()).await?;
    let checkout = checkout.location.context("the page does not lead on to Stripe")?;
    let back = world.stripe.pays(&checkout).map_err(|refusal| anyhow::anyhow!("Stripe refused: {refusal}"))?;
    let done = browser.open(&back).await?;
    ensure!(done.status == 200, "the way back from Stripe answered {}", done.status);
    Ok(done.heading().to_owned())
}

/// A payment fails; after the grace she is suspended, and after she has paid she is active again.
pub(super) async fn money(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    let (chat, customer) = (&world.chat, customer(world, subscriber).await?);
    show.step("Her card is refused at the next renewal; for three days everything goes on");
    world.stripe.card_fails(&customer);
    let is_due = || world.stripe.subscription(&customer).is_some_and(|known| known.status == "past_due");
    world.pass_time_until(LONGEST_PERIOD, is_due).await?;
    show.print_invocations();
    let answer = ask(world, chat, show, "still there?").await?;
    ensure!(answer.contains("still there?"), "the assistant is gone before its time");

    show.step("The grace passes; the assistant is suspended, and the bot says how to resume");
    let before = chat.answers().len();
    world.pass_time(GRACE + DAY).await;
    show.print_invocations();
    show.says("bot", &answers_after(chat, before));
    ensure!(lifecycle(world, subscriber).await? == Some(Lifecycle::Suspended), "the grace has no end");
    let refused = ask(world, chat, show, "and now?").await?;
    ensure!(!refused.contains("and now?"), "a suspended assistant answered");

    show.step("She pays the open invoice; her container starts again, with all it knew");
    let before = chat.answers().len();
    world.stripe.card_works(&customer);
    world.stripe.pays_open(&customer);
    world.run_until_idle().await;
    show.print_invocations();
    show.says("bot", &answers_after(chat, before));
    let answer = ask(world, chat, show, "welcome back").await?;
    ensure!(answer.contains("welcome back"), "she paid and is not back");
    Ok(())
}

/// She cancels; after the retention everything of hers is removed but a receipt.
pub(super) async fn removal(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    let (chat, customer) = (&world.chat, customer(world, subscriber).await?);
    show.step("She cancels; the assistant stops, and everything is kept for seven days");
    let before = chat.answers().len();
    world.stripe.cancels(&customer);
    world.run_until_idle().await;
    show.print_invocations();
    show.says("bot", &answers_after(chat, before));
    ensure!(lifecycle(world, subscriber).await? == Some(Lifecycle::Suspended), "a canceled assistant runs on");

    show.step("The seven days pass; everything is removed and looked for again, and a receipt says so");
    let before = chat.answers().len();
    // What was removed is looked for a last time a day later.
    world.pass_time(RETENTION + 2 * DAY).await;
    show.print_invocations();
    show.says("bot", &answers_after(chat, before));
    let inventory = world.inventory();
    show.print_list("the model gateway, the vault and Azure hold", &inventory);
    ensure!(inventory.is_empty(), "something is left of her");
    let record = world.store()?.tenant_record(subscriber.tenant_id).await?;
    let Some(TenantRecord::Deleted(tombstone)) = record else { anyhow::bail!("there is no receipt") };
    ensure!(tombstone.recheck.at.is_none(), "what was removed is not looked for again");
    let lines = tombstone.receipt.iter().map(|removed| match removed.purged_by {
        Some(at) => format!("{} ({}; destroyed by {at})", removed.part.description(), removed.at),
        None => format!("{} ({})", removed.part.description(), removed.at),
    });
    show.print_list("the receipt", &lines.collect::<Vec<_>>());
    Ok(())
}

async fn lifecycle(world: &World, subscriber: &Subscriber) -> anyhow::Result<Option<Lifecycle>> {
    Ok(world.store()?.tenant(subscriber.tenant_id).await?.map(|tenant| tenant.lifecycle))
}

async fn customer(world: &World, subscriber: &Subscriber) -> anyhow::Result<String> {
    let tenant = world.store()?.tenant(subscriber.tenant_id).await?;
    tenant.and_then(|tenant| tenant.customer).context("the tenant has no customer at Stripe")
}
