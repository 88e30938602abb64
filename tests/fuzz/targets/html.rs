//! A mail's HTML: its text keeps its bounds, and is plain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nbhd_fuzz::{check_idempotence, check_text, read_part};

fuzz_target!(|html: &[u8]| {
    let body = read_part("text/html", "text/html; charset=utf-8", html);
    check_text(&body);
    check_idempotence(&body);
    assert!(body.attachments.is_empty());
});
