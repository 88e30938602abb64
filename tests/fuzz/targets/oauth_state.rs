//! The OAuth state that Google brings back, and the cookie beside it. The first line of an input is the cookie header.
//! Nothing is accepted that we did not sign, and no cookie but the one that was set.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nbhd::domain::ids::TenantId;
use nbhd::domain::person::Person;
use nbhd::flows::connect_link::{BrowserSecret, Links, Services};
use nbhd_fuzz::{NOW, settings, split_line};

static LINKS: LazyLock<Links> = LazyLock::new(|| Links::from_env(&settings()).expect("settings"));

fuzz_target!(|input: &[u8]| {
    let Some((cookies, state)) = split_line(input) else { return };
    let Ok(state) = std::str::from_utf8(state) else { return };
    assert!(LINKS.read_state(state).is_err(), "forged");

    let person = Person { name: state.to_owned(), ..Person::default() };
    let url = LINKS.connect_url(Services::Gmail, TenantId::random(), &person, NOW);
    let link = LINKS.read_link(url.split_once("?link=").expect("a link").1, NOW).expect("our own");
    let browser = BrowserSecret::new().expect("randomness");
    let signed = LINKS.sign_state(&link, Services::Gmail, &browser, NOW);
    let read = LINKS.read_state(&signed).expect("our own");
    assert_eq!((&read.jti, &read.content.connect), (&link.jti, &link.content));

    assert!(LINKS.find_browser(&read, cookies).is_none(), "a cookie that was not set");
    let set = LINKS.set_cookie_header(&link.jti, &browser);
    let own = set.split(';').next().expect("a cookie");
    assert!(LINKS.find_browser(&read, own).is_some());
});
