//! Why Google refuses a request, read from the machine-readable parts of its answer.
//!
//! Google has several forms of an error, and one answer can have more than one of them: `error.details[]` with an
//! `ErrorInfo`, `error.errors[]` of the older APIs, `error.status`, and a text in place of the object.
//! <https://cloud.google.com/apis/design/errors>

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::providers::http;

/// Parts of an error beyond this number are not read; Google sends one or two.
const MAX_PARTS: usize = 16;

/// The reason of a refusal: what follows from it, and the code that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What follows from it.
    pub cause: Cause,
    /// Google's code, to be logged; empty when it gave none.
    code: String,
}

/// What a refusal is about, which decides the caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A parameter of the request.
    Parameter,
    /// Too many requests: it passes.
    UsageLimit,
    /// The token lacks the scope: its person has to connect again.
    ScopeMissing,
    /// The account has no such service, or its administrator keeps apps out of it: nobody but them can change that.
    AccountExcluded,
    /// Our project at Google: an operator has to act.
    Project,
    /// The token is no longer valid.
    Token,
    /// None that this code knows.
    Other,
}

impl Reason {
    /// Reads the answer to a refused request. Of several codes the most exact one that is known counts.
    pub(super) fn from_body(body: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = find_error(&answer);
        let parts = |name: &str| error[name].as_array().into_iter().flatten().take(MAX_PARTS);
        let details = parts("details").filter(|detail| is_of_type(detail, "google.rpc.ErrorInfo"));
        let reasons = details.chain(parts("errors")).map(|part| &part["reason"]);
        let codes: Vec<&str> = reasons.chain([error, &error["status"]]).filter_map(Value::as_str).collect();
        let known = codes.iter().copied().map(Self::from_code).find(|reason| reason.cause != Cause::Other);
        let reason = known.unwrap_or_else(|| Self::from_code(codes.first().copied().unwrap_or_default()));
        let is_precondition = codes.iter().any(|code| matches!(*code, "failedPrecondition" | "FAILED_PRECONDITION"));
        let mut messages = parts("errors").map(|part| &part["message"]).chain([&error["message"]]);
        if is_precondition && messages.any(|message| message.as_str().is_some_and(names_missing_mailbox)) {
            return Self { cause: Cause::AccountExcluded, ..reason };
        }
        reason
    }

    /// Reads one code. A text that is no code is not kept.
    pub(crate) fn from_code(code: &str) -> Self {
        Self { cause: Cause::from_code(code), code: http::loggable_code(Some(code)) }
    }
}

