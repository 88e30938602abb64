//! Google: accounts, the consent page, tokens, user info, Gmail and Calendar, on one loopback port.
//!
//! Absent on purpose: ID tokens (nothing here reads one), label and draft management, and every call that writes.

pub mod calendar;
pub mod consent;
#[cfg(feature = "contracts")]
pub mod contract;
pub mod faults;
pub mod fields;
pub mod mailbox;

mod accounts;
mod api;
mod gmail;
mod payload;
mod query;
mod token;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use nbhd::clock::Clock;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;
use accounts::Accounts;
pub use accounts::Rotation;
use calendar::Calendar;
pub use consent::{Refusal, Scopes};
pub use faults::{Endpoint, Failure};
use mailbox::Mailbox;

/// A running Google; it stops when dropped.
#[derive(Debug)]
pub struct Google {
    /// How it fails on demand.
    pub faults: Faults<Endpoint, Failure>,
    server: Server,
    world: World,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct World {
    clock: Clock,
    state: Arc<Mutex<State>>,
    faults: Faults<Endpoint, Failure>,
}

#[derive(Debug)]
struct State {
    client: Client,
    accounts: Accounts,
}

/// The project's registration at Google.
#[derive(Clone, Debug)]
pub struct Client {
    /// `GOOGLE_CLIENT_ID`.
    pub id: String,
    /// `GOOGLE_CLIENT_SECRET`, different in every simulator.
    pub secret: String,
    /// Where a consent may lead to; compared character by character.
    pub redirect_uris: BTreeSet<String>,
}

impl Google {
    /// Starts a Google without accounts that writes into `journal` as `google`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(clock: Clock, journal: &Journal) -> std::io::Result<Self> {
        let client = Client {
            id: format!("{}.apps.googleusercontent.com", accounts::random("1043")),
            secret: accounts::random("GOCSPX-"),
            redirect_uris: BTreeSet::new(),
        };
        let state = State { client, accounts: Accounts::default() };
        let world = World { clock, state: Arc::new(Mutex::new(state)), faults: Faults::default() };
        let server = Server::start(journal.wrap("google", router(world.clone()))).await?;
        Ok(Self { server, faults: world.faults.clone(), world })
    }

