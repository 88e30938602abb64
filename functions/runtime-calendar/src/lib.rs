//! The function `runtime-calendar`: reads a tenant's calendar for its runtime, which never gets a Google token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::join;
use nbhd::clock::{Clock, Timestamp};
use nbhd::config::{ConfigError, Env};
use nbhd::domain::integration::Provider;
use nbhd::domain::visible::{Visible, visible_line};
use nbhd::flows::runtime_request::{
    Caller, Credentials, Gate, Problem, QueryParameters, parse_path, respond, route_path,
};
use nbhd::providers::google::calendar::{self, Busy, EventTime, Range, ResponseStatus};
use nbhd::web::log_requests;
use serde::Serialize;
use tokio::time::timeout;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The limit of the look-up of the calendar's zone, which busy times can do without.
const TIME_ZONE_TIMEOUT: Duration = Duration::from_secs(2);

/// The type of an event that Google gives no type.
const DEFAULT_TYPE: &str = "default";
/// The type of an event that says where the person works that day.
const WORKING_LOCATION: &str = "workingLocation";

/// The longest page token, in characters; Google's are far shorter.
const MAX_PAGE_TOKEN: usize = 1_000;

/// The clients of this function.
pub struct App {
    gate: Gate,
    calendar: calendar::Client,
    clock: Clock,
}

/// A page of events, ordered by start.
#[derive(Debug, Serialize)]
struct Events {
    events: Vec<Event>,
    /// The calendar's time zone, an IANA name.
    time_zone: Option<String>,
    next_page_token: Option<String>,
}

/// One event. `start` and `end` are days (`2026-11-21`, the end exclusive) of an all-day event, else RFC 3339 times.
#[derive(Debug, Serialize)]
struct Event {
    id: String,
    summary: Option<String>,
    status: Option<String>,
    html_link: Option<String>,
    start: Option<String>,
    end: Option<String>,
    location: Option<String>,
    /// Everybody invited, the person among them; the least number of them when `attendees_omitted`.
    attendees_count: usize,
    attendees_omitted: bool,
    /// The person's own answer; `None` when nobody invited them, as to an event that they made for themselves.
    own_response: Option<ResponseStatus>,
    /// Google's type of the event, such as `default`, `outOfOffice` or `workingLocation`.
    event_type: String,
    /// Whether it takes the person's time, as busy times count it: not when they declined it or marked it as free.
    busy: bool,
    /// Whether something that a person cannot see, and that could carry a message, was left out of a text.
    hidden_text_removed: bool,
}

/// When the person is busy.
#[derive(Debug, Serialize)]
struct FreeBusy {
    time_min: String,
    time_max: String,
    /// The calendar's time zone, an IANA name; `None` when Google did not tell it in time.
    time_zone: Option<String>,
    busy: Vec<Busy>,
}

impl App {
    /// Builds the clients from the settings that `template.yaml` gives this function.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or unusable. Without a Google client it starts, and responds with
    /// `provider_not_configured`.
    pub fn from_env(env: &Env, clock: Clock) -> Result<Self, ConfigError> {
        let http = nbhd::http::client(env)?;
        let gate = Gate::from_env(env, &http, Provider::GoogleCalendar, clock.clone())?;
        Ok(Self { gate, calendar: calendar::Client::new(env, http)?, clock })
    }
}

/// `GET …/google-calendar/events/` and `GET …/google-calendar/freebusy/`.
pub fn router(app: App) -> Router {
    let path = route_path(Provider::GoogleCalendar);
    log_requests("runtime-calendar", Router::new().route(&path, get(handle_request)).with_state(Arc::new(app)))
}

async fn handle_request(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let (tenant, segments) = parse_path(uri.path());
    respond(app.serve(Credentials::from_headers(tenant, &headers), &segments, uri.query()).await)
}

