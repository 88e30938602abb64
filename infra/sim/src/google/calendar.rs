//! Calendar v3: `calendars.get`, `events.list` and `freebusy.query`.
//! See <https://developers.google.com/workspace/calendar/api/v3/reference>.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use nbhd::clock::Timestamp;
use serde_json::{Map, Value, json};

use super::World;
use super::accounts::Account;
use super::api::{Params, Refused, authorized};

const CALENDAR: &str = "https://www.googleapis.com/auth/calendar";
const READONLY: &str = "https://www.googleapis.com/auth/calendar.readonly";
const SCOPES: [&str; 2] = [CALENDAR, READONLY];
const WORKING_LOCATION: &str = "workingLocation";
/// Google asks about at most 50 calendars at once.
const FREE_BUSY_CALENDARS: usize = 50;

/// A person's primary calendar.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// The account's address is the calendar's identifier.
    pub id: String,
    /// An IANA zone, such as `Europe/Zurich`.
    pub time_zone: String,
    /// Free/busy answers this reason (such as `internalError`) instead of busy times, while set.
    pub free_busy_error: Option<&'static str>,
    /// The calendar's metadata names no zone, while set: every field of the
    /// [resource](https://developers.google.com/workspace/calendar/api/v3/reference/calendars) is optional.
    pub hides_time_zone: bool,
    events: Vec<Event>,
}

/// One event; made by [`Event::timed`] or [`Event::all_day`] and the methods that return it changed.
#[derive(Clone, Debug)]
pub struct Event {
    id: String,
    summary: Option<String>,
    status: &'static str,
    location: Option<String>,
    attendees: Vec<String>,
    /// The answer of the calendar's person, who is then one of those invited.
    own_response: Option<&'static str>,
    attendees_omitted: bool,
    kind: &'static str,
    transparent: bool,
    time: Time,
}

#[derive(Clone, Debug)]
enum Time {
    /// RFC 3339 date-times with their offset, as the calendar shows them.
    Timed { start: String, end: String },
    /// Dates, the end exclusive.
    AllDay { start: String, end: String },
}

impl Calendar {
    pub(super) fn new(email: &str, time_zone: &str) -> Self {
        let (id, time_zone) = (email.to_owned(), time_zone.to_owned());
        Self { id, time_zone, free_busy_error: None, hides_time_zone: false, events: Vec::new() }
    }

    /// Adds `event` and returns its identifier.
    pub fn add(&mut self, event: Event) -> String {
        let id = format!("{}{:04}", event.id, self.events.len());
        self.events.push(Event { id: id.clone(), ..event });
        id
    }

    /// The events that overlap `[from, to)`, by start.
    fn between(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Vec<&Event> {
        let overlaps = |event: &&Event| {
            let (start, end) = event.span();
            from.is_none_or(|from| end > from) && to.is_none_or(|to| start < to)
        };
        let mut events: Vec<_> = self.events.iter().filter(overlaps).collect();
        events.sort_by_key(|event| event.span());
        events
    }

    /// Overlapping busy times become one.
    fn busy(&self, from: Timestamp, to: Timestamp) -> Vec<Value> {
        let mut busy: Vec<(Timestamp, Timestamp)> = Vec::new();
        for event in self.between(Some(from), Some(to)) {
            let (start, end) = event.span();
            match busy.last_mut() {
                _ if event.is_free() => {}
                Some((_, last)) if *last >= start => *last = (*last).max(end),
                Some(_) | None => busy.push((start.max(from), end)),
            }
        }
        busy.iter().map(|(start, end)| json!({ "start": whole(*start), "end": whole((*end).min(to)) })).collect()
    }
}

impl Event {
    /// From `start` to `end`, RFC 3339 with an offset, such as `2026-11-21T09:30:00+01:00`.
    pub fn timed(summary: &str, start: &str, end: &str) -> Self {
        Self::new(summary, Time::Timed { start: start.to_owned(), end: end.to_owned() }, false)
    }

    /// From the date `start` up to, but not including, `end`, such as `2026-11-22`; it leaves the day free.
    pub fn all_day(summary: &str, start: &str, end: &str) -> Self {
        Self::new(summary, Time::AllDay { start: start.to_owned(), end: end.to_owned() }, true)
    }

    /// At `location`.
    #[must_use]
    pub fn with_location(self, location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..self }
    }

    /// With these people's addresses invited.
    #[must_use]
    pub fn with_attendees(self, attendees: &[&str]) -> Self {
        Self { attendees: attendees.iter().map(ToString::to_string).collect(), ..self }
    }

    /// With the person invited too, and this answer of theirs: `needsAction`, `declined`, `tentative` or `accepted`.
    #[must_use]
    pub fn with_own_response(self, own_response: &'static str) -> Self {
        Self { own_response: Some(own_response), ..self }
    }

