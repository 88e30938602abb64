//! What the fuzz targets share.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nbhd::clock::Timestamp;
use nbhd::config::Env;
use runtime_gmail::body::{self, Body, MAX_CHARS};
use serde_json::json;
use serde_json::value::to_raw_value;

/// The time of every target.
pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Settings whose keys open nothing.
pub fn settings() -> Env {
    Env::from_pairs([
        ("LINK_SIGNING_KEYS", "k1:a key of 32 bytes or more that opens nothing"),
        ("PUBLIC_BASE_URL", "https://nbhd.example"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_first,whsec_second"),
    ])
}

/// Splits an input into its first line, if that is text, and what comes after it.
pub fn split_line(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&input[..end]).ok()?, &input[end + 1..]))
}

/// Reads a mail of one part, as Gmail gives it.
pub fn read_part(mime_type: &str, content_type: &str, content: &[u8]) -> Body {
    let payload = json!({
        "mimeType": mime_type,
        "headers": [{"name": "Content-Type", "value": content_type}],
        "body": {"size": content.len(), "data": BASE64_URL_SAFE_NO_PAD.encode(content)},
    });
    body::parse(&to_raw_value(&payload).expect("JSON"))
}

/// Checks what holds for the text of every mail.
pub fn check_text(body: &Body) {
    assert!(body.body_text.chars().count() <= MAX_CHARS, "longer than the contract allows");
    let is_shown = |character: char| matches!(character, '\n' | '\t') || !character.is_control();
    assert!(body.body_text.chars().all(is_shown), "a control character is left");
}

/// Checks that a text which was read stays itself when it is read again as plain text.
pub fn check_idempotence(body: &Body) {
    // Cutting may leave blanks at the end, and a byte order mark at the start is no text.
    if body.body_truncated || body.body_text.starts_with('\u{feff}') {
        return;
    }
    let again = read_part("text/plain", "text/plain; charset=utf-8", body.body_text.as_bytes());
    assert_eq!(again.body_text, body.body_text, "a second reading is another");
}
