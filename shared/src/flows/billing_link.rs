//! The signed links that lead a person from a chat to Stripe's Checkout or customer portal.
//!
//! A link is a bearer token, so it only opens a page and changes nothing; see [`super::connect_link`]. The button on
//! that page leads to Stripe once.

use serde::{Deserialize, Serialize};

use super::connect_link::{LIFETIME, MAX_NAME_CHARACTERS, PublicBase};
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};
use crate::domain::ids::{ChatId, TenantId};
use crate::tokens::{self, Claims, Purpose, Signer};

/// The page of Stripe's that a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Stripe's Checkout, for a person without a subscription.
    Checkout,
    /// Stripe's customer portal, for a person with a subscription.
    Portal,
}

/// The content of a link: whose assistant is paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingLink {
    /// The chat that the link was sent to.
    pub chat_id: ChatId,
    /// The tenant of that chat, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The person's name in Telegram, by which the reader of the page recognises whose assistant it is.
    pub name: String,
}

/// Signs links and verifies them.
#[derive(Clone)]
pub struct Links {
    signer: Signer,
    base: PublicBase,
}

impl Destination {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Portal => "portal",
        }
    }
}

impl Links {
    /// Reads the settings `LINK_SIGNING_KEYS` and `PUBLIC_BASE_URL`.
    ///
    /// # Errors
    /// [`ConfigError`] when either is missing or unusable.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { signer: Signer::new(env.secret_keys("LINK_SIGNING_KEYS")?), base: PublicBase::from_env(env)? })
    }

    /// The address of this system.
    pub fn base(&self) -> &PublicBase {
        &self.base
    }

    /// A link with a fresh `jti`, valid for ten minutes.
    pub fn link_url(
        &self,
        destination: Destination,
        chat_id: ChatId,
        tenant_id: Option<TenantId>,
        name: &str,
        now: Timestamp,
    ) -> String {
        let name = name.chars().take(MAX_NAME_CHARACTERS).collect();
        let content = BillingLink { chat_id, tenant_id, name };
        let link = self.signer.sign(Purpose::Billing, &self.signer.new_jti(), &content, now, LIFETIME);
        format!("{}?link={link}", self.form_url(destination))
    }

    /// The address that the button on a link's page posts to.
    pub fn form_url(&self, destination: Destination) -> String {
        format!("{}/billing/{}", self.base.as_str(), destination.as_str())
    }

    /// Verifies a link and returns its content.
    ///
    /// # Errors
    /// [`tokens::Error`] when the link is invalid or has expired.
    pub fn read(&self, link: &str, now: Timestamp) -> Result<Claims<BillingLink>, tokens::Error> {
        self.signer.verify(Purpose::Billing, link, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::connect_link;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_link_says_whose_assistant_is_paid_for_and_opens_no_other_door() {
        let base = "https://nbhd.example".to_owned();
        let env = Env::from_pairs([("LINK_SIGNING_KEYS", format!("k1:{}", "k".repeat(32))), ("PUBLIC_BASE_URL", base)]);
        let links = Links::from_env(&env).expect("complete settings");
        let tenant = TenantId::random();
        let url = links.link_url(Destination::Portal, ChatId(7), Some(tenant), &"é".repeat(1000), NOW);
        let (page, link) = url.split_once("?link=").expect("a link in it");
        assert_eq!(page, "https://nbhd.example/billing/portal");
        let name = "é".repeat(MAX_NAME_CHARACTERS);
        let read = links.read(link, NOW).expect("fresh").content;
        assert_eq!(read, BillingLink { chat_id: ChatId(7), tenant_id: Some(tenant), name });
        assert_eq!(links.read(link, NOW + LIFETIME).err(), Some(tokens::Error::Expired));
        let connecting = connect_link::Links::from_env(&env).expect("complete settings");
        assert!(connecting.read_link(link, NOW).is_err());
    }
}
