//! Google Calendar, read only: the person's primary calendar.
//! <https://developers.google.com/workspace/calendar/api/v3/reference>

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api;
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};
use crate::providers::{Error, wire};

const PRIMARY: &str = "primary";

/// `attendees/responseStatus` is enough to count who is invited without reading who they are.
const EVENT_FIELDS: &str = "timeZone,nextPageToken,\
    items(id,summary,status,htmlLink,start,end,location,attendees/responseStatus)";

/// Calendar's API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Which events to list.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// Only events that end after this.
    pub from: Timestamp,
    /// Only events that start before this.
    pub to: Option<Timestamp>,
    /// 1 to 2,500.
    pub max_results: u32,
    /// Where the page before ended.
    pub page_token: Option<&'a str>,
}

/// A page of events by start, each repetition of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The calendar's zone, an IANA name.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Where the next page starts, when there is one.
    #[serde(default)]
    pub next_page_token: Option<String>,
    /// The events.
    #[serde(default)]
    pub items: Vec<Event>,
}

/// One event.
/// <https://developers.google.com/workspace/calendar/api/v3/reference/events#resource>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Google's identifier.
    pub id: String,
    /// Its title; absent when it has none or it is private.
    #[serde(default)]
    pub summary: Option<String>,
    /// `confirmed`, `tentative` or `cancelled`.
    #[serde(default)]
    pub status: Option<String>,
    /// Where a person can open it.
    #[serde(default)]
    pub html_link: Option<String>,
    /// When it starts.
    #[serde(default)]
    pub start: Option<EventTime>,
    /// When it ends; of an all-day event the day after.
    #[serde(default)]
    pub end: Option<EventTime>,
    /// Free text.
    #[serde(default)]
    pub location: Option<String>,
    /// One entry for each invited person.
    #[serde(default)]
    pub attendees: Vec<serde::de::IgnoredAny>,
}

/// A day, or a moment in a zone.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTime {
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    date_time: Option<String>,
}

impl EventTime {
    /// Of an all-day event a day such as `2026-11-21`, of any other a moment such as `2026-11-21T09:00:00+01:00`.
    pub fn text(&self) -> Option<&str> {
        self.date_time.as_deref().or(self.date.as_deref())
    }
}

/// When a calendar is busy, or why that cannot be told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Availability {
    /// Busy times, in order, never overlapping.
    pub busy: Vec<Busy>,
    errors: Vec<CalendarError>,
}

/// One busy time, RFC 3339 in UTC.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Busy {
    /// Where it starts.
    pub start: String,
    /// Where it ends.
    pub end: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CalendarError {
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    time_zone: String,
}

#[derive(Deserialize)]
struct FreeBusy {
    calendars: std::collections::BTreeMap<String, Availability>,
}

impl Client {
    /// The API at `CALENDAR_API_URL`, by default Google's own.
    ///
    /// # Errors
    /// When that setting is no address.
    pub fn new(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        Ok(Self { http, base: wire::base(env, "CALENDAR_API_URL", "https://www.googleapis.com/calendar/v3")? })
    }

    /// The IANA zone of the primary calendar.
    pub async fn time_zone(&self, token: &SecretString) -> Result<String, Error> {
        let mut url = wire::url(&self.base, &["calendars", PRIMARY]);
        url.query_pairs_mut().append_pair("fields", "timeZone");
        api::json::<Metadata>(self.http.get(url), token).await.map(|calendar| calendar.time_zone)
    }

    /// Events of the primary calendar, by start.
    pub async fn events(&self, token: &SecretString, range: &Range<'_>) -> Result<Events, Error> {
        let mut url = wire::url(&self.base, &["calendars", PRIMARY, "events"]);
        url.query_pairs_mut()
            // Google orders by start only what it has taken apart into single events.
            .append_pair("singleEvents", "true")
            .append_pair("orderBy", "startTime")
            .append_pair("timeMin", &range.from.rfc3339())
            .append_pair("maxResults", &range.max_results.to_string())
            .append_pair("fields", EVENT_FIELDS)
            .extend_pairs(range.to.map(|to| ("timeMax", to.rfc3339())))
            .extend_pairs(range.page_token.map(|page| ("pageToken", page)));
        api::json(self.http.get(url), token).await
    }

    /// When the primary calendar is busy in `[from, to)`. Google tells a calendar's own trouble inside a 200: it comes
    /// back as an error like any other.
    pub async fn free_busy(&self, token: &SecretString, from: Timestamp, to: Timestamp) -> Result<Vec<Busy>, Error> {
        let mut url = wire::url(&self.base, &["freeBusy"]);
        url.query_pairs_mut().append_pair("fields", "calendars");
        let question = json!({
            "timeMin": from.rfc3339(), "timeMax": to.rfc3339(), "items": [{ "id": PRIMARY }],
        });
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(question.to_string());
        let mut answer: FreeBusy = api::json(request, token).await?;
        let ours = answer.calendars.pop_first().map(|(_, availability)| availability);
        ours.ok_or_else(|| Error::Malformed { reason: "no calendar in the answer".to_owned() })?.busy_times()
    }
}

impl Availability {
    fn busy_times(self) -> Result<Vec<Busy>, Error> {
        match self.errors.into_iter().next() {
            None => Ok(self.busy),
            Some(CalendarError { reason }) => Err(super::refusal(200, reason, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_one_calendar_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Availability>(text).expect("readable").busy_times();
        assert_eq!(read(r#"{"busy":[{"start":"a","end":"b"}]}"#).expect("no trouble").len(), 1);
        let refused = read(r#"{"busy":[],"errors":[{"domain":"global","reason":"notFound"}]}"#);
        assert!(matches!(refused, Err(Error::Refused { status: 200, reason }) if reason == "notFound"));
        let limited = read(r#"{"errors":[{"domain":"usageLimits","reason":"rateLimitExceeded"}]}"#);
        assert!(matches!(limited, Err(Error::RateLimited { retry_after: None })));
    }

    #[test]
    fn all_day_and_timed_events_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<EventTime>(text).expect("readable");
        let timed = read(r#"{"dateTime":"2026-11-21T09:00:00+01:00","timeZone":"Europe/Zurich"}"#);
        assert_eq!(timed.text(), Some("2026-11-21T09:00:00+01:00"));
        assert_eq!(read(r#"{"date":"2026-11-21"}"#).text(), Some("2026-11-21"));
        assert_eq!(read("{}").text(), None);
    }
}
