//! A customer's Checkout sessions. <https://docs.stripe.com/api/checkout/sessions>

use serde_json::Value;

use super::{Client, Error};
use crate::domain::subscription::Tier;

/// The name under which a session of ours says what it is for.
pub const TIER: &str = "tier";

/// A Checkout session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Stripe's id, `cs_…`.
    pub id: String,
    /// What is paid for, on a session of ours.
    pub tier: Option<Tier>,
    /// The page, while it can be paid.
    pub url: Option<String>,
}

impl Client {
    /// The customer's last hundred sessions, the newest first.
    ///
    /// # Errors
    /// [`Error`]: nothing is known then.
    pub async fn sessions(&self, customer: &str) -> Result<Vec<Session>, Error> {
        let listed = self.list("checkout/sessions", &[("customer", customer), ("limit", "100")]).await?;
        Ok(listed.iter().filter_map(Session::read).collect())
    }

    /// Ends a session that can be paid.
    ///
    /// # Errors
    /// [`Error::Refused`] when it cannot be paid any more, because it was.
    pub async fn expire(&self, session: &str) -> Result<(), Error> {
        let path = format!("checkout/sessions/{session}/expire");
        self.create(&path, String::new(), &format!("expire-{session}")).await.map(|_| ())
    }
}

impl Session {
    fn read(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let is_open = value["status"] == "open";
        Some(Self {
            id: text(&value["id"])?,
            tier: value["metadata"][TIER].as_str().and_then(|tier| tier.parse().ok()),
            url: text(&value["url"]).filter(|_| is_open),
        })
    }
}
