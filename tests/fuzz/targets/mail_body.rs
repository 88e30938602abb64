//! Gmail's tree of a mail's parts, as JSON: whatever its form, the text keeps its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nbhd_fuzz::{check_idempotence, check_text};
use runtime_gmail::body;
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<&RawValue>(input) else { return };
    let body = body::parse(payload);
    check_text(&body);
    check_idempotence(&body);
    assert!(body.attachments.len() <= input.len() / 2, "more parts than were sent");
});
