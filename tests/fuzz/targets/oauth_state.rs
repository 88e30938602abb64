//! The OAuth state that Google brings back, and the cookie beside it. The first line of an input is the cookie header.
//! Nothing is accepted that we did not sign, and no cookie but the one that was set.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nbhd::domain::ids::TenantId;
use nbhd::flows::connect_link::{Links, Services};
use nbhd_fuzz::{NOW, settings, split_line};

static LINKS: LazyLock<Links> = LazyLock::new(|| Links::from_env(&settings()).expect("settings"));

fuzz_target!(|input: &[u8]| {
    let Some((cookies, state)) = split_line(input) else { return };
    let Ok(state) = std::str::from_utf8(state) else { return };
    assert!(LINKS.read_state(state, NOW).is_err(), "forged");

    let url = LINKS.connect_url(Services::Gmail, TenantId::random(), state, NOW);
    let link = LINKS.read_link(url.split_once("?link=").expect("a link").1, NOW).expect("our own");
    let signed = LINKS.sign_state(&link, Services::Gmail, NOW);
    let read = LINKS.read_state(&signed, NOW).expect("our own");
    assert_eq!((&read.jti, &read.content.connect), (&link.jti, &link.content));

    assert!(!LINKS.is_same_browser(&link.jti, cookies), "a cookie that was not set");
    let set = LINKS.set_cookie_header(&link.jti);
    let own = set.split(';').next().expect("a cookie");
    assert!(LINKS.is_same_browser(&link.jti, own));
});
