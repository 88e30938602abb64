//! The story `make run` plays: a person writes to the bot, connects Google, asks about the day, and gets an answer.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nbhd::clock::Timestamp;
use nbhd_sim::google::Scopes;
use nbhd_sim::google::calendar::Event;

use crate::browser::Browser;
use crate::chat::Chat;
use crate::show::Show;
use crate::subscriber::Subscriber;
use crate::world::World;

/// The person's Google account.
pub const ACCOUNT: &str = "ann@example.com";
/// Her calendar's zone.
const TIME_ZONE: &str = "Europe/Lisbon";
/// What she asks.
pub const QUESTION: &str = "what's in my inbox and what does my day look like?";

const MEETING: &str = "Garden committee";
const HOUR: Duration = Duration::from_secs(3600);

/// Gives the person a Google account with a mailbox (from `mail`, or a few messages written for the project) and a day;
/// returns how many messages there are.
///
/// # Errors
/// When the folder cannot be read.
pub fn fill_account(world: &World, mail: Option<&Path>) -> anyhow::Result<usize> {
    world.google.has_account(ACCOUNT, "Ann Example", TIME_ZONE);
    let now = world.clock.now();
    let day = |at: Timestamp| at.rfc3339().chars().take(10).collect::<String>();
    world.google.calendar(ACCOUNT, |calendar| {
        let meeting = Event::timed(MEETING, &(now + HOUR).rfc3339(), &(now + 2 * HOUR).rfc3339());
        calendar.add(meeting.at("Community centre"));
        calendar.add(Event::timed("Dentist", &(now + 4 * HOUR).rfc3339(), &(now + 5 * HOUR).rfc3339()));
        calendar.add(Event::all_day("Street market", &day(now), &day(now + 24 * HOUR)));
    });
    world.google.fills_mailbox(ACCOUNT, mail).context("the mail could not be read")
}

/// Plays it.
///
/// # Errors
/// The first step that does not end as it should.
pub async fn play(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    let chat = &world.chat;
    show.step("Ann writes to the bot; the update waits in her chat's queue until her assistant has it");
    ask(world, chat, show, "hello").await?;

    show.step("Her container sleeps; the message is tried again until it is up");
    sleep_and_wake(world, subscriber, show).await?;

    show.step("She asks before anything is connected");
    let answer = ask(world, chat, show, QUESTION).await?;
    ensure!(answer.contains("/connect"), "the answer does not say how to connect");

    show.step("She connects Google: a link that works once, for ten minutes, and opens a page before anything happens");
    connect(world, show).await?;

    show.step("She disconnects; what is left at Google and in the vault is removed");
    ask(world, chat, show, "/disconnect").await?;
    ensure!(world.google.granted(ACCOUNT).is_empty(), "Google still holds a grant");

    show.step("She connects again and asks; her assistant reads through us, without ever holding a token");
    connect(world, show).await?;
    let answer = ask(world, chat, show, QUESTION).await?;
    let subjects = world.google.mailbox(ACCOUNT, |mailbox| {
        mailbox.messages().iter().filter_map(|message| message.header("Subject").map(str::to_owned)).collect::<Vec<_>>()
    });
    let quoted = subjects.iter().any(|subject| !subject.is_empty() && answer.contains(subject));
    ensure!(quoted, "the answer quotes no subject of a real message");
    ensure!(answer.contains(MEETING), "the answer does not mention `{MEETING}`");
    Ok(())
}

async fn sleep_and_wake(world: &World, subscriber: &Subscriber, show: &mut Show<'_>) -> anyhow::Result<()> {
    let (chat, text) = (&world.chat, "are you awake?");
    let before = chat.answers().len();
    subscriber.runtime.stops();
    show.says(chat.name(), text);
    chat.says(text);
    world.attempt().await;
    ensure!(chat.answers().len() == before, "a stopped container answered");
    subscriber.runtime.starts();
    world.settle().await;
    show.functions();
    let answer = since(chat, before);
    ensure!(answer.contains(text), "the message did not reach the container after it woke up");
    show.says("bot", &answer);
    Ok(())
}

/// Writes to the bot and returns its next answers.
async fn ask(world: &World, chat: &Chat, show: &mut Show<'_>, text: &str) -> anyhow::Result<String> {
    let before = chat.answers().len();
    show.says(chat.name(), text);
    chat.says(text);
    world.settle().await;
    show.functions();
    let answer = since(chat, before);
    ensure!(!answer.is_empty(), "no answer came to {text:?}");
    show.says("bot", &answer);
    Ok(answer)
}

/// Asks for a link and goes through the pages in a browser, to the notice in the chat.
async fn connect(world: &World, show: &mut Show<'_>) -> anyhow::Result<()> {
    let chat = &world.chat;
    let before = chat.answers().len();
    ask(world, chat, show, "/connect").await?;
    let buttons = chat.answers().into_iter().skip(before).flat_map(|answer| answer.buttons);
    let link = buttons
        .map(|button| button.url)
        .find(|url| url.contains("/oauth/google/authorize"))
        .context("the bot sent no link for both services")?;

    let before = chat.answers().len();
    let mut browser = Browser::new()?;
    let page = browser.open(&link).await?;
    ensure!(page.status == 200, "the link answered {}", page.status);
    show.says("page", page.heading());
    let form = browser.submit(&link, &page.fields()).await?;
    let consent = form.location.context("the page does not lead on to Google")?;
    let back = world
        .google
        .consents(&consent, ACCOUNT, &Scopes::All)
        .map_err(|refusal| anyhow::anyhow!("Google refused the consent: {refusal:?}"))?;
    let result = browser.open(&back).await?;
    ensure!(result.status == 200, "the way back from Google answered {}", result.status);
    show.says("page", result.heading());
    world.settle().await;
    show.functions();
    let notice = since(chat, before);
    ensure!(notice.contains(ACCOUNT), "no notice of the new connection came to the chat");
    show.says("bot", &notice);
    Ok(())
}

/// What the bot wrote after its first `count` messages.
fn since(chat: &Chat, count: usize) -> String {
    chat.answers().into_iter().skip(count).map(|answer| answer.text).collect::<Vec<_>>().join("\n")
}
