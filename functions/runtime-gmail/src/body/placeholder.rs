//! Plain texts that only say that there is another version.

use std::collections::HashSet;

/// A longer text says something of its own.
const MAX_CHARS: usize = 1_000;

/// What such texts name, in the languages of mail: a version in HTML or on the web, or the program to see it with.
const POINTERS: [&str; 52] = [
    "html version",
    "html-version",
    "html format",
    "html-format",
    "html mail",
    "html-mail",
    "html email",
    "html e-mail",
    "html message",
    "html-nachricht",
    "html reader",
    "html viewer",
    "html capable",
    "html-capable",
    "html compatible",
    "html-compatible",
    "html enabled",
    "html-enabled",
    "html view",
    "in html",
    "as html",
    "als html",
    "en html",
    "see html",
    "see the html",
    "view html",
    "view the html",
    "format html",
    "formato html",
    "browser",
    "web version",
    "webversion",
    "version web",
    "online version",
    "onlineversion",
    "online-version",
    "view online",
    "read online",
    "plain text version",
    "text-only version",
    "en ligne",
    "navigateur",
    "navegador",
    "versione online",
    "nettleser",
    "webbläsare",
    "przeglądar",
    "prohlížeč",
    "браузер",
    "ブラウザ",
    "浏览器",
    "브라우저",
];

/// Whether `plain` may only point to another version: it has no words but addresses, or names one.
pub(super) fn may_point(plain: &str) -> bool {
    let lower = plain.to_lowercase();
    words(plain).is_empty() || POINTERS.iter().any(|pointer| lower.contains(pointer))
}

/// Whether `plain` can be left out in favour of `html`, the text of the same message's HTML. It can if it has no words
/// but addresses; if it is a tenth of the HTML's text or less, which begins with the same words; and if it points to
/// another version in words that the HTML mostly lacks. A short answer is none of these.
pub(super) fn is_placeholder(plain: &str, html: &str) -> bool {
    if plain.chars().nth(MAX_CHARS).is_some() || !html.contains(char::is_alphanumeric) {
        return false;
    }
    let (plain_words, html_words) = (words(plain), words(html));
    if plain_words.is_empty() {
        return true;
    }
    if plain_words.len() * 10 <= html_words.len() && html_words.starts_with(&plain_words) {
        return true;
    }
    // The pairs of words in a row: a long text has most single words of any short one.
    let pair_len = plain_words.len().min(2);
    let known: HashSet<&[String]> = html_words.windows(pair_len).collect();
    let pairs = plain_words.windows(pair_len);
    let (all, shared) = (pairs.len(), pairs.filter(|pair| known.contains(pair)).count());
    may_point(plain) && shared * 2 < all
}

/// The words in small letters, without addresses and marks of markup.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .filter(|word| !word.contains("://") && !word.trim_start_matches(['<', '(', '[']).starts_with("www."))
        .flat_map(|word| word.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWS: &str = "Your order 7741 leaves the depot on Monday and arrives on Tuesday before noon at your door.";

    #[test]
    fn a_pointer_to_the_other_version_is_left_out() {
        for plain in [
            "This message needs an HTML reader.",
            "Please view this email in your browser: https://shop.example/v/1",
            "Diese Nachricht wird nur als HTML richtig dargestellt.",
            "Si vous ne voyez pas ce message, ouvrez-le dans votre navigateur.",
            "Para ver este mensaje use su navegador <https://shop.example>",
            "このメールはブラウザでご覧ください。",
            "https://shop.example/v/1",
            " -- \n",
            "[https://shop.example/logo.png]",
            "Plain text version is not available.",
        ] {
            assert!(is_placeholder(plain, NEWS), "{plain}");
        }
    }

    #[test]
    fn a_short_answer_is_never_left_out() {
        for (plain, html) in [
            ("Yes.", NEWS),
            ("No", "no"),
            ("42", NEWS),
            ("Try another browser, that helped me.", "Try another browser, that helped me."),
            ("The HTML is fixed, thanks!", "The HTML is fixed, thanks! -- Ada, Example Ltd, 1 Long Road"),
            ("Come at noon", ""),
            ("Come at noon", "---"),
            ("好的", NEWS),
            ("My fallback is HTML if nothing else works", NEWS),
        ] {
            assert!(!is_placeholder(plain, html), "{plain}");
        }
    }

    #[test]
    fn a_long_text_with_the_same_words_hides_no_pointer() {
        let plain = "View this letter in your browser.";
        let html = format!("{NEWS} In this browser letter, your view {}", "counts. ".repeat(300));
        assert!(is_placeholder(plain, &html));
        assert!(!is_placeholder(plain, &format!("{html} {plain}")));
    }

    #[test]
    fn a_mere_beginning_of_the_html_is_left_out() {
        let html = format!("Hello Ada, {}", NEWS.repeat(3));
        assert!(is_placeholder("Hello Ada,", &html));
        assert!(!is_placeholder("Hello Bob,", &html));
        assert!(!is_placeholder(NEWS, &format!("{NEWS} Bye")));
    }

    #[test]
    fn a_long_text_speaks_for_itself() {
        assert!(!is_placeholder(&format!("HTML {}", "other words ".repeat(100)), NEWS));
    }
}
