//! The door to the runtime endpoints: reading mail and the calendar of this tenant.

use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderMap;
use nbhd::domain::secrets::is_same_secret;

use super::{Doors, Passage, address, bad_gateway, single_header};

const KEY: &str = "x-nbhd-internal-key";
const TENANT: &str = "x-nbhd-tenant-id";
const TIMEOUT: Duration = Duration::from_secs(35);

/// `GET /api/v1/integrations/runtime/<tenant>/<one of four>/`, as of the contract with runtimes.
pub(super) fn open(
    doors: &Doors,
    method: &Method,
    (path, query): (&str, Option<&str>),
    headers: &HeaderMap,
) -> Option<Passage> {
    let path = path.strip_prefix("/api/v1/integrations/runtime/")?;
    let (tenant, endpoint) = path.split_once('/')?;
    let is_ours = is_same_secret(&doors.local.internal_key, single_header(headers, KEY)?)
        && tenant == doors.tenant
        && single_header(headers, TENANT) == Some(doors.tenant.as_str());
    let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint);
    if !is_ours || *method != Method::GET || !is_listed(endpoint) {
        return None;
    }
    Some(Passage {
        method: Method::GET,
        url: address(&doors.api_url, &format!("{endpoint}/"), query)?,
        credentials: vec![(KEY, doors.secrets.internal_key.clone()), (TENANT, doors.tenant.clone().into())],
        max_body_bytes: 0,
        timeout: TIMEOUT,
        when_unreachable: bad_gateway,
        door: "runtime",
    })
}

fn is_listed(endpoint: &str) -> bool {
    let is_id =
        |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    ["gmail/messages", "google-calendar/events", "google-calendar/freebusy"].contains(&endpoint)
        || endpoint.strip_prefix("gmail/messages/").is_some_and(is_id)
}
