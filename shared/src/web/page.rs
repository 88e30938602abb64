//! The pages that a person sees on the way to Google or Stripe and back: one style, no scripts, no external resources.

use std::fmt::Write as _;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

const STYLE: &str = include_str!("page.css");

/// How a button looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonStyle {
    /// Filled: the page's purpose.
    Primary,
    /// An outline: a way out.
    Secondary,
}

/// A page that browsers neither store nor show in a frame. All text put on it is escaped.
#[derive(Clone, Debug)]
pub struct Page {
    status: StatusCode,
    title: String,
    body: String,
    code: String,
    form_targets: Vec<String>,
    retry_after: Option<u32>,
    reload_after: Option<u32>,
}

impl Page {
    /// A page that holds only its heading, which is also its title.
    pub fn new(status: StatusCode, title: &str) -> Self {
        let (body, code, form_targets) = (String::new(), String::new(), Vec::new());
        Self { status, title: escape(title), body, code, form_targets, retry_after: None, reload_after: None }
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.html(format_args!("<p>{}</p>", escape(text)))
    }

    /// Adds a list of labels, each with its value, such as a name that someone else chose.
    #[must_use]
    pub fn definition_list(self, entries: &[(&str, &str)]) -> Self {
        let mut list = String::new();
        for (label, value) in entries {
            // `bdi` keeps a name with right-to-left marks from turning the text around it.
            let _ = write!(list, "<div><dt>{}</dt><dd><bdi>{}</bdi></dd></div>", escape(label), escape(value));
        }
        self.html(format_args!("<dl>{list}</dl>"))
    }

    /// Adds a button that posts `fields` to `action`, an address of ours.
    #[must_use]
    pub fn form(self, action: &str, fields: &[(&str, &str)], style: ButtonStyle, label: &str) -> Self {
        let mut inputs = String::new();
        for (name, value) in fields {
            let _ = write!(inputs, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value));
        }
        let class = match style {
            ButtonStyle::Primary => "",
            ButtonStyle::Secondary => " class=\"secondary\"",
        };
        let (action, label) = (escape(action), escape(label));
        let mut page = self.html(format_args!(
            "<form method=\"post\" action=\"{action}\">{inputs}<button{class}>{label}</button></form>"
        ));
        page.form_targets.push("'self'".to_owned());
        page
    }

    /// Allows a form to be redirected to `origin`: browsers apply the policy for forms to the redirect that answers
    /// one.
    #[must_use]
    pub fn allow_redirect_to(mut self, origin: String) -> Self {
        self.form_targets.push(origin);
        self
    }

    /// Adds a link out of the page, such as back to the bot.
    #[must_use]
    pub fn link(self, url: &str, label: &str) -> Self {
        self.html(format_args!("<p><a href=\"{}\">{}</a></p>", escape(url), escape(label)))
    }

    /// Adds a link that looks like a button and opens in a tab of its own, so that this page stays.
    #[must_use]
    pub fn button_link(self, url: &str, label: &str) -> Self {
        let (url, label) = (escape(url), escape(label));
        self.html(format_args!(
            "<p><a class=\"button\" href=\"{url}\" target=\"_blank\" rel=\"noopener noreferrer\">{label}</a></p>"
        ))
    }

    /// Adds `address` as a QR code, with the margin that cameras need; nothing when it is too long for one.
    #[cfg(feature = "qr-code")]
    #[must_use]
    pub fn qr_code(self, address: &str) -> Self {
        const MARGIN: usize = 4;
        let Ok(code) = qrcode::QrCode::new(address) else { return self };
        let width = code.width();
        let mut path = String::new();
        for (index, color) in code.to_colors().into_iter().enumerate() {
            if color == qrcode::Color::Dark {
                let _ = write!(path, "M{} {}h1v1h-1z", index % width + MARGIN, index / width + MARGIN);
            }
        }
        let side = width + 2 * MARGIN;
        self.html(format_args!(
            "<svg class=\"qr\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR code\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
        ))
    }

    /// Adds text to be copied as a whole.
    #[must_use]
    pub fn copyable(self, text: &str) -> Self {
        self.html(format_args!("<p class=\"copy\">{}</p>", escape(text)))
    }

    /// Ends the page with a stable code in small print, for a person to name when they ask for help.
    #[must_use]
    pub fn code(self, code: &str) -> Self {
        Self { code: format!("<p class=\"code\">Code: <code>{}</code></p>", escape(code)), ..self }
    }

    /// Asks programs to come back after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Makes browsers load the page anew after so many seconds, without a script.
    /// <https://html.spec.whatwg.org/multipage/document-lifecycle.html#the-refresh-header>
    #[must_use]
    pub fn reload_after(self, seconds: u32) -> Self {
        Self { reload_after: Some(seconds), ..self }
    }

    fn html(mut self, html: std::fmt::Arguments<'_>) -> Self {
        let _ = self.body.write_fmt(html);
        self
    }

    fn security_policy(&self) -> String {
        let style = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        let forms = if self.form_targets.is_empty() { "'none'".to_owned() } else { self.form_targets.join(" ") };
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action {forms}; frame-ancestors 'none'; \
             base-uri 'none'"
        )
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let policy = self.security_policy();
        let Self { status, title, body, code, retry_after, reload_after, .. } = self;
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main><p class=\"brand\">NBHD United</p><h1>{title}</h1>{body}{code}</main></body></html>"
        );
        let mut response = (status, Html(html)).into_response();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::CONTENT_SECURITY_POLICY, &policy);
        set(header::CACHE_CONTROL, "no-store");
        // Addresses of pages carry tokens, so other sites must not see them. `no-referrer` would also blank the
        // `Origin` of our own forms, which `is_same_origin` needs from browsers without fetch metadata.
        set(header::REFERRER_POLICY, "same-origin");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::X_FRAME_OPTIONS, "DENY");
        if let Some(seconds) = retry_after {
            set(header::RETRY_AFTER, &seconds.to_string());
        }
        if let Some(seconds) = reload_after {
            set(header::REFRESH, &seconds.to_string());
        }
        response
    }
}

/// Escapes text for HTML, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"'></title><script>alert(1)</script>&";

    #[test]
    fn no_text_becomes_markup() {
        let page = Page::new(StatusCode::OK, HOSTILE)
            .text(HOSTILE)
            .definition_list(&[(HOSTILE, HOSTILE)])
            .form(HOSTILE, &[(HOSTILE, HOSTILE)], ButtonStyle::Primary, HOSTILE)
            .copyable(HOSTILE)
            .link(HOSTILE, HOSTILE)
            .button_link(HOSTILE, HOSTILE)
            .code(HOSTILE);
        let shown = format!("{}{}", page.body, page.code);
        assert!(!shown.contains("<script") && !page.title.contains('<'));
        assert_eq!(shown.matches("&lt;script&gt;").count(), 13);
    }

    #[test]
    fn a_page_without_a_form_submits_nothing() {
        assert!(Page::new(StatusCode::OK, "").security_policy().contains("form-action 'none'"));
        let page = Page::new(StatusCode::OK, "")
            .form("/", &[], ButtonStyle::Secondary, "")
            .allow_redirect_to("https://a.example".into());
        assert!(page.security_policy().contains("form-action 'self' https://a.example;"));
    }
}
