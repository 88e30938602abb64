//! AWS STS, as far as it issues tokens for the caller's role: `GetWebIdentityToken`, over the query protocol.
//!
//! See <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html>. It checks the form of the
//! request and the scope of its signature, not the signature itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nbhd::clock::{Clock, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::rights;
use crate::server::Server;

#[cfg(feature = "contracts")]
pub mod contract;

/// The name under which requests stand in the journal.
pub const STS: &str = "sts";

/// A key that was published with this file, and opens nothing but a simulated Entra.
const SIGNING_KEY: &[u8] = include_bytes!("signing_key.der");

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const REGION: &str = "us-east-1";

/// The simulator; clones are the same STS.
#[derive(Clone, Debug)]
pub struct Sts {
    /// How it fails on demand.
    pub faults: Faults<(), Failure>,
    inner: Arc<Inner>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    issuer: String,
    role: String,
    key: RsaKeyPair,
    state: Mutex<State>,
    faults: Faults<(), Failure>,
}

#[derive(Debug, Default)]
struct State {
    issued: Vec<String>,
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// This status with this error code, such as 403 `OutboundWebIdentityFederationDisabled`.
    Refusal(u16, &'static str),
    /// 200 with a body that is no XML.
    NotXml,
}

impl Sts {
    /// Starts the STS of an account of its own, in which one role calls.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(clock: Clock, journal: &Journal) -> anyhow::Result<Self> {
        let key = RsaKeyPair::from_der(SIGNING_KEY).map_err(|why| anyhow::anyhow!("the signing key: {why}"))?;
        let inner = Arc::new(Inner {
            clock,
            issuer: format!("https://{}.tokens.sts.global.api.aws", Uuid::new_v4()),
            role: "arn:aws:iam::123456789012:role/nbhd-function".to_owned(),
            key,
            state: Mutex::default(),
            faults: Faults::default(),
        });
        let router = Router::new().route("/", post(call)).with_state(Arc::clone(&inner));
        let server = Server::start(journal.wrap(STS, router)).await?;
        Ok(Self { faults: inner.faults.clone(), inner, server: Arc::new(server) })
    }

    /// The settings with which a function gets tokens here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL_STS", self.server.base_url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", rights::NOBODY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ]
    }

    /// The ARN of the role that calls, the subject of every token.
    pub fn role(&self) -> &str {
        &self.inner.role
    }

    /// The issuer that the tokens name.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Every token ever issued, for tests that search for them where they must not be.
    pub fn issued(&self) -> Vec<String> {
        self.inner.lock().issued.clone()
    }

    /// Issues a token for `audience` that is valid for `seconds`, as the API would.
    pub fn issues_token(&self, audience: &str, seconds: i64) -> String {
        self.inner.sign(&json!(audience), seconds, rights::NOBODY).0
    }

    /// Returns a token's claims, if it was signed here.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.inner.key.public_key().as_ref());
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (head["alg"] == "RS256").then_some(claims)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token, and when it ends.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html>
    fn sign(&self, audience: &Value, seconds: i64, function: &str) -> (String, Timestamp) {
        let now = self.clock.now().seconds();
        let claims = json!({
            "iss": self.issuer,
            "aud": audience,
            "sub": self.role,
            "iat": now,
            "exp": now + seconds,
            "jti": Uuid::new_v4().to_string(),
            "https://sts.amazonaws.com/": {
                "aws_account": "123456789012",
                "source_region": REGION,
                "lambda_source_function_arn": format!("arn:aws:lambda:{REGION}:123456789012:function:{function}"),
            },
        });
        let head = json!({"alg": "RS256", "kid": "RSA_0", "typ": "JWT"});
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&head), encoded(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("a signature of the modulus's length");
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.lock().issued.push(token.clone());
        (token, Timestamp::from_seconds(now + seconds))
    }

    fn answer(&self, headers: &HeaderMap, body: &str) -> Result<String, Refusal> {
        if let Some(failure) = self.faults.take(()) {
            return match failure {
                Failure::Refusal(status, code) => Err(Refusal(status, code, "The request was refused.")),
                Failure::NotXml => Ok("not STS".to_owned()),
            };
        }
        check_scope(headers)?;
        let form: Vec<(String, String)> = serde_urlencoded::from_str(body).unwrap_or_default();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if (field("Action"), field("Version")) != (Some("GetWebIdentityToken"), Some("2011-06-15")) {
            return Err(Refusal(400, "InvalidAction", "Could not find operation."));
        }
        rights::record_sts_call(headers, "GetWebIdentityToken");
        let invalid = Refusal(400, "ValidationError", "A parameter is missing or out of form.");
        let audiences: Vec<&str> = form
            .iter()
            .filter(|(key, _)| key.starts_with("Audience.member."))
            .map(|(_, value)| value.as_str())
            .collect();
        let seconds = field("DurationSeconds").map_or(Ok(300), str::parse);
        let audience = match audiences.as_slice() {
            [] => return Err(invalid),
            [only] => json!(only),
            several => json!(several),
        };
        match (field("SigningAlgorithm"), seconds) {
            (Some("RS256"), Ok(seconds @ 60..=3600)) => {
                let function = rights::caller(headers).unwrap_or(rights::NOBODY);
                Ok(to_xml(&self.sign(&audience, seconds, function)))
            }
            _ => Err(invalid),
        }
    }
}

/// Status, code and a sentence.
struct Refusal(u16, &'static str, &'static str);

/// The global endpoint does not offer this operation: a signature is for a region.
fn check_scope(headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(scope) = authorization.and_then(|value| value.strip_prefix("AWS4-HMAC-SHA256 Credential=")) else {
        return Err(Refusal(403, "MissingAuthenticationToken", "Request is missing Authentication Token"));
    };
    let scope: Vec<&str> = scope.split(',').next().unwrap_or_default().split('/').collect();
    match scope.as_slice() {
        [_, _, region, "sts", "aws4_request"] if !region.is_empty() => Ok(()),
        _ => Err(Refusal(403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region.")),
    }
}

fn to_xml((token, ends): &(String, Timestamp)) -> String {
    format!(
        "<GetWebIdentityTokenResponse xmlns=\"{NAMESPACE}\"><GetWebIdentityTokenResult>\
         <WebIdentityToken>{token}</WebIdentityToken><Expiration>{}</Expiration></GetWebIdentityTokenResult>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetWebIdentityTokenResponse>",
        ends.rfc3339(),
        Uuid::new_v4()
    )
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let side = if status < 500 { "Sender" } else { "Receiver" };
        let body = format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{side}</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            Uuid::new_v4()
        );
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
    }
}

async fn call(Extracted(inner): Extracted<Arc<Inner>>, headers: HeaderMap, body: String) -> Response {
    match inner.answer(&headers, &body) {
        Ok(body) => ([(header::CONTENT_TYPE, "text/xml")], body).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