impl Cause {
    /// The codes of the APIs' own guides, of Google's older standard errors, and of `google.api.ErrorReason`.
    /// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
    /// <https://developers.google.com/workspace/calendar/api/guides/errors>
    /// <https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto>
    fn from_code(code: &str) -> Self {
        match code {
            "invalidArgument" | "badRequest" | "invalid" | "invalidParameter" | "timeRangeEmpty"
            | "timeRangeTooLong" | "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Self::Parameter,
            "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "dailyLimitExceeded"
            | "quotaExceeded"
            | "limitExceeded"
            | "concurrentLimitExceeded"
            | "servingLimitExceeded"
            | "variableTermLimitExceeded"
            | "RATE_LIMIT_EXCEEDED"
            | "RESOURCE_QUOTA_EXCEEDED"
            | "RESOURCE_EXHAUSTED" => Self::UsageLimit,
            "insufficientPermissions" | "insufficient_scope" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => Self::ScopeMissing,
            "notACalendarUser" | "domainPolicy" | "accountDeleted" | "accountDisabled" | "accountUnverified" => {
                Self::AccountExcluded
            }
            "accessNotConfigured"
            | "dailyLimitExceededUnreg"
            | "rateLimitExceededUnreg"
            | "userRateLimitExceededUnreg"
            | "keyInvalid"
            | "keyExpired"
            | "ipRefererBlocked"
            | "SERVICE_DISABLED"
            | "BILLING_DISABLED"
            | "CONSUMER_INVALID"
            | "CONSUMER_SUSPENDED"
            | "USER_PROJECT_DENIED"
            | "RESOURCE_PROJECT_INVALID"
            | "GCP_SUSPENDED"
            | "SERVICE_NOT_VISIBLE" => Self::Project,
            key if key.starts_with("API_KEY_") => Self::Project,
            "invalid_token" => Self::Token,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

/// How long an error asks us to wait, by its `RetryInfo`.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>
pub(super) fn parse_wait(body: &[u8]) -> Option<Duration> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let mut details = find_error(&answer)["details"].as_array()?.iter().take(MAX_PARTS);
    let delay = details.find(|detail| is_of_type(detail, "google.rpc.RetryInfo"))?["retryDelay"].as_str()?;
    let wait = Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()?;
    Some(http::bounded_wait(wait))
}

/// The error of an answer. A method that streams has its one error in a list.
fn find_error(answer: &Value) -> &Value {
    if answer.is_array() { &answer[0]["error"] } else { &answer["error"] }
}

/// Whether a detail is of this type, whose name follows the address of a type registry.
fn is_of_type(detail: &Value, name: &str) -> bool {
    detail["@type"].as_str().and_then(|of| of.rsplit('/').next()) == Some(name)
}

/// Gmail's message about an account without a mailbox. Its code, `failedPrecondition`, has other causes too, so that
/// nothing but the message tells.
fn names_missing_mailbox(message: &str) -> bool {
    message.trim().trim_end_matches('.').eq_ignore_ascii_case("Mail service not enabled")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(error: Value) -> (Cause, String) {
        let reason = Reason::from_body(json!({ "error": error }).to_string().as_bytes());
        (reason.cause, reason.code)
    }

    fn info(reason: &str) -> Value {
        json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com" })
    }

    #[test]
    fn every_form_of_an_error_tells_its_cause() {
        let scope = "ACCESS_TOKEN_SCOPE_INSUFFICIENT";
        for (error, cause, code) in [
            (json!({ "code": 403, "details": [info(scope)] }), Cause::ScopeMissing, scope),
            (
                json!({ "errors": [{ "reason": "insufficientPermissions" }] }),
                Cause::ScopeMissing,
                "insufficientPermissions",
            ),
            (json!("insufficient_scope"), Cause::ScopeMissing, "insufficient_scope"),
            (json!("invalid_token"), Cause::Token, "invalid_token"),
            (json!({ "status": "RESOURCE_EXHAUSTED" }), Cause::UsageLimit, "RESOURCE_EXHAUSTED"),
            (json!({ "status": "PERMISSION_DENIED" }), Cause::Other, "PERMISSION_DENIED"),
            (json!({ "errors": [{ "reason": "domainPolicy" }] }), Cause::AccountExcluded, "domainPolicy"),
            (json!({ "errors": [{ "reason": "notACalendarUser" }] }), Cause::AccountExcluded, "notACalendarUser"),
            (json!({ "details": [info("API_KEY_IP_ADDRESS_BLOCKED")] }), Cause::Project, "API_KEY_IP_ADDRESS_BLOCKED"),
            (json!({ "details": [info("CONSUMER_SUSPENDED")] }), Cause::Project, "CONSUMER_SUSPENDED"),
            (json!({ "details": "none", "errors": {}, "status": 7 }), Cause::Other, ""),
            (json!(null), Cause::Other, ""),
        ] {
            assert_eq!(read(error.clone()), (cause, code.to_owned()), "{error}");
        }
        let listed = Reason::from_body(json!([{ "error": { "details": [info(scope)] } }]).to_string().as_bytes());
        assert_eq!(listed.cause, Cause::ScopeMissing);
    }

    #[test]
    fn the_most_exact_code_counts() {
        // An API key that is not valid comes as an invalid argument, and a disabled API as a denied permission.
        let key = json!({ "status": "INVALID_ARGUMENT", "errors": [{ "reason": "badRequest" }],
            "details": [{ "@type": "type.googleapis.com/google.rpc.Help" }, info("API_KEY_INVALID")] });
        assert_eq!(read(key), (Cause::Project, "API_KEY_INVALID".to_owned()));
        let disabled = json!({ "status": "PERMISSION_DENIED", "errors": [{ "reason": "forbidden" },
            { "reason": "accessNotConfigured" }], "details": [info("A_REASON_OF_TOMORROW")] });
        assert_eq!(read(disabled), (Cause::Project, "accessNotConfigured".to_owned()));
        let unknown = json!({ "status": "PERMISSION_DENIED", "errors": [{ "reason": "forbidden" }] });
        assert_eq!(read(unknown), (Cause::Other, "forbidden".to_owned()));
        // A reason counts in an `ErrorInfo` alone.
        let quoted = json!({ "details": [{ "@type": "x/google.rpc.BadRequest", "reason": "SERVICE_DISABLED" }] });
        assert_eq!(read(quoted), (Cause::Other, String::new()));
    }

    #[test]
    fn a_failed_precondition_is_about_the_account_only_when_its_message_says_so() {
        let failed = |message: &str| {
            let errors = [json!({ "reason": "failedPrecondition", "message": message, "domain": "global" })];
            read(json!({ "code": 400, "status": "FAILED_PRECONDITION", "message": message, "errors": errors })).0
        };
        assert_eq!(failed("Mail service not enabled"), Cause::AccountExcluded);
        assert_eq!(failed("mail service not enabled."), Cause::AccountExcluded);
        assert_eq!(failed("Precondition check failed."), Cause::Other);
        assert_eq!(
            read(json!({ "status": "FAILED_PRECONDITION", "message": "Mail service not enabled" })).0,
            Cause::AccountExcluded
        );
        assert_eq!(read(json!({ "status": "INTERNAL", "message": "Mail service not enabled" })).0, Cause::Other);
    }

    #[test]
    fn a_sentence_is_no_code() {
        assert_eq!(read(json!("token ya29.secret is bad")).1, "");
        assert_eq!(Reason::from_body(b"<html>").to_string(), "");
    }

    #[test]
    fn a_wait_in_the_body_is_read_and_has_a_bound() {
        let wait = |delay: Value| {
            let info = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay });
            parse_wait(json!({ "error": { "details": [info] } }).to_string().as_bytes())
        };
        assert_eq!(wait(json!("36s")), Some(Duration::from_secs(36)));
        assert_eq!(wait(json!("1.500s")), Some(Duration::from_millis(1500)));
        assert_eq!(wait(json!("86400s")), Some(Duration::from_secs(300)));
        for delay in [json!("36"), json!("-1s"), json!("NaNs"), json!("infs"), json!("1e400s"), json!(36), json!(null)]
        {
            assert_eq!(wait(delay.clone()), None, "{delay}");
        }
        assert_eq!(parse_wait(b"<html>"), None);
    }
}
