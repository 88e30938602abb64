//! The Checkout sessions of a customer. <https://docs.stripe.com/api/checkout/sessions>

use serde_json::Value;

use super::{Client, Error, MISSING};
use crate::domain::subscription::Tier;

/// The key in a session's metadata under which `billing-session` writes the tier.
pub const TIER: &str = "tier";
/// The key in a session's metadata under which `billing-session` writes how many days of trial it offers.
pub const TRIAL_DAYS: &str = "trial_days";

/// A page at Stripe on which a customer subscribes to a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Stripe's id, `cs_…`.
    pub id: String,
    /// The tier that it sells; `None` on a session that is not ours.
    pub tier: Option<Tier>,
    /// How many days of trial it offers; 0: none.
    pub trial_days: u32,
    /// Whether the page led to a subscription.
    pub is_complete: bool,
    /// The address of the page, while the session can be paid.
    pub url: Option<String>,
}

impl Client {
    /// Lists the customer's last hundred sessions, the newest first.
    ///
    /// # Errors
    /// [`Error`] when the list could not be fetched.
    pub async fn list_sessions(&self, customer: &str) -> Result<Vec<Session>, Error> {
        let listed = self.list("checkout/sessions", &[("customer", customer), ("limit", "100")]).await?;
        Ok(listed.iter().filter_map(Session::from_json).collect())
    }

    /// Whether a customer, who may be deleted, paid on a page that offered a trial.
    ///
    /// # Errors
    /// [`Error`] when the list could not be fetched. That the customer is not known is none.
    pub async fn has_taken_trial(&self, customer: &str) -> Result<bool, Error> {
        match self.list_sessions(customer).await {
            Ok(listed) => Ok(listed.iter().any(|session| session.is_complete && session.trial_days > 0)),
            Err(Error::Refused { reason, .. }) if reason == MISSING => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Expires a session, so that it cannot be paid any more.
    ///
    /// # Errors
    /// [`Error::Refused`] when it was paid before.
    pub async fn expire_session(&self, session: &str) -> Result<(), Error> {
        let path = format!("checkout/sessions/{session}/expire");
        self.create(&path, String::new(), &format!("expire-{session}")).await.map(|_| ())
    }
}

impl Session {
    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (metadata, is_open) = (&value["metadata"], value["status"] == "open");
        Some(Self {
            id: text(&value["id"])?,
            tier: metadata[TIER].as_str().and_then(|tier| tier.parse().ok()),
            trial_days: metadata[TRIAL_DAYS].as_str().and_then(|days| days.parse().ok()).unwrap_or(0),
            is_complete: value["status"] == "complete",
            url: text(&value["url"]).filter(|_| is_open),
        })
    }
}