impl App {
    async fn serve(
        &self,
        credentials: Option<Credentials>,
        path: &[&str],
        query: Option<&str>,
    ) -> Result<Response, Problem> {
        let caller = self.gate.authenticate(credentials).await?;
        let now = self.clock.now();
        match path {
            ["events"] => Ok(Json(self.events(&caller, query, now).await?).into_response()),
            ["freebusy"] => Ok(Json(self.free_busy(&caller, query, now).await?).into_response()),
            _ => Err(Problem::invalid("path", "must be `events/` or `freebusy/`")),
        }
    }

    async fn events(&self, caller: &Caller, query: Option<&str>, now: Timestamp) -> Result<Events, Problem> {
        let parameters = QueryParameters::parse(query, &["time_min", "time_max", "max_results", "page_token"])?;
        let from = parameters.timestamp("time_min")?.unwrap_or(now);
        let to = parameters.timestamp("time_max")?;
        if let Some(to) = to {
            check_order(from, to)?;
        }
        let max_results = parameters.number("max_results", 10, 1..=20)?;
        let page_token = parameters.text("page_token", MAX_PAGE_TOKEN)?;
        let range = Range { from, to, max_results, page_token };
        let blamed_parameter = if page_token.is_some() { "page_token" } else { "time_max" };
        let events = |token| async move { self.calendar.list_events(&token, &range).await };
        let page = self.gate.call_google(caller, blamed_parameter, events).await?;
        Ok(Events {
            events: page.items.into_iter().map(Event::from_google).collect(),
            time_zone: page.time_zone,
            next_page_token: page.next_page_token,
        })
    }

    async fn free_busy(&self, caller: &Caller, query: Option<&str>, now: Timestamp) -> Result<FreeBusy, Problem> {
        let parameters = QueryParameters::parse(query, &["time_min", "time_max"])?;
        let from = parameters.timestamp("time_min")?.unwrap_or(now);
        let to = parameters.timestamp("time_max")?.unwrap_or(from + DAY);
        check_order(from, to)?;
        let both = async |token| {
            let zone = timeout(TIME_ZONE_TIMEOUT, self.calendar.get_time_zone(&token));
            let (busy, zone) = join(self.calendar.get_free_busy(&token, from, to), zone).await;
            // Whatever keeps the zone from us, the busy times are in UTC.
            busy.map(|busy| (busy, zone.ok().and_then(Result::ok).flatten()))
        };
        let (busy, time_zone) = self.gate.call_google(caller, "time_max", both).await?;
        Ok(FreeBusy { time_min: from.rfc3339(), time_max: to.rfc3339(), time_zone, busy })
    }
}

fn check_order(from: Timestamp, to: Timestamp) -> Result<(), Problem> {
    if from < to { Ok(()) } else { Err(Problem::invalid("time_max", "must be later than `time_min`")) }
}

impl Event {
    fn from_google(event: calendar::Event) -> Self {
        let text = |time: Option<EventTime>| time.and_then(|time| time.as_str().map(str::to_owned));
        let own_response = event.attendees.iter().find(|one| one.is_self).and_then(|own| own.response_status);
        let event_type = event.event_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned());
        let is_free = event.transparency.as_deref() == Some("transparent")
            || event.status.as_deref() == Some("cancelled")
            || own_response == Some(ResponseStatus::Declined)
            || event_type == WORKING_LOCATION;
        let summary = event.summary.as_deref().map(visible_line);
        let location = event.location.as_deref().map(visible_line);
        let hidden_text_removed = summary.iter().chain(&location).any(|text| text.removed_hidden);
        let visible_text =
            |text: Option<Visible<'_>>| text.map(|text| text.text.into_owned()).filter(|text| !text.is_empty());
        Self {
            summary: visible_text(summary),
            location: visible_text(location),
            id: event.id,
            status: event.status,
            html_link: event.html_link,
            start: text(event.start),
            end: text(event.end),
            attendees_count: event.attendees.len(),
            attendees_omitted: event.attendees_omitted,
            own_response,
            event_type,
            busy: !is_free,
            hidden_text_removed,
        }
    }
}
