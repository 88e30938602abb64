//! Stripe's signature header, the first line of an input, over a body. A header of our own is accepted whatever stands
//! behind it; one that is accepted has the body's signature.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nbhd::providers::stripe::{Event, SigningSecrets};
use nbhd_fuzz::{NOW, settings, split_line};
use ring::hmac;

static SECRETS: LazyLock<SigningSecrets> = LazyLock::new(|| SigningSecrets::from_env(&settings()).expect("secrets"));

fuzz_target!(|input: &[u8]| {
    let Some((header, body)) = split_line(input) else { return };
    if SECRETS.verify(header, body, NOW).is_ok() {
        let times = header.split(',').filter_map(|part| part.trim().strip_prefix("t="));
        let header = header.to_ascii_lowercase();
        let mut proofs = times.flat_map(|time| ["whsec_first", "whsec_second"].map(|secret| sign(secret, time, body)));
        assert!(proofs.any(|proof| header.contains(&proof)), "accepted without a proof");
    }
    let time = NOW.seconds().to_string();
    let genuine = format!("t={time},v1={},{header}", sign("whsec_second", &time, body));
    assert_eq!(SECRETS.verify(&genuine, body, NOW), Ok(()));
    let longer = [body, b" "].concat();
    assert!(SECRETS.verify(&genuine, &longer, NOW).is_err(), "a signature of other bytes");
    let _ = Event::parse(body);
});

fn sign(secret: &str, time: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &[time.as_bytes(), b".", body].concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
