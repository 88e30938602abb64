//! Browsers inside other apps: Google refuses to ask for consent in them (`disallowed_useragent`).
//! <https://developers.google.com/identity/protocols/oauth2/policies#browsers>

/// What apps that open links in a browser of their own put into its `User-Agent`.
const APPS: [&str; 10] = [
    "; wv)",
    "Telegram-Android",
    "Telegram-iOS",
    "FBAN/",
    "FBAV/",
    "FB_IAB/",
    "Instagram ",
    "Line/",
    "MicroMessenger/",
    "Snapchat/",
];

/// Whether a `User-Agent` is one that Google refuses.
pub(crate) fn is_embedded(user_agent: &str) -> bool {
    let ios = ["iPhone", "iPad", "iPod"].iter().any(|device| user_agent.contains(device));
    // Every browser of iOS says `Safari/`, also Chrome and Firefox there; a bare web view does not.
    let bare_web_view = ios && user_agent.contains("AppleWebKit/") && !user_agent.contains("Safari/");
    bare_web_view || APPS.iter().any(|app| user_agent.contains(app))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_within_apps_are_recognised() {
        for user_agent in [
            "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 \
             Chrome/126.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile \
             Safari/537.36 Telegram-Android/11.3.3 (Samsung SM-S918B; Android 14; SDK 34; HIGH)",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Mobile/15E148",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Mobile/15E148 [FBAN/FBIOS;FBAV/469.0.0.31.103]",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Mobile/15E148 Instagram 337.0.3.23.54",
        ] {
            assert!(is_embedded(user_agent), "{user_agent}");
        }
    }

    #[test]
    fn whole_browsers_are_not() {
        for user_agent in [
            "",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile \
             Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/17.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 \
             Chrome/121.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 \
             Safari/537.36 Edg/126.0.0.0",
        ] {
            assert!(!is_embedded(user_agent), "{user_agent}");
        }
    }
}
