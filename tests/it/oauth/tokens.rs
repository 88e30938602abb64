//! Signed tokens under bytes that nobody foresaw.

use std::time::Duration;

use nbhd::clock::Timestamp;
use nbhd::config::Env;
use nbhd::domain::ids::TenantId;
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::person::Person;
use nbhd::flows::connect_link::{BrowserSecret, Links, Services};
use nbhd::tokens::{Purpose, Signer};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const PURPOSES: [Purpose; 4] = [Purpose::Connect, Purpose::OauthState, Purpose::Undo, Purpose::Billing];
const LIFETIME: Duration = Duration::from_secs(600);

fn signer() -> Signer {
    let keys = SecretString::from(format!("k1:{}", "k".repeat(32)));
    Signer::new(SecretKeys::parse(&keys).expect("a list"))
}

fn links(key: &str) -> Links {
    let keys = format!("k1:{}", key.repeat(32));
    let env = Env::from_pairs([("LINK_SIGNING_KEYS", keys), ("PUBLIC_BASE_URL", "https://nbhd.example".into())]);
    Links::from_env(&env).expect("complete settings")
}

fn person(name: &str) -> Person {
    Person { name: name.to_owned(), ..Person::default() }
}

fn link(links: &Links) -> String {
    let url = links.connect_url(Services::Google, TenantId::random(), &person("Ada"), NOW);
    url.split_once("link=").expect("a link").1.to_owned()
}

proptest! {
    #[test]
    fn any_text_is_refused_and_none_panics(
        text in any::<String>(),
        dotted in "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,60}){0,4}",
    ) {
        let signer = signer();
        for purpose in PURPOSES {
            prop_assert!(signer.verify::<Value>(purpose, &text, NOW).is_err());
            prop_assert!(signer.verify::<Value>(purpose, &dotted, NOW).is_err());
        }
    }

    #[test]
    fn a_token_opens_the_door_of_its_purpose_alone(signed in 0..PURPOSES.len(), tenant in any::<u128>()) {
        let tenant = Uuid::from_u128(tenant).to_string();
        let token = signer().sign(PURPOSES[signed], "jti", &json!({ "tenant": tenant }), NOW, LIFETIME);
        for (place, purpose) in PURPOSES.into_iter().enumerate() {
            let read = signer().verify::<Value>(purpose, &token, NOW).ok();
            let named = read.map(|claims| claims.content["tenant"].clone());
            prop_assert_eq!(named, (place == signed).then(|| json!(tenant)));
        }
    }

    #[test]
    fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u32..7) {
        for purpose in PURPOSES {
            let content = json!({ "tenant": TenantId::random() });
            let mut token = signer().sign(purpose, "jti", &content, NOW, LIFETIME).into_bytes();
            let at = at.index(token.len());
            token[at] ^= 1 << bit;
            // An ASCII byte with one of its lower seven bits flipped is ASCII still.
            let token = String::from_utf8(token).expect("ASCII");
            prop_assert!(signer().verify::<Value>(purpose, &token, NOW).is_err(), "{purpose:?}");
        }
    }

    #[test]
    fn any_cut_or_addition_is_refused(cut in any::<prop::sample::Index>(), addition in ".{1,20}") {
        let links = links("k");
        let token = link(&links);
        prop_assert!(links.read_link(&token[..cut.index(token.len())], NOW).is_err());
        let longer = token + &addition;
        prop_assert!(links.read_link(&longer, NOW).is_err());
    }

    #[test]
    fn no_key_reads_what_another_signed(key in "[a-jl-z]") {
        prop_assert!(links(&key).read_link(&link(&links("k")), NOW).is_err());
    }

    #[test]
    fn whatever_a_person_is_called_the_link_names_them(name in ".{0,64}", age in 0_u64..1200) {
        let links = links("k");
        let url = links.connect_url(Services::Gmail, TenantId::random(), &person(&name), NOW);
        let token = url.split_once("link=").expect("a link").1;
        prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        match links.read_link(token, NOW + Duration::from_secs(age)) {
            Ok(read) => prop_assert!(age < 600 && read.content.person.name == name),
            Err(_) => prop_assert!(age >= 600),
        }
    }

    #[test]
    fn no_cookie_header_panics_or_passes(cookies in any::<String>()) {
        let links = links("k");
        let link = links.read_link(&link(&links), NOW).expect("our own");
        let browser = BrowserSecret::new().expect("randomness");
        let state = links.read_state(&links.sign_state(&link, Services::Gmail, &browser, NOW)).expect("our own");
        prop_assert!(links.find_browser(&state, &cookies).is_none());
    }
}
