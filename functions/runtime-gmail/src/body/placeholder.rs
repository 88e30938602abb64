//! Plain texts that only say that there is another version.

use std::collections::HashSet;

/// A longer text says something of its own.
const MAX_CHARS: usize = 1_000;

/// What such texts name, in the languages of mail: HTML, the version on the web, or the program to see it with.
const POINTERS: [&str; 34] = [
    "html",
    "browser",
    "web version",
    "webversion",
    "version web",
    "online version",
    "onlineversion",
    "online-version",
    "view online",
    "read online",
    "view it online",
    "plain text",
    "plain-text",
    "text-only",
    "rich text",
    "en ligne",
    "navigateur",
    "navegador",
    "en línea",
    "versão online",
    "versione online",
    "nettleser",
    "webbläsare",
    "selain",
    "przeglądar",
    "prohlížeč",
    "böngésző",
    "tarayıcı",
    "браузер",
    "متصفح",
    "ブラウザ",
    "浏览器",
    "瀏覽器",
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
    let known: HashSet<&String> = html_words.iter().collect();
    let shared = plain_words.iter().filter(|word| known.contains(word)).count();
    may_point(plain) && shared * 10 < plain_words.len() * 6
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
        ] {
            assert!(!is_placeholder(plain, html), "{plain}");
        }
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
