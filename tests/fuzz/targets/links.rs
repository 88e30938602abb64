//! Links to connect and to pay. No text opens a page unless we signed it for that page; a name comes back as it was
//! signed; one changed character of a link makes it invalid.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::person::Person;
use nbhd::flows::billing_link::{self, Destination};
use nbhd::flows::connect_link::{self, Services};
use nbhd_fuzz::{NOW, settings};

static CONNECT: LazyLock<connect_link::Links> =
    LazyLock::new(|| connect_link::Links::from_env(&settings()).expect("settings"));
static BILLING: LazyLock<billing_link::Links> =
    LazyLock::new(|| billing_link::Links::from_env(&settings()).expect("settings"));

fuzz_target!(|text: &str| {
    assert!(CONNECT.read_link(text, NOW).is_err() && BILLING.read(text, NOW).is_err(), "forged");
    assert!(CONNECT.read_undo(text, NOW).is_err(), "forged");

    let name: String = text.chars().take(64).collect();
    let tenant = TenantId::random();
    let person = Person { name: text.to_owned(), ..Person::default() };
    let connect = CONNECT.connect_url(Services::Google, tenant, &person, NOW);
    let billing = BILLING.link_url(Destination::Portal, ChatId(7), Some(tenant), text, NOW);
    let (connect, billing) = (token(&connect), token(&billing));
    let content = CONNECT.read_link(connect, NOW).expect("our own").content;
    assert_eq!((content.person.name.as_str(), content.tenant_id), (name.as_str(), tenant));
    assert_eq!(BILLING.read(billing, NOW).expect("our own").content.name, name);
    assert!(CONNECT.read_link(billing, NOW).is_err() && BILLING.read(connect, NOW).is_err(), "another purpose");
    assert!(CONNECT.read_state(connect, NOW).is_err() && CONNECT.read_undo(connect, NOW).is_err());

    let mut changed = connect.to_owned().into_bytes();
    let place = text.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % changed.len();
    changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
    assert!(CONNECT.read_link(&String::from_utf8_lossy(&changed), NOW).is_err(), "a changed link");
});

fn token(url: &str) -> &str {
    url.split_once("?link=").expect("a link").1
}
