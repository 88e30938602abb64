//! The way from the outside to an app's container: TLS on a port of its own, waking it when it has no replica.
//!
//! An app's `fqdn` is `127.0.0.1:port`: a caller makes `https://{fqdn}` of it, as of a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Inner;
use super::apps::Admission;
use crate::proxy::Upstream;
use crate::tls::{Authority, TlsServer};

/// The ingresses of all apps.
#[derive(Debug)]
pub(super) struct Ingresses {
    authority: Arc<Authority>,
    inner: Weak<Inner>,
    by_app: Mutex<BTreeMap<String, TlsServer>>,
}

impl Ingresses {
    pub(super) fn new(authority: Arc<Authority>, inner: Weak<Inner>) -> Self {
        Self { authority, inner, by_app: Mutex::default() }
    }

    /// Gives each of `apps` an ingress and ends those of all others; returns the addresses of the new ones.
    pub(super) async fn update(&self, apps: &[String]) -> Vec<(String, String)> {
        let lacks: Vec<String> = {
            let mut by_app = self.by_app.lock().unwrap_or_else(PoisonError::into_inner);
            by_app.retain(|app, _| apps.contains(app));
            apps.iter().filter(|app| !by_app.contains_key(*app)).cloned().collect()
        };
        let mut reached = Vec::new();
        for app in lacks {
            let (inner, key) = (Weak::clone(&self.inner), app.clone());
            let router = Router::new().fallback(move |request| handle(inner.clone(), key.clone(), request));
            if let Ok(server) = TlsServer::start(&self.authority, router).await {
                reached.push((app.clone(), server.base_url().trim_start_matches("https://").to_owned()));
                self.by_app.lock().unwrap_or_else(PoisonError::into_inner).insert(app, server);
            }
        }
        reached
    }
}

async fn handle(inner: Weak<Inner>, app: String, request: Request) -> Response {
    let Some(inner) = inner.upgrade() else { return StatusCode::NOT_FOUND.into_response() };
    let mut admission = inner.lock().admit(&app, inner.clock.now());
    if matches!(admission, Admission::Starting) {
        inner.settles().await;
        admission = inner.lock().admit(&app, inner.clock.now());
    }
    match admission {
        Admission::Running(Some(url)) => Upstream::new(url).forward(request).await,
        // Nothing runs containers in this world: what runs is as healthy as can be.
        Admission::Running(None) if request.uri().path() == "/healthz" => StatusCode::OK.into_response(),
        Admission::Running(None) | Admission::Starting => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Admission::NotFound => {
            (StatusCode::NOT_FOUND, "Error 404 - This Container App is stopped or does not exist.").into_response()
        }
    }
}
