//! A mail's plain text in the character set of the input's first line, which is the content type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nbhd_fuzz::{check_idempotence, check_text, read_part, split_line};

fuzz_target!(|input: &[u8]| {
    let Some((content_type, text)) = split_line(input) else { return };
    let body = read_part("text/plain", content_type, text);
    check_text(&body);
    check_idempotence(&body);
});