    /// `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The settings that lead our functions here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let base = self.base_url();
        let client = self.client();
        vec![
            ("GOOGLE_CLIENT_ID", client.id),
            ("GOOGLE_CLIENT_SECRET", client.secret),
            ("GOOGLE_AUTH_URL", format!("{base}/o/oauth2/v2/auth")),
            ("GOOGLE_TOKEN_URL", format!("{base}/token")),
            ("GOOGLE_REVOKE_URL", format!("{base}/revoke")),
            ("GOOGLE_USERINFO_URL", format!("{base}/oauth2/v2/userinfo")),
            ("GMAIL_API_URL", format!("{base}/gmail/v1")),
            ("CALENDAR_API_URL", format!("{base}/calendar/v3")),
        ]
    }

    /// The project's registration.
    pub fn client(&self) -> Client {
        self.world.lock().client.clone()
    }

    /// Registers `uri` as one a consent may lead to.
    pub fn allows_redirect_to(&self, uri: &str) {
        self.world.lock().client.redirect_uris.insert(uri.to_owned());
    }

    /// A person with a Google account, an empty mailbox and an empty calendar in `time_zone`.
    pub fn has_account(&self, email: &str, name: &str, time_zone: &str) {
        self.world.lock().accounts.add(email, name, time_zone);
    }

    /// Works on the mailbox of `email`.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn mailbox<R>(&self, email: &str, work: impl FnOnce(&mut Mailbox) -> R) -> R {
        work(&mut self.world.lock().accounts.expect(email).mailbox)
    }

    /// Works on the primary calendar of `email`.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn calendar<R>(&self, email: &str, work: impl FnOnce(&mut Calendar) -> R) -> R {
        work(&mut self.world.lock().accounts.expect(email).calendar)
    }

    /// `raw` (RFC 5322) arrives now; returns Gmail's identifier.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn delivers(&self, email: &str, raw: &[u8]) -> String {
        let now = self.world.clock.now();
        self.mailbox(email, |mailbox| mailbox.receives(raw, now))
    }

    /// Fills the mailbox of `email` from `.eml` files and Maildirs below `folder`, or with [`mailbox::SAMPLES`].
    ///
    /// # Errors
    /// When the folder cannot be read.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn fills_mailbox(&self, email: &str, folder: Option<&Path>) -> std::io::Result<usize> {
        self.mailbox(email, |mailbox| match folder {
            Some(folder) => mailbox.imports_folder(folder),
            None => {
                mailbox.imports(mailbox::SAMPLES);
                Ok(mailbox::SAMPLES.len())
            }
        })
    }

    /// What a browser does on the consent page: opens `url`, chooses `account`, ticks `scopes`; returns where it is
    /// sent.
    ///
    /// # Errors
    /// When Google shows an error page instead of sending the browser back.
    pub fn consents(&self, url: &str, account: &str, scopes: &Scopes) -> Result<String, Refusal> {
        consent::decide(&mut self.world.lock(), url, account, scopes, self.world.clock.now())
    }

    /// A consent from before the story starts; returns the access token and the refresh token it led to.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn has_consented(&self, email: &str, scopes: &[&str]) -> (String, String) {
        let now = self.world.clock.now();
        let accounts = &mut self.world.lock().accounts;
        let code = accounts::Code {
            email: email.to_owned(),
            redirect_uri: String::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            challenge: None,
            with_refresh_token: true,
            issued_at: now,
        };
        accounts.issue_code(code.clone());
        let tokens = accounts.exchange(&code, now).expect("a grant was just given");
        (tokens.access, tokens.refresh.expect("a code of a first consent"))
    }

    /// The person removes our access in the account's settings: the whole grant ends.
    pub fn person_revokes(&self, email: &str) {
        self.world.lock().accounts.expect(email).grant = None;
    }

    /// The scopes `email` grants us now, over all connections; empty without a grant.
    pub fn granted_scopes(&self, email: &str) -> BTreeSet<String> {
        let mut state = self.world.lock();
        state.accounts.expect(email).grant.as_ref().map(|grant| grant.scopes.clone()).unwrap_or_default()
    }

    /// What becomes of a refresh token that was used.
    pub fn rotates_refresh_tokens(&self, rotation: Rotation) {
        self.world.lock().accounts.rotation = rotation;
    }

    /// Whether the token endpoint would take this refresh token.
    pub fn accepts_refresh_token(&self, refresh_token: &str) -> bool {
        self.world.lock().accounts.accepts_refresh_token(refresh_token)
    }

    /// Every code and token ever issued, for tests that search for them where they must not be.
    pub fn issued(&self) -> Vec<String> {
        self.world.lock().accounts.issued.clone()
    }

    /// How often `endpoint` was called.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.faults.calls(endpoint)
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn router(world: World) -> Router {
    Router::new()
        .route("/o/oauth2/v2/auth", get(consent::page).post(consent::decision))
        .route("/token", post(token::token))
        .route("/revoke", post(token::revoke))
        .route("/oauth2/v2/userinfo", get(token::userinfo))
        .route("/v1/userinfo", get(token::openid_userinfo))
        .route("/gmail/v1/users/{user}/messages", get(gmail::list_messages))
        .route("/gmail/v1/users/{user}/messages/{id}", get(gmail::message))
        .route("/gmail/v1/users/{user}/messages/{message}/attachments/{id}", get(gmail::attachment))
        .route("/gmail/v1/users/{user}/threads/{id}", get(gmail::thread))
        .route("/calendar/v3/calendars/{calendar}", get(calendar::metadata))
        .route("/calendar/v3/calendars/{calendar}/events", get(calendar::events))
        .route("/calendar/v3/freeBusy", post(calendar::free_busy))
        .fallback(api::unknown_path)
        .layer(from_fn_with_state(world.clone(), faults::inject_failure))
        .with_state(world)
}
