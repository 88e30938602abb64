//! The functions as they run now. When a setting changes they are started anew, as Lambda does after an update.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use nbhd::clock::Clock;
use nbhd::config::{ConfigError, Env};
use nbhd_sim::rights::env_of;
use tower::ServiceExt as _;

/// The functions that queues and schedules call; those with routes are in [`Api`].
pub(crate) struct Functions {
    pub(crate) forward: telegram_forward::App,
    pub(crate) sweep: reconcile_sweep::App,
    pub(crate) refresh: scheduled_refresh::App,
    pub(crate) reconcile: tenant_reconcile::App,
}

impl Functions {
    /// Starts them, each with its own name towards the simulators.
    pub(crate) fn start(env: &Env, clock: &Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            forward: telegram_forward::App::new(&env_of("telegram-forward", env), clock.clone())?,
            sweep: reconcile_sweep::App::from_env(&env_of("reconcile-sweep", env), clock.clone())?,
            refresh: scheduled_refresh::App::from_env(&env_of("scheduled-refresh", env), clock.clone())?,
            reconcile: tenant_reconcile::App::new(&env_of("tenant-reconcile", env), clock.clone())?,
        })
    }
}

/// The functions with routes, behind one address that stays while they are replaced; clones share them.
#[derive(Clone)]
pub(crate) struct Api(Arc<Mutex<Router>>);

impl Api {
    pub(crate) fn new(router: Router) -> Self {
        Self(Arc::new(Mutex::new(router)))
    }

    pub(crate) fn replace(&self, router: Router) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = router;
    }

    pub(crate) async fn respond(self, request: Request) -> Response {
        let router = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        router.oneshot(request).await.into_response()
    }
}
