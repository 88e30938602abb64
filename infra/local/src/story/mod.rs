//! The story that `make run` plays, from a stranger's first message to the receipt of her assistant's removal.
//!
//! She subscribes, talks to an assistant of her own, connects Google and asks about her day; a payment fails, she pays
//! and is back; she cancels.

mod billing;
mod google;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nbhd::clock::Timestamp;
use nbhd::domain::ids::ChatId;
use nbhd_sim::google::calendar::Event;
use nbhd_sim::google::mailbox::{TextForm, TextHabits};

use crate::chat::Chat;
use crate::show::Show;
use crate::subscriber::Subscriber;
use crate::world::World;

pub(crate) use billing::subscribe;

/// The person's Google account.
pub const ACCOUNT: &str = "ann@example.com";
/// The time zone of her calendar.
const TIME_ZONE: &str = "Europe/Lisbon";
/// The question that she asks her assistant.
pub const QUESTION: &str = "what's in my inbox and what does my day look like?";

const MEETING: &str = "Garden committee";
const HOUR: Duration = Duration::from_secs(3600);

/// Gives the person a Google account with a calendar and a mailbox (from `mail`, or a few messages written for the
/// project; their texts in `form`); returns the number of messages.
///
/// # Errors
/// When the folder cannot be read.
pub fn fill_account(world: &World, mail: Option<&Path>, form: TextForm) -> anyhow::Result<usize> {
    world.google.has_account(ACCOUNT, "Ann Example", TIME_ZONE);
    fill_calendar(world);
    world.google.mailbox(ACCOUNT, |mailbox| mailbox.hands_out_texts(TextHabits { form, ..TextHabits::default() }));
    world.google.fills_mailbox(ACCOUNT, mail).context("the mail could not be read")
}

/// Adds events of the coming hours to the calendar; after the story they lie months back, and new ones are needed.
pub fn fill_calendar(world: &World) {
    let now = world.clock.now();
    let day = |at: Timestamp| at.rfc3339().chars().take(10).collect::<String>();
    world.google.calendar(ACCOUNT, |calendar| {
        let meeting = Event::timed(MEETING, &(now + 6 * HOUR).rfc3339(), &(now + 7 * HOUR).rfc3339());
        calendar.add(meeting.with_location("Community centre"));
        calendar.add(Event::timed("Dentist", &(now + 9 * HOUR).rfc3339(), &(now + 10 * HOUR).rfc3339()));
        calendar.add(Event::all_day("Street market", &day(now), &day(now + 24 * HOUR)));
    });
}

/// Plays the story from a stranger's first message to an answer from her mail and calendar.
///
/// # Errors
/// When a step does not end as it should.
pub async fn begin(world: &World, show: &mut Show<'_>) -> anyhow::Result<Subscriber> {
    let chat = &world.chat;
    show.step("Ann, whom nobody knows, writes to the bot; she is welcomed, and no row is made for her");
    let answer = ask(world, chat, show, "hello").await?;
    ensure!(world.subscriber(ChatId(chat.id())).await?.is_none(), "a stranger has a tenant");
    ensure!(!answer.contains("hello"), "an assistant answered a stranger");

    show.step("She follows the link and pays on Stripe's page; her container is made, and the bot says it is ready");
    let subscriber = billing::subscribes(world, show).await?;

    show.step("She writes again; the update waits in her chat's queue until her assistant has it");
    ask(world, chat, show, "hello, assistant").await?;

    show.step("Her container sleeps; the message is tried again until it is up");
    sleep_and_wake(world, &subscriber, show).await?;

    show.step("She asks before anything is connected");
    let answer = ask(world, chat, show, QUESTION).await?;
    ensure!(answer.contains("/connect"), "the answer does not say how to connect");

    show.step("She connects Google: a link that works once, for ten minutes, and opens a page before anything happens");
    google::connect(world, show).await?;

    show.step("She disconnects; what is left at Google and in the vault is removed");
    ask(world, chat, show, "/disconnect").await?;
    ensure!(world.google.granted_scopes(ACCOUNT).is_empty(), "Google still holds a grant");

    show.step("She connects again and asks; her assistant reads through us, without ever holding a token");
    google::connect(world, show).await?;
    answer_from_mail(world, show).await?;
    Ok(subscriber)
}

/// Plays the rest: tokens, payments, and the removal. Months pass in moments.
///
/// # Errors
/// When a step does not end as it should.
pub async fn end(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    google::tokens(world, show).await?;
    billing::money(world, subscriber, show).await?;
    billing::removal(world, subscriber, show).await
}

/// Asks the question, and checks that the answer quotes a real message and names the meeting.
async fn answer_from_mail(world: &World, show: &mut Show<'_>) -> anyhow::Result<()> {
    let answer = ask(world, &world.chat, show, QUESTION).await?;
    let subjects = world.google.mailbox(ACCOUNT, |mailbox| {
        mailbox.messages().iter().filter_map(|message| message.header("Subject").map(str::to_owned)).collect::<Vec<_>>()
    });
    let quoted = subjects.iter().any(|subject| !subject.is_empty() && answer.contains(subject));
    ensure!(quoted, "the answer quotes no subject of a real message");
    ensure!(answer.contains(MEETING), "the answer does not mention `{MEETING}`");
    Ok(())
}

/// Stops the container, writes to it, and starts it again.
async fn sleep_and_wake(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    let (chat, text) = (&world.chat, "are you awake?");
    let before = chat.answers().len();
    subscriber.runtime.stops();
    show.says(chat.name(), text);
    chat.says(text);
    world.attempt().await;
    ensure!(chat.answers().len() == before, "a stopped container answered");
    subscriber.runtime.starts();
    world.run_until_idle().await;
    show.print_invocations();
    let answer = answers_after(chat, before);
    ensure!(answer.contains(text), "the message did not reach the container after it woke up");
    show.says("bot", &answer);
    Ok(())
}

/// Writes to the bot and returns its next answers.
async fn ask(world: &World, chat: &Chat, show: &mut Show<'_>, text: &str) -> anyhow::Result<String> {
    let before = chat.answers().len();
    show.says(chat.name(), text);
    chat.says(text);
    world.run_until_idle().await;
    show.print_invocations();
    let answer = answers_after(chat, before);
    ensure!(!answer.is_empty(), "no answer came to {text:?}");
    show.says("bot", &answer);
    Ok(answer)
}

/// The addresses that contain `part`, of the buttons below the bot's messages after its first `count`.
fn buttons(chat: &Chat, count: usize, part: &str) -> Vec<String> {
    let buttons = chat.answers().into_iter().skip(count).flat_map(|answer| answer.buttons);
    buttons.map(|button| button.url).filter(|url| url.contains(part)).collect()
}

/// The first of those addresses.
fn button(chat: &Chat, count: usize, part: &str) -> anyhow::Result<String> {
    buttons(chat, count, part).into_iter().next().with_context(|| format!("the bot sent no link to `{part}`"))
}

/// The text of the bot's messages after its first `count`.
fn answers_after(chat: &Chat, count: usize) -> String {
    chat.answers().into_iter().skip(count).map(|answer| answer.text).collect::<Vec<_>>().join("\n")
}
