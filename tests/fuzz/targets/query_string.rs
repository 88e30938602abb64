//! The query of a runtime's request: what is accepted is within its bounds, and is read again from a query that is
//! written from it.
#![no_main]

use axum::response::IntoResponse as _;
use libfuzzer_sys::fuzz_target;
use nbhd::clock::Timestamp;
use nbhd::flows::runtime_request::QueryParameters;
use url::form_urlencoded::Serializer;

const KNOWN: [&str; 4] = ["q", "max_results", "include_thread", "time_min"];

fuzz_target!(|query: &str| {
    let given = match QueryParameters::parse(Some(query), &KNOWN) {
        Ok(given) => given,
        Err(problem) => return drop(problem.into_response()),
    };
    let mut written = Serializer::new(String::new());
    for name in KNOWN {
        if let Some(value) = given.text(name, usize::MAX).expect("no bound") {
            assert!(value.len() <= query.len(), "longer than what was sent");
            written.append_pair(name, value);
        }
    }
    let again = QueryParameters::parse(Some(&written.finish()), &KNOWN).expect("what was accepted is accepted");
    for name in KNOWN {
        assert_eq!(again.text(name, usize::MAX), given.text(name, usize::MAX));
        assert!(given.text(name, 3).is_err() || given.text(name, 3).is_ok_and(|text| text.is_none_or(is_short)));
    }
    if let Ok(number) = given.number("max_results", 5, 1..=10) {
        assert!((1..=10).contains(&number));
    }
    let _ = given.flag("include_thread", true);
    if let Ok(Some(time)) = given.timestamp("time_min") {
        assert_eq!(Timestamp::parse_rfc3339(&time.rfc3339()), Some(time), "the same moment");
    }
});

fn is_short(text: &str) -> bool {
    text.chars().count() <= 3
}
