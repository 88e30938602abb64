use axum::http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::domain::ids::ChatId;
use crate::domain::tenant::Lifecycle;

const KNOWN: [&str; 4] = ["q", "max_results", "include_thread", "time_min"];

fn tenant(keys: &[&str]) -> Tenant {
    Tenant {
        lifecycle: Lifecycle::Active,
        key_hashes: keys.iter().map(|key| KeyHash::from_key(key)).collect(),
        version: 1,
        ..Tenant::new(TenantId::random(), ChatId(1))
    }
}

fn detail(problem: &Problem) -> &str {
    let Problem::Invalid { detail } = problem else { panic!("{problem:?} is not about a parameter") };
    detail
}

#[test]
fn either_of_two_keys_opens_during_a_rotation_and_no_other() {
    let rotating = tenant(&["old", "new"]);
    for (key, opened) in [("old", true), ("new", true), ("other", false), ("", false)] {
        assert_eq!(has_key(Some(&rotating), &KeyHash::from_key(key)), opened, "{key}");
    }
    for nobody in [None, Some(&tenant(&[]))] {
        assert!(["", "old"].iter().all(|key| !has_key(nobody, &KeyHash::from_key(key))));
    }
}

#[test]
fn both_headers_are_given_once_and_name_the_tenant_of_the_path() {
    let id = TenantId::random().to_string();
    let headers = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    };
    let right = [(KEY_HEADER, "k"), (TENANT_HEADER, id.as_str())];
    assert!(Credentials::from_headers(&id, &headers(&right)).is_some());
    assert!(Credentials::from_headers(&TenantId::random().to_string(), &headers(&right)).is_none());
    assert!(Credentials::from_headers(&id, &headers(&right[..1])).is_none());
    assert!(Credentials::from_headers(&id, &headers(&right[1..])).is_none());
    assert!(Credentials::from_headers(&id, &headers(&[right[0], right[1], right[1]])).is_none());
    assert!(Credentials::from_headers(&id, &headers(&[right[0], right[0], right[1]])).is_none());
    assert!(Credentials::from_headers("x", &headers(&[right[0], (TENANT_HEADER, "x")])).is_none());
}

#[test]
fn a_parameter_out_of_form_is_named() {
    let read = |query: &str| QueryParameters::parse(Some(query), &KNOWN);
    assert!(detail(&read("page=2").expect_err("unknown")).starts_with("`page` is not"));
    assert!(detail(&read("q=a&q=b").expect_err("twice")).starts_with("`q` must be given once"));
    let query = "q=%C3%A9%C3%A9%C3%A9&max_results=11&include_thread=yes&time_min=2026-11-21";
    let wrong = read(query).expect("each known and given once");
    assert!(detail(&wrong.text("q", 2).expect_err("too long")).starts_with("`q`"));
    assert_eq!(wrong.text("q", 3), Ok(Some("ééé")));
    assert!(detail(&wrong.number("max_results", 5, 1..=10).expect_err("too large")).contains("from 1 to 10"));
    assert!(detail(&wrong.flag("include_thread", true).expect_err("neither")).starts_with("`include_thread`"));
    assert!(detail(&wrong.timestamp("time_min").expect_err("a day")).starts_with("`time_min`"));
    for number in ["0", "-1", "%2B5", "1e1", "%205", "5.0", "99999999999"] {
        let parameters = read(&format!("max_results={number}")).expect("known");
        assert!(parameters.number("max_results", 5, 1..=10).is_err(), "{number}");
    }
}

#[test]
fn absent_and_empty_parameters_have_their_defaults() {
    for query in [None, Some(""), Some("q=&max_results=&include_thread=&time_min=")] {
        let parameters = QueryParameters::parse(query, &KNOWN).expect("nothing wrong");
        assert_eq!(parameters.text("q", 1), Ok(None));
        assert_eq!(parameters.number("max_results", 5, 1..=10), Ok(5));
        assert_eq!(parameters.flag("include_thread", true), Ok(true));
        assert_eq!(parameters.timestamp("time_min"), Ok(None::<Timestamp>));
    }
}

#[test]
fn googles_refusals_are_told_apart() {
    use google::{Error, Reason};
    let refused = |status, reason: &str| Error::Refused { status, reason: Reason::from_code(reason) };
    let unreachable = Error::Unreachable { cause: NetworkFailure::TimedOut };
    for (error, code) in [
        (Error::RateLimited { retry_after: None }, "provider_rate_limited"),
        (refused(400, "invalidArgument"), "invalid_request"),
        (refused(400, "failedPrecondition"), "provider_request_failed"),
        (refused(403, "insufficientPermissions"), "integration_scope_insufficient"),
        (refused(403, "forbidden"), "provider_request_failed"),
        (refused(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), "integration_scope_insufficient"),
        (refused(403, "accessNotConfigured"), "provider_not_configured"),
        (refused(400, "API_KEY_INVALID"), "provider_not_configured"),
        (refused(403, "notACalendarUser"), "provider_unavailable_for_account"),
        (refused(403, "domainPolicy"), "provider_unavailable_for_account"),
        (refused(403, "quotaExceeded"), "provider_rate_limited"),
        (Error::Unauthorized, "provider_request_failed"),
        (Error::NotFound, "provider_request_failed"),
        (Error::Failed { status: 503 }, "provider_request_failed"),
        (unreachable, "provider_request_failed"),
    ] {
        let shown = format!("{error:?}");
        assert_eq!(Problem::from_google_error(&error, Provider::Gmail, "q").code(), code, "{shown}");
    }
}

#[test]
fn a_wait_is_given_in_whole_seconds_within_bounds() {
    for (wait, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (86_400_000, 300)] {
        assert_eq!(to_whole_seconds(Duration::from_millis(wait)), seconds, "{wait} ms");
    }
}

#[test]
fn a_path_is_taken_apart_with_and_without_a_trailing_slash() {
    for path in ["/api/v1/integrations/runtime/T/gmail/messages/1", "/api/v1/integrations/runtime/T/gmail/messages/1/"]
    {
        assert_eq!(parse_path(path), ("T", vec!["messages", "1"]));
    }
    assert_eq!(parse_path("/"), ("", vec![]));
}

proptest! {
    #[test]
    fn no_path_panics_or_claims_another_tenant(
        anything in any::<String>(),
        mut segments in prop::collection::vec("[^/]{0,12}", 0..12),
        place_of_ben in any::<prop::sample::Index>(),
    ) {
        let ben = TenantId::random().to_string();
        segments.insert(place_of_ben.index(segments.len() + 1), ben.clone());
        let mut headers = HeaderMap::new();
        headers.insert(KEY_HEADER, HeaderValue::from_static("k"));
        headers.insert(TENANT_HEADER, HeaderValue::from_str(&ben).expect("a header value"));
        for path in [anything, segments.join("/")] {
            let (tenant, below) = parse_path(&path);
            prop_assert!(below.iter().all(|segment| !segment.is_empty() && !segment.contains('/')));
            prop_assert_eq!(tenant, path.split('/').nth(5).unwrap_or_default());
            prop_assert_eq!(Credentials::from_headers(tenant, &headers).is_some(), tenant == ben);
        }
    }
}
