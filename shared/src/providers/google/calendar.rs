//! Google Calendar. <https://developers.google.com/workspace/calendar/api/v3/reference>

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::{ConfigError, Env};
use crate::providers::{Error, google};

/// The longest a call takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The Calendar API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
}

impl Client {
    /// The API at `CALENDAR_API_URL`.
    ///
    /// # Errors
    /// When that setting is not an address.
    pub fn new(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        Ok(Self { http, base_url: env.url("CALENDAR_API_URL", "https://www.googleapis.com/calendar/v3")? })
    }

    /// The IANA name of the primary calendar's time zone.
    /// <https://developers.google.com/workspace/calendar/api/v3/reference/calendars/get>
    pub async fn time_zone(&self, access_token: &SecretString) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Calendar {
            #[serde(rename = "timeZone")]
            time_zone: String,
        }
        let request = self.http.get(format!("{}/calendars/primary?fields=timeZone", self.base_url));
        let request = request.bearer_auth(access_token.expose_secret()).timeout(TIMEOUT);
        let body = google::answer(request).await?;
        let calendar: Calendar =
            serde_json::from_slice(&body).map_err(|_| Error::Malformed { reason: "not a calendar".to_owned() })?;
        Ok(calendar.time_zone)
    }
}
