//! A person's browser, as far as the story needs one: it keeps cookies and follows no redirect by itself.

use std::collections::BTreeMap;

use anyhow::Context as _;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder};

/// What a person sees after a click.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The HTTP status.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The page's source.
    pub html: String,
}

impl Seen {
    /// The page's main heading.
    pub fn heading(&self) -> &str {
        between(&self.html, "<h1", "</h1>").and_then(|heading| heading.split_once('>')).map_or("", |(_, text)| text)
    }

    /// Where the page's first form leads, seen from the page at `url`.
    ///
    /// # Errors
    /// When there is no form, or its address cannot be read.
    pub fn action(&self, url: &str) -> anyhow::Result<url::Url> {
        let form = between(&self.html, "<form", ">").context("the page has no form")?;
        let action = between(form, "action=\"", "\"").unwrap_or(url);
        Ok(url::Url::parse(url)?.join(&action.replace("&amp;", "&"))?)
    }

    /// The hidden fields of the page's first form, which a click on its button sends.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        let form = between(&self.html, "<form", "</form>").unwrap_or_default();
        form.split("<input")
            .skip(1)
            .filter_map(|input| Some((between(input, "name=\"", "\"")?, between(input, "value=\"", "\"")?)))
            .collect()
    }
}

/// The browser.
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
        Ok(Self { http: nbhd::http::client_trusting(None)?, cookies: BTreeMap::new() })
    }

    /// Opens a link.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn open(&mut self, url: &str) -> anyhow::Result<Seen> {
        self.send(self.http.get(url)).await
    }

    /// Sends a form of the page at `url` to that very address.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn submit(&mut self, url: &str, fields: &[(&str, &str)]) -> anyhow::Result<Seen> {
        let origin = url::Url::parse(url)?.origin().ascii_serialization();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = self.http.post(url).header(ORIGIN, origin);
        self.send(form.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    async fn send(&mut self, request: RequestBuilder) -> anyhow::Result<Seen> {
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
        Ok(Seen { status: response.status().as_u16(), location, html: response.text().await? })
    }
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}
