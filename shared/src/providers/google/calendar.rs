//! Google Calendar, read only: the person's primary calendar.
//! <https://developers.google.com/workspace/calendar/api/v3/reference>

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{Cause, Error, Reason, api};
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};
use crate::providers::{self, http};

const PRIMARY: &str = "primary";

/// Of those invited, enough to count them and to find the person's own answer, without reading who they are.
const EVENT_FIELDS: &str = "timeZone,nextPageToken,\
    items(id,summary,status,htmlLink,start,end,location,eventType,transparency,attendeesOmitted,\
    attendees(self,responseStatus))";

/// The client of Calendar's API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// The events that a list asks for.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// Only events that end after this.
    pub from: Timestamp,
    /// Only events that start before this.
    pub to: Option<Timestamp>,
    /// 1 to 2,500.
    pub max_results: u32,
    /// The token of this page, from the page before.
    pub page_token: Option<&'a str>,
}

/// A page of events in the order of their start; a recurring event appears once for each repetition.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The calendar's time zone, an IANA name.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The token of the next page, when there is one.
    #[serde(default)]
    pub next_page_token: Option<String>,
    /// At most [`Range::max_results`] events.
    #[serde(default)]
    pub items: Vec<Event>,
}

/// An event, with the fields that we ask for.
/// <https://developers.google.com/workspace/calendar/api/v3/reference/events#resource>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Google's id of the event.
    pub id: String,
    /// Its title; absent when it has none or it is private.
    #[serde(default)]
    pub summary: Option<String>,
    /// `confirmed`, `tentative` or `cancelled`.
    #[serde(default)]
    pub status: Option<String>,
    /// The address at which the person can open it.
    #[serde(default)]
    pub html_link: Option<String>,
    /// The day or moment at which it starts.
    #[serde(default)]
    pub start: Option<EventTime>,
    /// The day or moment at which it ends; of an all-day event the day after.
    #[serde(default)]
    pub end: Option<EventTime>,
    /// Its place, as free text.
    #[serde(default)]
    pub location: Option<String>,
    /// `default`, `outOfOffice`, `focusTime`, `workingLocation`, `birthday` or `fromGmail`; absent on an ordinary one.
    #[serde(default)]
    pub event_type: Option<String>,
    /// `transparent` when it leaves the person free; absent or `opaque` when it does not.
    #[serde(default)]
    pub transparency: Option<String>,
    /// Whether Google left some of those invited out.
    #[serde(default)]
    pub attendees_omitted: bool,
    /// One entry for each invited person, without who they are.
    #[serde(default)]
    pub attendees: Vec<Attendee>,
}

/// Somebody who is invited to an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attendee {
    /// Whether it is the person whose calendar this is.
    #[serde(default, rename = "self")]
    pub is_self: bool,
    /// Their answer; `None` when Google gives none, or one that this code does not know.
    #[serde(default, deserialize_with = "deserialize_known")]
    pub response_status: Option<ResponseStatus>,
}

/// An answer to an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ResponseStatus {
    /// Not answered yet.
    NeedsAction,
    /// No.
    Declined,
    /// Perhaps.
    Tentative,
    /// Yes.
    Accepted,
}

/// `None` for a value that is not one of `T`, so that a word of tomorrow costs no list.
fn deserialize_known<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Value::deserialize(deserializer).map(|value| serde_json::from_value(value).ok())
}

/// A day, or a moment in a time zone.
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
    pub fn as_str(&self) -> Option<&str> {
        self.date_time.as_deref().or(self.date.as_deref())
    }
}

/// The busy times of a calendar, or Google's errors about it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Availability {
    /// In order, never overlapping.
    pub busy: Vec<Busy>,
    errors: Vec<CalendarError>,
}

/// One busy time.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Busy {
    /// Its start, RFC 3339 in UTC.
    pub start: String,
    /// Its end, RFC 3339 in UTC.
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
    #[serde(default)]
    time_zone: Option<String>,
}

#[derive(Deserialize)]
struct FreeBusy {
    calendars: std::collections::BTreeMap<String, Availability>,
}

impl Client {
    /// A client for `CALENDAR_API_URL`, by default Google's own.
    ///
    /// # Errors
    /// [`ConfigError`] when that setting is not an address.
    pub fn new(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        Ok(Self { http, base: http::base_url(env, "CALENDAR_API_URL", "https://www.googleapis.com/calendar/v3")? })
    }

