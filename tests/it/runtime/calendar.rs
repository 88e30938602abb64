//! `runtime-calendar`: a tenant's day for its own runtime.

use nbhd::domain::integration::{Provider, Status};
use nbhd_sim::google::calendar::Event;
use nbhd_sim::google::{Endpoint, Failure};
use serde_json::json;

use crate::runtime::world::{HOUR, NOW, World};

const EVENTS: &str = "google-calendar/events/";
const FREEBUSY: &str = "google-calendar/freebusy/";

/// Ana's day, the 15th of January 2027 in Zurich, where it is nine in the morning.
async fn day() -> World {
    let world = World::start().await;
    world.google.calendar(world.ana.account, |calendar| {
        let timed = |name, from: &str, to: &str| {
            Event::timed(name, &format!("2027-01-15T{from}:00+01:00"), &format!("2027-01-15T{to}:00+01:00"))
        };
        calendar.add(timed("Breakfast", "07:00", "08:00"));
        calendar.add(
            timed("Dentist", "10:00", "10:45")
                .with_location("Limmatquai 4")
                .with_attendees(&["a@example.com", "b@example.com"]),
        );
        calendar.add(timed("Overlap", "10:30", "11:00").with_status("tentative"));
        calendar.add(timed("", "15:00", "16:00").without_title());
        calendar.add(Event::all_day("Market day", "2027-01-16", "2027-01-17"));
    });
    world
}

#[tokio::test]
async fn timed_and_all_day_events_from_now_on_are_listed_by_start() {
    let world = day().await;
    let answer = world.get(EVENTS).await;
    assert_eq!(answer.status, 200);
    let list = answer.json();
    let starts: Vec<_> =
        list["events"].as_array().expect("events").iter().map(|event| event["start"].clone()).collect();
    let timed = ["10:00", "10:30", "15:00"].map(|time| json!(format!("2027-01-15T{time}:00+01:00")));
    assert_eq!(starts, [&timed[..], &[json!("2027-01-16")]].concat());
    let dentist = &list["events"][0];
    assert_eq!(dentist["summary"], "Dentist");
    assert_eq!((&dentist["location"], &dentist["status"]), (&json!("Limmatquai 4"), &json!("confirmed")));
    assert_eq!(dentist["attendees_count"], 2);
    assert!(dentist["html_link"].as_str().is_some_and(|link| link.starts_with("https://")));
    assert_eq!(list["events"][2]["summary"], json!(null));
    assert_eq!(list["events"][3]["end"], "2027-01-17");
    assert_eq!((&list["time_zone"], &list["next_page_token"]), (&json!("Europe/Zurich"), &json!(null)));
    assert!(!world.journal.search("b@example.com").iter().any(|call| call.path.contains("/events")), "who is invited");
}

#[tokio::test]
async fn a_range_and_pages_are_kept() {
    let world = day().await;
    let range = "time_min=2027-01-15T00:00:00Z&time_max=2027-01-15T23:00:00%2B01:00";
    let all = world.get(&format!("{EVENTS}?{range}")).await.json();
    assert_eq!(all["events"].as_array().map(Vec::len), Some(4));
    let first = world.get(&format!("{EVENTS}?{range}&max_results=3")).await.json();
    let next = first["next_page_token"].as_str().expect("a next page");
    let second = world.get(&format!("{EVENTS}?{range}&max_results=3&page_token={next}")).await.json();
    assert_eq!(
        (second["events"][0].clone(), second["next_page_token"].clone()),
        (all["events"][3].clone(), json!(null))
    );
}

#[tokio::test]
async fn busy_times_are_those_of_the_next_day_unless_said_otherwise() {
    let world = day().await;
    let answer = world.get(FREEBUSY).await;
    assert_eq!(answer.status, 200);
    let free_busy = answer.json();
    assert_eq!(free_busy["time_min"], NOW.rfc3339());
    assert_eq!(free_busy["time_max"], (NOW + 24 * HOUR).rfc3339());
    assert_eq!(free_busy["time_zone"], "Europe/Zurich");
    let starts: Vec<_> =
        free_busy["busy"].as_array().expect("a list").iter().map(|busy| busy["start"].clone()).collect();
    let expected = ["2027-01-15T09:00:00Z", "2027-01-15T14:00:00Z"];
    assert_eq!(starts, expected.map(|start| json!(start)));

    let short =
        world.get(&format!("{FREEBUSY}?time_min=2027-01-15T14:30:00Z&time_max=2027-01-15T15:30:00Z")).await.json();
    assert_eq!(short["busy"], json!([{"start": "2027-01-15T14:30:00Z", "end": "2027-01-15T15:00:00Z"}]));
}

