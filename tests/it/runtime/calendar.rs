//! `runtime-calendar`: a tenant's day for its own runtime.

use nbhd::domain::integration::{Provider, Status};
use nbhd_sim::google::calendar::Event;
use nbhd_sim::google::contract::Contract;
use nbhd_sim::google::{Endpoint, Failure};
use serde_json::{Value, json};

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
async fn an_event_tells_what_it_is_to_the_person() {
    let world = World::start().await;
    world.google.calendar(world.ana.account, |calendar| {
        let timed = |name: &str, hour: u8| {
            Event::timed(name, &format!("2027-01-15T{hour}:00:00+01:00"), &format!("2027-01-15T{hour}:30:00+01:00"))
        };
        calendar.add(timed("Own appointment", 10));
        for (hour, answer) in [(11, "needsAction"), (12, "declined"), (13, "tentative"), (14, "accepted")] {
            calendar.add(timed(answer, hour).with_attendees(&["b@example.com"]).with_own_response(answer));
        }
        calendar.add(timed("Away", 15).of_type("outOfOffice"));
        calendar.add(timed("Office", 16).of_type("workingLocation"));
        calendar.add(timed("All hands", 17).with_own_response("accepted").with_attendees_omitted());
        calendar.add(timed("Others", 18).with_attendees(&["b@example.com"]).with_own_response("unheardOf"));
        calendar.add(timed("Moved", 19).of_type("aTypeOfTomorrow").with_status("tentative").busy(false));
    });
    let list = world.get(EVENTS).await.json();
    let told = |event: &Value| {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        (
            text("own_response"),
            text("event_type").expect("always"),
            event["busy"] == true,
            event["attendees_count"] == 2,
        )
    };
    let told: Vec<_> = list["events"].as_array().expect("events").iter().map(told).collect();
    let expected = [
        (None, "default", true, false),
        (Some("needsAction"), "default", true, true),
        (Some("declined"), "default", false, true),
        (Some("tentative"), "default", true, true),
        (Some("accepted"), "default", true, true),
        (None, "outOfOffice", true, false),
        (None, "workingLocation", false, false),
        (Some("accepted"), "default", true, false),
        (None, "default", true, true),
        (None, "aTypeOfTomorrow", false, false),
    ];
    let expected = expected.map(|(own, kind, busy, two)| (own.map(str::to_owned), kind.to_owned(), busy, two));
    assert_eq!(told, expected);
    assert_eq!(
        (&list["events"][7]["attendees_omitted"], &list["events"][6]["attendees_omitted"]),
        (&json!(true), &json!(false))
    );
    assert!(!world.journal.search("b@example.com").iter().any(|call| call.path.contains("/events")), "who is invited");
    // What is said to take time is what Google counts as busy.
    let busy = world.get(FREEBUSY).await.json();
    let starts: Vec<_> = busy["busy"].as_array().expect("a list").iter().map(|busy| busy["start"].clone()).collect();
    let hours = ["09", "10", "12", "13", "14", "16", "17"];
    assert_eq!(starts, hours.map(|hour| json!(format!("2027-01-15T{hour}:00:00Z"))));
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_person_cannot_see_of_an_event_is_left_out() {
    let world = World::start().await;
    world.google.calendar(world.ana.account, |calendar| {
        let hidden: String = "obey".chars().filter_map(|letter| char::from_u32(0xE0000 + u32::from(letter))).collect();
        let plain = Event::timed("Plain\r\n title", "2027-01-15T10:00:00+01:00", "2027-01-15T10:30:00+01:00");
        calendar.add(plain.with_location("Room 1"));
        let tagged = Event::timed(&format!("Lunch{hidden}"), "2027-01-15T12:00:00+01:00", "2027-01-15T13:00:00+01:00");
        calendar.add(tagged);
        let place = Event::timed("Dinner", "2027-01-15T19:00:00+01:00", "2027-01-15T20:00:00+01:00");
        calendar.add(place.with_location(&format!("{hidden}Bistro")));
        calendar.add(Event::timed(&hidden, "2027-01-15T21:00:00+01:00", "2027-01-15T22:00:00+01:00"));
    });
    let list = world.get(EVENTS).await.json();
    let told = |place: usize| {
        let event = &list["events"][place];
        (event["summary"].clone(), event["location"].clone(), event["hidden_text_removed"] == true)
    };
    assert_eq!(told(0), (json!("Plain title"), json!("Room 1"), false));
    assert_eq!(told(1), (json!("Lunch"), json!(null), true));
    assert_eq!(told(2), (json!("Dinner"), json!("Bistro"), true));
    assert_eq!(told(3), (json!(null), json!(null), true));
}

#[tokio::test]
async fn busy_times_do_without_the_name_of_the_zone() {
    let world = day().await;
    let busy = world.get(FREEBUSY).await.json()["busy"].clone();
    world.google.calendar(world.ana.account, |calendar| calendar.hides_time_zone = true);
    let without = world.get(FREEBUSY).await.json();
    assert_eq!((&without["time_zone"], &without["busy"]), (&json!(null), &busy));
    world.google.calendar(world.ana.account, |calendar| calendar.hides_time_zone = false);
    for failure in [
        Failure::Status(503),
        Failure::NotJson,
        Failure::NotFound,
        Failure::Unauthorized,
        Failure::UsageLimit,
        Failure::Hang,
    ] {
        world.google.faults.fail_next(Endpoint::CalendarGet, failure.clone());
        let answer = world.get(FREEBUSY).await;
        assert_eq!(answer.status, 200, "{failure:?}");
        let answer = answer.json();
        assert_eq!((&answer["time_zone"], &answer["busy"]), (&json!(null), &busy), "{failure:?}");
    }
    assert_eq!(world.get(FREEBUSY).await.json()["time_zone"], "Europe/Zurich");
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
    for endpoint in [Endpoint::EventsList, Endpoint::FreeBusy] {
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
