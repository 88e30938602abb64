//! A minimal browser for the story: it keeps cookies and follows no redirect by itself.

use std::collections::BTreeMap;

use anyhow::Context as _;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder};

use crate::world::World;

/// The answer to a click.
#[derive(Clone, Debug)]
pub struct LoadedPage {
    /// The HTTP status.
    pub status: u16,
    /// The address that a redirect leads to.
    pub location: Option<String>,
    /// The page's HTML.
    pub html: String,
}

impl LoadedPage {
    /// The page's main heading.
    pub fn heading(&self) -> &str {
        between(&self.html, "<h1", "</h1>").and_then(|heading| heading.split_once('>')).map_or("", |(_, text)| text)
    }

    /// The address that the page's first form is sent to, if the page itself is at `url`.
    ///
    /// # Errors
    /// When the page has no form, or the form's address is not a URL.
    pub fn form_action(&self, url: &str) -> anyhow::Result<url::Url> {
        let form = between(&self.html, "<form", ">").context("the page has no form")?;
        let action = between(form, "action=\"", "\"").unwrap_or(url);
        Ok(url::Url::parse(url)?.join(&action.replace("&amp;", "&"))?)
    }

    /// The first link of the page whose address has `part` in it.
    pub fn link_with(&self, part: &str) -> Option<&str> {
        let links = self.html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        links.into_iter().find(|address| address.contains(part))
    }

    /// The names and values of the hidden fields of the page's first form.
    pub fn form_fields(&self) -> Vec<(&str, &str)> {
        let form = between(&self.html, "<form", "</form>").unwrap_or_default();
        form.split("<input")
            .skip(1)
            .filter_map(|input| Some((between(input, "name=\"", "\"")?, between(input, "value=\"", "\"")?)))
            .collect()
    }
}

/// A browser with its cookies.
pub struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// A browser without cookies.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { http: nbhd::http::client_with_roots(None)?, cookies: BTreeMap::new() })
    }

    /// Opens a link.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn open(&mut self, url: &str) -> anyhow::Result<LoadedPage> {
        self.send(self.http.get(url)).await
    }

    /// Sends a form to `url`, with that address as its origin.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn submit(&mut self, url: &str, fields: &[(&str, &str)]) -> anyhow::Result<LoadedPage> {
        let origin = url::Url::parse(url)?.origin().ascii_serialization();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = self.http.post(url).header(ORIGIN, origin);
        self.send(form.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    async fn send(&mut self, request: RequestBuilder) -> anyhow::Result<LoadedPage> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) };
        let response = request.send().await.map_err(reqwest::Error::without_url).context("the page did not answer")?;
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        let location = response.headers().get(LOCATION).map(|to| to.to_str().map(str::to_owned)).transpose()?;
        Ok(LoadedPage { status: response.status().as_u16(), location, html: response.text().await? })
    }
}

impl World {
    /// The person opens the bot by the button of a page that waits for them, and presses Start there.
    ///
    /// # Errors
    /// When the page has no such button.
    pub async fn confirms(&self, waiting: &LoadedPage) -> anyhow::Result<()> {
        let deep_link = waiting.link_with("?start=").context("the page does not lead to the bot")?;
        Browser::new()?.open(deep_link).await?;
        self.run_until_idle().await;
        Ok(())
    }
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}
