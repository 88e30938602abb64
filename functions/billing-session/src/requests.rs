//! The requests to Stripe.
//!
//! `async-stripe` writes the requests; our own client sends them and reads the answers, because the parser of
//! `async-stripe` refuses an answer of another API version in which a field is missing.

use std::collections::HashMap;

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Tier;
use nbhd::providers::stripe::TIER;
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

/// A Checkout session for one subscription; its metadata is enough to reactivate a removed tenant.
/// <https://docs.stripe.com/api/checkout/sessions/create>
pub(crate) fn create_checkout(
    customer: &str,
    price: &str,
    tier: Tier,
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
    let subscription = CreateCheckoutSessionSubscriptionData {
        metadata: Some(metadata),
        ..CreateCheckoutSessionSubscriptionData::new()
    };
    let session = CreateCheckoutSession::new()
        .mode(stripe_checkout::CheckoutSessionMode::Subscription)
        .customer(customer)
        .client_reference_id(tenant.to_string())
        .line_items(vec![item])
        .consent_collection(consent)
        .metadata(HashMap::from([(TIER.to_owned(), tier.to_string())]))
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