    /// Fetches the time zone of the primary calendar, an IANA name; `None` when Google does not tell it.
    pub async fn get_time_zone(&self, token: &SecretString) -> Result<Option<String>, Error> {
        let mut url = http::join(&self.base, &["calendars", PRIMARY]);
        url.query_pairs_mut().append_pair("fields", "timeZone");
        api::fetch_json::<Metadata>(self.http.get(url), token).await.map(|calendar| calendar.time_zone)
    }

    /// Lists events of the primary calendar in the order of their start.
    pub async fn list_events(&self, token: &SecretString, range: &Range<'_>) -> Result<Events, Error> {
        let mut url = http::join(&self.base, &["calendars", PRIMARY, "events"]);
        url.query_pairs_mut()
            // Google orders by start only when it lists each repetition as an event.
            .append_pair("singleEvents", "true")
            .append_pair("orderBy", "startTime")
            .append_pair("timeMin", &range.from.rfc3339())
            .append_pair("maxResults", &range.max_results.to_string())
            .append_pair("fields", EVENT_FIELDS)
            .extend_pairs(range.to.map(|to| ("timeMax", to.rfc3339())))
            .extend_pairs(range.page_token.map(|page| ("pageToken", page)));
        api::fetch_json(self.http.get(url), token).await
    }

    /// Fetches the busy times of the primary calendar in `[from, to)`. Google reports an error about a calendar inside
    /// a 200: it is returned as an error like any other.
    pub async fn get_free_busy(
        &self,
        token: &SecretString,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Busy>, Error> {
        let mut url = http::join(&self.base, &["freeBusy"]);
        url.query_pairs_mut().append_pair("fields", "calendars");
        let query = json!({
            "timeMin": from.rfc3339(), "timeMax": to.rfc3339(), "items": [{ "id": PRIMARY }],
        });
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(query.to_string());
        let mut answer: FreeBusy = api::fetch_json(request, token).await?;
        let ours = answer.calendars.pop_first().map(|(_, availability)| availability);
        ours.ok_or_else(|| providers::Error::malformed("no calendar in the answer"))?.into_busy_times()
    }
}

impl Availability {
    fn into_busy_times(self) -> Result<Vec<Busy>, Error> {
        let reasons: Vec<Reason> = self.errors.iter().map(|error| Reason::from_code(&error.reason)).collect();
        let known = reasons.iter().find(|reason| reason.cause != Cause::Other);
        match known.or_else(|| reasons.first()) {
            None => Ok(self.busy),
            Some(Reason { cause: Cause::UsageLimit, .. }) => Err(Error::RateLimited { retry_after: None }),
            Some(reason) => Err(Error::Refused { status: 200, reason: reason.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_one_calendar_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Availability>(text).expect("readable").into_busy_times();
        assert_eq!(read(r#"{"busy":[{"start":"a","end":"b"}]}"#).expect("no trouble").len(), 1);
        let refused = read(r#"{"busy":[],"errors":[{"domain":"global","reason":"notFound"}]}"#);
        assert!(matches!(refused, Err(Error::Refused { status: 200, reason }) if reason.to_string() == "notFound"));
        let limited = read(r#"{"errors":[{"domain":"usageLimits","reason":"rateLimitExceeded"}]}"#);
        assert!(matches!(limited, Err(Error::RateLimited { retry_after: None })));
    }

    #[test]
    fn an_answer_that_is_not_known_is_none_and_costs_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Attendee>(text).expect("readable");
        let own = read(r#"{"self":true,"responseStatus":"declined"}"#);
        assert_eq!((own.is_self, own.response_status), (true, Some(ResponseStatus::Declined)));
        for text in ["{}", r#"{"responseStatus":"maybe"}"#, r#"{"responseStatus":null}"#, r#"{"responseStatus":[1]}"#] {
            assert_eq!((read(text).is_self, read(text).response_status), (false, None), "{text}");
        }
    }

    #[test]
    fn all_day_and_timed_events_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<EventTime>(text).expect("readable");
        let timed = read(r#"{"dateTime":"2026-11-21T09:00:00+01:00","timeZone":"Europe/Zurich"}"#);
        assert_eq!(timed.as_str(), Some("2026-11-21T09:00:00+01:00"));
        assert_eq!(read(r#"{"date":"2026-11-21"}"#).as_str(), Some("2026-11-21"));
        assert_eq!(read("{}").as_str(), None);
    }
}