    /// With some of those invited left out, as of a meeting whose guests may not see each other.
    #[must_use]
    pub fn with_attendees_omitted(self) -> Self {
        Self { attendees_omitted: true, ..self }
    }

    /// Of this [type](https://developers.google.com/workspace/calendar/api/guides/event-types), such as `outOfOffice`;
    /// a working location always leaves the person free.
    #[must_use]
    pub fn of_type(self, kind: &'static str) -> Self {
        Self { kind, transparent: self.transparent || kind == WORKING_LOCATION, ..self }
    }

    /// `confirmed`, `tentative` or `cancelled`.
    #[must_use]
    pub fn with_status(self, status: &'static str) -> Self {
        Self { status, ..self }
    }

    /// Busy or free for others' planning.
    #[must_use]
    pub fn busy(self, busy: bool) -> Self {
        Self { transparent: !busy, ..self }
    }

    /// Without a summary, as a private event of somebody else's is.
    #[must_use]
    pub fn without_title(self) -> Self {
        Self { summary: None, ..self }
    }

    fn new(summary: &str, time: Time, transparent: bool) -> Self {
        let (id, summary) = ("nbhdev".to_owned(), Some(summary.to_owned()));
        Self {
            id,
            summary,
            status: "confirmed",
            location: None,
            attendees: Vec::new(),
            own_response: None,
            attendees_omitted: false,
            kind: "default",
            transparent,
            time,
        }
    }

    /// Whether it is not among the busy times.
    fn is_free(&self) -> bool {
        self.transparent || self.status == "cancelled" || self.own_response == Some("declined")
    }

    /// All-day events count from midnight to midnight in UTC here.
    fn span(&self) -> (Timestamp, Timestamp) {
        let (start, end) = match &self.time {
            Time::Timed { start, end } => (moment(start), moment(end)),
            Time::AllDay { start, end } => (moment(&format!("{start}T00:00:00Z")), moment(&format!("{end}T00:00:00Z"))),
        };
        (start.unwrap_or_default(), end.unwrap_or_default())
    }

    fn resource(&self, calendar: &Calendar) -> Value {
        let (start, end) = match &self.time {
            Time::Timed { start, end } => {
                let zoned = |time: &String| json!({ "dateTime": time, "timeZone": calendar.time_zone });
                (zoned(start), zoned(end))
            }
            Time::AllDay { start, end } => (json!({ "date": start }), json!({ "date": end })),
        };
        let person = json!({ "email": calendar.id, "self": true });
        let mut event = json!({
            "kind": "calendar#event", "etag": "\"3181161784712000\"", "id": self.id, "status": self.status,
            "htmlLink": format!("https://www.google.com/calendar/event?eid={}", self.id),
            "created": "2026-11-01T08:00:00.000Z", "updated": "2026-11-01T08:00:00.000Z",
            "creator": person, "organizer": person, "start": start, "end": end,
            "iCalUID": format!("{}@google.com", self.id), "sequence": 0, "eventType": self.kind,
            "reminders": { "useDefault": true },
        });
        if let Some(summary) = &self.summary {
            event["summary"] = summary.as_str().into();
        }
        if let Some(location) = &self.location {
            event["location"] = location.as_str().into();
        }
        if self.transparent {
            event["transparency"] = "transparent".into();
        }
        let invited = |email: &String| json!({ "email": email, "responseStatus": "needsAction" });
        let own = self.own_response.map(|answer| {
            // Whoever was invited has the event from somebody else.
            event["organizer"] = json!({ "email": "organizer@example.com" });
            json!({ "email": calendar.id, "self": true, "responseStatus": answer })
        });
        let attendees: Vec<Value> = self.attendees.iter().map(invited).chain(own).collect();
        if !attendees.is_empty() {
            event["attendees"] = attendees.into();
        }
        if self.attendees_omitted {
            event["attendeesOmitted"] = true.into();
        }
        if self.kind == WORKING_LOCATION {
            event["visibility"] = "public".into();
            event["workingLocationProperties"] = json!({ "type": "homeOffice", "homeOffice": {} });
        }
        event
    }
}

pub(super) async fn metadata(
    State(world): State<World>,
    Path(calendar): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let answer = authorized(&world, &headers, &SCOPES, |account, _| {
        let calendar = own_calendar(account, &calendar)?;
        let mut metadata = json!({
            "kind": "calendar#calendar", "etag": "\"WdCKmsqVAgMPxRBFHTmPQO_4lT4\"", "id": calendar.id,
            "summary": calendar.id,
            "conferenceProperties": { "allowedConferenceSolutionTypes": ["hangoutsMeet"] },
        });
        if !calendar.hides_time_zone {
            metadata["timeZone"] = calendar.time_zone.as_str().into();
        }
        Ok(metadata)
    })?;
    params.answer(answer)
}

