//! Microsoft Entra's token endpoint for one application that trusts a role at AWS, and has a client secret as well.
//!
//! See <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>. Tokens do not age: the
//! SDK reads the machine's clock, which no test moves. [`Entra::revokes_tokens`] ends them instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use nbhd::clock::Clock;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::rights::NOBODY;
use crate::sts::Sts;
use crate::tls::{Authority, TlsServer};

/// The name under which requests stand in the journal.
pub const ENTRA: &str = "entra";

/// <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The simulator; clones are the same Entra.
#[derive(Clone, Debug)]
pub struct Entra {
    /// How requests for a token fail on demand: with a status.
    pub faults: Faults<(), StatusCode>,
    inner: Arc<Inner>,
    server: Arc<TlsServer>,
}

#[derive(Debug)]
struct Inner {
    tenant_id: String,
    client_id: String,
    client_secret: String,
    clock: Clock,
    /// The STS whose signatures the federated credential trusts.
    sts: Sts,
    state: Mutex<Registration>,
    faults: Faults<(), StatusCode>,
}

/// The identity that the application trusts beside its own secret.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust>
#[derive(Clone, Debug)]
pub struct FederatedCredential {
    /// The issuer that must have signed the token.
    pub issuer: String,
    /// The subject that the token must name.
    pub subject: String,
    /// The audience that the token must name.
    pub audience: String,
}

#[derive(Debug)]
struct Registration {
    trusted: FederatedCredential,
    tokens: HashMap<String, Issued>,
}

/// What a token was issued for, and to whom.
#[derive(Debug)]
struct Issued {
    scope: String,
    /// The function that the caller's token of AWS names.
    function: String,
}

impl Entra {
    /// Starts Entra with one directory and one application of random identities, which trusts the role at `sts`.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(authority: &Authority, sts: &Sts, clock: Clock, journal: Journal) -> anyhow::Result<Self> {
        let trusted = FederatedCredential {
            issuer: sts.issuer().to_owned(),
            subject: sts.role().to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
        };
        let inner = Arc::new(Inner {
            tenant_id: Uuid::new_v4().to_string(),
            client_id: Uuid::new_v4().to_string(),
            client_secret: format!("entra-secret-{}", Uuid::new_v4().simple()),
            clock,
            sts: sts.clone(),
            state: Mutex::new(Registration { trusted, tokens: HashMap::new() }),
            faults: Faults::default(),
        });
        let router = Router::new()
            .route("/{tenant}/oauth2/v2.0/token", post(token))
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery))
            .with_state(Arc::clone(&inner));
        let server = TlsServer::start(authority, journal.wrap(ENTRA, router)).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// What a function needs to sign in here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_AUTHORITY_HOST", self.server.base_url()),
            ("AZURE_TENANT_ID", self.inner.tenant_id.clone()),
            ("AZURE_CLIENT_ID", self.inner.client_id.clone()),
        ]
    }

    /// The application's secret, for `AZURE_CLIENT_SECRET`; it signs in without a federated token.
    pub fn client_secret(&self) -> &str {
        &self.inner.client_secret
    }

    /// Changes the identity that the application trusts.
    pub fn changes_trust(&self, change: impl FnOnce(&mut FederatedCredential)) {
        change(&mut self.inner.lock().trusted);
    }

    /// Ends every token issued so far.
    pub fn revokes_tokens(&self) {
        self.inner.lock().tokens.clear();
    }

    /// How a resource points a caller without a token here.
    pub(crate) fn challenge(&self, resource: &str) -> String {
        let (base, tenant) = (self.server.base_url(), &self.inner.tenant_id);
        format!(r#"Bearer authorization="{base}/{tenant}", resource="{resource}""#)
    }

    /// Whether `token` was issued for `resource`, and not revoked.
    pub(crate) fn is_valid_token(&self, token: &str, resource: &str) -> bool {
        self.function_of(token, resource).is_some()
    }

    /// The function that `token` was issued to, if it was issued for `resource`, and not revoked.
    pub(crate) fn function_of(&self, token: &str, resource: &str) -> Option<String> {
        let state = self.inner.lock();
        let issued = state.tokens.get(token)?;
        (issued.scope == format!("{resource}/.default")).then(|| issued.function.clone())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Registration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(&self, tenant: &str, form: &HashMap<String, String>) -> Result<Value, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if tenant != self.tenant_id {
            return Err(Refusal(StatusCode::BAD_REQUEST, "invalid_request", 90_002));
        }
        let (Some(grant_type), Some(scope)) = (field("grant_type"), field("scope")) else {
            return Err(Refusal(StatusCode::BAD_REQUEST, "invalid_request", 900_144));
        };
        if grant_type != "client_credentials" {
            return Err(Refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", 70_003));
        }
        if field("client_id") != Some(&self.client_id) {
            return Err(Refusal(StatusCode::BAD_REQUEST, "unauthorized_client", 700_016));
        }
        let function = match (field("client_assertion"), field("client_secret")) {
            (Some(assertion), _) => self.check_assertion(field("client_assertion_type"), assertion)?,
            (None, Some(secret)) if secret == self.client_secret => NOBODY.to_owned(),
            (None, Some(_)) => return Err(Refusal(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215)),
            (None, None) => return Err(Refusal(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_218)),
        };
        if !scope.ends_with("/.default") {
            return Err(Refusal(StatusCode::BAD_REQUEST, "invalid_scope", 1_002_012));
        }
        let token = format!("entra-token-{}", Uuid::new_v4().simple());
        self.lock().tokens.insert(token.clone(), Issued { scope: scope.to_owned(), function });
        Ok(json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}))
    }
}

