//! The addresses of links that are worth giving.

use nbhd::domain::visible::visible_line;

/// A longer address is given as its host: it tracks a click, or carries what is no address.
pub(super) const MAX_HREF: usize = 2_000;

/// Where a link leads, if a person can follow it: an address of the web or of mail, or a telephone number. Read as a
/// browser does: blanks around it and line ends within it do not count, the scheme is read in any case, and an address
/// without one is `https`.
pub(super) fn address(href: &str) -> Option<String> {
    let trimmed = href.trim_matches(|c: char| c.is_ascii_control() || c == ' ');
    let joined: String = trimmed.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let address = visible_line(&joined).text.into_owned();
    let address = if address.starts_with("//") { format!("https:{address}") } else { address };
    let (scheme, rest) = address.split_once(':')?;
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    if !["http", "https", "mailto", "tel"].into_iter().any(is) {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    if address.len() <= MAX_HREF {
        return Some(format!("{scheme}:{rest}"));
    }
    let host_end = |text: &str| text.find(['/', '?', '#', '\\']).unwrap_or(text.len());
    let host = match rest.strip_prefix("//") {
        Some(rest) => &rest[..host_end(rest)],
        None => &rest[..host_end(rest)],
    };
    let host = if is("mailto") { host } else { host.rsplit('@').next().unwrap_or_default() };
    let separator = if is("mailto") || is("tel") { "" } else { "//" };
    let short = format!("{scheme}:{separator}{host}");
    (!host.is_empty() && short.len() <= MAX_HREF).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_a_browser_reads_it() {
        for (href, expected) in [
            (" https://one.test/a ", Some("https://one.test/a")),
            ("\n\thttps://one.test/\n a\r\n", Some("https://one.test/ a")),
            ("HTTPS://One.test", Some("https://One.test")),
            ("MailTo:ada@one.test", Some("mailto:ada@one.test")),
            ("ht\ntp://one.test", Some("http://one.test")),
            ("//one.test/a", Some("https://one.test/a")),
            ("tel:+4930123", Some("tel:+4930123")),
            ("http://good.test@bad.test/", Some("http://good.test@bad.test/")),
            ("https://one.test/\u{202e}x\u{200b}", Some("https://one.test/x")),
            ("javascript:alert(1)", None),
            ("java\nscript:alert(1)", None),
            ("\u{1}data:text/html,x", None),
            ("vbscript:x", None),
            ("file:///etc/passwd", None),
            ("#top", None),
            ("/relative?next=http://x", None),
            ("httpx://one.test", None),
            ("", None),
        ] {
            assert_eq!(address(href).as_deref(), expected, "{href:?}");
        }
    }

    #[test]
    fn a_long_address_is_given_as_its_host() {
        let path = "x".repeat(MAX_HREF);
        let full = format!("https://one.test/{}", "x".repeat(MAX_HREF - 17));
        assert_eq!(address(&full), Some(full.clone()));
        for (href, short) in [
            (format!("{full}y"), Some("https://one.test")),
            (format!("//two.test:8080?{path}"), Some("https://two.test:8080")),
            (format!("HTTP://{path}@three.test/{path}"), Some("http://three.test")),
            (format!("mailto:ada@one.test?body={path}"), Some("mailto:ada@one.test")),
            (format!("https://{path}"), None),
            (format!("tel:{path}"), None),
        ] {
            assert_eq!(address(&href).as_deref(), short, "{}", &href[..30]);
        }
    }
}