pub(super) async fn events(
    State(world): State<World>,
    Path(calendar): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    if params.get("orderBy") == Some("startTime") && !params.flag("singleEvents")? {
        let message = "The requested ordering is not available for the particular query.";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "badRequest", message).in_domain("calendar"));
    }
    let (from, to) = (time_of(params.get("timeMin"), "timeMin")?, time_of(params.get("timeMax"), "timeMax")?);
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(empty_range());
    }
    let with_cancelled = params.flag("showDeleted")?;
    let most = params.number("maxResults", 250, 2_500)?;
    let first = match params.get("pageToken").map(|token| usize::from_str_radix(token, 16)) {
        None => 0,
        Some(Ok(first)) => first,
        Some(Err(_)) => return Err(Refused::invalid("Invalid page token value.")),
    };
    let now = world.clock.now();
    let answer = authorized(&world, &headers, &SCOPES, |account, _| {
        let calendar = own_calendar(account, &calendar)?;
        let mut found = calendar.between(from, to);
        found.retain(|event| with_cancelled || event.status != "cancelled");
        let page: Vec<_> = found.iter().skip(first).take(most).map(|event| event.resource(calendar)).collect();
        let next = first + page.len();
        let (token_name, token) = match next < found.len() {
            true => ("nextPageToken", format!("{next:x}")),
            false => ("nextSyncToken", "CPDAlvWDx70CEPDAlvWDx70CGAU=".to_owned()),
        };
        Ok(json!({
            "kind": "calendar#events", "etag": "\"p32ofplf5q6gf20g\"", "summary": calendar.id, "updated": now.rfc3339(),
            "timeZone": calendar.time_zone, "accessRole": "owner",
            "defaultReminders": [{ "method": "popup", "minutes": 30 }], token_name: token, "items": page,
        }))
    })?;
    params.answer(answer)
}

pub(super) async fn free_busy(
    State(world): State<World>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let params = Params::read(query.as_deref())?;
    let asked: Value = serde_json::from_str(&body).map_err(|_| Refused::invalid("Parse Error"))?;
    let required = |name| time_of(asked[name].as_str(), name)?.ok_or_else(|| missing(name));
    let (from, to) = (required("timeMin")?, required("timeMax")?);
    if from >= to {
        return Err(empty_range());
    }
    let ids: Vec<&str> =
        asked["items"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()).collect();
    if ids.len() > FREE_BUSY_CALENDARS {
        return Err(Refused::invalid("Too many calendars were requested."));
    }
    let answer = authorized(&world, &headers, &SCOPES, |account, _| {
        let of = |id: &&str| ((*id).to_owned(), availability(account, id, from, to));
        let calendars: Map<String, Value> = ids.iter().map(of).collect();
        Ok(json!({
            "kind": "calendar#freeBusy", "timeMin": from.rfc3339(), "timeMax": to.rfc3339(), "calendars": calendars,
        }))
    })?;
    params.answer(answer)
}

/// One calendar's error stands beside the others' busy times, and does not replace them.
fn availability(account: &Account, id: &str, from: Timestamp, to: Timestamp) -> Value {
    let error = |reason: &str| json!({ "errors": [{ "domain": "global", "reason": reason }], "busy": [] });
    match own_calendar(account, id) {
        Err(_) => error("notFound"),
        Ok(calendar) => match calendar.free_busy_error {
            Some(reason) => error(reason),
            None => json!({ "busy": calendar.busy(from, to) }),
        },
    }
}

fn own_calendar<'a>(account: &'a Account, id: &str) -> Result<&'a Calendar, Refused> {
    let is_own = id == "primary" || id == account.calendar.id;
    if is_own { Ok(&account.calendar) } else { Err(Refused::new(StatusCode::NOT_FOUND, "notFound", "Not FoundMail")) }
}

/// Google asks for an RFC 3339 date-time whose offset is given.
fn time_of(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(text) = text else { return Ok(None) };
    let read = moment(text).ok_or_else(|| {
        Refused::new(StatusCode::BAD_REQUEST, "badRequest", format!("Bad Request: `{name}` is no RFC 3339 time"))
    });
    read.map(Some)
}

fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text)
}

fn missing(name: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "required", format!("Missing {name} parameter."))
}

fn empty_range() -> Refused {
    let message = "The specified time range is empty.";
    Refused::new(StatusCode::BAD_REQUEST, "timeRangeEmpty", message).in_domain("calendar")
}

/// Busy times carry no fractions of a second.
fn whole(time: Timestamp) -> String {
    Timestamp::from_seconds(time.seconds()).rfc3339()
}