#[tokio::test]
async fn trouble_of_the_calendar_itself_is_not_a_free_day() {
    let world = day().await;
    world.google.calendar(world.ana.account, |calendar| calendar.free_busy_error = Some("internalError"));
    assert_eq!(world.get(FREEBUSY).await.error(), (502, "provider_request_failed".to_owned()));
    world.google.calendar(world.ana.account, |calendar| calendar.free_busy_error = Some("rateLimitExceeded"));
    assert_eq!(world.get(FREEBUSY).await.error(), (429, "provider_rate_limited".to_owned()));
}

#[tokio::test]
async fn invalid_request_names_the_parameter() {
    let world = day().await;
    let cases = [
        ("events/?time_min=2027-01-15", "time_min"),
        ("events/?time_min=2027-01-15T08:00:00", "time_min"),
        ("events/?time_max=tomorrow", "time_max"),
        ("events/?time_max=2027-01-15T07:00:00Z", "time_max"),
        ("events/?time_min=2027-01-15T09:00:00Z&time_max=2027-01-15T09:00:00Z", "time_max"),
        ("events/?max_results=0", "max_results"),
        ("events/?max_results=21", "max_results"),
        ("events/?calendar=other", "calendar"),
        ("events/?time_min=2027-01-15T09:00:00Z&time_min=2027-01-15T09:00:00Z", "time_min"),
        ("freebusy/?time_max=2027-01-15T08:00:00Z", "time_max"),
        ("freebusy/?time_min=2027-13-15T08:00:00Z", "time_min"),
        ("freebusy/?max_results=5", "max_results"),
        ("calendars/", "path"),
        ("events/1/", "path"),
    ];
    for (below, parameter) in cases {
        let answer = world.get(&format!("google-calendar/{below}")).await;
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{below}");
        assert!(answer.detail().starts_with(&format!("`{parameter}` ")), "{below}: {}", answer.detail());
    }
    assert!(world.journal.entries().is_empty());
    let wrong_page = world.get("google-calendar/events/?page_token=%26%20nonsense").await;
    assert!(wrong_page.detail().starts_with("`page_token` "), "{}", wrong_page.detail());
}

#[tokio::test]
async fn an_ended_connection_to_gmail_leaves_the_calendar_alone() {
    let world = day().await;
    world.change(Provider::Gmail, |row| row.status = Status::Expired).await;
    assert_eq!(world.get(EVENTS).await.status, 200);
    world.change(Provider::GoogleCalendar, |row| row.status = Status::Expired).await;
    let answer = world.get(EVENTS).await;
    assert_eq!(answer.error(), (409, "integration_inactive".to_owned()));
    assert!(answer.detail().contains("Google Calendar"));
}

#[tokio::test]
async fn googles_failures_have_their_names_here_too() {
    let world = day().await;
    for endpoint in [Endpoint::EventsList, Endpoint::FreeBusy, Endpoint::CalendarGet] {
        let path = if endpoint == Endpoint::EventsList { EVENTS } else { FREEBUSY };
        for (failure, status, code) in [
            (Failure::UsageLimit, 429, "provider_rate_limited"),
            (Failure::Status(503), 502, "provider_request_failed"),
            (Failure::NotJson, 502, "provider_request_failed"),
        ] {
            world.google.faults.fail_next(endpoint, failure.clone());
            assert_eq!(world.get(path).await.error(), (status, code.to_owned()), "{endpoint:?} {failure:?}");
        }
        world.google.faults.fail_next(endpoint, Failure::Unauthorized);
        assert_eq!(world.get(path).await.status, 200, "{endpoint:?}");
    }
}

#[tokio::test]
async fn a_call_costs_one_query_one_write_and_one_round_trip() {
    let world = day().await;
    world.get(EVENTS).await;
    assert_eq!(world.google.calls(Endpoint::EventsList), 1);
    world.forget_calls();
    world.get(FREEBUSY).await;
    assert_eq!(world.table_calls(), ["Query", "UpdateItem"]);
    assert_eq!(world.journal.entries_of("google").len(), 2, "asked at once");
}
