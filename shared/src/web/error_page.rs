//! The page of a request that failed.

use axum::http::StatusCode;

use super::Page;

/// What a person reads after a request that failed.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage {
    /// The status of the response.
    pub status: StatusCode,
    /// A stable code, on the page and in the log.
    pub code: &'static str,
    /// The page's heading.
    pub title: &'static str,
    /// What happened, and what the person can do about it.
    pub text: &'static str,
}

impl ErrorPage {
    /// Builds the page, and records its code in the log.
    pub fn into_page(self) -> Page {
        let Self { status, code, title, text } = self;
        tracing::info!(code, "request failed; its person sees an error page");
        Page::new(status, title).text(text).code(code)
    }
}
