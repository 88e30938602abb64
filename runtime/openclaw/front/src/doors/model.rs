//! The door to the models: one method of the model gateway's API, whose answers stream.

use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use nbhd::domain::secrets::is_same_secret;
use secrecy::ExposeSecret as _;

use super::{Doors, Passage, address, bad_gateway, single_header};

/// A conversation with some pictures in it.
const MAX_BODY_BYTES: usize = 32 << 20;
/// A whole answer: longer than a turn may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// `POST /v1/chat/completions`.
pub(super) fn open(
    doors: &Doors,
    method: &Method,
    (path, query): (&str, Option<&str>),
    headers: &HeaderMap,
) -> Option<Passage> {
    let key = single_header(headers, AUTHORIZATION.as_str())?.strip_prefix("Bearer ")?;
    let is_listed = *method == Method::POST && path == "/v1/chat/completions" && query.is_none();
    if !is_same_secret(&doors.local.model_key, key) || !is_listed {
        return None;
    }
    let credential = format!("Bearer {}", doors.secrets.model_key.expose_secret());
    Some(Passage {
        method: Method::POST,
        url: address(&doors.models_url, "chat/completions", None)?,
        credentials: vec![("authorization", credential.into())],
        max_body_bytes: MAX_BODY_BYTES,
        timeout: TIMEOUT,
        when_unreachable: bad_gateway,
        door: "model",
    })
}
