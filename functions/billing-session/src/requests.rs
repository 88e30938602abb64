//! The requests to Stripe.
//!
//! `async-stripe` writes the requests; our own client sends them and reads the answers, because the parser of
//! `async-stripe` refuses an answer of another API version in which a field is missing.

use std::collections::HashMap;

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Tier;
use nbhd::providers::stripe::{Session, TIER, TRIAL_DAYS};
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionConsentCollection,
    CreateCheckoutSessionConsentCollectionTermsOfService as Terms, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionSubscriptionData,
};
use stripe_client_core::StripeRequest;
use stripe_core::customer::CreateCustomer;

/// A `POST` to Stripe's API.
#[derive(Debug)]
pub(crate) struct StripeCall {
    /// The path below `/v1`.
    pub(crate) path: String,
    /// The parameters, form-encoded.
    pub(crate) form: String,
}

/// A customer; all that we tell Stripe about it is its tenant.
pub(crate) fn create_customer(tenant: TenantId) -> StripeCall {
    to_call(&CreateCustomer::new().metadata(HashMap::from([("tenant_id".to_owned(), tenant.to_string())])))
}

/// What a Checkout session offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) tier: Tier,
    /// How many days of trial; 0: none.
    pub(crate) trial_days: u32,
}

impl Offer {
    /// Whether `session` can be paid and offers this.
    pub(crate) fn is_made_by(self, session: &Session) -> bool {
        session.url.is_some() && session.tier == Some(self.tier) && session.trial_days == self.trial_days
    }
}

/// A Checkout session for one subscription; its metadata is enough to reactivate a removed tenant. A promotion code of
/// 100 % leads to an active subscription as any payment does. <https://docs.stripe.com/api/checkout/sessions/create>
pub(crate) fn create_checkout(
    customer: &str,
    price: &str,
    offer: Offer,
    tenant: TenantId,
    chat: ChatId,
    base: &str,
) -> StripeCall {
    let metadata =
        HashMap::from([("tenant_id".to_owned(), tenant.to_string()), ("chat_id".to_owned(), chat.to_string())]);
    let item = CreateCheckoutSessionLineItems {
        price: Some(price.to_owned()),
        quantity: Some(1),
        ..CreateCheckoutSessionLineItems::new()
    };
    let consent = CreateCheckoutSessionConsentCollection {
        terms_of_service: Some(Terms::Required),
        ..CreateCheckoutSessionConsentCollection::new()
    };
    // Stripe refuses a trial of no days.
    let trial_days = Some(offer.trial_days).filter(|days| *days > 0);
    let subscription = CreateCheckoutSessionSubscriptionData {
        metadata: Some(metadata),
        trial_period_days: trial_days,
        ..CreateCheckoutSessionSubscriptionData::new()
    };
    let mut session_metadata = HashMap::from([(TIER.to_owned(), offer.tier.to_string())]);
    session_metadata.extend(trial_days.map(|days| (TRIAL_DAYS.to_owned(), days.to_string())));
    let session = CreateCheckoutSession::new()
        .mode(stripe_checkout::CheckoutSessionMode::Subscription)
        .customer(customer)
        .client_reference_id(tenant.to_string())
        .line_items(vec![item])
        .consent_collection(consent)
        .allow_promotion_codes(true)
        .metadata(session_metadata)
        .subscription_data(subscription)
        .success_url(format!("{base}/billing/done?from=checkout"))
        .cancel_url(format!("{base}/billing/done?from=cancel"));
    to_call(&session)
}

/// A session of the customer portal. <https://docs.stripe.com/api/customer_portal/sessions/create>
pub(crate) fn create_portal(customer: &str, base: &str) -> StripeCall {
    let back = format!("{base}/billing/done?from=portal");
    to_call(&CreateBillingPortalSession::new().customer(customer).return_url(back))
}

fn to_call(request: &impl StripeRequest) -> StripeCall {
    let built = request.build();
    StripeCall { path: built.path, form: built.body.unwrap_or_default() }
}