impl Inner {
    /// Checks a token of AWS; returns the function that it names.
    fn check_assertion(&self, kind: Option<&str>, assertion: &str) -> Result<String, Refusal> {
        let refused = |code| Err(Refusal(StatusCode::UNAUTHORIZED, "invalid_client", code));
        if kind != Some(ASSERTION_TYPE) {
            return Err(Refusal(StatusCode::BAD_REQUEST, "invalid_request", 50_027));
        }
        let Some(claims) = self.sts.verify(assertion) else { return refused(700_027) };
        let trusted = self.lock().trusted.clone();
        let now = self.clock.now().seconds();
        let is_current = claims["iat"].as_i64().is_some_and(|from| from <= now)
            && claims["exp"].as_i64().is_some_and(|until| now < until);
        for (claim, expected, code) in
            [("iss", trusted.issuer, 700_211), ("aud", trusted.audience, 700_212), ("sub", trusted.subject, 700_213)]
        {
            if claims[claim] != expected {
                return refused(code);
            }
        }
        if !is_current {
            return refused(700_024);
        }
        let source = claims["https://sts.amazonaws.com/"]["lambda_source_function_arn"].as_str();
        Ok(source.and_then(|arn| arn.rsplit(':').next()).unwrap_or(NOBODY).to_owned())
    }
}

/// Status, OAuth error and the number behind `AADSTS`.
/// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>
struct Refusal(StatusCode, &'static str, u32);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error, code) = self;
        let description = format!("AADSTS{code}: the request was refused.");
        (status, Json(json!({"error": error, "error_description": description, "error_codes": [code]}))).into_response()
    }
}

async fn token(
    State(inner): State<Arc<Inner>>,
    Path(tenant): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    if let Some(status) = inner.faults.take(()) {
        return Refusal(status, "temporarily_unavailable", 90_033).into_response();
    }
    match inner.grant(&tenant, &form) {
        Ok(granted) => Json(granted).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn discovery(State(inner): State<Arc<Inner>>, headers: axum::http::HeaderMap) -> Response {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let base = format!("https://{host}/{}", inner.tenant_id);
    Json(json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
    }))
    .into_response()
}
