//! The story's part about Google: she connects an account, and her tokens are refreshed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use nbhd_sim::google::Scopes;

use super::{ACCOUNT, answer_from_mail, answers_after, ask, button, buttons};
use crate::browser::{Browser, LoadedPage};
use crate::show::Show;
use crate::world::World;

/// Twice as long as an access token is valid.
const PAST_TOKEN_LIFETIME: Duration = Duration::from_secs(2 * 3600);

/// Asks for a link and goes through the pages in a browser, to the notice in the chat.
pub(super) async fn connect(world: &World, show: &mut Show<'_>) -> anyhow::Result<()> {
    let before = world.chat.answers().len();
    ask(world, &world.chat, show, "/connect").await?;
    let link = button(&world.chat, before, "/oauth/google/authorize")?;
    consent(world, &link, show).await
}

/// Opens the bot from the page's button, and presses Start there.
async fn confirm(world: &World, waiting: &LoadedPage, show: &mut Show<'_>) -> anyhow::Result<()> {
    let before = world.chat.answers().len();
    world.confirms(waiting).await?;
    show.print_invocations();
    let answer = answers_after(&world.chat, before);
    ensure!(!answer.is_empty(), "the bot did not answer the confirmation");
    show.says("bot", &answer);
    Ok(())
}

/// Opens a link and goes through the pages of the consent.
async fn consent(world: &World, link: &str, show: &mut Show<'_>) -> anyhow::Result<()> {
    let chat = &world.chat;
    let mut browser = Browser::new()?;
    let page = browser.open(link).await?;
    ensure!(page.status == 200, "the link answered {}", page.status);
    show.says("page", page.heading());
    let form = browser.submit(link, &page.form_fields()).await?;
    let consent = form.location.context("the page does not lead on to Google")?;
    let back = world
        .google
        .consents(&consent, ACCOUNT, &Scopes::All)
        .map_err(|refusal| anyhow::anyhow!("Google refused the consent: {refusal:?}"))?;
    let waiting = browser.open(&back).await?;
    ensure!(waiting.status == 200, "the way back from Google answered {}", waiting.status);
    show.says("page", waiting.heading());
    confirm(world, &waiting, show).await?;
    let before = chat.answers().len();
    let result = browser.open(&back).await?;
    ensure!(result.status == 200, "the page after the confirmation answered {}", result.status);
    show.says("page", result.heading());
    world.run_until_idle().await;
    show.print_invocations();
    let notice = answers_after(chat, before);
    ensure!(notice.contains(ACCOUNT), "no notice of the new connection came to the chat");
    show.says("bot", &notice);
    Ok(())
}

/// A token expires and is refreshed; then she revokes the grant, which only she can renew.
pub(super) async fn tokens(world: &World, show: &mut Show<'_>) -> anyhow::Result<()> {
    show.step("Two hours pass and her tokens end; the clock has them renewed, and the next question works");
    let renewed = world.google.issued().len();
    world.pass_time(PAST_TOKEN_LIFETIME).await;
    show.print_invocations();
    ensure!(world.google.issued().len() > renewed, "no token was renewed");
    answer_from_mail(world, show).await?;

    show.step("She revokes the access at Google; the clock finds out, and the bot sends a link to connect again");
    let before = world.chat.answers().len();
    world.google.person_revokes(ACCOUNT);
    world.pass_time(PAST_TOKEN_LIFETIME).await;
    show.print_invocations();
    let notice = answers_after(&world.chat, before);
    ensure!(!notice.is_empty(), "nobody told her that the connection ended");
    show.says("bot", &notice);
    for link in buttons(&world.chat, before, "/oauth/") {
        consent(world, &link, show).await?;
    }
    answer_from_mail(world, show).await
}
