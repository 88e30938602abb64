//! Encoded words (RFC 2047), in the name of an attachment: decoding them makes no text longer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime_gmail::body;
use serde_json::json;
use serde_json::value::to_raw_value;

fuzz_target!(|header: &str| {
    if header.is_empty() {
        return;
    }
    let payload = json!({"mimeType": "application/pdf", "filename": header, "body": {"size": 1}});
    let body = body::parse(&to_raw_value(&payload).expect("JSON"));
    let [attachment] = body.attachments.as_slice() else { panic!("one attachment") };
    assert!(attachment.filename.chars().count() <= header.chars().count(), "longer than what was sent");
});
