//! Telegram's HTML in messages: what a person sees of it, and what Telegram refuses.
//!
//! See <https://core.telegram.org/bots/api#html-style>.

use super::Refusal;

const TAGS: [&str; 17] = [
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "span",
    "tg-spoiler",
    "a",
    "tg-emoji",
    "tg-time",
    "code",
    "pre",
    "blockquote",
];

/// The text without its markup. Tags that Telegram does not know, or that are not closed in order, are refused.
pub(super) fn render_text(html: &str) -> Result<String, Refusal> {
    let mut seen = String::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find(['<', '&']) {
        seen.push_str(&rest[..start]);
        rest = &rest[start..];
        let at = html.len() - rest.len();
        if rest.starts_with('&') {
            let (character, length) = entity(rest);
            seen.push(character);
            rest = &rest[length..];
            continue;
        }
        let end = rest.find('>').ok_or_else(|| refused("Unclosed start tag", at))?;
        tag(&rest[1..end], &mut open, at)?;
        rest = &rest[end + 1..];
    }
    match open.pop() {
        Some(name) => Err(refused(&format!("Can't find end tag corresponding to start tag \"{name}\""), html.len())),
        None => Ok(seen + rest),
    }
}

fn tag(content: &str, open: &mut Vec<String>, at: usize) -> Result<(), Refusal> {
    if let Some(name) = content.strip_prefix('/') {
        return match open.pop() {
            Some(opened) if opened == name.trim().to_ascii_lowercase() => Ok(()),
            Some(_) | None => Err(refused("Unexpected end tag", at)),
        };
    }
    let name = content.split(|end: char| end.is_whitespace()).next().unwrap_or_default().to_ascii_lowercase();
    if !TAGS.contains(&name.as_str()) {
        return Err(refused(&format!("Unsupported start tag \"{name}\""), at));
    }
    open.push(name);
    Ok(())
}

/// The character that an entity at the start of `text` stands for, and the entity's length; `&` itself when it is none.
fn entity(text: &str) -> (char, usize) {
    let none = ('&', 1);
    let Some(end) = text.find(';').filter(|end| *end <= 10) else { return none };
    let character = match &text[1..end] {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        numeric => numeric.strip_prefix('#').and_then(|digits| {
            let code = match digits.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)
        }),
    };
    character.map_or(none, |character| (character, end + 1))
}

fn refused(what: &str, at: usize) -> Refusal {
    Refusal::bad_request(&format!("can't parse entities: {what} at byte offset {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_the_text_without_its_markup() {
        for (html, seen) in [
            ("plain", "plain"),
            ("<b>Lunch</b> &amp; <a href=\"https://x.example\">tea</a> &lt;3 &#233;&#xe9;", "Lunch & tea <3 éé"),
            ("<B>a<i>b</i></B>", "ab"),
            ("fish & chips &unknown; 5 > 3", "fish & chips &unknown; 5 > 3"),
        ] {
            assert_eq!(render_text(html).as_deref(), Ok(seen), "{html}");
        }
    }

    #[test]
    fn what_telegram_cannot_parse_is_refused() {
        for html in ["5 < 3", "<ana@example.com>", "<b>bold", "</b>", "<b><i>x</b></i>", "<div>x</div>"] {
            assert!(
                render_text(html).is_err_and(|refusal| refusal.description.contains("can't parse entities")),
                "{html}"
            );
        }
    }
}
